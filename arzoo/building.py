"""Building a model from a config that nobody vouches for: it may ask for more than any memory holds, or for ever.

What asks for much is built without memory first, of meta tensors, and compared with what the file of the weights
holds.  Small models do without: to import what meta tensors need takes longer than to load them.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from arzoo.model import Model, ModelConfig

_STEPS, _STEPS_PER_TENSOR = 20_000, 40  # calls of torch, far more than it takes to build an honest model
_BYTES_PER_TENSOR = 1024  # of weights, that pay for the steps of one; those of a small model need no payment
_MOST_NUMBERS = 2**26  # that building a small model makes
_MOST_SCALARS = 2**24  # of an event, that a constructor may go through one by one


def build(
    model_class: type[Model], config: ModelConfig, sizes: Collection[int], check: Callable[[Model], object]
) -> Model:
    """A new model, its weights drawn from torch's global generator.

    Arguments:
        sizes: Bytes of each tensor of its weights.  It may take time in proportion to how many there are, but not
            more than in proportion to all their bytes: names of tensors that hold next to nothing cost nothing.
        check: Given the model without memory, where it asks for much; raises if it cannot be the one meant.  A
            constructor that looks at values, which there are none of then, goes without.

    Raises:
        ValueError: It takes far more than its weights call for.
        Exception: Whatever `check` or the constructor raises.
    """
    if config.dims > _MOST_SCALARS:
        raise ValueError(f"events of {config.dims} scalars are refused, more than {_MOST_SCALARS}")
    steps = _STEPS + _STEPS_PER_TENSOR * min(len(sizes), sum(sizes) // _BYTES_PER_TENSOR)
    try:
        with _Watch(steps, _MOST_NUMBERS):
            return model_class(config)
    except _AsksForMuch:
        outline = _outline(model_class, config, steps)
    if outline is not None:
        check(outline)
    with _Watch(steps):
        return model_class(config)


def _outline(model_class: type[Model], config: ModelConfig, steps: int) -> Model | None:
    """A model of meta tensors; None if its constructor looks at values, which these do not have."""
    try:
        with _Watch(steps), torch.device("meta"):
            return model_class(config)
    except Exception as error:
        if "meta" in str(error).lower():  # as in "cannot be called on meta tensors"
            return None
        raise


class _AsksForMuch(Exception):
    """A construction needs more memory than a small model."""


class _Watch(TorchFunctionMode):
    """Ends a construction that goes on and on, or that is about to ask for much.

    Arguments:
        steps: The most calls of torch that it may make.
        numbers: The most numbers that the results of these may have together; None for any.
    """

    def __init__(self, steps: int, numbers: int | None = None) -> None:
        super().__init__()
        self.steps, self.numbers = steps, numbers

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.steps -= 1
        if self.steps < 0:
            raise ValueError("it takes far more steps than the tensors of its weights call for")
        if self.numbers is None:
            return function(*args, **kwargs)
        if _most_asked((*args, *kwargs.values())) > self.numbers:
            raise _AsksForMuch
        result = function(*args, **kwargs)
        if isinstance(result, Tensor):
            self.numbers -= result.numel()
            if self.numbers < 0:
                raise _AsksForMuch
        return result


def _most_asked(arguments: Sequence[Any]) -> int:
    """As many numbers as a call with these arguments can make from nothing: sizes multiplied, or one squared."""
    lists = [argument if isinstance(argument, tuple | list) else (argument,) for argument in arguments]
    sizes = [number for numbers in lists for number in numbers if type(number) is int and number > 0]
    return max(math.prod(sizes), max(sizes, default=0) ** 2)
