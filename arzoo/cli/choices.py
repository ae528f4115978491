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
    """What events are conditioned on, from texts NAME=VALUE: one integer for all events, or one for each.

    Arguments:
        given: With commas between the integers of one name.
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
        name, _, value = text.partition("=")
        if name not in names:
            takes = f"takes {', '.join(names)}, not {name!r}" if names else "takes no context; leave --context out"
            raise ValueError(f"this {model.family} {takes}")
        if name in values:
            raise ValueError(f"--context gives {name} twice")
        if not re.fullmatch(r"-?\d{1,18}(,-?\d{1,18})*", value):
            raise ValueError(f"--context {name} must be an integer, or integers with commas between, got {value!r}")
        rows = torch.tensor([int(row) for row in value.split(",")])
        if len(rows) not in (1, number):
            raise ValueError(f"--context {name} has {len(rows)} values for {number} events; give one for each, or one")
        values[name] = rows.expand(number)
    missing = [f"--context {name}=VALUE" for name in names if name not in values]
    if missing:
        raise ValueError(f"this {model.family} is conditioned on {', '.join(names)}; give {' '.join(missing)}")
    return values or None
