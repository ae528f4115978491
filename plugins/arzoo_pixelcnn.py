"""PixelCNN: Pixel Recurrent Neural Networks, van den Oord et al. 2016, https://arxiv.org/abs/1601.06759.

A 7x7 convolution with mask A, residual blocks with mask B (1x1, 3x3, 1x1), two 1x1 layers, and a softmax over the
levels of each colour.  The colours of a pixel come in order: G sees R, B sees R and G (section 3.4).  Stacked masked
kernels never see a wedge to the upper right: the blind spot is part of the model.  Levels enter and come out as
`arzoo.levels` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.distributions import Bernoulli, Categorical
from arzoo.levels import ImageConfig, LevelSoftmax, level_distribution, level_features, level_output, start_at_marginals
from arzoo.model import Context, NamedContext
from arzoo.nn import MaskedConv2d
from arzoo.pixel_decoding import PixelLinear, RowConv


@dataclass(frozen=True, kw_only=True)
class PixelCNNConfig(ImageConfig):
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
        self.check_groups("hidden_size", "head_size")
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


class PixelCNN(arzoo.Autoregressive):
    """Images (C, H, W) of K levels; one site a colour of a pixel, pixels row by row, R before G before B."""

    family = "pixelcnn"
    config_class = PixelCNNConfig
    config: PixelCNNConfig
    features: Tensor

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__(config)
        channels = config.event_shape[0]
        self.levels = config.num_categories
        self.register_buffer("features", level_features(self.levels), persistent=False)  # (K, F)
        inputs = channels * self.features.shape[1]
        width = 2 * config.hidden_size
        self.first = MaskedConv2d(inputs, width, 7, include_self=False, num_groups=channels)
        self.blocks = nn.ModuleList(
            _Block(config.hidden_size, config.kernel_size, channels) for _ in range(config.num_blocks)
        )
        self.head = MaskedConv2d(width, config.head_size, 1, include_self=True, num_groups=channels)
        self.output = level_output(config.head_size, channels, self.levels)

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
        start_at_marginals(self.output, self.check_events(x), self.levels)

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        inputs = self.features[x.permute(0, 2, 3, 1)].flatten(3)  # (B, H, W, C F)
        h = self.first(inputs.permute(0, 3, 1, 2))  # (B, 2h, H, W)
        for block in self.blocks:
            h = block(h)
        return level_distribution(self.output(self.head(h.relu()).relu()), self.levels)

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)

    def order(self, member: int = 0) -> Tensor:
        channels, height, width = self.config.event_shape
        return torch.arange(channels * height * width).view(channels, -1).t().reshape(-1)


class _Decoder(arzoo.Decoder):
    """Computes every feature once: a whole image costs about one full pass."""

    def __init__(self, model: PixelCNN, num_samples: int) -> None:
        channels, _, width = model.config.event_shape
        self._model, self._width, self._channels = model, width, channels
        self._column, self._group, self._ready = 0, 0, False

        def linear(conv: MaskedConv2d | LevelSoftmax) -> PixelLinear:
            return PixelLinear(conv, num_samples, channels)

        self._first = RowConv.of(model.first, width, num_samples, channels, sees_self=False)
        self._blocks = []
        for block in model.blocks:
            assert isinstance(block, _Block)
            conv = RowConv.of(block.conv, width, num_samples, channels)
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
