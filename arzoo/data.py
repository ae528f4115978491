"""Any data set as tensors in memory: decoded once, cached, and from then on indexed.

A split is one tensor of all its events, cached as safetensors in a folder that is named by a digest of the
source's files and of all that says how they become tensors.  Who changes either gets another folder, so the
cache is never stale; reading it needs no `datasets`, and it may be deleted at any time.
"""

import hashlib
import inspect
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from glob import glob
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arzoo.files import replacing

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What decoding makes of the N rows of one split.

    Attributes:
        x: Events, shape (N, *E), or what `view` makes events of.  Categories are uint8 or int64; a sequence
            that is shorter than the others ends with -1.
        context: What events are conditioned on, each of shape (N, ...); labels are int64.
        labels: For a context of labels, their names; for words and the like, those of the categories.
    """

    x: Tensor
    context: dict[str, Tensor] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What a data set is, where it is, and how its rows become tensors.

    Attributes:
        name: Name in the zoo.
        event_shape: Shape E of one event: (C, H, W) for images, (T,) for sequences.
        num_categories: Number K of values of a site, a tuple where sites differ, None for real values.
        repo: Folder of the data set under the folder that the environment variable ARZOO_DATASETS names.
        hub_id: The data set on the Hub that is taken where there is no such folder.
        homepage: Address at which those who made the data publish or describe them; cards link to it.
        config: Configuration of the source, where it has several.
        splits: The rows of the source that are "train", "validation" and "test", as `datasets` writes it:
            "train[:50000]", "train[:10%]+train[20%:]".
        column: Column that holds the events.
        context: Columns that hold what events are conditioned on, by the name that models give it.
        labels: Files of the source that hold labels, one a line, by what they are labels of: a context, or the
            categories of the sites.
        decode: Makes the examples of each split from its rows.  It gets all splits at once, for vocabularies
            and means come from the training rows.  A function without a closure: the source of its module
            and of this one is part of what the cache goes by.
        view: Makes of decoded events, shape (B, ...), the events that a model sees, shape (B, *E), at random
            from the generator: a binarisation, a window of a text.  None if they are the same.
        kind: How an event is shown; None if as numbers.
        unit: Unit that results are reported in: nats per event, bits per dimension, perplexity per word.
        licence: Licence of the data.
        protocol: One sentence for cards: which examples, how they were treated.
    """

    name: str
    event_shape: tuple[int, ...]
    num_categories: int | tuple[int, ...] | None
    repo: str
    hub_id: str | None = None
    homepage: str | None = None
    config: str | None = None
    splits: Mapping[str, str]
    column: str
    context: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    decode: Callable[["DatasetSpec", "Mapping[str, Dataset]"], Mapping[str, Examples]]
    view: Callable[[Tensor, torch.Generator], Tensor] | None = None
    kind: Literal["image", "sound", "text"] | None = None
    unit: Literal["nats", "bits/dim", "perplexity"]
    licence: str
    protocol: str

    def __post_init__(self) -> None:
        if not inspect.isfunction(self.decode) or self.decode.__closure__ is not None:
            raise ValueError(
                f"decode of data set {self.name!r} must be a function without a closure, "
                f"since the cache goes by its source; got {self.decode!r}"
            )
        sizes = self.num_categories
        if isinstance(sizes, tuple) and len(sizes) != prod(self.event_shape):
            raise ValueError(
                f"num_categories of data set {self.name!r} must be one number or one for each of the "
                f"{prod(self.event_shape)} sites, got {len(sizes)}"
            )


@dataclass(frozen=True, kw_only=True)
class TensorData:
    """All examples of one split of a data set, in memory.

    Attributes:
        x: Decoded events, shape (N, *E), or what `spec.view` makes events of.  Categories may be uint8, whose
            arithmetic wraps around: models take `batch`.
        context: What events are conditioned on, each of shape (N, ...); empty if there is nothing.
        labels: For a context of labels, their names; for words and the like, those of the categories.
        spec: What the data set is.
        split: "train", "validation" or "test".
        fingerprint: SHA-256 of these tensors and names, hexadecimal.
    """

    x: Tensor
    context: dict[str, Tensor]
    labels: dict[str, tuple[str, ...]]
    spec: DatasetSpec
    split: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.x)

    def batch(
        self, indices: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The events at some indices and their context, as models take them.

        Arguments:
            indices: Which examples, int64, shape (B,).
            generator: Source of the random view, for data sets that have one.

        Returns:
            Events of shape (B, *E), categories as int64, and context of shape (B, ...) or None.
        """
        x = self.x[indices]
        if self.spec.view is not None:
            if generator is None:
                raise ValueError(f"data set {self.spec.name!r} is seen through a random view: pass a generator")
            x = self.spec.view(x, generator)
        context = {name: values[indices] for name, values in self.context.items()}
        return x if x.is_floating_point() else x.long(), context or None


def epoch_order(num_examples: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits the examples, the same in every process.

    Arguments:
        num_examples: Number N of examples.
        seed: Seed of the training run.
        epoch: Number of the epoch, from 0.

    Returns:
        A permutation of 0..N-1, int64, shape (N,).
    """
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randperm(num_examples, generator=generator)


def load_data(name_or_spec: str | DatasetSpec, split: str) -> TensorData:
    """One split of a data set, decoded at the first call and read from the cache afterwards.

    The source lies in the folder that ARZOO_DATASETS names, else on the Hub.  The cache is `datasets` in the
    folder that ARZOO_CACHE names, else in `arzoo` in the user's cache folder.

    Arguments:
        name_or_spec: Name of an installed data set, or what a data set is.
        split: "train", "validation" or "test".

    Returns:
        The examples.

    Raises:
        LookupError: No installed data set has this name.
        FileNotFoundError: The data set is in no place where it is looked for.
        ValueError: The data set lacks the split, or its rows are not what the specification says.
    """
    if isinstance(name_or_spec, str):
        from arzoo.registry import get_dataset

        spec = get_dataset(name_or_spec)
    else:
        spec = name_or_spec
    if split not in spec.splits:
        raise ValueError(f"data set {spec.name!r} has no split {split!r}, only {', '.join(spec.splits)}")
    source = _find_source(spec)
    folder = _cache_folder() / spec.name / _cache_key(spec, source)
    examples = _read_cache(folder / f"{split}.safetensors")
    if examples is None:
        examples = _decode(spec, source, folder)[split]
    return TensorData(
        x=examples.x,
        context=examples.context,
        labels=examples.labels,
        spec=spec,
        split=split,
        fingerprint=_sha256(examples),
    )


def decode_images(spec: DatasetSpec, rows: "Mapping[str, Dataset]") -> dict[str, Examples]:
    """Decodes a column of 8-bit image files, and context columns of class labels.

    Arguments:
        spec: What the data set is; its event shape is (C, H, W) with C = 1 for grey and 3 for RGB.
        rows: The rows of each split.

    Returns:
        The examples of each split, events as uint8.
    """
    from datasets import ClassLabel

    decoded = {}
    for split, split_rows in rows.items():
        context, labels = {}, {}
        for name, column in spec.context.items():
            feature = split_rows.features[column]
            if not isinstance(feature, ClassLabel):
                raise ValueError(f"column {column!r} of data set {spec.name!r} has no class labels but {feature}")
            context[name] = torch.tensor(split_rows[column][:])
            labels[name] = tuple(feature.names)
        decoded[split] = Examples(x=_decode_pixels(spec, split_rows), context=context, labels=labels)
    return decoded


def decode_vectors(spec: DatasetSpec, rows: "Mapping[str, Dataset]") -> dict[str, Examples]:
    """Decodes a column of numbers, or of lists with as many numbers as an event has sites.

    Arguments:
        spec: What the data set is.
        rows: The rows of each split.

    Returns:
        The examples of each split, without context: real values as float32, categories as uint8 or int64.
    """
    return {split: Examples(x=_storable(spec, read_vectors(spec, split_rows))) for split, split_rows in rows.items()}


def read_vectors(spec: DatasetSpec, rows: "Dataset") -> Tensor:
    """The column of the events with the numbers as they are stored, shape (N, *E)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column, size = rows.with_format("arrow")[:][spec.column].combine_chunks(), prod(spec.event_shape)
    nested = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    values = column.flatten() if nested else column
    where = f"column {spec.column!r} of data set {spec.name!r}"
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise ValueError(f"{where} must hold numbers or lists of them, it holds {column.type}")
    if column.null_count or values.null_count:
        raise ValueError(f"{where} lacks values")
    sizes = set(pc.list_value_length(column).unique().to_pylist()) if nested else {1}
    if sizes != {size}:
        raise ValueError(f"{where} has {min(sizes)} to {max(sizes)} numbers a row, its event shape asks for {size}")
    return torch.from_numpy(values.to_numpy().copy()).reshape(len(rows), *spec.event_shape)


def _storable(spec: DatasetSpec, x: Tensor) -> Tensor:
    if spec.num_categories is None:
        return x.float()
    return x if x.dtype == torch.uint8 or x.is_floating_point() else x.long()


def _decode_pixels(spec: DatasetSpec, rows: "Dataset") -> Tensor:
    import numpy as np
    from datasets import Image
    from PIL import Image as Picture

    channels, height, width = spec.event_shape
    if not isinstance(spec.num_categories, int):
        raise ValueError(
            f"num_categories of data set {spec.name!r} must be one number, as for all images, got {spec.num_categories}"
        )
    pixels = np.empty((len(rows), height, width, channels), dtype=np.uint8)
    files = rows.select_columns(spec.column).cast_column(spec.column, Image(decode=False))
    index = 0
    for batch in files.iter(batch_size=1000):
        for file in batch[spec.column]:
            picture = Picture.open(io.BytesIO(file["bytes"]))
            image = picture.convert("L") if picture.mode == "1" else picture
            shape = (len(image.mode), image.height, image.width)
            if image.mode not in ("L", "RGB") or shape != spec.event_shape:
                raise ValueError(
                    f"image {index} of data set {spec.name!r} has {image.height}x{image.width} pixels of "
                    f"mode {image.mode!r}, its event shape {spec.event_shape} asks for {height}x{width} of "
                    f"mode {'RGB' if channels == 3 else 'L'!r}"
                )
            pixels[index] = np.asarray(image).reshape(height, width, channels)
            index += 1
    return quantize(torch.from_numpy(pixels).movedim(3, 1).contiguous(), spec.num_categories)  # (N, C, H, W)


def quantize(levels: Tensor, num_categories: int) -> Tensor:
    """The categories that 8-bit levels fall into, K of equal width: for K = 2 black is below 128.

    Arguments:
        levels: 0..255, uint8, any shape.
        num_categories: K, at most 256.

    Returns:
        0..K-1, uint8, of the same shape.
    """
    if num_categories == 256:
        return levels
    table = (torch.arange(256) * num_categories // 256).to(torch.uint8)
    return table[levels.int()]


def _find_source(spec: DatasetSpec) -> Path:
    root = os.environ.get("ARZOO_DATASETS")
    place = f"no folder {Path(root) / spec.repo}" if root else "ARZOO_DATASETS is not set"
    if root and (Path(root) / spec.repo).is_dir():
        return Path(root) / spec.repo
    if spec.hub_id is not None:
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(spec.hub_id, repo_type="dataset"))
        except OSError as error:
            raise FileNotFoundError(
                f"data set {spec.name!r} is not there: {place}, and {spec.hub_id} could not be had from the "
                f"Hub; let ARZOO_DATASETS name a folder that holds {spec.repo!r}, or connect to the network"
            ) from error
    names = [path.name for path in Path(root).iterdir()] if root and Path(root).is_dir() else []
    close = get_close_matches(spec.repo, names)
    near = f" (it holds {', '.join(close)})" if close else ""
    raise FileNotFoundError(
        f"data set {spec.name!r} is not there: {place}{near}; let ARZOO_DATASETS name a folder that holds {spec.repo!r}"
    )


def _cache_key(spec: DatasetSpec, source: Path) -> str:
    """Digest of the source's files and of all that says how they become tensors."""
    digest = hashlib.sha256()
    told = (
        spec.event_shape,
        spec.num_categories,
        spec.config,
        dict(spec.splits),
        spec.column,
        dict(spec.context),
        dict(spec.labels),
    )
    module = sys.modules[spec.decode.__module__]
    there = module if hasattr(module, "__file__") else spec.decode
    code = [inspect.getsource(each) for each in (there, sys.modules[__name__])]
    digest.update(repr((told, spec.decode.__qualname__, code)).encode())
    for name in sorted(glob("**", root_dir=source, recursive=True)):  # hidden files are no data
        if (source / name).is_file():
            with open(source / name, "rb") as file:
                digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:32]


def _cache_folder() -> Path:
    folder = os.environ.get("ARZOO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "arzoo"
    return Path(folder).expanduser() / "datasets"


def _decode(spec: DatasetSpec, source: Path, folder: Path) -> Mapping[str, Examples]:
    """Decodes all splits and writes them to the cache."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Dataset] = {}
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        for split, expression in spec.splits.items():
            try:
                rows[split] = load_dataset(str(source), spec.config, split=expression, cache_dir=temporary)
            except (ValueError, DatasetsError) as error:
                raise ValueError(f"data set {spec.name!r} in {source} cannot be read: {error}") from error
            missing = {spec.column, *spec.context.values()} - set(rows[split].column_names)
            if missing:
                raise ValueError(
                    f"data set {spec.name!r} in {source} has columns {', '.join(rows[split].column_names)}, "
                    f"not {', '.join(sorted(missing))}"
                )
        decoded = spec.decode(spec, rows)
    if decoded.keys() != spec.splits.keys():
        raise ValueError(
            f"decode of data set {spec.name!r} must return the splits {', '.join(spec.splits)}, "
            f"returned {', '.join(decoded)}"
        )
    labels = {name: _read_labels(spec, source / file) for name, file in spec.labels.items()}
    decoded = {split: replace(examples, labels={**examples.labels, **labels}) for split, examples in decoded.items()}
    for split, examples in decoded.items():
        _check(spec, split, examples)
        _write_cache(folder / f"{split}.safetensors", examples)
    return decoded


def _read_labels(spec: DatasetSpec, path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the labels of data set {spec.name!r} cannot be read: {error}") from error


def _check(spec: DatasetSpec, split: str, examples: Examples) -> None:
    where = f"split {split!r} of data set {spec.name!r}"
    x = examples.x if spec.view is None else spec.view(examples.x, torch.Generator().manual_seed(0))
    if len(x) == 0:
        raise ValueError(f"{where} is empty")
    if x.shape[1:] != spec.event_shape:
        raise ValueError(f"{where} has events of shape {tuple(x.shape[1:])}, its event shape is {spec.event_shape}")
    for name, values in examples.context.items():
        if len(values) != len(x):
            raise ValueError(f"{where} has {len(x)} events, but {len(values)} values of context {name!r}")
    if spec.num_categories is None:
        if not x.isfinite().all():
            raise ValueError(f"{where} has values that are not finite")
        return
    if x.is_floating_point():
        raise ValueError(f"{where} has values of type {x.dtype}, its sites are categories")
    highest = torch.tensor(spec.num_categories) - 1
    highest = highest if highest.dim() == 0 else highest.view(spec.event_shape)
    if len(spec.event_shape) == 1:  # a sequence may be over before its last site
        over = x.long() == -1
        if (over[:, :-1] & ~over[:, 1:]).any():
            raise ValueError(f"{where} has -1 before the end of an event")
        x = x.masked_fill(over, 0)
    low, high = x.amin(0), x.amax(0)
    if (low < 0).any() or (high > highest).any():
        raise ValueError(
            f"{where} has values {int(low.min())} to {int(high.max())}, its categories are 0 to {int(highest.max())}"
        )


def _write_cache(path: Path, examples: Examples) -> None:
    metadata = {"sha256": _sha256(examples), "labels": json.dumps(examples.labels)}
    with replacing(path) as temporary:
        save_file(_tensors(examples), temporary, metadata)


def _read_cache(path: Path) -> Examples | None:
    """The cached examples, None if there are none or they are damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata()
        labels = {name: tuple(names) for name, names in json.loads(metadata["labels"]).items()}
        context = {name.removeprefix("context."): values for name, values in tensors.items() if name != "x"}
        examples = Examples(x=tensors["x"], context=context, labels=labels)
        return examples if _sha256(examples) == metadata["sha256"] else None
    except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or any of what broken bytes cause


def _tensors(examples: Examples) -> dict[str, Tensor]:
    context = {f"context.{name}": values.contiguous() for name, values in examples.context.items()}
    return {"x": examples.x.contiguous()} | context


def _sha256(examples: Examples) -> str:
    digest = hashlib.sha256(json.dumps(examples.labels, sort_keys=True).encode())
    for name, values in sorted(_tensors(examples).items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()
