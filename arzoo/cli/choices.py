"""What --device and --context stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from arzoo.model import Model


def find_device(name: str) -> torch.device:
    """The device of this name, as torch writes it; "auto" is the accelerator, or the CPU where there is none.

    Raises:
        ValueError: There is no such device here; names those that are there.
    """
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return accelerator or torch.device("cpu")
    there = ["cpu"]
    if accelerator is not None:
        kind = accelerator.type
        there += [kind, *(f"{kind}:{index}" for index in range(torch.accelerator.device_count()))]
    if name not in there:
        raise ValueError(f"there is no device {name!r}: torch {torch.__version__} finds {', '.join(there)} here")
    return torch.device(name)


def read_context(model: Model, given: Sequence[str], number: int) -> dict[str, Tensor] | None:
    """What events are conditioned on, from texts NAME=VALUE: a label or an integer for all events, or one for each.

    Arguments:
        given: With commas between the labels or integers of one name.
        number: Of events.

    Returns:
        Integers of shape (number,) by name; None if the model is conditioned on nothing.

    Raises:
        ValueError: A name is unknown, missing or there twice, or a value is none of these.
    """
    import torch

    names = model.context_names
    values: dict[str, Tensor] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if names and not equals:
            raise ValueError(f"--context must be NAME=VALUE, as {names[0]}={text or 0}, got {text!r}")
        if name not in names:
            takes = f"takes {', '.join(names)}, not {name!r}" if names else "takes no context; leave --context out"
            raise ValueError(f"this {model.family} {takes}")
        if name in values:
            raise ValueError(f"--context gives {name} twice")
        known = model.labels.get(name, ())
        texts = [value] if value in known else value.split(",")  # a label may have a comma
        if not known and not all(map(_is_integer, texts)):
            raise ValueError(f"--context {name} must be an integer, or integers with commas between, got {value!r}")
        rows = torch.tensor([_number(name, row, model) for row in texts], device=model.device)
        if len(rows) not in (1, number):
            raise ValueError(f"--context {name} has {len(rows)} values for {number} events; give one for each, or one")
        values[name] = rows.expand(number)
    missing = [f"--context {name}=VALUE" for name in names if name not in values]
    if missing:
        raise ValueError(f"this {model.family} is conditioned on {', '.join(names)}; give {' '.join(missing)}")
    return values or None


def _number(name: str, text: str, model: Model) -> int:
    """What a label stands for; of a text that is none, the integer that it is."""
    from arzoo.label_names import numbers_of

    if text not in model.labels.get(name, ()) and _is_integer(text):
        return int(text)
    return numbers_of(name, [text], model.labels)[0]


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,18}", text) is not None
