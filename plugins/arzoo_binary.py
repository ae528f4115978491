"""Tables of bits: the sets of the NADE paper, and the Density Estimation Benchmark Datasets."""

from arzoo import hookimpl
from arzoo.data import DatasetSpec
from arzoo.data_decoding import decode_vectors

_UCI = "https://archive.ics.uci.edu/dataset"
_NADE = "The training, validation and test rows of Larochelle & Murray 2011."
_WEB = (
    "The test rows of Larochelle & Murray 2011; their 17,188 other rows are cut at random into 14,000 training and "
    "3,188 validation rows, for the original cut is lost."
)
_DEBD = "The training, validation and test rows of the Density Estimation Benchmark Datasets."

# Number of bits, licence, where it is from, what the splits are.
_UCI_BINARY = {
    "adult": (123, "cc-by-4.0", f"{_UCI}/2/adult", _NADE),
    "connect4": (126, "cc-by-4.0", f"{_UCI}/26/connect+4", _NADE),
    "dna": (180, "cc-by-4.0", f"{_UCI}/69/molecular+biology+splice+junction+gene+sequences", _NADE),
    "mushrooms": (112, "cc-by-4.0", f"{_UCI}/73/mushroom", _NADE),
    "nips": (500, "unknown", "https://cs.nyu.edu/~roweis/data.html", _NADE),
    "ocr_letters": (128, "unknown", "https://ai.stanford.edu/~btaskar/ocr/", _NADE),
    "web": (300, "unknown", "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary.html", _WEB),
}
_DEBD_SIZES = {
    "nltcs": 16,
    "msnbc": 17,
    "kdd": 64,
    "baudio": 100,
    "jester": 100,
    "bnetflix": 100,
    "accidents": 111,
    "pumsb_star": 163,
    "dna": 180,
    "kosarek": 190,
    "msweb": 294,
    "book": 500,
    "tmovie": 500,
    "cwebkb": 839,
    "cr52": 889,
    "c20ng": 910,
    "bbc": 1058,
    "ad": 1556,
}


def _bits(repo: str, config: str, num_bits: int, licence: str, homepage: str, protocol: str) -> DatasetSpec:
    return DatasetSpec(
        name=f"{repo}.{config}",
        event_shape=(num_bits,),
        num_categories=2,
        repo=repo,
        homepage=homepage,
        config=config,
        splits={"train": "train", "validation": "validation", "test": "test"},
        column="x",
        decode=decode_vectors,
        unit="nats",
        licence=licence,
        protocol=protocol,
    )


@hookimpl
def arzoo_datasets() -> list[DatasetSpec]:
    homepage = "https://github.com/arranger1044/DEBD"
    debd = [_bits("debd", config, size, "unknown", homepage, _DEBD) for config, size in _DEBD_SIZES.items()]
    return [_bits("uci_binary", config, *facts) for config, facts in _UCI_BINARY.items()] + debd
