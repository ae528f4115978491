"""The checkpoint folder as it describes itself: everything that can be said of it without torch.

A checkpoint holds two files.  model.safetensors is the state of the model; config.json is

    {"format": 1, "family": ..., "package": ..., "arzoo_version": ...,
     "weights": {"sha256": ..., "bytes": ..., "dtype": ...}, "model": {...}, "labels": {...}}

where `package` is what to install for the family (null if no installed package has it), `model` the model's
config and `labels` what its classes and categories are called, in lists by name.

The two files cannot take their places at once, so the new config waits as config.json.new while the new
weights take theirs.  A config.json.new that fits the weights is therefore the config of a save that was
killed in between, and is read as such everywhere; one that does not fit is of no account.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from arzoo import registry
from arzoo.label_names import check_label_names
from arzoo.tensor_header import StoredTensor, read_header
from arzoo.wording import did_you_mean, one_line

FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

NEW_CONFIG = "config.json.new"
_LARGEST_JSON = 2**22  # bytes; no honest file comes near it, labels and all
_LONGEST_NAME = 200
_REALS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_FIELDS = {
    "format": int,
    "family": str,
    "package": str | None,
    "arzoo_version": str,
    "weights": dict,
    "model": dict,
    "labels": dict,
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
    if name in registry.list_families():
        trained = [checkpoint for checkpoint in folders if checkpoint.startswith(f"{name}-")]
        hints = [f"it is a family, and has {', '.join(trained) or 'none'}"]
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
    file = config_file(Path(folder))
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no {CONFIG}")
    return _parse_config(file)


def config_file(folder: Path) -> Path:
    """The file that is the config of a checkpoint: config.json, there or not, or the one that a killed save left."""
    waiting = folder / NEW_CONFIG
    if waiting.is_file() and not is_snapshot(folder):
        with contextlib.suppress(OSError, ValueError):
            read_weights(folder, _parse_config(waiting))
            return waiting
    return folder / CONFIG


def is_snapshot(folder: Path) -> bool:
    """Whether it is a commit in the Hugging Face cache, where nobody saves a model."""
    folder = folder.resolve()
    return folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name) is not None


def _parse_config(file: Path) -> dict[str, Any]:
    config = read_json(file)
    given = config.get("format")
    if type(given) is int and given > FORMAT:
        raise ValueError(
            f"{file} has format {given}, but arzoo {version('arzoo')} reads formats up to {FORMAT};"
            " a newer one is needed: pip install --upgrade arzoo"
        )
    check_fields(config, _FIELDS, str(file))
    check_fields(config["weights"], _WEIGHTS_FIELDS, f"{file}: weights")
    if not re.fullmatch("[0-9a-f]{64}", config["weights"]["sha256"]):
        raise ValueError(f"{file}: weights: sha256 must be 64 digits, 0 to f")
    for name in ("family", "package", "arzoo_version"):
        if len(config[name] or "") > _LONGEST_NAME:
            raise ValueError(f"{file}: {name} has more than {_LONGEST_NAME} characters; it is none of arzoo's")
    try:
        check_label_names(config["labels"])
    except ValueError as error:
        raise ValueError(f"{file}: {error}; mend them or get the checkpoint again") from None
    if given != FORMAT:
        raise ValueError(f"{file}: format must be {FORMAT}, got {given}")
    return config


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file that is not trusted; ValueError if it is none."""
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


def check_fields(values: dict[str, Any], fields: dict[str, Any], where: str) -> None:
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
    config = read_config(folder)
    return config, read_weights(folder, config)


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


def check_dtypes(header: Mapping[str, StoredTensor], config: Mapping[str, Any], folder: Path) -> None:
    """Refuses weights whose floating-point numbers are not of the type that the config says.

    Raises:
        ValueError: They are of another.
    """
    told = config["weights"]["dtype"]
    for name, tensor in header.items():
        if tensor.dtype in _REALS and _REALS[tensor.dtype] != told:
            raise ValueError(
                f"{folder / WEIGHTS} does not fit its {CONFIG}: {name[:100]!r} is {_REALS[tensor.dtype]}, but the"
                f" config says {told[:100]!r}; fetch or save it again"
            )


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
            metrics=_test_metrics(folder, config["weights"]["sha256"]),
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
    check_dtypes(header, config, folder)
    return sum(prod(tensor.shape) for tensor in header.values() if tensor.dtype in ("F32", "BF16"))


def _test_metrics(folder: Path, weights_sha256: str) -> dict[str, Any]:
    from arzoo.metrics import read_metrics

    test = read_metrics(folder).test_of(weights_sha256)
    return asdict(test) if test else {}


def _license(folder: Path) -> str:
    """The licence that the front matter of the card names; empty if it cannot be read, as `arzoo card` would say."""
    from arzoo.card import read_card
    from arzoo.card_metadata import front_matter

    with contextlib.suppress(ValueError):
        license = front_matter(read_card(folder)).get("license")
        return license if isinstance(license, str) else ""
    return ""
