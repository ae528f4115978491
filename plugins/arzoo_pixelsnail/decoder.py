"""The decoder of PixelSNAIL: every feature, key and value is computed once, so convolutions cost about one pass.

A step has features first and the batch last where it convolves, and the batch first where it attends.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

import arzoo
from arzoo.attention import attend
from arzoo.pixel_decoding import RowConv

if TYPE_CHECKING:
    from .pixelsnail import Attention, Block, GatedResidual, PixelSNAIL


class _Residual:
    """A residual layer, a pixel at a time."""

    def __init__(self, residual: "GatedResidual", width: int, num_samples: int) -> None:
        self._first = RowConv.of(residual.first, width, num_samples)
        self._second = RowConv.of(residual.second, width, num_samples)

    def __call__(self, column: int, x: Tensor) -> Tensor:
        """(h, B) -> (h, B)."""
        self._first.centre[column][0].copy_(F.elu(x))
        self._second.centre[column][0].copy_(F.elu(self._first(column)))
        return x + F.glu(self._second(column), 0)

    def next_row(self) -> None:
        self._first.next_row()
        self._second.next_row()


class _Attention:
    """Attention with the keys and values of the pixels so far."""

    def __init__(self, attention: "Attention", num_samples: int, length: int) -> None:
        self._attention, self._length = attention, 0
        self._pairs = (num_samples, attention.num_heads)
        new = attention.query.weight.new_zeros
        self._keys = new(num_samples * attention.num_heads, length, attention.key_size)
        self._values = new(num_samples * attention.num_heads, length, attention.value_size)
        self._x = new(0)

    def __call__(self, x: Tensor, place: Tensor) -> Tensor:
        """(h, B) -> (h, B), at a place (1, 2)."""
        self._x, t = x.t()[:, None], self._length  # (B, 1, h)
        if t:
            q = self._attention.queries(self._x, place).flatten(0, 2)  # (B heads, key_size)
            mixed = attend(q, self._keys[:, :t], self._values[:, :t], self._attention.key_size**-0.5)
        else:
            mixed = self._values[:, 0]  # zeros, as yet
        merged = self._attention.merge(self._x, mixed.view(*self._pairs, 1, -1))[:, 0]
        return x + F.glu(self._attention.gate(merged).t(), 0)

    def append(self, inputs: Tensor) -> None:
        """Keeps what the pixel at hand says, now that it is known: inputs (B, 1, in_size)."""
        k, v = self._attention.keys_values(self._x, inputs)
        self._keys[:, self._length] = k.flatten(0, 2)
        self._values[:, self._length] = v.flatten(0, 2)
        self._length += 1


class PixelSNAILDecoder(arzoo.Decoder):
    """Walks through images row by row; see the module."""

    def __init__(self, model: "PixelSNAIL", num_samples: int) -> None:
        _, height, self._width = model.config.event_shape
        self._model, self._step = model, 0
        self._first = RowConv.of(model.first, self._width, num_samples, sees_self=False)
        self._blocks: list[tuple[list[_Residual], _Attention]] = []
        for block in cast("Iterable[Block]", model.blocks):
            layers = cast("Iterable[GatedResidual]", block.residuals)
            residuals = [_Residual(layer, self._width, num_samples) for layer in layers]
            self._blocks.append((residuals, _Attention(block.attention, num_samples, height * self._width)))
        self._distribution: Distribution | None = None

    @torch.no_grad()
    def conditional(self) -> Distribution:
        if self._distribution is None:
            column, place = self._step % self._width, self._model.places[self._step, None]
            x = self._first(column)  # (h, B)
            for residuals, attention in self._blocks:
                for residual in residuals:
                    x = residual(column, x)
                x = attention(x, place)
            self._distribution = self._model.distribution(x.t())
        return self._distribution

    @torch.no_grad()
    def append(self, value: Tensor) -> None:
        self.conditional()  # of a pixel that is only fixed too, others see the features
        inputs = self._model.inputs(value[:, None], self._model.places[self._step, None])  # (B, 1, in_size)
        column = self._step % self._width
        self._first.centre[column][0].copy_(inputs[:, 0].t())
        for _, attention in self._blocks:
            attention.append(inputs)
        self._distribution = None
        self._step += 1
        if self._step % self._width == 0:
            self._first.next_row()
            for residuals, _ in self._blocks:
                for residual in residuals:
                    residual.next_row()
