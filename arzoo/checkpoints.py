"""The checkpoint folder as it describes itself: everything that can be said of it without torch.

A checkpoint holds two files.  model.safetensors is the state of the model; config.json is

    {"format": 1, "family": ..., "package": ..., "arzoo_version": ...,
     "weights": {"sha256": ..., "bytes": ..., "dtype": ...}, "model": {...}}

where `package` is what to install for the family (null if no installed package has it) and `model` the
model's config.

The two files cannot take their places at once, so the new config waits as config.json.new while the new
weights take theirs.  A config.json.new that fits the weights is therefore the config of a save that was
killed in between, and is read as such; one that does not fit is of no account.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from arzoo import registry
from arzoo.registry import did_you_mean, one_line

FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

NEW_CONFIG = "config.json.new"
_LARGEST_JSON = 2**20  # bytes; no honest file comes near it
_LARGEST_HEADER = 2**24
_LONGEST_NAME = 200
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of a number in safetensors, by the name of its type there."""
_FIELDS = {
    "format": int,
    "family": str,
    "package": str | None,
    "arzoo_version": str,
    "weights": dict,
    "model": dict,
}
_WEIGHTS_FIELDS = {"sha256": str, "bytes": int, "dtype": str}


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder that a name or a path means; see `arzoo.load`.

    Raises:
        LookupError: No checkpoint has this name.
        FileNotFoundError: There is no such folder.
    """
    if is_path(name_or_path):
        folder = Path(name_or_path).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"{name_or_path} is no checkpoint: there is no such folder")
        return folder
    name, folders = str(name_or_path), registry.checkpoint_folders()
    if name in folders:
        return folders[name]
    hints = [did_you_mean(name, folders)]
    if Path(name).is_dir():
        hints.append(f"for the folder of this name, write {'./' + name!r}")
    for plugin in registry.list_plugins():
        if plugin.group == registry.CHECKPOINTS and plugin.status in ("blocked", "failed"):
            hints.append(f"the checkpoints of {plugin.distribution} cannot be used: {plugin.error}")
    raise LookupError(f"no checkpoint {name!r} is installed; {'; '.join(hints)}")


def is_path(name_or_path: str | Path) -> bool:
    """Whether a folder is meant: a Path, or a string that begins with ./, ../, / or ~."""
    return isinstance(name_or_path, Path) or name_or_path.startswith(("./", "../", "/", "~"))


def read_config(folder: str | Path) -> dict[str, Any]:
    """The config.json of a checkpoint, its outer fields checked; its family checks those under `model`.

    Raises:
        FileNotFoundError: The folder is no checkpoint.
        ValueError: A field is missing, unknown or of another type, or the format is newer than this arzoo.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no {CONFIG}")
    return parse_config(file)


def parse_config(file: Path) -> dict[str, Any]:
    config = _read_json(file)
    given = config.get("format")
    if type(given) is int and given > FORMAT:
        raise ValueError(
            f"{file} has format {given}, but arzoo {version('arzoo')} reads formats up to {FORMAT};"
            " a newer one is needed: pip install --upgrade arzoo"
        )
    _check_fields(config, _FIELDS, str(file))
    _check_fields(config["weights"], _WEIGHTS_FIELDS, f"{file}: weights")
    for name in ("family", "package", "arzoo_version"):
        if len(config[name] or "") > _LONGEST_NAME:
            raise ValueError(f"{file}: {name} has more than {_LONGEST_NAME} characters; it is none of arzoo's")
    if given != FORMAT:
        raise ValueError(f"{file}: format must be {FORMAT}, got {given}")
    return config


def _read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file that is not trusted."""
    with open(file, "rb") as stream:
        text = stream.read(_LARGEST_JSON + 1)
    if len(text) > _LARGEST_JSON:
        raise ValueError(f"{file} is larger than {_LARGEST_JSON} bytes; it is none of arzoo's")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check_fields(values: dict[str, Any], fields: dict[str, Any], where: str) -> None:
    for name in values:
        if name not in fields:
            raise ValueError(f"{where}: there is no field {name[:100]!r}; its fields are {', '.join(fields)}")
    for name, kind in fields.items():
        if name not in values:
            raise ValueError(f"{where}: the field {name!r} is missing")
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            raise ValueError(f"{where}: {name} must be {wanted}, got {type(values[name]).__name__}")


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The config and the weights that it speaks of, verified."""
    try:
        config = read_config(folder)
        return config, read_weights(folder, config)
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # a save that was killed between its two renames?
            config = parse_config(folder / NEW_CONFIG)
            return config, read_weights(folder, config)
        raise


def read_weights(folder: Path, config: dict[str, Any]) -> bytes:
    """The weights' file, whose size and sha256 are those of the config.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is another one, or damaged.
    """
    file, expected = folder / WEIGHTS, config["weights"]
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is no whole checkpoint: it has no {WEIGHTS}")
    size = file.stat().st_size
    if size != expected["bytes"]:
        raise ValueError(f"{file} has {size} bytes, {expected['bytes']} were expected; fetch or save it again")
    data = file.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != expected["sha256"]:
        raise ValueError(f"{file} is damaged: its sha256 is {found}, not {expected['sha256']}; fetch or save it again")
    return data


class StoredTensor(NamedTuple):
    """What the header of the weights says of a tensor; `dtype` is one of `DTYPES`."""

    dtype: str
    shape: tuple[int, ...]


def read_header(stream: BinaryIO, file: Path) -> dict[str, StoredTensor]:
    """The tensors in a safetensors file by name, from its header alone: its length in 8 bytes, then JSON.

    Nothing that the header claims is believed, or taken memory for: every tensor must lie within the file.

    Arguments:
        stream: The file, open.
        file: Its name, for the message.

    Raises:
        ValueError: The header is not valid.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    try:
        if length > min(size - 8, _LARGEST_HEADER):
            raise ValueError("it is too long")
        header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        return {key: _stored_tensor(tensor, size - 8 - length) for key, tensor in header.items()}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no safetensors file: its header cannot be read") from error


def _stored_tensor(tensor: Any, size: int) -> StoredTensor:
    dtype, shape, (begin, end) = tensor["dtype"], tuple(tensor["shape"]), tensor["data_offsets"]
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)) or len(shape) > 64:
        raise ValueError("a size is no number")
    if not begin <= end <= size or prod(shape) * DTYPES[dtype] != end - begin:
        raise ValueError("a tensor lies outside of the file")
    return StoredTensor(dtype, shape)


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What the folder of a checkpoint says about it.

    Attributes:
        name: `<family>-<dataset>[-<variant>]`, the name of the folder.
        path: The folder.
        family: As config.json has it.
        dataset: The data set in the name.
        num_parameters: Floating-point numbers stored.
        num_bytes: Size of the weights.
        metrics: What metrics.json holds under "test": its `value` in its `unit`, and more.
        license: As the card has it; empty if it names none.
        error: Why the checkpoint cannot be used, in one line; empty if its files look whole.
    """

    name: str
    path: Path
    family: str
    dataset: str
    num_parameters: int = 0
    num_bytes: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    license: str = ""
    error: str = ""


def list_checkpoints() -> list[CheckpointInfo]:
    """The installed checkpoints, ours first, as their folders describe them; loads and hashes no weights."""
    return [describe_checkpoint(folder) for folder in registry.checkpoint_folders().values()]


def describe_checkpoint(folder: Path, name: str | None = None) -> CheckpointInfo:
    """A checkpoint as its folder describes it; loads and hashes no weights.

    Arguments:
        name: Of the checkpoint, where the folder is named otherwise, as in the cache of the Hub.
    """
    name = name or folder.absolute().name
    family, dataset = [*name.split("/")[-1].split("-"), ""][:2]
    try:
        config = read_config(folder)
        return CheckpointInfo(
            name=name,
            path=folder,
            family=config["family"],
            dataset=dataset,
            num_parameters=_count_parameters(folder, config),
            num_bytes=config["weights"]["bytes"],
            metrics=_test_metrics(folder),
            license=_license(folder),
        )
    except (OSError, ValueError) as error:
        return CheckpointInfo(name=name, path=folder, family=family, dataset=dataset, error=one_line(error))


def _count_parameters(folder: Path, config: dict[str, Any]) -> int:
    """Floating-point numbers in the weights."""
    file, size = folder / WEIGHTS, config["weights"]["bytes"]
    with open(file, "rb") as stream:
        found = stream.seek(0, os.SEEK_END)
        if found != size:
            raise ValueError(f"{file} has {found} bytes, {size} were expected; fetch or save it again")
        header = read_header(stream, file)
    return sum(prod(tensor.shape) for tensor in header.values() if tensor.dtype in ("F32", "BF16"))


def _test_metrics(folder: Path) -> dict[str, Any]:
    file = folder / "metrics.json"
    metrics = _read_json(file).get("test", {}) if file.is_file() else {}
    if not isinstance(metrics, dict):
        raise ValueError(f"{file}: test must be a JSON object, got {type(metrics).__name__}")
    measured = _read_json(file).get("weights_sha256") if metrics else None
    return metrics if measured == read_config(folder)["weights"]["sha256"] else {}


def _license(folder: Path) -> str:
    """The licence that the card's first lines, between two rows of ---, name."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license: *(\S+)", front[1], re.MULTILINE) if front else None
    return found[1] if found else ""
