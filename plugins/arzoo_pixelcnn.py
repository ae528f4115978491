"""PixelCNN: Pixel Recurrent Neural Networks, van den Oord et al. 2016, https://arxiv.org/abs/1601.06759.

A 7x7 convolution with mask A, residual blocks with mask B (1x1, 3x3, 1x1), two 1x1 layers, and a softmax over the
levels of each colour.  The colours of a pixel come in order: G sees R, B sees R and G (section 3.4).  Stacked masked
kernels never see a wedge to the upper right: the blind spot is part of the model.

Levels are ordered, and both ends of the net know it.  A level enters as a few cosines of its place in the range, and
the weights of the softmax are cosines of it too plus a free number a level: the same function class, learnt from
fewer images, since what one level teaches holds for those beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.distributions import Bernoulli, Categorical
from arzoo.model import Context, NamedContext
from arzoo.nn import MaskedConv2d

_INPUT_COSINES = 8
_OUTPUT_COSINES = 32


def _cosines(num_levels: int, most: int) -> Tensor:
    """cos(pi m (k + 1/2) / K) of levels k for m = 1, 2, ..., shape (K, min(K - 1, most)): the DCT's smooth half."""
    level = (torch.arange(num_levels, dtype=torch.float64) + 0.5) / num_levels
    frequency = torch.arange(1, min(num_levels - 1, most) + 1)
    return torch.cos(math.pi * level[:, None] * frequency).float()


@dataclass(frozen=True, kw_only=True)
class PixelCNNConfig(arzoo.ModelConfig):
    """
    Attributes:
        hidden_size: Features h inside a block; 2h run between blocks.  Divisible by the number of colours.
        num_blocks: Residual blocks.
        kernel_size: Odd width of the blocks' masked convolution.
        head_size: Features of the 1x1 layer before the softmax.  Divisible by the number of colours.
    """

    hidden_size: int = 128
    num_blocks: int = 15
    kernel_size: int = 3
    head_size: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.event_shape) != 3:
            raise ValueError(f"event_shape must be (channels, height, width), got {self.event_shape}")
        if not isinstance(self.num_categories, int):
            raise ValueError(f"num_categories must be one number of levels, got {self.num_categories}")
        for name in ("hidden_size", "head_size"):
            size = getattr(self, name)
            if size < 1 or size % self.event_shape[0]:
                raise ValueError(f"{name} must be a multiple of the {self.event_shape[0]} channels, got {size}")
        if self.num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, got {self.num_blocks}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")


class _Block(nn.Module):
    """ReLU, 1x1 down to h, masked kernel, 1x1 up to 2h, added to the input (figure 5, left)."""

    def __init__(self, hidden_size: int, kernel_size: int, num_groups: int) -> None:
        super().__init__()
        self.down = MaskedConv2d(2 * hidden_size, hidden_size, 1, include_self=True, num_groups=num_groups)
        self.conv = MaskedConv2d(hidden_size, hidden_size, kernel_size, include_self=True, num_groups=num_groups)
        self.up = MaskedConv2d(hidden_size, 2 * hidden_size, 1, include_self=True, num_groups=num_groups)
        # A block starts as the identity: without it a deep stack without normalisation starts far off scale.
        nn.init.zeros_(self.up.weight)
        assert self.up.bias is not None
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(self.down(x.relu()).relu())
        return x + self.up(h.relu())  # type: ignore[no-any-return]


class _Softmax(nn.Module):
    """The masked 1x1 convolution to the logits of K levels a colour, its weights smooth in the level plus free ones."""

    basis: Tensor
    mask: Tensor

    def __init__(self, in_channels: int, num_groups: int, num_levels: int) -> None:
        super().__init__()
        cosines = _cosines(num_levels, _OUTPUT_COSINES)
        basis = torch.cat([cosines * 4 / math.sqrt(cosines.shape[1]), torch.eye(num_levels)], 1)
        self.register_buffer("basis", basis, persistent=False)  # (K, M + K)
        shape = (num_groups, basis.shape[1], in_channels)
        self.coefficients = nn.Parameter(torch.randn(shape) * 0.05 / math.sqrt(in_channels))
        self.bias = nn.Parameter(torch.zeros(num_groups * num_levels))
        like = MaskedConv2d(in_channels, num_groups, 1, include_self=True, num_groups=num_groups)
        self.register_buffer("mask", like.mask.repeat_interleave(num_levels, 0), persistent=False)

    def masked_weight(self) -> Tensor:
        """Shape (C K, in_channels, 1, 1)."""
        with torch.autocast(self.basis.device.type, enabled=False):
            return (self.basis @ self.coefficients).view(self.mask.shape) * self.mask

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.masked_weight(), self.bias)


class PixelCNN(arzoo.Autoregressive):
    """Images (C, H, W) of K levels; one site a colour of a pixel, pixels row by row, R before G before B."""

    family = "pixelcnn"
    config_class = PixelCNNConfig
    config: PixelCNNConfig
    features: Tensor

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__(config)
        channels = config.event_shape[0]
        assert isinstance(config.num_categories, int)
        self.levels = config.num_categories
        self.register_buffer("features", 1.5 * _cosines(self.levels, _INPUT_COSINES), persistent=False)  # (K, F)
        inputs = channels * self.features.shape[1]
        width = 2 * config.hidden_size
        self.first = MaskedConv2d(inputs, width, 7, include_self=False, num_groups=channels)
        self.blocks = nn.ModuleList(
            _Block(config.hidden_size, config.kernel_size, channels) for _ in range(config.num_blocks)
        )
        self.head = MaskedConv2d(width, config.head_size, 1, include_self=True, num_groups=channels)
        self.output: MaskedConv2d | _Softmax
        if self.levels == 2:
            self.output = MaskedConv2d(config.head_size, channels, 1, include_self=True, num_groups=channels)
        else:
            self.output = _Softmax(config.head_size, channels, self.levels)

    @classmethod
    def tiny_configs(cls) -> Sequence[PixelCNNConfig]:
        return [
            PixelCNNConfig(event_shape=(1, 5, 2), hidden_size=3, num_blocks=2, head_size=4),
            PixelCNNConfig(event_shape=(3, 2, 2), hidden_size=3, num_blocks=1, head_size=6),
            PixelCNNConfig(event_shape=(3, 1, 2), num_categories=4, hidden_size=6, num_blocks=1, head_size=6),
        ]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginal distribution of the levels of each channel."""
        one_hot = F.one_hot(self.check_events(x).transpose(0, 1).flatten(1), self.levels)  # (C, N, K)
        counts = one_hot.sum(1).double() + 1
        start = (counts / counts.sum(1, keepdim=True)).log()
        assert self.output.bias is not None
        self.output.bias.copy_(start[:, 1] - start[:, 0] if self.levels == 2 else start.flatten())

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        inputs = self.features[x.permute(0, 2, 3, 1)].flatten(3)  # (B, H, W, C F)
        h = self.first(inputs.permute(0, 3, 1, 2))  # (B, 2h, H, W)
        for block in self.blocks:
            h = block(h)
        logits = self.output(self.head(h.relu()).relu())  # (B, C or C K, H, W)
        if self.levels == 2:
            return Bernoulli(logits.float())
        channels, height, width = self.config.event_shape
        split = logits.permute(0, 2, 3, 1).reshape(-1, height, width, channels, self.levels)
        return Categorical(split.permute(0, 3, 1, 2, 4).float().contiguous())

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)

    def order(self, member: int = 0) -> Tensor:
        channels, height, width = self.config.event_shape
        return torch.arange(channels * height * width).view(channels, -1).t().reshape(-1)


class _RowConv:
    """A masked convolution on one row of pixels, a colour group at a time.

    What the rows above contribute is computed once a row for all columns; a step adds the taps to the left and the
    centre.  Features come first and the batch last, so that whatever a step sees is one slice of memory.
    """

    def __init__(self, conv: MaskedConv2d, width: int, num_samples: int, num_groups: int, sees_self: bool) -> None:
        weight = conv.masked_weight().detach()  # (out, in, reach + 1, kernel_size)
        outs, ins, _, kernel_size = weight.shape
        reach = conv.reach
        assert conv.bias is not None
        self._bias = conv.bias.detach()[None, :, None]
        self._above = weight[:, :, :-1].permute(2, 0, 3, 1).reshape(reach, outs, kernel_size * ins)
        self._rows = weight.new_zeros(reach + 1, width + 2 * reach, ins, num_samples)  # the last is the current one
        self._base = weight.new_empty(width, outs, num_samples)
        self._windows = [
            row.flatten(0, 1).as_strided(
                (width, kernel_size * ins, num_samples), (ins * num_samples, num_samples, 1), row.storage_offset()
            )
            for row in self._rows[:-1]
        ]
        now = weight[:, :, -1, : reach + 1].permute(0, 2, 1).reshape(outs, -1)  # taps to the left, then the centre
        sees = [reach * ins + ins * (group + sees_self) // num_groups for group in range(num_groups)]
        current = self._rows[-1].flatten(0, 1)
        self.weight = [part[:, :end] for part, end in zip(now.chunk(num_groups), sees, strict=True)]
        self.seen = [[current[ins * c : ins * c + end] for end in sees] for c in range(width)]
        self.base = [self._base[c].chunk(num_groups) for c in range(width)]
        self.centre = [self._rows[-1, c + reach].chunk(num_groups) for c in range(width)]
        self.next_row()

    def next_row(self) -> None:
        """The current row becomes the one above, and an empty one begins."""
        self._rows[:-1] = self._rows[1:].clone()
        self._rows[-1].zero_()
        self._base.copy_(self._bias.expand_as(self._base))
        for weight, window in zip(self._above, self._windows, strict=True):
            self._base.baddbmm_(weight.expand(len(window), -1, -1), window)


class _RowLinear:
    """A masked 1x1 convolution of one pixel, a colour group at a time; a first feature of ones carries the bias."""

    def __init__(self, conv: MaskedConv2d | _Softmax, num_samples: int, num_groups: int) -> None:
        weight = conv.masked_weight().detach().flatten(1)  # (out, in)
        assert conv.bias is not None
        weight = torch.cat([conv.bias.detach()[:, None], weight], 1)
        ins = weight.shape[1] - 1
        inputs = weight.new_ones(1 + ins, num_samples)
        sees = [1 + ins * (group + 1) // num_groups for group in range(num_groups)]
        self.weight = [part[:, :end] for part, end in zip(weight.chunk(num_groups), sees, strict=True)]
        self.seen = [inputs[:end] for end in sees]
        self.inputs = inputs[1:].chunk(num_groups)


class _Decoder(arzoo.Decoder):
    """Computes every feature once: a whole image costs about one full pass."""

    def __init__(self, model: PixelCNN, num_samples: int) -> None:
        channels, _, width = model.config.event_shape
        self._model, self._width, self._channels = model, width, channels
        self._column, self._group, self._ready = 0, 0, False

        def linear(conv: MaskedConv2d | _Softmax) -> _RowLinear:
            return _RowLinear(conv, num_samples, channels)

        self._first = _RowConv(model.first, width, num_samples, channels, sees_self=False)
        self._blocks = []
        for block in model.blocks:
            assert isinstance(block, _Block)
            conv = _RowConv(block.conv, width, num_samples, channels, sees_self=True)
            self._blocks.append((linear(block.down), conv, linear(block.up)))
        self._head, self._output = linear(model.head), linear(model.output)
        self._x = model.first.weight.new_empty(model.first.weight.shape[0] // channels, num_samples)

    def _advance(self) -> None:
        """Brings the colour at hand through all blocks."""
        if self._ready:
            return
        c, g = self._column, self._group
        x = torch.addmm(self._first.base[c][g], self._first.weight[g], self._first.seen[c][g], out=self._x)
        for down, conv, up in self._blocks:
            torch.clamp_min(x, 0, out=down.inputs[g])
            torch.mm(down.weight[g], down.seen[g], out=conv.centre[c][g]).relu_()
            torch.addmm(conv.base[c][g], conv.weight[g], conv.seen[c][g], out=up.inputs[g]).relu_()
            x.addmm_(up.weight[g], up.seen[g])
        torch.clamp_min(x, 0, out=self._head.inputs[g])
        torch.mm(self._head.weight[g], self._head.seen[g], out=self._output.inputs[g]).relu_()
        self._ready = True

    def conditional(self) -> Bernoulli | Categorical:
        self._advance()
        g = self._group
        logits = self._output.seen[g].t() @ self._output.weight[g].t()  # (B, 1 or K)
        return Bernoulli(logits[:, 0]) if self._model.levels == 2 else Categorical(logits)

    def append(self, value: Tensor) -> None:
        self._advance()
        g = self._group
        self._first.centre[self._column][g].copy_(self._model.features[value].t())
        self._ready = False
        self._group = (g + 1) % self._channels
        if self._group:
            return
        self._column = (self._column + 1) % self._width
        if self._column == 0:
            for conv in (self._first, *(conv for _, conv, _ in self._blocks)):
                conv.next_row()


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [PixelCNN]
