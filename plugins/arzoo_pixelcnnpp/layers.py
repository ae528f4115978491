"""The layers of PixelCNN++, for either stream: they differ in the windows that their convolutions see.

Every convolution has a normalised weight, w = g v / |v| an output channel, and starts from the data (Salimans and
Kingma 2016, arXiv:1602.07868, section 3): from one batch g and the bias are set so that its outputs have the mean 0 and
a given standard deviation.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_RESIDUAL_SCALE = 0.1  # of what a residual layer adds at the start
_SMALLEST_DEVIATION = 1e-4  # below which a channel is constant for all that rounding leaves of it


@dataclass(frozen=True, kw_only=True)
class Window:
    """The rows and columns that a kernel covers, first and last, counted from its pixel."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def kernel_size(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0] + 1, self.columns[1] - self.columns[0] + 1


DOWN = Window(rows=(-1, 0), columns=(-1, 1))
"""Of the stream that goes down: its row i knows the rows of the image above i."""
RIGHT = Window(rows=(-1, 0), columns=(-1, 0))
"""Of the stream that goes down and right: its pixel knows all pixels before it."""
GROWN_DOWN = Window(rows=(0, 1), columns=(-1, 1))
GROWN_RIGHT = Window(rows=(0, 1), columns=(0, 1))
PIXEL = Window(rows=(0, 0), columns=(0, 0))


def concat_elu(x: Tensor, dim: int = 1) -> Tensor:
    """elu of the channels, then of their opposites: twice as many."""
    return F.elu(torch.cat([x, -x], dim))


class NormalisedConv(nn.Module, ABC):
    """A convolution with a normalised weight; see the module.

    Arguments:
        scale: Standard deviation of the outputs at the start.

    Attributes:
        direction: v, shape (outs, ins, *kernel_size).
        gain: g, shape (outs,).
    """

    def __init__(self, ins: int, outs: int, window: Window, *, scale: float = 1.0) -> None:
        super().__init__()
        self.window, self.scale = window, scale
        self.direction = nn.Parameter(torch.randn(outs, ins, *window.kernel_size) * 0.05)
        self.gain = nn.Parameter(torch.full((outs,), scale))
        self.bias = nn.Parameter(torch.zeros(outs))

    def weight(self) -> Tensor:
        """Shape (outs, ins, *kernel_size)."""
        norm = self.direction.square().sum((1, 2, 3)).sqrt()
        return self.direction * (self.gain / norm)[:, None, None, None]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, outs, ., .) of (B, ins, H, W)."""

    def start_from(self, outputs: Tensor) -> Tensor:
        """Sets gain and bias by what it made of a batch; returns what it makes of it now, shape (B, outs, ., .)."""
        deviation, mean = torch.std_mean(outputs, (0, 2, 3), correction=0)
        factor = torch.where(deviation > _SMALLEST_DEVIATION, self.scale / deviation, 1.0)
        self.gain.mul_(factor)
        self.bias.sub_(mean).mul_(factor)
        return (outputs - mean[:, None, None]) * factor[:, None, None]


class WindowConv(NormalisedConv):
    """A convolution whose kernel covers the window alone.

    Arguments:
        stride: With 2, an output for every second row and column, the even ones.
    """

    def __init__(self, ins: int, outs: int, window: Window, *, scale: float = 1.0, stride: int = 1) -> None:
        super().__init__(ins, outs, window, scale=scale)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.window.rows, self.window.columns
        around = (-columns[0], columns[1], -rows[0], rows[1])
        return F.conv2d(F.pad(x, around) if any(around) else x, self.weight(), self.bias, self.stride)


class Growth(NormalisedConv):
    """A transposed convolution of stride 2, from (H, W) to (2H, 2W).

    Its window says which outputs an input reaches, counted from twice its row and column.
    """

    def forward(self, x: Tensor) -> Tensor:
        outside = (0, -self.window.columns[0])
        weight = self.weight().transpose(0, 1)
        return F.conv_transpose2d(x, weight, self.bias, 2, padding=outside, output_padding=outside)


class GatedResidual(nn.Module):
    """x + a . sigma(b), where a and b are two convolutions' doing with concat_elu before each (figure 2, section 2.5).

    Arguments:
        size: Channels n of the stream.
        num_extras: How many maps besides, of n channels, a 1x1 convolution brings in.
        num_classes: Number of classes that add to a and b; 0 for none.
        dropout: Share of the features between the two convolutions that training drops.
    """

    def __init__(self, size: int, window: Window, *, num_extras: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.first = WindowConv(2 * size, size, window)
        self.extra = WindowConv(2 * num_extras * size, size, PIXEL) if num_extras else None
        self.dropout = nn.Dropout(dropout)
        self.second = WindowConv(2 * size, 2 * size, window, scale=_RESIDUAL_SCALE)
        self.condition = nn.Linear(num_classes, 2 * size, bias=False) if num_classes else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)

    def forward(self, x: Tensor, extras: Sequence[Tensor], classes: Tensor | None) -> Tensor:
        """
        Arguments:
            x: Shape (B, n, H, W).
            extras: Of the same shape each.
            classes: One-hot, shape (B, num_classes).

        Returns:
            Shape (B, n, H, W).
        """
        a = self.first(concat_elu(x))
        if self.extra is not None:
            a = a + self.extra(torch.cat([concat_elu(extra) for extra in extras], 1))
        b: Tensor = self.second(self.dropout(concat_elu(a)))  # (B, 2n, H, W)
        if self.condition is not None:
            b = b + self.condition(classes)[:, :, None, None]
        value, gate = b.chunk(2, 1)
        return x + value * gate.sigmoid()


Streams = tuple[Tensor, Tensor]
"""What goes down, and what goes down and right, shape (B, n, H, W) each."""


class Layer(nn.Module):
    """A gated residual layer of both streams; the right one sees what the other has behind it.

    Arguments:
        shortcut: Whether either sees what it had at an earlier layer.
    """

    def __init__(self, size: int, *, shortcut: bool, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.down = GatedResidual(size, DOWN, num_extras=shortcut, num_classes=num_classes, dropout=dropout)
        self.right = GatedResidual(size, RIGHT, num_extras=1 + shortcut, num_classes=num_classes, dropout=dropout)

    def forward(self, streams: Streams, shortcut: Streams | None, classes: Tensor | None) -> Streams:
        down_extras, right_extras = ((), ()) if shortcut is None else ((shortcut[0],), (shortcut[1],))
        down = self.down(streams[0], down_extras, classes)
        return down, self.right(streams[1], (down, *right_extras), classes)


class Scale(nn.Module):
    """The layers at one resolution, and within them those at the coarser ones.

    The shortcuts go from layer k of the first half to layer L - k of the second; what is shrunk comes back as one more
    layer of the second half, which takes the shortcut of what entered this resolution.

    Arguments:
        num_inner: How many resolutions are coarser.
    """

    def __init__(self, size: int, num_resnets: int, num_inner: int, *, num_classes: int, dropout: float) -> None:
        super().__init__()

        def layers(number: int, shortcut: bool) -> nn.ModuleList:
            made = (Layer(size, shortcut=shortcut, num_classes=num_classes, dropout=dropout) for _ in range(number))
            return nn.ModuleList(made)

        self.first = layers(num_resnets, False)
        self.inner = None
        if num_inner:
            self.shrink_down = WindowConv(size, size, DOWN, stride=2)
            self.shrink_right = WindowConv(size, size, RIGHT, stride=2)
            self.inner = Scale(size, num_resnets, num_inner - 1, num_classes=num_classes, dropout=dropout)
            self.grow_down = Growth(size, size, GROWN_DOWN)
            self.grow_right = Growth(size, size, GROWN_RIGHT)
        self.second = layers(num_resnets + (num_inner > 0), True)

    def forward(self, streams: Streams, classes: Tensor | None) -> Streams:
        passed = [streams]
        for layer in self.first:
            passed.append(layer(passed[-1], None, classes))
        if self.inner is None:
            streams = passed.pop()
        else:
            down, right = passed[-1]
            down, right = self.inner((self.shrink_down(down), self.shrink_right(right)), classes)
            streams = self.grow_down(down), self.grow_right(right)
        for layer in self.second:
            streams = layer(streams, passed.pop(), classes)
        return streams
