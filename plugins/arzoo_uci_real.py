"""Tables of real numbers: the UCI sets of the RNADE paper, each in ten folds, `uci_real.red_wine.0` and so on.

Uria et al. 2013, https://arxiv.org/abs/1306.0186, average over the folds.  What is modelled are the standardised
variables: subtract the mean of the training rows, divide by their standard deviation.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from arzoo import hookimpl
from arzoo.data import DatasetSpec, Examples
from arzoo.data_decoding import check_columns_vary, read_vectors

if TYPE_CHECKING:
    from datasets import Dataset

_FOLDS = 10
_UCI = "https://archive.ics.uci.edu/dataset"

# Numbers of columns and rows, licence, where it is from.
_SETS = {
    "red_wine": (11, 1599, "cc-by-4.0", f"{_UCI}/186/wine+quality"),
    "white_wine": (11, 4898, "cc-by-4.0", f"{_UCI}/186/wine+quality"),
    "parkinsons": (15, 5875, "cc-by-4.0", f"{_UCI}/189/parkinsons+telemonitoring"),
    "ionosphere": (32, 351, "cc-by-4.0", f"{_UCI}/52/ionosphere"),
    "boston_housing": (10, 506, "unknown", "http://lib.stat.cmu.edu/datasets/boston"),
}


def decode_standardized(spec: DatasetSpec, rows: "Mapping[str, Dataset]") -> dict[str, Examples]:
    """Columns with mean 0 and standard deviation 1 over the training rows, float32."""
    values = {split: read_vectors(spec, split_rows).double() for split, split_rows in rows.items()}
    train = values["train"]
    check_columns_vary(spec, train)
    mean, deviation = train.mean(0), train.std(0, correction=0)
    return {split: Examples(x=((x - mean) / deviation).float()) for split, x in values.items()}


def _fold(config: str, fold: int) -> DatasetSpec:
    num_columns, num_rows, licence, homepage = _SETS[config]
    size = num_rows // _FOLDS
    ends = [*range(0, _FOLDS * size, size), num_rows]  # the last fold takes the remainder
    folds = [f"train[{begin}:{end}]" for begin, end in pairwise(ends)]
    following = (fold + 1) % _FOLDS
    rest = [rows for number, rows in enumerate(folds) if number not in (fold, following)]
    whose = "the folds of the paper" if config == "red_wine" else "folds of a fixed permutation, not the paper's"
    return DatasetSpec(
        name=f"uci_real.{config}.{fold}",
        event_shape=(num_columns,),
        num_categories=None,
        repo="uci_real",
        homepage=homepage,
        config=config,
        splits={"train": "+".join(rest), "validation": folds[following], "test": folds[fold]},
        column="x",
        decode=decode_standardized,
        unit="nats",
        licence=licence,
        protocol=(
            f"Ten folds of Uria et al. 2013, {whose}: fold {fold} is test, fold {following} validation, the others "
            "train; densities of the variables standardised with the mean and deviation of the training rows."
        ),
    )


@hookimpl
def arzoo_datasets() -> list[DatasetSpec]:
    return [_fold(config, fold) for config in _SETS for fold in range(_FOLDS)]
