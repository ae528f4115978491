"""Gated and Conditional PixelCNN: Conditional Image Generation with PixelCNN Decoders, van den Oord et al. 2016,
https://arxiv.org/abs/1606.05328.

Two stacks of layers see every pixel before: the vertical one the rows above, the horizontal one the pixels to the left,
and of every vertical layer what a 1x1 convolution brings over, the link (section 2.2).  A layer of either stack is

    y = tanh(W_f * x + V_f c) . sigma(W_g * x + V_g c)

with one convolution for both W, and c the one-hot class or a map beside the image (sections 2.1, 2.3).  The horizontal
stack adds a layer to its input, but for the first, lest a pixel see itself; skips of all layers add up to the head.

The vertical stack is shifted down once: its first kernel ends a row above its pixel.  From there on its row i knows the
rows above i, whatever the layer, and no link needs a shift of its own.  The colours of a pixel come in order, as groups
of the horizontal channels: G sees R, B sees R and G; what the rows above say all of them see.  Levels enter and come
out as `arzoo.levels` says.

With `num_mixtures` a pixel is one site instead, its distribution the mixture of `arzoo.logistic_mixture` (Salimans et
al. 2017, arXiv:1701.05517, sections 2.1 and 2.2): channels have no groups, and no layer sees the pixel itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.labels import one_hot
from arzoo.levels import (
    ImageConfig,
    LevelSoftmax,
    level_distribution,
    level_features,
    level_output,
    start_at_marginals,
)
from arzoo.logistic_mixture import LogisticMixture, MixtureLinear
from arzoo.model import Context, NamedContext
from arzoo.nn import MaskedConv2d

from .decoder import GatedPixelCNNDecoder
from .layers import GatedLayer

_MAP = "map"


@dataclass(frozen=True, kw_only=True)
class GatedPixelCNNConfig(ImageConfig):
    """
    Attributes:
        hidden_size: Features h of each stack.  Divisible by the number of groups: of colours, or 1 with a mixture.
        num_layers: Layers behind the first, which has 7x7 kernels.
        kernel_size: Odd width of their kernels.
        head_size: Features of the 1x1 layer before the distribution.  Divisible by the number of groups.
        num_mixtures: Components of the logistic mixture over the colours of a pixel; None for a softmax of each colour.
        num_classes: Number of classes that images are conditioned on; None for none.
        context_name: What the data set calls the classes.
        class_dropout: Share of the classes that training hides, so that the model learns to do without one too.
        context_channels: Channels of a map that images are conditioned on, of their height and width; None for none.
    """

    hidden_size: int = 128
    num_layers: int = 10
    kernel_size: int = 3
    head_size: int = 128
    num_mixtures: int | None = None
    num_classes: int | None = None
    context_name: str = "class"
    class_dropout: float = 0.0
    context_channels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_mixtures is None:
            self.check_groups("hidden_size", "head_size")
        for name in ("hidden_size", "head_size", "num_layers", "num_mixtures", "num_classes", "context_channels"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        if not 0 <= self.class_dropout < 1:
            raise ValueError(f"class_dropout must be at least 0 and below 1, got {self.class_dropout}")
        if self.class_dropout and self.num_classes is None:
            raise ValueError(f"class_dropout of {self.class_dropout} has no classes to hide; give num_classes")
        if self.context_name in ("", _MAP):
            raise ValueError(f"context_name must name the classes, and not as {_MAP!r}, got {self.context_name!r}")

    @property
    def num_groups(self) -> int:
        """Sites of a pixel, and groups of channels: its colours, or 1 with a mixture."""
        return self.event_shape[0] if self.num_mixtures is None else 1

    @property
    def num_conditions(self) -> int:
        """Numbers a pixel is conditioned on: the one-hot class, then the map."""
        return (self.num_classes or 0) + (self.context_channels or 0)


class GatedPixelCNN(arzoo.Autoregressive):
    """Images (C, H, W) of K levels, pixels row by row; one site a colour of a pixel, R before G before B, or a pixel.

    Its context is, as the config says, a class under the name `context_name`, integers (B,) from 0 to num_classes - 1,
    or -1 for none; and a "map", real numbers (B, context_channels, H, W).
    """

    family = "gated_pixelcnn"
    config_class = GatedPixelCNNConfig
    config: GatedPixelCNNConfig
    features: Tensor

    def __init__(self, config: GatedPixelCNNConfig) -> None:
        super().__init__(config)
        colours, h = config.event_shape[0], config.hidden_size
        self.levels = config.num_categories
        self.register_buffer("features", level_features(self.levels), persistent=False)  # (K, F)
        self.layers = nn.ModuleList(
            GatedLayer(
                h if index else colours * self.features.shape[1],
                config,
                first=index == 0,
                last=index == config.num_layers,
            )
            for index in range(config.num_layers + 1)
        )
        self.head = MaskedConv2d(h, config.head_size, 1, include_self=True, num_groups=config.num_groups)
        self.output: MaskedConv2d | LevelSoftmax | MixtureLinear
        if config.num_mixtures is None:
            self.output = level_output(config.head_size, colours, self.levels)
        else:
            self.site_axes = (0,)
            self.output = MixtureLinear(config.head_size, colours, config.num_mixtures)

    @classmethod
    def tiny_configs(cls) -> Sequence[GatedPixelCNNConfig]:
        return [
            GatedPixelCNNConfig(event_shape=(1, 5, 2), hidden_size=3, num_layers=2, head_size=4),
            GatedPixelCNNConfig(
                event_shape=(3, 2, 2),
                hidden_size=3,
                num_layers=1,
                head_size=3,
                num_classes=2,
                context_name="digit",
                class_dropout=0.3,
            ),
            GatedPixelCNNConfig(
                event_shape=(3, 2, 1),
                num_categories=4,
                hidden_size=6,
                num_layers=2,
                kernel_size=5,
                head_size=3,
                num_classes=3,
                context_channels=2,
            ),
            GatedPixelCNNConfig(
                event_shape=(1, 2, 3), num_categories=3, hidden_size=2, num_layers=1, head_size=2, context_channels=1
            ),
            GatedPixelCNNConfig(
                event_shape=(3, 2, 2), hidden_size=2, num_layers=2, head_size=4, num_mixtures=2, num_classes=2
            ),
        ]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginal distribution of the levels of each colour; a mixture starts spread over them."""
        x = self.check_events(x)
        if not isinstance(self.output, MixtureLinear):
            start_at_marginals(self.output, x, self.levels)

    # ---- context

    @property
    def context_names(self) -> tuple[str, ...]:
        label = () if self.config.num_classes is None else (self.config.context_name,)
        return label if self.config.context_channels is None else (*label, _MAP)

    @property
    def num_classes_by_context(self) -> Mapping[str, int]:
        return {} if self.config.num_classes is None else {self.config.context_name: self.config.num_classes}

    def example_context(self, num_examples: int, generator: torch.Generator) -> NamedContext:
        context = {}
        if self.config.num_classes is not None:
            labels = torch.randint(-1, self.config.num_classes, (num_examples,), generator=generator)
            context[self.config.context_name] = labels
        if self.config.context_channels is not None:
            shape = (num_examples, self.config.context_channels, *self.config.event_shape[1:])
            context[_MAP] = torch.randn(shape, generator=generator)
        return context or None

    def check_context(self, num_examples: int, context: Context) -> NamedContext:
        named = super().check_context(num_examples, context)
        if named is not None and self.config.context_channels is not None:
            values = named[_MAP]
            shape = (num_examples, self.config.context_channels, *self.config.event_shape[1:])
            if tuple(values.shape) != shape or not values.is_floating_point():
                raise ValueError(
                    f"context {_MAP} must be real numbers of shape {shape},"
                    f" got {values.dtype} of shape {tuple(values.shape)}"
                )
            if not bool(values.isfinite().all()):
                raise ValueError(f"context {_MAP} must be finite, got NaN or infinity")
            named = {**named, _MAP: values.float()}
        return named

    def conditions(self, context: NamedContext) -> Tensor | None:
        """The checked context as channels: (B, n, H, W), or (B, n, 1, 1) if it is a class alone."""
        if context is None:
            return None
        parts = []
        if self.config.num_classes is not None:
            classes = one_hot(context[self.config.context_name], self.config.num_classes)
            parts.append(classes[:, :, None, None].float())
        if self.config.context_channels is not None:
            values = context[_MAP]
            parts = [part.expand(-1, -1, *values.shape[2:]) for part in parts] + [values]
        return torch.cat(parts, 1).to(self.head.weight.dtype)

    # ---- likelihood

    def logits(self, inputs: Tensor, conditions: Tensor | None) -> Tensor:
        """
        Arguments:
            inputs: Images whose colours are F features each, shape (B, C F, H, W).
            conditions: Shape (B, n, H, W) or (B, n, 1, 1).

        Returns:
            Shape (B, C, H, W) of two levels, (B, C K, H, W) of K, (B, H, W, outputs) of mixtures.
        """
        v = h = inputs
        skips: Tensor | None = None
        for layer in self.layers:
            v, h, skip = layer(v, h, conditions)
            skips = skip if skips is None else skips + skip
        assert skips is not None
        x = self.head(skips.relu()).relu()
        outputs: Tensor = self.output(x if self.config.num_mixtures is None else x.permute(0, 2, 3, 1))
        return outputs

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        inputs = F.embedding(x.permute(0, 2, 3, 1), self.features).flatten(3).permute(0, 3, 1, 2)  # channels last
        outputs = self.logits(inputs, self.conditions(context))
        if self.config.num_mixtures is None:
            return level_distribution(outputs, self.levels)
        return LogisticMixture(outputs.float(), self.config.event_shape[0], self.levels)

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor | None:
        """A uniform number an example, shape (B,), which decides whether its class is hidden."""
        return torch.rand(num_examples, generator=generator) if self.config.class_dropout else None

    def loss(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        if not self.config.class_dropout:
            return -self.log_prob(x, context)
        named = self.check_context(len(x), context)
        assert named is not None
        noise = self.noise(len(x)) if noise is None else noise
        assert noise is not None
        name = self.config.context_name
        labels = torch.where(noise.to(named[name].device) < self.config.class_dropout, -1, named[name])
        return -self.log_prob(x, {**named, name: labels})

    # ---- walk

    def order(self, member: int = 0) -> Tensor:
        _, height, width = self.config.event_shape
        groups = self.config.num_groups
        return torch.arange(groups * height * width).view(groups, -1).t().reshape(-1)

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> GatedPixelCNNDecoder:
        return GatedPixelCNNDecoder(self, num_samples, self.conditions(context))
