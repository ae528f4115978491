"""Any data set as tensors in memory: decoded once, cached, and from then on indexed.

A split is one tensor of all its events, cached as safetensors in a folder that is named by a digest of the
source's files and of all that says how they become tensors.  Who changes either gets another folder, so the
cache is never stale; reading it needs no `datasets`, and it may be deleted at any time.
"""

import hashlib
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arzoo import data_decoding
from arzoo.data import DatasetSpec, Examples, TensorData
from arzoo.files import replacing

if TYPE_CHECKING:
    from datasets import Dataset


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
        decoded=examples.x,
        context=examples.context,
        labels=examples.labels,
        spec=spec,
        split=split,
        fingerprint=_sha256(examples),
    )


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
    code = [inspect.getsource(each) for each in (there, data_decoding, sys.modules[__name__])]
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
        if split == "train":
            data_decoding.check_columns_vary(spec, x)
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
