"""The order in which a dense family visits its sites: the natural one, one drawn at random, or any that is given."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from arzoo.autoregressive import Autoregressive
from arzoo.decoding import check_order
from arzoo.model import ModelConfig

Ordering = Literal["natural", "random"] | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class OrderedConfig(ModelConfig):
    """
    Attributes:
        ordering: The natural order of the scalars, one that is drawn at random and kept with the weights, or their
            row-major indices as they are visited.
    """

    ordering: Ordering = "natural"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.ordering, tuple):
            check_order(self.ordering, self.dims)


class Ordered(Autoregressive):
    """A family of one order of all scalars; its constructor ends with `set_order`."""

    config: OrderedConfig

    def set_order(self) -> None:
        """Sets the order of the config: a buffer `fixed_order`, None for the natural one.

        What is drawn at random is saved: random streams may change between releases of torch, a density may not.
        """
        ordering = self.config.ordering
        order = None if ordering == "natural" else make_order(ordering, self.config.dims)
        self.register_buffer("fixed_order", order, persistent=ordering == "random")

    def order(self, member: int = 0) -> Tensor:
        fixed = self.get_buffer("fixed_order")
        return super().order() if fixed is None else fixed


def make_order(ordering: Ordering, dims: int) -> Tensor:
    """The order that a config asks for, shape (dims,); "random" draws one."""
    if isinstance(ordering, tuple):
        return torch.tensor(ordering)
    return torch.randperm(dims) if ordering == "random" else torch.arange(dims)
