"""PixelSNAIL: An Improved Autoregressive Generative Model, Chen et al. 2018, https://arxiv.org/abs/1712.09763.

Convolutions see what is near exactly and what is far not at all; attention sees everything, but coarsely.  So blocks of
one follow blocks of the other (section 2):

    residual   x + a . sigma(b),   (a, b) = conv(elu(conv(elu(x))))
    attention  to all pixels before, queries from (features, place), keys and values from (image, features, place)

The first convolution sees the pixels above and to the left, not its own: from there on features know nothing of their
own pixel, and the convolutions of 2x2 behind it may see theirs.  Keys know the image at their pixel, so the mask of
attention is strict: a pixel attends to those before it only, and the first to none, which gives it zeros.

The paper's first layer is two shifted convolutions whose sum is this one.  Its queries, keys and values go through a
gated residual layer of their own first; here they are linear.  A pixel is one site: two levels of one colour are a
Bernoulli, all else is the mixture of `arzoo.logistic_mixture`.  Levels enter as `arzoo.levels` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

import arzoo
from arzoo.distributions import Bernoulli
from arzoo.levels import ImageConfig, level_features
from arzoo.logistic_mixture import LogisticMixture, MixtureLinear
from arzoo.model import Context, NamedContext
from arzoo.nn import MaskedConv2d, WindowConv2d

from .decoder import PixelSNAILDecoder


@dataclass(frozen=True, kw_only=True)
class PixelSNAILConfig(ImageConfig):
    """
    Attributes:
        hidden_size: Features of a pixel.
        num_blocks: Blocks, each of residual layers and then attention.
        num_residual: Residual layers of a block.
        first_kernel_size: Odd width of the first layer's kernel, of which the causal half exists.
        kernel_size: Rows and columns that residual layers see: the pixel's own, and those above and to the left.
        num_heads: Heads of attention.
        key_size: Numbers of a query and of a key of a head.
        value_size: Numbers of a value of a head.
        dropout: Share of the features inside residual layers that training hides.
        num_mixtures: Components of the logistic mixture; unused for two levels of one colour.
    """

    hidden_size: int = 64
    num_blocks: int = 4
    num_residual: int = 2
    first_kernel_size: int = 3
    kernel_size: int = 2
    num_heads: int = 1
    key_size: int = 16
    value_size: int = 32
    dropout: float = 0.0
    num_mixtures: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "hidden_size",
            "num_blocks",
            "num_residual",
            "kernel_size",
            "num_heads",
            "key_size",
            "value_size",
            "num_mixtures",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.first_kernel_size < 3 or self.first_kernel_size % 2 == 0:
            raise ValueError(f"first_kernel_size must be odd and at least 3, got {self.first_kernel_size}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


def gate(x: Tensor, axis: int) -> Tensor:
    """a . sigma(b) of the two halves; torch's glu would turn gradients of images around in memory."""
    a, b = x.chunk(2, axis)
    return a * b.sigmoid()


class GatedResidual(nn.Module):
    """x + a . sigma(b), from two convolutions that see the pixel, and what is above and to the left of it."""

    def __init__(self, config: PixelSNAILConfig) -> None:
        super().__init__()
        size, window = config.hidden_size, (1 - config.kernel_size, 0)
        self.first = WindowConv2d(size, size, rows=window, columns=window)
        self.second = WindowConv2d(size, 2 * size, rows=window, columns=window)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, H, W) -> (B, h, H, W)."""
        y = self.second(self.dropout(F.elu(self.first(F.elu(x)))))
        return x + gate(y, 1)


def strict_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What each of T positions makes of those before it, zeros at the first.

    Arguments:
        q: Queries, shape (B, heads, T, key_size).
        k: Keys, the same shape.
        v: Values, shape (B, heads, T, value_size).

    Returns:
        The shape of v.
    """
    sizes, scale = (k.shape[-1], v.shape[-1]), k.shape[-1] ** -0.5
    # Zeros change nothing, and the kernel that does not hold all T^2 weights takes one size only.
    q, k, v = (F.pad(part, (0, max(sizes) - part.shape[-1])) for part in (q[:, :, 1:], k[:, :, :-1], v[:, :, :-1]))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)  # position t - 1 up to itself
    return F.pad(mixed[..., : sizes[1]], (0, 0, 1, 0))


class Attention(nn.Module):
    """Attention to every pixel before, and the gated residual layer that takes in what it finds; pixels in a row.

    Arguments:
        in_size: Numbers of the image at a pixel, the two of its place with them.
    """

    def __init__(self, config: PixelSNAILConfig, in_size: int) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_heads
        self.num_heads, self.key_size, self.value_size = heads, config.key_size, config.value_size
        self.query = nn.Linear(size + 2, heads * config.key_size)
        self.key_value = nn.Linear(in_size + size, heads * (config.key_size + config.value_size))
        self.features = nn.Linear(size, size)
        self.mixed = nn.Linear(heads * config.value_size, size)
        self.gate = nn.Linear(size, 2 * size)
        self.dropout = nn.Dropout(config.dropout)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, heads n) -> (B, heads, T, n)."""
        split: Tensor = x.unflatten(2, (self.num_heads, -1))
        return split.transpose(1, 2)

    def queries(self, x: Tensor, places: Tensor) -> Tensor:
        """Shape (B, heads, T, key_size), of features (B, T, h) and places (T, 2)."""
        seen = torch.cat([x, places.to(x.dtype).expand(len(x), -1, -1)], 2)
        return self._heads(self.query(seen))

    def keys_values(self, x: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Shape (B, heads, T, key_size or value_size), of features (B, T, h) and the image (B, T, in_size)."""
        both = self._heads(self.key_value(torch.cat([inputs.to(x.dtype), x], 2)))
        k, v = both.split((self.key_size, self.value_size), 3)
        return k, v

    def merge(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Features (B, T, h) and what attention (B, heads, T, value_size) found, before the gate: (B, T, h)."""
        return F.elu(self.features(F.elu(x)) + self.mixed(F.elu(mixed.transpose(1, 2).flatten(2))))

    def forward(self, x: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
        """(B, T, h) -> (B, T, h)."""
        y = self.merge(x, strict_attention(self.queries(x, places), *self.keys_values(x, inputs)))
        return x + gate(self.gate(self.dropout(y)), 2)


class Block(nn.Module):
    """Residual layers, then attention."""

    def __init__(self, config: PixelSNAILConfig, in_size: int) -> None:
        super().__init__()
        self.residuals = nn.ModuleList(GatedResidual(config) for _ in range(config.num_residual))
        self.attention = Attention(config, in_size)

    def forward(self, x: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
        """(B, h, H, W) -> (B, h, H, W), given the image (B, T, in_size) and the places (T, 2)."""
        for residual in self.residuals:
            x = residual(x)
        pixels: Tensor = self.attention(x.permute(0, 2, 3, 1).flatten(1, 2), inputs, places)  # (B, T, h)
        return pixels.mT.view(x.shape)


class PixelSNAIL(arzoo.Autoregressive):
    """Images (C, H, W) of L levels; one site a pixel, pixels row by row."""

    family = "pixelsnail"
    config_class = PixelSNAILConfig
    config: PixelSNAILConfig
    site_axes = (0,)
    features: Tensor
    places: Tensor

    def __init__(self, config: PixelSNAILConfig) -> None:
        super().__init__(config)
        channels, height, width = config.event_shape
        self.levels, self.binary = config.num_categories, config.num_categories == 2 and channels == 1
        self.register_buffer("features", level_features(self.levels), persistent=False)  # (L, F)
        rows, columns = ((2 * torch.arange(size) + 1) / size - 1 for size in (height, width))
        self.register_buffer("places", torch.cartesian_prod(rows, columns), persistent=False)  # (T, 2)
        in_size = channels * self.features.shape[1] + 2
        self.first = MaskedConv2d(in_size, config.hidden_size, config.first_kernel_size, include_self=False)
        self.blocks = nn.ModuleList(Block(config, in_size) for _ in range(config.num_blocks))
        self.output: nn.Linear
        if self.binary:
            self.output = nn.Linear(config.hidden_size, 1)
            with torch.no_grad():
                self.output.weight.mul_(0.1)
        else:
            self.output = MixtureLinear(config.hidden_size, channels, config.num_mixtures)

    @classmethod
    def tiny_configs(cls) -> Sequence[PixelSNAILConfig]:
        return [
            PixelSNAILConfig(
                event_shape=(1, 5, 2), hidden_size=4, num_blocks=2, num_residual=1, key_size=2, value_size=3
            ),
            PixelSNAILConfig(
                event_shape=(3, 3, 1),
                hidden_size=3,
                num_blocks=1,
                num_residual=2,
                first_kernel_size=5,
                num_heads=2,
                key_size=3,
                value_size=2,
                dropout=0.3,
                num_mixtures=2,
            ),
            PixelSNAILConfig(
                event_shape=(1, 2, 3),
                num_categories=4,
                hidden_size=3,
                num_blocks=1,
                num_residual=1,
                kernel_size=3,
                key_size=2,
                value_size=2,
                num_mixtures=3,
            ),
        ]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the share of ones, where levels are two; a mixture starts spread over all levels."""
        x = self.check_events(x)
        if self.binary:
            self.output.bias.copy_(((x.sum() + 1) / (x.numel() + 2)).logit())

    # ---- likelihood

    def inputs(self, values: Tensor, places: Tensor) -> Tensor:
        """What enters the network of pixels' levels (B, T, C) and places (T, 2), shape (B, T, in_size)."""
        features = F.embedding(values, self.features).flatten(2)  # (B, T, C F)
        return torch.cat([features, places.expand(len(values), -1, -1)], 2)

    def distribution(self, x: Tensor) -> Distribution:
        """Of features (..., h), batch_shape (...), event_shape (C,)."""
        with torch.autocast(x.device.type, enabled=False):  # what enters the last layer is float32 too
            outputs = self.output(F.elu(x.to(self.output.weight.dtype))).float()
        if self.binary:
            return Independent(Bernoulli(outputs), 1, validate_args=False)
        return LogisticMixture(outputs, self.config.event_shape[0], self.levels)

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        inputs = self.inputs(self.sites(x).flatten(1, 2), self.places)  # (B, T, in_size)
        h = self.first(inputs.unflatten(1, self.grid_shape).permute(0, 3, 1, 2))  # (B, h, H, W), channels last
        for block in self.blocks:
            h = block(h, inputs, self.places)
        return self.distribution(h.permute(0, 2, 3, 1))

    # ---- walk

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> PixelSNAILDecoder:
        return PixelSNAILDecoder(self, num_samples)
