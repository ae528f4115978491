"""Backward passes that are written by hand."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def first_order(backward: Callable[P, R]) -> Callable[P, R]:
    """Marks the backward pass of a `torch.autograd.Function` whose own derivatives nobody wrote.

    torch's `once_differentiable` says nothing where the gradient that comes in is a constant: second derivatives would
    lack a part without a word.
    """

    @wraps(backward)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.is_grad_enabled():
            raise RuntimeError("this model has first derivatives only; leave create_graph at its default, False")
        return backward(*args, **kwargs)

    return checked
