"""The decoder of PixelCNN++: every feature is computed once, so an image costs about one pass.

When a row begins, the stream that goes down advances by that row, all columns in one go; all that the other stream owes
to it and to its own rows above is added up at once.  What is left for a pixel are taps in its own row.  A coarser
resolution takes part in every second row and column; in those between, its last features are grown.

Features are (W, channels, B) for a row and (channels, B) for a pixel, so what a tap sees is one slice of memory.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

import arzoo
from arzoo.logistic_mixture import LogisticMixture, place

from .layers import GatedResidual, Growth, Layer, Scale, WindowConv, concat_elu

if TYPE_CHECKING:
    from .pixelcnnpp import PixelCNNPP

_CHANNELS = -2


def _add(base: Tensor, weight: Tensor, features: Tensor) -> Tensor:
    """A base, and a weight (outs, ins) times the features of a pixel or a row."""
    if features.dim() == 2:
        return torch.addmm(base, weight, features)
    return torch.baddbmm(base, weight.expand(len(features), -1, -1), features)


class _Conv:
    """A convolution, row by row, or pixel by pixel in the last row that it covers.

    Attributes:
        inside: The last row that it covers, without padding, shape (W, ins, B); for the caller to fill.
    """

    def __init__(self, conv: WindowConv, width: int, num_samples: int) -> None:
        weight = conv.weight().detach()  # (outs, ins, R, K)
        _, ins, num_rows, kernel_size = weight.shape
        left, right = -conv.window.columns[0], conv.window.columns[1]
        self._bias = conv.bias.detach()[:, None]
        taps = weight.permute(2, 0, 3, 1).flatten(2).unbind()  # (outs, K ins) each
        self._above, self._now = taps[:-1], taps[-1]
        self._rows = weight.new_zeros(num_rows, left + width + max(right, 0), ins, num_samples)
        self.inside = self._rows[-1, left : left + width]
        size, stride = ins * num_samples, conv.stride
        *self._upper, self._seen = (
            row.as_strided(
                (width // stride, kernel_size * ins, num_samples), (stride * size, num_samples, 1), row.storage_offset()
            )
            for row in self._rows
        )

    def next_row(self) -> None:
        """The kernel moves down by one row, whose features are to come."""
        self._rows[:-1] = self._rows[1:].clone()
        self._rows[-1] = 0

    def above(self) -> Tensor:
        """The bias and what all rows but the last say; shape (W / stride, outs, B), or (outs, 1)."""
        total: Tensor = self._bias
        for weight, seen in zip(self._above, self._upper, strict=True):
            total = _add(total, weight, seen)
        return total

    def add(self, base: Tensor, columns: int | slice) -> Tensor:
        """A base and what the last row says, in one column or in all."""
        return _add(base, self._now, self._seen[columns])


class _Residual:
    """A gated residual layer of one stream."""

    def __init__(self, layer: GatedResidual, width: int, num_samples: int, classes: Tensor | None) -> None:
        self._first = _Conv(layer.first, width, num_samples)
        self._second = _Conv(layer.second, width, num_samples)
        self._extras: list[Tensor] = []
        self._extra_bias: Tensor | None = None
        if layer.extra is not None:
            size = len(layer.extra.bias)
            self._extras = list(layer.extra.weight().detach().flatten(1).split(2 * size, 1))  # (n, 2n) each
            self._extra_bias = layer.extra.bias.detach()[:, None]
        self._condition: Tensor | None = None
        if layer.condition is not None and classes is not None:
            self._condition = layer.condition.weight.detach() @ classes.t()  # (2n, B)

    def begin_row(self, extra: Tensor | None) -> None:
        """
        Arguments:
            extra: The first of the maps besides, in all of the row, shape (W, n, B); None if there is none.
        """
        self._first.next_row()
        self._second.next_row()
        self._base = self._first.above()
        if self._extra_bias is not None and extra is not None:
            self._base = _add(self._base + self._extra_bias, self._extras[0], concat_elu(extra, _CHANNELS))
        self._gate_base = self._second.above()
        if self._condition is not None:
            self._gate_base = self._gate_base + self._condition

    def __call__(self, columns: int | slice, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """
        Arguments:
            columns: One, or all.
            x: Shape (n, B) or (W, n, B).
            extra: The second of the maps besides, of that shape.
        """
        self._first.inside[columns] = concat_elu(x, _CHANNELS)
        a = self._first.add(self._base[columns], columns)
        if extra is not None:
            a = _add(a, self._extras[1], concat_elu(extra, _CHANNELS))
        self._second.inside[columns] = concat_elu(a, _CHANNELS)
        value, gate = self._second.add(self._gate_base[columns], columns).chunk(2, _CHANNELS)
        return x + value * gate.sigmoid()


class _Layer:
    """A layer of both streams."""

    def __init__(self, layer: Layer, width: int, num_samples: int, classes: Tensor | None) -> None:
        self._down = _Residual(layer.down, width, num_samples, classes)
        self._right = _Residual(layer.right, width, num_samples, classes)

    def begin_row(self, down: Tensor, shortcut: Tensor | None = None) -> Tensor:
        self._down.begin_row(shortcut)
        down = self._down(slice(None), down)
        self._right.begin_row(down)
        return down

    def __call__(self, column: int, right: Tensor, shortcut: Tensor | None = None) -> Tensor:
        return self._right(column, right, shortcut)


class _Growth:
    """A transposed convolution."""

    def __init__(self, growth: Growth) -> None:
        self._taps = [row.unbind(-1) for row in growth.weight().detach().unbind(2)]  # (outs, ins) each
        self._bias = growth.bias.detach()[:, None]

    def row(self, row: int, coarse: Tensor) -> Tensor:
        """A row, shape (W, outs, B), of the coarser one, shape (W / 2, ins, B); three columns of taps."""
        left, middle, right = self._taps[row % 2]
        following = F.pad(coarse[1:], (0, 0, 0, 0, 0, 1))
        even, odd = _add(self._bias, middle, coarse), _add(self._bias, right, coarse)
        return torch.stack([even, _add(odd, left, following)], 1).flatten(0, 1)

    def pixel(self, row: int, column: int, coarse: Tensor) -> Tensor:
        """A pixel, shape (outs, B), of the coarser one, shape (ins, B); two columns of taps."""
        return torch.addmm(self._bias, self._taps[row % 2][column % 2], coarse)


class _Scale:
    """The layers at one resolution and those within; rows and columns are those of this resolution."""

    def __init__(self, scale: Scale, width: int, num_samples: int, classes: Tensor | None) -> None:
        self._first, self._second = (
            [_Layer(layer, width, num_samples, classes) for layer in cast("Iterable[Layer]", layers)]
            for layers in (scale.first, scale.second)
        )
        self._inner = None
        if scale.inner is not None:
            self._inner = _Scale(scale.inner, width // 2, num_samples, classes)
            self._shrink_down = _Conv(scale.shrink_down, width, num_samples)
            self._shrink_right = _Conv(scale.shrink_right, width, num_samples)
            self._grow_down, self._grow_right = _Growth(scale.grow_down), _Growth(scale.grow_right)
            self._coarse_right: list[Tensor | None] = [None] * (width // 2)  # of the last even row, as far as known

    def begin_row(self, row: int, down: Tensor) -> Tensor:
        """What the stream that goes down has behind these layers, shape (W, n, B)."""
        passed = [down]
        for layer in self._first:
            passed.append(layer.begin_row(passed[-1]))
        if self._inner is None:
            down = passed.pop()
        else:
            self._shrink_down.next_row()
            self._shrink_right.next_row()
            self._shrink_down.inside[:] = passed[-1]
            if row % 2 == 0:
                coarse = self._shrink_down.add(self._shrink_down.above(), slice(None))
                self._coarse_down = self._inner.begin_row(row // 2, coarse)
                self._shrink_base = self._shrink_right.above()
            down = self._grow_down.row(row, self._coarse_down)
        for layer in self._second:
            down = layer.begin_row(down, passed.pop())
        return down

    def __call__(self, row: int, column: int, right: Tensor) -> Tensor:
        """What the other stream has behind these layers at a pixel, shape (n, B)."""
        passed = [right]
        for layer in self._first:
            passed.append(layer(column, passed[-1]))
        if self._inner is None:
            right = passed.pop()
        else:
            self._shrink_right.inside[column] = passed[-1]
            half = column // 2
            if row % 2 == column % 2 == 0:
                coarse = self._shrink_right.add(self._shrink_base[half], half)
                self._coarse_right[half] = self._inner(row // 2, half, coarse)
            known = self._coarse_right[half]
            assert known is not None
            right = self._grow_right.pixel(row, column, known)
        for layer in self._second:
            right = layer(column, right, passed.pop())
        return right


class PixelCNNPPDecoder(arzoo.Decoder):
    """Walks through images row by row; see the module.

    Arguments:
        classes: What `PixelCNNPP.classes` makes of the context.
    """

    def __init__(self, model: "PixelCNNPP", num_samples: int, classes: Tensor | None) -> None:
        self._model, self._width = model, model.config.event_shape[2]
        self._row, self._column = 0, 0
        self._parameters: Tensor | None = None
        self._rows_above, self._row_above, self._left = (
            _Conv(conv, self._width, num_samples) for conv in (model.rows_above, model.row_above, model.left)
        )
        self._scale = _Scale(model.scales, self._width, num_samples, classes)
        self._weight = model.output.weight().detach().flatten(1)
        self._bias = model.output.bias.detach()[:, None]

    def _begin_row(self) -> None:
        """Brings the stream that goes down to the row at hand."""
        previous = self._left.inside.clone()  # zeros above the image
        for conv in (self._rows_above, self._row_above):
            conv.next_row()
            conv.inside[:] = previous
        self._left.next_row()
        everywhere = slice(None)
        self._base = self._row_above.add(self._row_above.above(), everywhere) + self._left.above()
        self._scale.begin_row(self._row, self._rows_above.add(self._rows_above.above(), everywhere))

    @torch.no_grad()
    def _advance(self) -> Tensor:
        """Parameters of the mixture of the pixel at hand, shape (outputs, B)."""
        if self._parameters is None:
            if self._column == 0:
                self._begin_row()
            right = self._left.add(self._base[self._column], self._column)
            right = self._scale(self._row, self._column, right)
            self._parameters = torch.addmm(self._bias, self._weight, F.elu(right))
        return self._parameters

    def conditional(self) -> LogisticMixture:
        return LogisticMixture(self._advance().t().float(), self._model.channels, self._model.levels)

    @torch.no_grad()
    def append(self, value: Tensor) -> None:
        self._advance()
        pixel = self._left.inside[self._column]  # (C + 1, B)
        pixel[:-1] = place(value, self._model.levels, pixel.dtype).t()
        pixel[-1] = 1
        self._parameters = None
        self._column = (self._column + 1) % self._width
        self._row += self._column == 0
