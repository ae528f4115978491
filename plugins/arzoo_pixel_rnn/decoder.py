"""The decoders of PixelRNN: every feature is computed once, so an image costs about one pass.

Features come first and the batch last.  Gates are a colour's together, in the order i, f, o, g.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import arzoo
from arzoo.distributions import Bernoulli, Categorical
from arzoo.pixel_decoding import PixelLinear, RowConv

if TYPE_CHECKING:
    from .trunk import PixelRNN


class LayerWalk(ABC):
    """A residual LSTM layer, a colour of a pixel at a time."""

    @abstractmethod
    def add(self, column: int, group: int, x: Tensor) -> None:
        """Adds to a colour's features, shape (2h/C, B), what the layer makes of the pixel so far."""

    @abstractmethod
    def next_row(self) -> None:
        """The row is complete, and another begins."""


class PixelRNNDecoder(arzoo.Decoder):
    def __init__(self, model: "PixelRNN", num_samples: int, layers: Sequence[LayerWalk]) -> None:
        self._channels, _, self._width = model.config.event_shape
        self._features, self._levels, self._layers = model.features, model.levels, layers
        self._column, self._group, self._ready = 0, 0, False
        self._first = RowConv.of(model.first, self._width, num_samples, self._channels, sees_self=False)
        self._head = PixelLinear(model.head, num_samples, self._channels)
        self._output = PixelLinear(model.output, num_samples, self._channels)
        self._x = model.first.weight.new_empty(len(model.first.weight) // self._channels, num_samples)

    def _advance(self) -> None:
        """Brings the colour at hand through all layers."""
        if self._ready:
            return
        c, g = self._column, self._group
        x = torch.addmm(self._first.base[c][g], self._first.weight[g], self._first.seen[c][g], out=self._x)
        for layer in self._layers:
            layer.add(c, g, x)
        torch.clamp_min(x, 0, out=self._head.inputs[g])
        torch.clamp_min(self._head(g), 0, out=self._output.inputs[g])
        self._ready = True

    def conditional(self) -> Bernoulli | Categorical:
        self._advance()
        logits = self._output(self._group).t()  # (B, 1 or K)
        return Bernoulli(logits[:, 0]) if self._levels == 2 else Categorical(logits)

    def append(self, value: Tensor) -> None:
        self._advance()
        self._first.centre[self._column][self._group].copy_(self._features[value].t())
        self._ready = False
        self._group = (self._group + 1) % self._channels
        if self._group:
            return
        self._column = (self._column + 1) % self._width
        if self._column == 0:
            self._first.next_row()
            for layer in self._layers:
                layer.next_row()


def by_group(weight: Tensor, num_groups: int) -> Tensor:
    """Weights (..., 4 h) of gates, each gate's together, with each colour's together instead."""
    split: Tensor = weight.detach().unflatten(-1, (4, num_groups, -1))
    return split.transpose(-3, -2).flatten(-3)


def update(a: Tensor, c: Tensor, out: Tensor) -> None:
    """A step of LSTM cells.

    Arguments:
        a: What enters the gates, shape (..., 4, H, B); overwritten.
        c: The cells, shape (..., H, B); updated.
        out: Gets the hidden states, of the same shape.
    """
    i, f, o = a[..., :3, :, :].sigmoid_().unbind(-3)
    c.mul_(f).addcmul_(i, a[..., 3, :, :].tanh_())
    torch.tanh(c, out=out)
    out.mul_(o)
