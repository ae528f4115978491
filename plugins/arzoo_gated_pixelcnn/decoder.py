"""The decoder of Gated PixelCNN: every feature is computed once, so an image costs about one pass.

When a row of the image begins, all that it owes to the rows above is known: the vertical stack advances by that row,
all columns in one go, and its links are what the horizontal stack adds to, a pixel at a time, and a colour at a time
where each is a site.

A step of a pixel has features first and the batch last, so that whatever it sees is one slice of memory.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

import arzoo
from arzoo.distributions import Bernoulli, Categorical
from arzoo.logistic_mixture import LogisticMixture
from arzoo.pixel_decoding import PixelLinear

if TYPE_CHECKING:
    from .gated_pixelcnn import GatedPixelCNN
    from .layers import GatedLayer


class _Rows:
    """The vertical half of a layer and its link, a row of the image at a time.

    Attributes:
        base: What the horizontal half adds to in this row, shape (W, 2h, B).
    """

    def __init__(self, layer: "GatedLayer", width: int, num_samples: int) -> None:
        conv, beside, condition = layer.vertical, layer.horizontal.bias, layer.condition
        assert conv.bias is not None and beside is not None
        outs, ins, num_rows, kernel_size = conv.weight.shape
        self._weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self._bias = conv.bias.detach()
        self._link = layer.link.weight.detach().flatten(1).expand(width, -1, -1)
        self._beside = beside.detach()[:, None]
        self._condition = None if condition is None else condition.weight.detach().flatten(1)  # (4h, n)
        # The rows that the kernel covers, with padding at both ends.
        rows = self._weight.new_zeros(num_samples, num_rows, width + kernel_size - 1, ins).permute(0, 3, 1, 2)
        inside = rows[..., kernel_size // 2 :][..., :width]
        self._seen, self._inside = rows, inside.unbind(2)  # (B, in, W) each
        self.base = rows.new_empty(width, outs, num_samples)

    def advance(self, row: Tensor, conditions: Tensor | None) -> Tensor:
        """Sets `base` for the next row of the image.

        Arguments:
            row: The last that the kernel covers there, shape (B, in_channels, W).
            conditions: Of that row, shape (B, n, W or 1).

        Returns:
            What the vertical stack has there behind this layer, shape (B, h, W).
        """
        for older, newer in pairwise([*self._inside, row]):
            older.copy_(newer)
        v = F.conv2d(self._seen, self._weight, self._bias).squeeze(2)  # (B, 2h, W)
        torch.baddbmm(self._beside, self._link, v.permute(2, 1, 0), out=self.base)
        if self._condition is not None and conditions is not None:
            above, beside = (self._condition @ conditions).chunk(2, 1)  # (B, 2h, W or 1) each
            v += above
            self.base += beside.permute(2, 1, 0)
        f, g = v.chunk(2, 1)
        return f.tanh_().mul_(g.sigmoid_())


class _Pixels:
    """The horizontal half of a layer, a group of a pixel's channels at a time.

    Attributes:
        row: What enters it, shape (W, in_channels, B).
        inputs: The same by column and group.
    """

    def __init__(self, layer: "GatedLayer", base: Tensor, num_samples: int, num_groups: int) -> None:
        conv, width = layer.horizontal, len(base)
        weight = conv.masked_weight().detach()[:, :, 0].transpose(1, 2)  # (2h, taps, in)
        outs, _, ins = weight.shape
        reach = -conv.columns[0]
        columns = weight.new_zeros(reach + width, ins, num_samples)  # the first are padding
        flat = columns.flatten(0, 1)
        self.row = columns[reach:]
        self.inputs = [column.chunk(num_groups) for column in self.row]
        # The taps to the left, and of the pixel itself the groups that the mask leaves.
        sees = [ins * reach + ins * (group + (not layer.first)) // num_groups for group in range(num_groups)]
        self._weight = [part[:, :end] for part, end in zip(weight.flatten(1).chunk(num_groups), sees, strict=True)]
        self._seen = [[flat[ins * c :][:end] for end in sees] for c in range(width)]
        self._base = [column.chunk(num_groups) for column in base]
        self._a = weight.new_empty(outs // num_groups, num_samples)
        self._f, self._g = self._a.chunk(2)
        self._skip = PixelLinear(layer.skip, num_samples, num_groups)
        residual = layer.residual
        self._residual = None if residual is None else PixelLinear(residual, num_samples, num_groups).weight
        self._first = layer.first

    def advance(self, c: int, group: int, skips: Tensor, following: "_Pixels | None") -> None:
        """Brings a group in column c through this layer.

        Arguments:
            skips: What the skip is added to, shape (h / G, B).
            following: The layer whose input the rest is, unless this is the last.
        """
        torch.addmm(self._base[c][group], self._weight[group], self._seen[c][group], out=self._a)
        torch.mul(self._f.tanh_(), self._g.sigmoid_(), out=self._skip.inputs[group])
        gate = self._skip.seen[group]
        skips.addmm_(self._skip.weight[group], gate)
        if self._residual is None or following is None:
            return
        if self._first:
            torch.mm(self._residual[group], gate, out=following.inputs[c][group])
        else:
            torch.addmm(self.inputs[c][group], self._residual[group], gate, out=following.inputs[c][group])


class GatedPixelCNNDecoder(arzoo.Decoder):
    """Walks through images row by row; see the module.

    Arguments:
        conditions: What `GatedPixelCNN.conditions` makes of the context.
    """

    def __init__(self, model: "GatedPixelCNN", num_samples: int, conditions: Tensor | None) -> None:
        width, groups = model.config.event_shape[2], model.config.num_groups
        self._model, self._width, self._groups = model, width, groups
        self._row, self._column, self._group, self._ready = 0, 0, 0, False
        self._conditions = None if conditions is None else conditions.unbind(2)  # (B, n, W or 1) each
        layers = list(cast("Iterable[GatedLayer]", model.layers))
        self._rows = [_Rows(layer, width, num_samples) for layer in layers]
        pixels = [
            _Pixels(layer, rows.base, num_samples, groups) for layer, rows in zip(layers, self._rows, strict=True)
        ]
        self._pixels = pixels
        self._head = PixelLinear(model.head, num_samples, groups)
        self._output = PixelLinear(model.output, num_samples, groups)
        self._skips = pixels[0].row.new_empty(model.config.hidden_size // groups, num_samples)

    def _begin_row(self) -> None:
        """Brings the vertical stack to the row at hand."""
        every = self._conditions
        conditions = None if every is None else every[self._row % len(every)]  # there is one if all rows are alike
        row = self._pixels[0].row.permute(2, 1, 0)  # the one above; zeros above the image
        for rows in self._rows:
            row = rows.advance(row, conditions)

    def _advance(self) -> None:
        """Brings the group at hand through the horizontal stack."""
        if self._ready:
            return
        c, group = self._column, self._group
        if c == group == 0:
            self._begin_row()
        self._skips.zero_()
        for layer, following in zip(self._pixels, [*self._pixels[1:], None], strict=True):
            layer.advance(c, group, self._skips, following)
        torch.clamp_min(self._skips, 0, out=self._head.inputs[group])
        torch.clamp_min(self._head(group), 0, out=self._output.inputs[group])
        self._ready = True

    def conditional(self) -> Distribution:
        self._advance()
        outputs = self._output(self._group).t()  # (B, 1 or K or those of a mixture)
        if self._model.config.num_mixtures is not None:
            return LogisticMixture(outputs.float(), self._model.config.event_shape[0], self._model.levels)
        return Bernoulli(outputs[:, 0]) if self._model.levels == 2 else Categorical(outputs)

    def append(self, value: Tensor) -> None:
        self._advance()
        self._pixels[0].inputs[self._column][self._group].copy_(self._model.features[value].flatten(1).t())
        self._ready = False
        self._group = (self._group + 1) % self._groups
        if self._group == 0:
            self._column = (self._column + 1) % self._width
            self._row += self._column == 0
