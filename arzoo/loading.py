"""Checkpoints: a model's weights beside what it takes to build it again.

Nothing is unpickled, and no byte of the weights is used before their sha256 was found right.  What the folder
holds stands in `arzoo.checkpoints`.
"""

import hashlib
import json
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor

from arzoo import registry
from arzoo.checkpoints import (
    CONFIG,
    FORMAT,
    NEW_CONFIG,
    WEIGHTS,
    find_checkpoint,
    parse_config,
    read_checkpoint,
    read_weights,
)
from arzoo.files import replacing
from arzoo.model import Model
from arzoo.registry import one_line


def save_model(model: Model, directory: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes config.json and model.safetensors; a failure or a crash leaves the checkpoint that was there.

    Arguments:
        model: Not wrapped for distribution or compilation.
        directory: Made if need be; other files in it stay.
        dtype: What floating-point weights are stored as: torch.float32 or torch.bfloat16.

    Raises:
        ValueError: The model is wrapped, or the dtype is another.
        OSError: The files could not be written.
    """
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
    }
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    directory = Path(directory)
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
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        first.setdefault(place, key)
    return {key: state[key] for key in first.values()}


def _end_interrupted_save(directory: Path) -> None:
    """Gives the waiting config its place if its weights have theirs; else removes it."""
    waiting = directory / NEW_CONFIG
    if not waiting.exists():
        return
    try:
        read_weights(directory, parse_config(waiting))
    except (FileNotFoundError, ValueError):
        waiting.unlink()
    else:
        os.replace(waiting, directory / CONFIG)


def load(name_or_path: str | Path) -> Model:
    """A trained model, in eval mode and float32 on the CPU.

    Arguments:
        name_or_path: The name of an installed checkpoint, one of `list_checkpoints`, or the path of a folder;
            a string is a path if it begins with ./, ../, / or ~.

    Raises:
        LookupError: No checkpoint has this name, or its family is not installed.
        FileNotFoundError: The folder is no checkpoint.
        ValueError: The checkpoint is damaged, does not fit its family, or needs a newer arzoo.
        ImportError: The plugin of its family is broken.
    """
    folder = find_checkpoint(name_or_path)
    config, data = read_checkpoint(folder)
    try:
        model_class = registry.get_family(config["family"])
    except LookupError as error:
        raise LookupError(f"{folder} is a {config['family']!r} model: {error}{_how_to_install(config)}") from None
    with torch.random.fork_rng(devices=[]):  # building draws weights that are overwritten at once
        try:
            model = model_class(model_class.config_class.from_dict(config["model"], f"model in {folder / CONFIG}"))
        except (ValueError, TypeError, RuntimeError) as error:
            raise ValueError(f"{folder} cannot be built: {one_line(error)}") from error
    try:
        tensors = parse(data)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is no safetensors file: {one_line(error)}") from error
    _check_fit(folder, tensors, distinct(model.state_dict()))
    model.load_state_dict(tensors, strict=False)  # strict as to distinct tensors: checked above
    return model.eval()


def _how_to_install(config: dict[str, Any]) -> str:
    known = [plugin.name for plugin in registry.list_plugins() if plugin.group == registry.FAMILIES]
    package = config["package"]
    if config["family"] in known or package is None or not re.fullmatch(r"[\w.-]+", package, re.ASCII):
        return ""
    return f"; it comes with the package {package}: pip install {package}"


def _check_fit(folder: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    missing = [key for key in expected if key not in tensors]
    unexpected = sorted(tensors.keys() - expected.keys())
    different = [
        f"{key} is {_describe(tensors[key])} instead of {_describe(tensor)}"
        for key, tensor in expected.items()
        if key in tensors and _describe(tensors[key]) != _describe(tensor)
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("different", different)]
    found = [f"{word}: {_first_few(keys)}" for word, keys in faults if keys]
    if found:
        raise ValueError(f"{folder / WEIGHTS} does not fit the model of its config; {'; '.join(found)}")


def _describe(tensor: Tensor) -> str:
    kind = "real" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)}"


def _first_few(items: list[str]) -> str:
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")
