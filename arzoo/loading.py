"""Checkpoints: a model's weights beside what it takes to build it again.

Nothing is unpickled, and no byte of the weights is used before their sha256 was found right.  What the folder
holds stands in `arzoo.checkpoints`.
"""

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor

from arzoo import hub, registry
from arzoo.building import build
from arzoo.checkpoints import (
    CONFIG,
    FORMAT,
    NEW_CONFIG,
    WEIGHTS,
    check_dtypes,
    config_file,
    is_snapshot,
    read_checkpoint,
)
from arzoo.files import replacing
from arzoo.model import Model
from arzoo.tensor_header import StoredTensor, read_header, size_of
from arzoo.wording import one_line

_INTEGERS = {"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}


def save_model(model: Model, directory: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes config.json and model.safetensors; a failure or a crash leaves the checkpoint that was there.

    Arguments:
        model: Not wrapped for distribution or compilation.
        directory: Made if need be; other files in it stay.
        dtype: What floating-point weights are stored as: torch.float32 or torch.bfloat16.

    Raises:
        ValueError: The model is wrapped, the dtype is another, or the directory is a commit in the cache of the Hub.
        OSError: The files could not be written.
    """
    directory = Path(directory)
    if is_snapshot(directory):
        raise ValueError(f"{directory} is a commit in the Hugging Face cache, which stays as it is; save elsewhere")
    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"weights are stored as torch.float32 or torch.bfloat16, got {dtype}")
    state = distinct(model.state_dict())
    for key in state:
        if key.startswith("module.") or "_orig_mod." in key:
            raise ValueError(f"the model is wrapped (it has a weight {key!r}); save the model inside the wrapper")
    stored = {key: _stored(tensor, dtype) for key, tensor in state.items()}
    data = serialize(stored, {"format": "pt"})
    config = {
        "format": FORMAT,
        "family": model.family,
        "package": _package(model.family),
        "arzoo_version": version("arzoo"),
        "weights": {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "dtype": str(dtype).removeprefix("torch."),
        },
        "model": model.config.to_dict(),
        "labels": {name: list(known) for name, known in model.labels.items()},
    }
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    try:
        _end_interrupted_save(directory)
        try:
            with replacing(directory / NEW_CONFIG) as file:
                file.write_text(text, encoding="utf-8")
            with replacing(directory / WEIGHTS) as file:
                file.write_bytes(data)
        finally:
            _end_interrupted_save(directory)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the model could not be saved ({error.strerror}); a checkpoint that was there is still whole",
            str(directory),
        ) from error


def _package(family: str) -> str | None:
    try:
        return registry.family_distribution(family)
    except LookupError:
        return None


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy that shares memory with no other tensor; integers keep their type."""
    wanted = dtype if tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=wanted).copy_(tensor.detach())


def distinct(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without the second and further names of tied tensors: loading the first loads them all."""
    first: dict[object, str] = {}
    for key, tensor in state.items():
        memory = tensor.untyped_storage()._cdata  # unlike an address, meta tensors have that too
        place = (memory, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride())
        first.setdefault(place, key)
    return {key: state[key] for key in first.values()}


def _end_interrupted_save(directory: Path) -> None:
    """Gives the waiting config its place if its weights have theirs; else removes it."""
    waiting = directory / NEW_CONFIG
    if config_file(directory) == waiting:
        os.replace(waiting, directory / CONFIG)
    else:
        waiting.unlink(missing_ok=True)


def from_pretrained(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Model:
    """A trained model, in eval mode and float32 on the CPU.

    Arguments:
        name_or_path: The name of an installed checkpoint, one of `list_checkpoints`; the path of a folder, which as a
            string begins with ./, ../, / or ~; or "org/name", a repository of the Hub.  A short name that is not
            installed is looked up on the Hub only if the environment variable ARZOO_ORGANISATION says where.
        revision: Branch, tag or commit of the repository; None for main.  Only a commit is the same for ever, and
            one that is in the cache takes no request.
        token: For the Hub; None for the one that `hf auth login` or HF_TOKEN left.
        cache_dir: The Hugging Face cache; None for the usual one.
        local_files_only: Ask nothing of the Hub.

    Raises:
        LookupError: No checkpoint has this name, or its family is not installed.
        FileNotFoundError: The folder or repository is no checkpoint.
        ValueError: The checkpoint is damaged, does not fit its family, or needs a newer arzoo.
        ImportError: The plugin of its family is broken.
        PermissionError: The Hub does not show it to this token.
        ConnectionError: The Hub is down, and the cache cannot help.
    """
    folder = hub.locate(
        name_or_path,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        files=hub.MODEL,
    )
    parents: dict[str, dict[str, str]] = {}
    with contextlib.suppress(ValueError):  # of a damaged memory, which matters to none but a push
        parents = hub.parents_of(folder)  # before the files, which may go on meanwhile
    config, data = read_checkpoint(folder)
    try:
        model_class = registry.get_family(config["family"])
    except LookupError as error:
        raise LookupError(f"{folder} is a {config['family']!r} model: {error}{_how_to_install(config)}") from None
    header = read_header(io.BytesIO(data), folder / WEIGHTS)
    check_dtypes(header, config, folder)
    try:
        model = _build(model_class, config, folder, header)
        tensors = parse(data)
        _check_fit(folder / WEIGHTS, _kinds(tensors), _kinds(distinct(model.state_dict())))
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is no safetensors file: {one_line(error)}") from error
    except ValueError as error:
        raise ValueError(f"{error}{_how_to_upgrade(config)}") from error
    model.load_state_dict(tensors, strict=False)  # strict as to distinct tensors: checked above
    try:
        model.check_state()
    except ValueError as error:
        raise ValueError(f"{folder / WEIGHTS} holds no density: {error}; get the checkpoint again") from error
    try:
        model.labels = config["labels"]
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}; mend them or get the checkpoint again") from None
    model.hub_parents = parents
    return model.eval()


load = from_pretrained
"""The same by a shorter name."""


def _build(model_class: type[Model], config: dict[str, Any], folder: Path, header: Mapping[str, StoredTensor]) -> Model:
    """A model of the config whose weights are still those that were drawn; see `arzoo.building`."""

    def check(outline: Model) -> None:
        stored = {key: _stored_kind(tensor) for key, tensor in header.items()}
        _check_fit(folder / WEIGHTS, stored, _kinds(distinct(outline.state_dict())))

    try:
        wanted = model_class.config_class.from_dict(config["model"], f"model in {folder / CONFIG}")
        with torch.random.fork_rng(devices=[]):  # building draws weights that are overwritten at once
            return build(model_class, wanted, [size_of(tensor) for tensor in header.values()], check)
    except _DoesNotFit:
        raise
    except Exception as error:  # whatever a constructor makes of values that nobody vouches for
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{folder} cannot be built: {kind}{one_line(error)}") from error


class _DoesNotFit(ValueError):
    """The weights are of another model than that of the config."""


def _how_to_install(config: dict[str, Any]) -> str:
    known = [plugin.name for plugin in registry.list_plugins() if plugin.group == registry.FAMILIES]
    package = config["package"]
    if upgrade := _how_to_upgrade(config) if package == "arzoo" else "":
        return upgrade
    if config["family"] in known or package is None or not re.fullmatch(r"[\w.-]+", package, re.ASCII):
        return ""
    return f"; it comes with the package {package}: pip install {package}"


def _how_to_upgrade(config: dict[str, Any]) -> str:
    """The end of a message about a checkpoint that a newer arzoo made."""
    made_by, installed = config["arzoo_version"], version("arzoo")
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}[\w.+-]{0,30}", made_by, re.ASCII):
        return ""
    if _release(made_by) <= _release(installed):
        return ""
    return f"; it was made by arzoo {made_by}, this is {installed}: pip install --upgrade arzoo"


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _check_fit(file: Path, tensors: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Refuses weights that are not those of a model, name for name; both are given by what they are."""
    missing = [key for key in expected if key not in tensors]
    unexpected = sorted(tensors.keys() - expected.keys())
    different = [
        f"{key} is {tensors[key]} instead of {kind}" for key, kind in expected.items() if tensors.get(key, kind) != kind
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("different", different)]
    found = [f"{word}: {_first_few(keys)}" for word, keys in faults if keys]
    if found:
        raise _DoesNotFit(f"{file} does not fit the model of its {CONFIG}; {'; '.join(found)}")


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What each tensor is: "real (3, 4)", for floating-point numbers of any width; "int64 (5,)"."""

    def kind(tensor: Tensor) -> str:
        name = "real" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
        return f"{name} {tuple(tensor.shape)}"

    return {key: kind(tensor) for key, tensor in tensors.items()}


def _stored_kind(tensor: StoredTensor) -> str:
    """The same of a tensor in a file."""
    name = re.sub("^(B?F)[0-9]+$", "real", tensor.dtype)
    return f"{_INTEGERS.get(name, name)} {tensor.shape}"


def _first_few(items: list[str]) -> str:
    shown = [item if item.isprintable() and len(item) < 200 else repr(item[:100]) for item in items[:4]]
    return ", ".join(shown) + (f" and {len(items) - 4} more" if len(items) > 4 else "")
