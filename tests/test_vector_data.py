"""The data sets of vectors and documents are the published ones, split and standardised without a leak."""

import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import arzoo_documents
import arzoo_structured
import arzoo_uci_real
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import toys
from datasets import Dataset
from PIL import Image
from torch import Tensor

import arzoo
from arzoo import testing
from arzoo.data import DatasetSpec, TensorData
from arzoo.data_decoding import decode_vectors
from arzoo.data_loading import load_data
from arzoo.recipe import Recipe, TrainConfig

SPLITS = ("train", "validation", "test")
SPEC = DatasetSpec(
    name="small",
    event_shape=(3,),
    num_categories=4,
    repo="small",
    splits={"train": "train"},
    column="x",
    decode=decode_vectors,
    unit="nats",
    licence="mit",
    protocol="As it is.",
)


def source(name: str) -> Path:
    folder = Path(os.environ.get("ARZOO_DATASETS") or "/nowhere") / arzoo.get_dataset(name).repo
    if not folder.is_dir():
        pytest.skip(f"ARZOO_DATASETS names no folder that holds {folder.name}")
    return folder


def real(name: str) -> list[TensorData]:
    source(name)
    return [load_data(name, split) for split in SPLITS]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(x: Tensor) -> set[bytes]:
    return {row.tobytes() for row in x.numpy()}


# ---- columns of numbers


@pytest.mark.parametrize("kind", [pa.list_(pa.uint8()), pa.list_(pa.int32(), 3), pa.list_(pa.uint16())])
def test_lists_of_numbers_become_events(kind: pa.DataType) -> None:
    lists = [[1, 0, 3], [2, 2, 0]]
    table = Dataset(pa.table({"x": pa.array(lists, kind)}))
    x = decode_vectors(SPEC, {"train": table})["train"].x
    assert x.tolist() == lists
    assert x.dtype == (torch.uint8 if kind.value_type == pa.uint8() else torch.int64)
    assert decode_vectors(SPEC, {"train": table.select([1])})["train"].x.tolist() == [[2, 2, 0]]
    spec = replace(SPEC, num_categories=None, event_shape=(1, 3))
    x = decode_vectors(spec, {"train": table})["train"].x
    assert x.tolist() == [[row] for row in lists] and x.dtype == torch.float32


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[1, 0], [2, 2]], "has 2 to 2 numbers a row, its event shape asks for 3"),
        ([[1, 0], [2, 2, 1, 1]], "has 2 to 4 numbers a row"),  # as many as events need, but not in each row
        ([[1, 0, 3], None], "lacks values"),
        ([[1, 0, 3], [1, None, 3]], "lacks values"),
        ([1, 2], "has 1 to 1 numbers a row"),
        ([["a"], ["b"]], "must hold numbers or lists of them, it holds list<.*string>"),
        (["a", "b"], "must hold numbers or lists of them, it holds string"),
    ],
)
def test_what_is_no_vector_of_the_event_shape_is_refused(values: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=f"column 'x' of data set 'small' {reason}"):
        decode_vectors(SPEC, {"train": Dataset(pa.table({"x": values}))})


def test_labels_are_read_from_files_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARZOO_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setenv("ARZOO_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "sets" / "small"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"x": [[0, 1, 2]]}), folder / "train.parquet")
    spec = replace(SPEC, labels={"word": "words"})
    with pytest.raises(ValueError, match=r"the labels of data set 'small' cannot be read: .*words"):
        load_data(spec, "train")
    (folder / "words").write_text("to\nbé\nor\nnot\n", encoding="utf-8")
    for _ in range(2):  # decoded, then from the cache
        assert load_data(spec, "train").labels == {"word": ("to", "bé", "or", "not")}
    (folder / "words").write_text("2\nb\nor\nnot\n", encoding="utf-8")
    assert load_data(spec, "train").labels["word"][0] == "2"
    assert load_data(SPEC, "train").labels == {}


# ---- bits

BINARY = [
    ("uci_binary.adult", 123, (5000, 1414, 26147), 0.1127),
    ("uci_binary.connect4", 126, (16000, 4000, 47557), 0.3333),
    ("uci_binary.dna", 180, (1400, 600, 1186), 0.2537),
    ("uci_binary.mushrooms", 112, (2000, 500, 5624), 0.1875),
    ("uci_binary.nips", 500, (400, 100, 1240), 0.3678),
    ("uci_binary.ocr_letters", 128, (32152, 10000, 10000), 0.2197),
    ("uci_binary.web", 300, (14000, 3188, 32561), 0.0388),
    ("debd.nltcs", 16, (16181, 2157, 3236), 0.3317),
    ("debd.msnbc", 17, (291326, 38843, 58265), 0.1663),
    ("debd.kdd", 64, (180092, 19907, 34955), 0.0081),
    ("debd.baudio", 100, (15000, 2000, 3000), 0.1983),
    ("debd.jester", 100, (9000, 1000, 4116), 0.6099),
    ("debd.bnetflix", 100, (15000, 2000, 3000), 0.5411),
    ("debd.accidents", 111, (12758, 1700, 2551), 0.2911),
    ("debd.pumsb_star", 163, (12262, 1635, 2452), 0.2704),
    ("debd.dna", 180, (1600, 400, 1186), 0.2535),
    ("debd.kosarek", 190, (33375, 4450, 6675), 0.0202),
    ("debd.msweb", 294, (29441, 3270, 5000), 0.0103),
    ("debd.book", 500, (8700, 1159, 1739), 0.0165),
    ("debd.tmovie", 500, (4524, 1002, 591), 0.0584),
    ("debd.cwebkb", 839, (2803, 558, 838), 0.0632),
    ("debd.cr52", 889, (6532, 1028, 1540), 0.0369),
    ("debd.c20ng", 910, (11293, 3764, 3764), 0.0494),
    ("debd.bbc", 1058, (1670, 225, 330), 0.0771),
    ("debd.ad", 1556, (2461, 327, 491), 0.0082),
]


@pytest.mark.parametrize(("name", "num_bits", "sizes", "ones"), BINARY)
def test_binary_tables_are_the_published_ones(name: str, num_bits: int, sizes: tuple[int, ...], ones: float) -> None:
    data = real(name)
    assert tuple(map(len, data)) == sizes
    assert {split.x.shape[1:] for split in data} == {(num_bits,)}
    assert data[0].x.double().mean().item() == pytest.approx(ones, abs=5e-5)
    assert data[0].batch(torch.arange(100))[0].unique().tolist() == [0, 1]


def test_every_binary_table_that_is_installed_was_looked_at() -> None:
    installed = [name for name in arzoo.list_datasets() if name.startswith(("uci_binary.", "debd."))]
    assert installed == sorted(name for name, *_ in BINARY)


def test_positions_of_connect4_are_in_one_split_alone() -> None:
    data = real("uci_binary.connect4")
    assert len(set.union(*(rows(split.x) for split in data))) == 16000 + 4000 + 47557  # all distinct


def test_silhouettes_have_the_polarity_of_the_file() -> None:
    data = real("caltech101_silhouettes")
    assert tuple(map(len, data)) == (4100, 2264, 2307)
    assert [split.x.double().mean().item() for split in data] == pytest.approx([0.5511, 0.5360, 0.5390], abs=5e-5)
    names = data[0].labels["class"]
    assert (len(names), names[1], names[100]) == (101, "Faces 2", "yin yang")
    motorbikes = data[0].x[data[0].context["class"] == names.index("Motorbikes 16")]
    assert motorbikes[:, 0, :2, :2].double().mean() > 0.9 and motorbikes[:, 0, 14, 14].double().mean() < 0.1


# ---- OMNIGLOT


def test_drawings_of_omniglot_are_split_by_who_drew_them() -> None:
    data = real("omniglot_28x28")
    assert tuple(map(len, data)) == (1623 * 14, 1623, 1623 * 5)
    assert len(data[0].labels["alphabet"]) == 50
    folder = source("omniglot_28x28") / "data"
    for split, file, drawers in zip(data, ("train", "train", "test"), (range(1, 15), [15], range(16, 21)), strict=True):
        table = pq.read_table(next(folder.glob(f"{file}-*")))
        table = table.filter(pc.is_in(table["drawer"], pa.array(drawers, pa.int32())))
        assert split.context["alphabet"].tolist() == table["label"].to_pylist()
        some = range(0, len(table), 97)
        for index, image in zip(some, table.take(list(some))["image"].to_pylist(), strict=True):
            assert np.array_equal(split.decoded[index, 0], Image.open(io.BytesIO(image["bytes"])))


def test_pixels_of_omniglot_are_ink_with_the_probability_of_their_grey() -> None:
    data = real("omniglot_28x28")[1]
    draws = torch.stack([data.batch(torch.arange(40), generator(seed))[0] for seed in range(200)]).double()
    levels = data.decoded[:40].double() / 255
    assert draws.unique().tolist() == [0, 1]
    assert torch.equal(draws.mean(0)[levels == 0], torch.zeros(int((levels == 0).sum())).double())
    assert torch.equal(draws.mean(0)[levels == 1], torch.ones(int((levels == 1).sum())).double())
    error = (draws.mean(0) - levels)[(levels > 0) & (levels < 1)]
    deviation = (levels * (1 - levels))[(levels > 0) & (levels < 1)].div(200).sqrt()
    assert abs(error.mean()) < 2e-3 and (error / deviation).std().item() == pytest.approx(1, abs=0.04)
    again, other = (data.batch(torch.arange(40), generator(seed))[0] for seed in (0, 1))
    assert torch.equal(again, draws[0].long()) and not torch.equal(other, again)


# ---- real numbers

REAL = {
    "red_wine": (11, 1599),
    "white_wine": (11, 4898),
    "parkinsons": (15, 5875),
    "ionosphere": (32, 351),
    "boston_housing": (10, 506),
}


def table_of(**splits: Any) -> Mapping[str, Dataset]:
    return {split: Dataset.from_dict({"x": values}) for split, values in splits.items()}


def test_only_training_rows_say_how_columns_are_standardised() -> None:
    spec = replace(SPEC, event_shape=(2,), num_categories=None)
    train, test = np.array([[1.0, 10], [2, 10], [6, 40]]), np.array([[1e6, 20]])
    decoded = arzoo_uci_real.decode_standardized(spec, table_of(train=train, test=test))
    assert decoded["train"].x.dtype == torch.float32
    for split, values in (("train", train), ("test", test)):
        expected = (values - train.mean(0)) / train.std(0)
        np.testing.assert_allclose(decoded[split].x, expected, rtol=1e-6)


def test_a_column_that_is_constant_in_training_is_named() -> None:
    spec = replace(SPEC, event_shape=(2,), num_categories=None)
    rows = table_of(train=[[1.0, 0.1], [2.0, 0.1], [6.0, 0.1]], test=[[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"column 1 of data set 'small', counted from 0, is 0\.1 in all training rows"):
        arzoo_uci_real.decode_standardized(spec, rows)


def test_a_table_of_real_numbers_may_have_no_constant_column_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its likelihood would be what the floor of the scales makes of it."""
    monkeypatch.setenv("ARZOO_DATASETS", str(tmp_path))
    monkeypatch.setenv("ARZOO_CACHE", str(tmp_path / "cache"))
    spec = replace(SPEC, event_shape=(2,), num_categories=None)
    (tmp_path / "small").mkdir()
    for values, fault in (([[1.0, 3.0], [2.0, 3.0]], "column 1 of data set 'small'"), ([[1.0, 3.0], [2.0, 4.0]], None)):
        pq.write_table(pa.table({"x": values}), tmp_path / "small" / "train.parquet")
        if fault is None:
            assert len(load_data(spec, "train")) == 2
        else:
            with pytest.raises(ValueError, match=f"{fault}.*is 3.0 in all training rows and has no density"):
                load_data(spec, "train")


@pytest.mark.parametrize("config", REAL)
@pytest.mark.parametrize("fold", [0, 4, 8, 9])
def test_folds_are_those_of_the_source(config: str, fold: int) -> None:
    data, (num_columns, num_rows) = real(f"uci_real.{config}.{fold}"), REAL[config]
    table = pq.read_table(next((source(data[0].spec.name) / "data" / config).iterdir()))
    x, folds = np.array(table["x"].to_pylist()), table["fold"].to_numpy()
    assert x.shape == (num_rows, num_columns) and sum(map(len, data)) == num_rows
    masks = folds == fold, folds == (fold + 1) % 10
    train = x[~masks[0] & ~masks[1]]
    for split, part in zip(data, (train, x[masks[1]], x[masks[0]]), strict=True):
        np.testing.assert_allclose(split.x, (part - train.mean(0)) / train.std(0), rtol=1e-5, atol=1e-6)
    assert data[0].x.mean(0).abs().max() < 1e-5 and (data[0].x.std(0, correction=0) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("config", REAL)
def test_the_ten_folds_part_the_rows(config: str) -> None:
    tested: list[int] = []
    for fold in range(10):
        splits = arzoo.get_dataset(f"uci_real.{config}.{fold}").splits
        parts = {split: [slice_rows(part) for part in text.split("+")] for split, text in splits.items()}
        found = [row for split in SPLITS for part in parts[split] for row in part]
        assert sorted(found) == list(range(REAL[config][1]))
        tested += [row for part in parts["test"] for row in part]
    assert sorted(tested) == list(range(REAL[config][1]))


def slice_rows(text: str) -> range:
    begin, end = text.removeprefix("train[").removesuffix("]").split(":")
    return range(int(begin), int(end))


# ---- distributions that are known

KNOWN = {
    "asia": (-2.237, -2.260, -2.255),
    "sachs": (-7.204, -7.182, -7.155),
    "child": (-12.182, -12.273, -12.196),
    "insurance": (-13.052, -13.062, -13.059),
    "alarm": (-10.449, -10.435, -10.478),
    "ising_grid4x4": (-7.626, -7.663, -7.609),
}


@pytest.mark.parametrize("config", KNOWN)
def test_samples_of_known_distributions_come_with_their_likelihood(config: str) -> None:
    data = real(f"structured_small.{config}")
    spec = data[0].spec
    sizes = spec.num_categories
    states = [sizes] * spec.event_shape[0] if isinstance(sizes, int) else list(sizes or ())
    variables = source(spec.name) / "bif" / f"{config}.variables.json"
    if variables.is_file():
        assert states == json.loads(variables.read_text())["cardinalities"]
    else:
        assert states == [2] * 16
    for split, mean in zip(data, KNOWN[config], strict=True):
        log_prob = arzoo_structured.true_log_prob(spec, split.split)
        assert split.x.shape == (10_000, len(states)) and log_prob.shape == (10_000,)
        assert log_prob.double().mean().item() == pytest.approx(mean, abs=6e-4)
        assert not (split.x >= torch.tensor(states)).any()
        known: dict[bytes, float] = {}
        for row, value in zip(split.x.numpy(), log_prob.tolist(), strict=True):
            assert known.setdefault(row.tobytes(), value) == value  # a row has its own likelihood, not another's
        assert sum(map(math.exp, known.values())) <= 1
        if config == "asia":  # the rows that are there are all but the improbable ones
            assert sum(map(math.exp, known.values())) > 0.998


# ---- documents


def documents(**splits: Any) -> Mapping[str, Dataset]:
    """Each document a dict of counts."""
    return {
        split: Dataset.from_dict(
            {"word_ids": [list(bag) for bag in bags], "counts": [list(bag.values()) for bag in bags]}
        )
        for split, bags in splits.items()
    }


BAGS = replace(SPEC, column="word_ids", decode=arzoo_documents.decode_bags, view=arzoo_documents.draw_order)


def test_documents_are_counted_and_those_without_words_or_with_too_many_are_refused() -> None:
    decoded = arzoo_documents.decode_bags(BAGS, documents(train=[{3: 2}, {0: 1, 2: 2}], test=[{1: 1}]))
    assert decoded["train"].x.tolist() == [[0, 0, 0, 2], [1, 0, 2, 0]] and decoded["test"].x.tolist() == [[0, 1, 0, 0]]
    for bag, words in (({}, 0), ({0: 1, 3: 3}, 4)):
        with pytest.raises(ValueError, match=f"document 1 of split 'test' of .* has {words} words, .* for 1 to 3"):
            arzoo_documents.decode_bags(BAGS, documents(test=[{1: 1}, bag]))


@pytest.mark.parametrize(
    ("ids", "counts", "fault"),
    [
        ([4], [1], "has word 4, the vocabulary ends at 3; leave it out"),
        ([-1, 0], [2, 1], "has word -1, the vocabulary ends at 3; leave it out"),
        ([0, 2], [1, -1], "has word 2 -1 times; a count must be 1 to 3"),
        ([0], [65537], "has word 0 65537 times; a count must be 1 to 3"),
        ([0, 1], [1], "has 2 words and 1 counts; give each word one"),
        ([], [], "has 0 words, its event shape asks for 1 to 3"),
    ],
)
def test_bags_that_are_none_are_refused_by_document_and_word(ids: list[int], counts: list[int], fault: str) -> None:
    """A count of 65537 once became 1, and word -1 the last one."""
    rows = {"word_ids": [[1], ids], "counts": [[1], counts]}
    for column in rows, {name: lists[1:] for name, lists in rows.items()}:
        which = len(column["counts"]) - 1
        with pytest.raises(ValueError, match=f"^document {which} of split 'test' of data set 'small' {fault}$"):
            arzoo_documents.decode_bags(BAGS, {"test": Dataset(pa.table(column))})


def test_a_word_that_is_named_twice_has_the_sum_of_its_counts() -> None:
    rows = {"test": Dataset(pa.table({"word_ids": [[0, 0, 1]], "counts": [[1, 1, 1]]}))}
    assert arzoo_documents.decode_bags(BAGS, rows)["test"].x.tolist() == [[2, 1, 0, 0]]


def test_each_order_of_the_words_of_a_document_is_as_likely() -> None:
    counts = torch.tensor([[1, 0, 2], [0, 5, 0], [1, 1, 1]], dtype=torch.int16).repeat(1000, 1)
    x = arzoo_documents.draw_order(counts, generator())
    assert x.shape == (3000, 4741) and (x[:, 5:] == -1).all()
    x = x[:, :5].long()
    assert torch.equal((x >= 0).sum(1), counts.sum(1))
    assert torch.equal(torch.stack([(x == word).sum(1) for word in range(3)], 1), counts.long())
    assert torch.equal(x >= 0, torch.arange(5) < counts.sum(1)[:, None])
    for which, orders in ((0, 3), (1, 1), (2, 6)):
        found, times = x[which::3].unique(dim=0, return_counts=True)
        assert len(found) == orders
        deviation = math.sqrt((1 - 1 / orders) / orders / 1000)
        assert (times / 1000 - 1 / orders).abs().max() <= 4 * deviation


def test_newsgroups_are_the_published_bags() -> None:
    data = real("newsgroups_bow")
    assert tuple(map(len, data)) == (10268, 1000, 7505)
    lengths = [split.decoded.sum(1) for split in data]
    assert [int(each.sum()) for each in lengths] == [1036999, 91882, 720898]
    assert max(int(each.max()) for each in lengths) == arzoo.get_dataset("newsgroups_bow").event_shape[0]
    assert all(torch.equal(split.context["length"], each) for split, each in zip(data, lengths, strict=True))
    words, groups = (data[0].labels[name] for name in ("word", "group"))
    assert (len(words), words[:3], len(set(words))) == (2000, ("who", "out", "which"), 2000)
    assert (len(groups), groups[0], groups[19]) == (20, "alt.atheism", "talk.religion.misc")
    hockey = data[2].context["group"] == groups.index("rec.sport.hockey")
    shares = [data[2].decoded[mask, words.index("hockey")].double().mean() for mask in (hockey, ~hockey)]
    assert shares[0] > 50 * shares[1]
    counts = data[0].decoded.double().sum(0) + data[1].decoded.double().sum(0)
    assert (counts[:-1] >= counts[1:]).all()  # the vocabulary is in the order of the counts


@pytest.mark.parametrize("card", ["tabular-structured_small.asia", "masde-structured_small.alarm"])
def test_a_card_states_what_the_true_density_measures(card: str) -> None:
    name = card.partition("-")[2]
    source(name)
    text = (Path(__file__).parent.parent / "model_cards" / card / "README.md").read_text()
    truth = -arzoo_structured.true_log_prob(arzoo.get_dataset(name), "test").double().mean()
    assert f"its own density measures {truth:.3f} nats on the same test rows" in text


def test_a_unigram_has_the_perplexity_that_is_known() -> None:
    train, _, test = real("newsgroups_bow")
    counts, bags = train.decoded.double().sum(0), test.decoded.double()
    log_prob = bags @ (counts / counts.sum()).log()
    assert math.exp(-(log_prob / bags.sum(1)).mean()) == pytest.approx(1207, abs=0.5)


def test_words_come_in_another_order_each_time_but_in_the_same_for_every_evaluation() -> None:
    data = real("newsgroups_bow")[1]
    views = [data.batch(torch.arange(50), generator(seed))[0] for seed in (0, 0, 1)]
    assert views[0].dtype == torch.int64 and torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert torch.equal(views[0].sort(1).values, views[2].sort(1).values)


# ---- perplexity


def text(unit: Any, x: Tensor, num_categories: int) -> TensorData:
    spec = replace(SPEC, event_shape=x.shape[1:], num_categories=num_categories, unit=unit)
    return TensorData(decoded=x, context={}, labels={}, spec=spec, split="test", fingerprint="")


def test_perplexity_is_of_the_mean_over_documents_not_over_words() -> None:
    model = testing.random_model(toys.Text, toys.TextConfig(event_shape=(5,), num_categories=3))
    x = testing.random_events(model, 300, generator())
    lengths = (x >= 0).sum(1).numpy()
    assert len(set(lengths)) == 5
    nats = -model.log_prob(x).detach().double().numpy()
    got = arzoo.evaluate(model, text("perplexity", x, 3), batch_size=64)
    value = np.exp((nats / lengths).mean())
    assert (got.unit, got.value) == ("perplexity", pytest.approx(value, rel=1e-7))
    assert abs(got.value - np.exp(nats.sum() / lengths.sum())) > 1e-3
    # The perplexity moves as the mean does, to first order.
    error = (nats / lengths).std(ddof=1) / np.sqrt(300)
    up, down = (np.exp((nats / lengths).mean() + sign * error) for sign in (1, -1))
    assert got.standard_error == pytest.approx((up - down) / 2, rel=1e-3)


def test_training_reports_perplexity_where_the_data_are_measured_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = (torch.rand(40, 6, generator=generator()) < 0.3).long()
    curves = {}
    for unit in ("nats", "perplexity"):
        monkeypatch.setattr("arzoo.training.load_data", lambda name, split, unit=unit: text(unit, x, 2))
        config = TrainConfig(steps=3, batch_size=8, lr=1e-2, eval_every=1)
        arzoo.train(Recipe(family="made", dataset="small", model={"hidden_sizes": [2]}, train=config), tmp_path / unit)
        curves[unit] = [json.loads(line) for line in (tmp_path / unit / "curve.jsonl").read_text().splitlines()]
    assert len(curves["nats"]) == 3
    for nats, perplexity in zip(curves["nats"], curves["perplexity"], strict=True):
        for name in ("loss", "validation"):
            assert perplexity[name] == pytest.approx(math.exp(nats[name] / 6), rel=1e-6)
