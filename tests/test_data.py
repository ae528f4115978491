"""Data sets are decoded as they are, once, and never from a stale or damaged cache."""

import io
import os
import random
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from arzoo.data import DatasetSpec, Examples, TensorData, epoch_order
from arzoo.data_decoding import decode_images
from arzoo.data_loading import _read_cache, load_data
from arzoo.files import replacing

CARD = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': "cat"
          '1': "dog"
          '2': "frog"
---
# Small
"""

SPEC = DatasetSpec(
    name="small",
    event_shape=(3, 5, 4),
    num_categories=256,
    repo="small",
    splits={"train": "train[:7]", "validation": "train[7:]", "test": "test"},
    column="image",
    context={"class": "label"},
    decode=decode_images,
    kind="image",
    unit="bits/dim",
    licence="mit",
    protocol="As it is.",
)


def images(num_images: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (num_images, 5, 4, 3), dtype=np.uint8)


def png(pixels: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_rows(path: Path, pixels: np.ndarray[Any, np.dtype[Any]]) -> None:
    rows = [{"bytes": png(image), "path": None} for image in pixels]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = {"image": pa.array(rows, kind), "label": pa.array([i % 3 for i in range(len(rows))], pa.int64())}
    pq.write_table(pa.table(table), path)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of ten training and four test images, 5x4 RGB, on disk as on the Hub."""
    folder = tmp_path / "sets" / "small"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    write_rows(folder / "data" / "train-00000-of-00001.parquet", images(10, seed=0))
    write_rows(folder / "data" / "test-00000-of-00001.parquet", images(4, seed=1))
    monkeypatch.setenv("ARZOO_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setenv("ARZOO_CACHE", str(tmp_path / "cache"))
    return folder


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "datasets" / "small").glob("*/*"))


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("arzoo.data_loading._decode", refuse)


def test_images_come_out_as_they_went_in(repo: Path) -> None:
    pixels = torch.from_numpy(images(10, seed=0)).movedim(3, 1)
    train, validation, test = (load_data(SPEC, split) for split in ("train", "validation", "test"))
    assert torch.equal(train.x, pixels[:7]) and torch.equal(validation.x, pixels[7:])
    assert torch.equal(test.x, torch.from_numpy(images(4, seed=1)).movedim(3, 1))
    assert (len(train), train.x.dtype, train.split, train.spec) == (7, torch.uint8, "train", SPEC)
    assert validation.context["class"].tolist() == [1, 2, 0]
    assert train.context["class"].dtype == torch.int64
    assert train.labels == {"class": ("cat", "dog", "frog")}


def test_a_second_load_decodes_nothing_and_is_the_same(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_data(SPEC, "validation")
    forbid_decoding(monkeypatch)
    second = load_data(SPEC, "validation")
    assert torch.equal(first.x, second.x) and torch.equal(first.context["class"], second.context["class"])
    assert (first.labels, first.fingerprint) == (second.labels, second.fingerprint)
    assert load_data(SPEC, "test").fingerprint != first.fingerprint


def test_the_cache_holds_nothing_but_the_splits(repo: Path, tmp_path: Path) -> None:
    load_data(SPEC, "train")
    assert [path.name for path in cached(tmp_path)] == [
        "test.safetensors",
        "train.safetensors",
        "validation.safetensors",
    ]


def test_reading_the_cache_needs_no_datasets_library(repo: Path, tmp_path: Path) -> None:
    load_data(SPEC, "train")
    script = tmp_path / "read.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
            import test_data
            assert len(test_data.load_data(test_data.SPEC, "train")) == 7
            assert "datasets" not in sys.modules
            """
        )
    )
    subprocess.run([sys.executable, script], check=True)


def test_changed_files_are_decoded_anew_even_if_their_size_and_time_are_the_same(repo: Path) -> None:
    path = repo / "data" / "train-00000-of-00001.parquet"
    before, times = load_data(SPEC, "train"), path.stat()
    changed = images(10, seed=0)
    changed[0, 0, 0, 0] ^= 1
    write_rows(path, changed)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = load_data(SPEC, "train")
    assert torch.equal(after.x, torch.from_numpy(changed[:7]).movedim(3, 1))
    assert after.fingerprint != before.fingerprint


def test_another_treatment_of_the_same_files_is_another_entry_of_the_cache(repo: Path) -> None:
    load_data(SPEC, "train")
    binary = load_data(replace(SPEC, num_categories=2), "train")
    assert torch.equal(binary.x, (torch.from_numpy(images(10, seed=0)[:7]).movedim(3, 1) >= 128).byte())
    assert len(load_data(replace(SPEC, splits={"train": "train"}), "train")) == 10


def test_a_damaged_cache_is_noticed(repo: Path, tmp_path: Path) -> None:
    load_data(SPEC, "test")
    path = next(path for path in cached(tmp_path) if path.name == "test.safetensors")
    whole, draw = path.read_bytes(), random.Random(0)
    for damaged in (b"", whole[:-1], whole[:20], whole + b"x"):
        path.write_bytes(damaged)
        assert _read_cache(path) is None
    for position in range(len(whole)):
        flipped = whole[position] ^ 1 << draw.randrange(8)
        path.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
        assert _read_cache(path) is None, position


def test_a_damaged_cache_is_mended(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_data(SPEC, "train")
    path = next(path for path in cached(tmp_path) if path.name == "train.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    mended = load_data(SPEC, "train")
    forbid_decoding(monkeypatch)
    for data in (mended, load_data(SPEC, "train")):
        assert torch.equal(data.x, expected.x) and data.fingerprint == expected.fingerprint


def test_a_folder_that_is_a_link_is_looked_into(repo: Path, tmp_path: Path) -> None:
    (repo / "data").rename(tmp_path / "elsewhere")
    (repo / "data").symlink_to(tmp_path / "elsewhere")
    before = load_data(SPEC, "test")
    write_rows(tmp_path / "elsewhere" / "test-00000-of-00001.parquet", images(4, seed=2))
    assert load_data(SPEC, "test").fingerprint != before.fingerprint


def test_one_bit_images_are_zeros_and_ones(repo: Path) -> None:
    bits = images(10, seed=0)[..., 0] >= 128
    write_rows(repo / "data" / "train-00000-of-00001.parquet", bits)
    write_rows(repo / "data" / "test-00000-of-00001.parquet", bits)
    data = load_data(replace(SPEC, event_shape=(1, 5, 4), num_categories=2), "test")
    assert torch.equal(data.x, torch.from_numpy(bits).byte()[:, None])


def test_a_batch_is_what_models_take(repo: Path) -> None:
    data = load_data(SPEC, "train")
    x, context = data.batch(torch.tensor([4, 0]))
    assert x.dtype == torch.int64 and torch.equal(x, data.x[[4, 0]].long())
    assert context is not None and context["class"].tolist() == [1, 0]
    assert load_data(replace(SPEC, context={}), "train").batch(torch.tensor([0]))[1] is None


def binarize(x: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.rand(x.shape, generator=generator) * 255 < x).byte()


def test_a_random_view_depends_on_the_generator_alone(repo: Path) -> None:
    data = load_data(replace(SPEC, num_categories=2, decode=decode_levels, view=binarize), "train")
    batches = [data.batch(torch.arange(7), torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(batches[0], batches[1]) and not torch.equal(batches[0], batches[2])
    assert batches[0].unique().tolist() == [0, 1]
    with pytest.raises(ValueError, match="'small' is seen through a random view: pass a generator"):
        data.batch(torch.arange(7))
    with pytest.raises(ValueError, match="'small' is seen through a random view: take events by batch"):
        _ = data.x
    assert data.decoded.shape == (7, *SPEC.event_shape)


def decode_levels(spec: DatasetSpec, rows: Mapping[str, Any]) -> Mapping[str, Examples]:
    return decode_images(replace(spec, num_categories=256), rows)


def decode_words(spec: DatasetSpec, rows: Mapping[str, Any]) -> dict[str, Examples]:
    """Sequences of unequal length with a vocabulary from the training rows, as a text data set has them."""
    words = sorted({word for text in rows["train"]["text"] for word in text.split()})
    decoded = {}
    for split, split_rows in rows.items():
        x = torch.full((len(split_rows), *spec.event_shape), -1)
        for i, text in enumerate(split_rows["text"]):
            ids = torch.tensor([words.index(word) for word in text.split()])
            x[i, : len(ids)] = ids
        decoded[split] = Examples(x=x, labels={"word": tuple(words)})
    return decoded


def test_a_plugin_can_decode_rows_that_are_no_images(repo: Path) -> None:
    shutil.rmtree(repo / "data")
    (repo / "data").mkdir()
    (repo / "README.md").unlink()
    pq.write_table(pa.table({"text": ["to be or", "not to be"]}), repo / "data" / "train-0.parquet")
    pq.write_table(pa.table({"text": ["or not"]}), repo / "data" / "test-0.parquet")
    spec = replace(
        SPEC,
        event_shape=(3,),
        num_categories=4,
        splits={"train": "train", "test": "test"},
        column="text",
        context={},
        decode=decode_words,
        kind="text",
        unit="nats",
    )
    data = load_data(spec, "test")
    assert data.x.tolist() == [[2, 1, -1]]
    assert data.labels == {"word": ("be", "not", "or", "to")}
    with pytest.raises(ValueError, match=r"split 'train' .* has values 0 to 3, its categories are 0 to 2"):
        load_data(replace(spec, num_categories=3), "test")
    with pytest.raises(ValueError, match=r"'train' .* has events of shape \(4,\), its event shape is \(3,\)"):
        load_data(replace(spec, decode=decode_too_long), "test")
    with pytest.raises(ValueError, match=r"'train' .* has -1 before the end of an event"):
        load_data(replace(spec, decode=decode_with_a_gap), "test")
    with pytest.raises(ValueError, match="must return the splits train, test, returned train"):
        load_data(replace(spec, decode=decode_one_split), "test")


def decode_one_split(spec: DatasetSpec, rows: Mapping[str, Any]) -> dict[str, Examples]:
    return {"train": decode_words(spec, rows)["train"]}


def decode_too_long(spec: DatasetSpec, rows: Mapping[str, Any]) -> dict[str, Examples]:
    return decode_words(replace(spec, event_shape=(4,)), rows)


def decode_with_a_gap(spec: DatasetSpec, rows: Mapping[str, Any]) -> dict[str, Examples]:
    return {split: Examples(x=torch.tensor([[0, -1, 1]])) for split in rows}


def decode_table(spec: DatasetSpec, rows: Mapping[str, Any]) -> dict[str, Examples]:
    return {split: Examples(x=torch.tensor([[1, 4], [0, 5]], dtype=torch.uint8)) for split in rows}


def test_columns_may_have_different_numbers_of_categories(repo: Path) -> None:
    spec = replace(SPEC, event_shape=(2,), num_categories=(2, 6), decode=decode_table)
    assert load_data(spec, "train").x.tolist() == [[1, 4], [0, 5]]
    with pytest.raises(ValueError, match="has values 0 to 5, its categories are 0 to 5"):
        load_data(replace(spec, num_categories=(6, 2)), "train")
    with pytest.raises(ValueError, match="one for each of the 2 sites, got 3"):
        replace(spec, num_categories=(2, 6, 2))


def test_a_decoding_function_that_the_cache_cannot_know_is_refused() -> None:
    shift = 1
    with pytest.raises(ValueError, match="decode of data set 'small' must be a function without a closure"):
        replace(SPEC, decode=lambda spec, rows: {"train": Examples(x=torch.zeros(shift))})


def test_images_of_another_shape_are_refused(repo: Path) -> None:
    with pytest.raises(ValueError, match=r"image 0 of data set 'small' has 5x4 pixels of mode 'RGB'.* mode 'L'"):
        load_data(replace(SPEC, event_shape=(1, 5, 4)), "train")
    with pytest.raises(ValueError, match=r"asks for 4x5"):
        load_data(replace(SPEC, event_shape=(3, 4, 5)), "train")


def test_what_the_source_lacks_is_named(repo: Path) -> None:
    with pytest.raises(ValueError, match="'small' has no split 'dev', only train, validation, test"):
        load_data(SPEC, "dev")
    with pytest.raises(ValueError, match=r"'small' in .*/small cannot be read: Unknown split \"valid\""):
        load_data(replace(SPEC, splits={"train": "valid"}), "train")
    with pytest.raises(ValueError, match=r"'small' in .*/small has columns image, label, not img"):
        load_data(replace(SPEC, column="img"), "train")
    with pytest.raises(ValueError, match=r"'small' in .* cannot be read"):
        load_data(replace(SPEC, splits={"train": "train[90:]"}), "train")
    with pytest.raises(ValueError, match="column 'image' of data set 'small' has no class labels"):
        load_data(replace(SPEC, context={"class": "image"}), "train")
    (repo / "data" / "test-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"'small' in .* cannot be read"):
        load_data(SPEC, "train")


def test_a_data_set_that_is_not_there_is_an_error_that_helps(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"'small' is not there: no folder .*/smal \(it holds small\)"):
        load_data(replace(SPEC, repo="smal"), "train")
    monkeypatch.delenv("ARZOO_DATASETS")
    with pytest.raises(FileNotFoundError, match="ARZOO_DATASETS is not set; let ARZOO_DATASETS name a folder"):
        load_data(SPEC, "train")
    with pytest.raises(LookupError, match="mnist_binarized"):
        load_data("mnist_binarized", "train")


def test_without_a_folder_the_hub_is_asked(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo_id: str, *, repo_type: str) -> str:
        if (repo_id, repo_type) != ("org/small", "dataset"):
            raise ConnectionError("no network")
        return str(repo)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.delenv("ARZOO_DATASETS")
    assert len(load_data(replace(SPEC, hub_id="org/small"), "train")) == 7
    with pytest.raises(FileNotFoundError, match="org/other could not be had from the Hub; let ARZOO_DATASETS"):
        load_data(replace(SPEC, hub_id="org/other"), "train")


def test_an_epoch_visits_every_example_once_in_an_order_of_its_own() -> None:
    orders = [epoch_order(100, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(torch.equal(order.sort().values, torch.arange(100)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 3
    state = torch.get_rng_state()
    assert torch.equal(epoch_order(100, 0, 1), orders[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def real(name: str, split: str) -> TensorData:
    if not (Path(os.environ.get("ARZOO_DATASETS") or "/nowhere") / name).is_dir():
        pytest.skip(f"ARZOO_DATASETS names no folder that holds {name}")
    return load_data(name, split)


@pytest.mark.parametrize(
    ("name", "sizes", "digits"),
    [
        ("mnist", (50_000, 10_000, 10_000), [5, 0, 4, 1, 9]),
        ("fashion_mnist", (50_000, 10_000, 10_000), [9, 0, 0, 3, 0]),
        ("cifar10", (45_000, 5_000, 10_000), [6, 9, 9, 4, 1]),
        ("binarized_mnist", (50_000, 10_000, 10_000), None),
    ],
)
def test_the_standard_data_sets_are_the_published_ones(
    name: str, sizes: tuple[int, ...], digits: list[int] | None
) -> None:
    train, validation, test = (real(name, split) for split in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == sizes
    assert train.x.shape[1:] == train.spec.event_shape
    if digits is None:
        means = [data.x.double().mean().item() for data in (train, validation, test)]
        assert means == pytest.approx([0.13056, 0.13113, 0.13251], abs=1e-5)
        assert train.batch(torch.arange(2))[1] is None
    else:
        context = next(iter(train.context.values()))
        assert context[:5].tolist() == digits
    kept = {image.tobytes() for image in validation.x.numpy()} & {image.tobytes() for image in train.x.numpy()}
    assert len(kept) < 0.002 * len(validation)  # the sources hold a few pictures twice


def test_the_first_pictures_of_mnist_and_cifar10_are_the_published_ones() -> None:
    mnist, cifar10 = real("mnist", "train"), real("cifar10", "train")
    assert mnist.x[0, 0, 5, 12:24].tolist() == [3, 18, 18, 18, 126, 136, 175, 26, 166, 255, 247, 127]
    assert cifar10.x[0, :, 0, 0].tolist() == [59, 62, 63]
    assert cifar10.labels["class"][6] == "frog"
