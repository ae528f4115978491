"""Decoders of images: masked convolutions a colour of a pixel at a time, each feature computed once.

Features come first and the batch last, so that whatever a step sees is one slice of memory.
"""

from typing import Self

import torch
from torch import Tensor, nn

from arzoo.levels import LevelSoftmax
from arzoo.nn import MaskedConv2d, WindowConv2d


class RowConv:
    """A causal convolution on one row of pixels, a colour group at a time.

    What the rows above contribute is computed once a row for all columns; a step adds the taps to the left and the
    centre.

    Arguments:
        weight: Shape (outs, ins, R, K): the taps of R - 1 rows above, and of the pixel's own row.
        bias: Shape (outs,).
        left: How many of the K columns lie to the left of the pixel; what is not to the left of it in its own row, and
            not the pixel itself, is never looked at.
        width: Columns W of the image.
        sees_self: Whether a group sees its own inputs at the pixel, or those of the groups before it.

    Attributes:
        weight: For each group what its outputs weigh of `seen`.
        seen: For each column and group what the taps of this row see, shape (taps, B).
        base: For each column and group what the rows above and the bias say, shape (outs, B).
        centre: For each column and group where the input at that pixel goes, shape (ins, B).
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        left: int,
        width: int,
        num_samples: int,
        num_groups: int = 1,
        *,
        sees_self: bool = True,
    ) -> None:
        outs, ins, rows, kernel_size = weight.shape
        self._bias = bias[None, :, None]
        self._above = weight[:, :, :-1].permute(2, 0, 3, 1).reshape(rows - 1, outs, kernel_size * ins)
        # The last is the current row.
        self._rows = weight.new_zeros(rows, width + kernel_size - 1, ins, num_samples)
        self._base = weight.new_empty(width, outs, num_samples)
        self._windows = [
            row.flatten(0, 1).as_strided(
                (width, kernel_size * ins, num_samples), (ins * num_samples, num_samples, 1), row.storage_offset()
            )
            for row in self._rows[:-1]
        ]
        now = weight[:, :, -1, : left + 1].permute(0, 2, 1).reshape(outs, -1)  # taps to the left, then the centre
        sees = [left * ins + ins * (group + sees_self) // num_groups for group in range(num_groups)]
        current = self._rows[-1].flatten(0, 1)
        self.weight = [part[:, :end] for part, end in zip(now.chunk(num_groups), sees, strict=True)]
        self.seen = [[current[ins * c : ins * c + end] for end in sees] for c in range(width)]
        self.base = [self._base[c].chunk(num_groups) for c in range(width)]
        self.centre = [self._rows[-1, c + left].chunk(num_groups) for c in range(width)]
        self.next_row()

    @classmethod
    def of(
        cls,
        conv: MaskedConv2d | WindowConv2d,
        width: int,
        num_samples: int,
        num_groups: int = 1,
        *,
        sees_self: bool = True,
    ) -> Self:
        """That of a layer whose last row is the pixel's own."""
        assert conv.bias is not None
        weight, bias, left = conv.masked_weight().detach(), conv.bias.detach(), -conv.columns[0]
        return cls(weight, bias, left, width, num_samples, num_groups, sees_self=sees_self)

    def __call__(self, column: int, group: int = 0) -> Tensor:
        """The outputs of a group at a column, shape (outs, B)."""
        return torch.addmm(self.base[column][group], self.weight[group], self.seen[column][group])

    def next_row(self) -> None:
        """The current row becomes the one above, and an empty one begins."""
        self._rows[:-1] = self._rows[1:].clone()
        self._rows[-1].zero_()
        self._base.copy_(self._bias.expand_as(self._base))
        for weight, window in zip(self._above, self._windows, strict=True):
            self._base.baddbmm_(weight.expand(len(window), -1, -1), window)


class PixelLinear:
    """A masked 1x1 convolution, a colour group of a pixel at a time, or a linear layer with one group.

    A first feature of ones carries the bias.

    Attributes:
        weight: For each group what its outputs weigh of `seen`.
        seen: For each group what it sees, shape (1 + ins, B).
        inputs: For each group where its part of the input goes, shape (ins, B).
    """

    def __init__(
        self, conv: MaskedConv2d | WindowConv2d | LevelSoftmax | nn.Linear, num_samples: int, num_groups: int = 1
    ) -> None:
        weight = conv.masked_weight() if isinstance(conv, MaskedConv2d | WindowConv2d | LevelSoftmax) else conv.weight
        assert conv.bias is not None
        weight = torch.cat([conv.bias.detach()[:, None], weight.detach().flatten(1)], 1)  # (out, 1 + in)
        ins = weight.shape[1] - 1
        inputs = weight.new_ones(1 + ins, num_samples)
        sees = [1 + ins * (group + 1) // num_groups for group in range(num_groups)]
        self.weight = [part[:, :end] for part, end in zip(weight.chunk(num_groups), sees, strict=True)]
        self.seen = [inputs[:end] for end in sees]
        self.inputs = inputs[1:].chunk(num_groups)

    def __call__(self, group: int = 0) -> Tensor:
        """The outputs of a group, shape (outs, B)."""
        return self.weight[group] @ self.seen[group]
