"""PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications,
Salimans et al. 2017, https://arxiv.org/abs/1701.05517.

A pixel with all its colours is one site, and its distribution a mixture of logistics (sections 2.1, 2.2).  So two
streams without masks see every pixel before: one goes down, its row i knows the rows above i; the other goes down and
right, and sees the first at every layer.  Only their first layers are shifted, so that no tap is at the pixel itself.
Either has layers at several resolutions, half of them on the way to the coarsest, half on the way back, with shortcuts
between (sections 2.3, 2.4).  A channel of ones tells the image from the padding around it.

The last layer starts as `arzoo.logistic_mixture.spread_mixture` says, and not at mean 0 like all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

import arzoo
from arzoo.labels import one_hot
from arzoo.levels import ImageConfig
from arzoo.logistic_mixture import LogisticMixture, num_mixture_outputs, place, spread_mixture
from arzoo.model import Context, NamedContext

from .decoder import PixelCNNPPDecoder
from .layers import PIXEL, NormalisedConv, Scale, Window, WindowConv

_ROWS_ABOVE = Window(rows=(-2, -1), columns=(-1, 1))
_ROW_ABOVE = Window(rows=(-1, -1), columns=(-1, 1))
_LEFT = Window(rows=(-1, 0), columns=(-1, -1))
_OUTPUT_SCALE = 0.1  # how far the mixtures of different pixels are apart at the start
_START_EXAMPLES = 100  # that the layers start from


@dataclass(frozen=True, kw_only=True)
class PixelCNNPPConfig(ImageConfig):
    """
    Attributes:
        num_filters: Channels n of each stream.
        num_resnets: Gated residual layers at a resolution, in either half; the second has one more at all resolutions
            but the coarsest.
        num_mixtures: Components of a pixel's distribution.
        num_scales: Resolutions; each has half the height and width of the one before.
        dropout: Share of the features within a layer that training drops.
        num_classes: Number of classes that images are conditioned on; None for none.
        context_name: What the data set calls the classes.
    """

    num_filters: int = 160
    num_resnets: int = 5
    num_mixtures: int = 10
    num_scales: int = 3
    dropout: float = 0.5
    num_classes: int | None = None
    context_name: str = "class"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_filters", "num_resnets", "num_mixtures", "num_scales", "num_classes"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        _, height, width = self.event_shape
        factor = 2 ** (self.num_scales - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"height and width must be multiples of {factor} for {self.num_scales} scales, got {height}x{width}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if not self.context_name:
            raise ValueError("context_name must name the classes, got ''")


class PixelCNNPP(arzoo.Autoregressive):
    """Images (C, H, W) of K levels; one site a pixel, row by row.

    If the config has classes, its context is one under the name `context_name`, integers (B,) from 0 to
    num_classes - 1, or -1 for none.
    """

    family = "pixelcnnpp"
    config_class = PixelCNNPPConfig
    config: PixelCNNPPConfig
    site_axes = (0,)

    def __init__(self, config: PixelCNNPPConfig) -> None:
        super().__init__(config)
        n, self.channels, self.levels = config.num_filters, config.event_shape[0], config.num_categories
        self.rows_above = WindowConv(self.channels + 1, n, _ROWS_ABOVE)
        self.row_above = WindowConv(self.channels + 1, n, _ROW_ABOVE)
        self.left = WindowConv(self.channels + 1, n, _LEFT)
        self.scales = Scale(
            n,
            config.num_resnets,
            config.num_scales - 1,
            num_classes=config.num_classes or 0,
            dropout=config.dropout,
        )
        outputs = num_mixture_outputs(self.channels, config.num_mixtures)
        self.output = WindowConv(n, outputs, PIXEL, scale=_OUTPUT_SCALE)
        self._spread()

    @classmethod
    def tiny_configs(cls) -> Sequence[PixelCNNPPConfig]:
        return [
            PixelCNNPPConfig(
                event_shape=(1, 2, 2), num_categories=3, num_filters=2, num_resnets=1, num_mixtures=2, num_scales=2
            ),
            PixelCNNPPConfig(
                event_shape=(3, 2, 2),
                num_filters=2,
                num_resnets=2,
                num_mixtures=2,
                num_scales=1,
                num_classes=2,
                context_name="digit",
                dropout=0.0,
            ),
            PixelCNNPPConfig(
                event_shape=(1, 4, 4), num_filters=2, num_resnets=1, num_mixtures=1, num_scales=3, num_classes=3
            ),
        ]

    @torch.no_grad()
    def _spread(self) -> None:
        self.output.bias.add_(spread_mixture(self.channels, self.config.num_mixtures).to(self.output.bias))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Sets gains and biases so that what leaves every convolution has mean 0 and a given deviation.

        The deviation is 1, or 0.1 for what a residual layer adds and for the parameters of the mixtures.
        """
        x = self.check_events(x)
        named = self.check_context(len(x), context)
        some = None if named is None else {name: labels[:_START_EXAMPLES] for name, labels in named.items()}
        convs = [module for module in self.modules() if isinstance(module, NormalisedConv)]
        hooks = [conv.register_forward_hook(lambda conv, inputs, outputs: conv.start_from(outputs)) for conv in convs]
        training = self.training
        try:
            self.eval().mixture_parameters(x[:_START_EXAMPLES], some)
        finally:
            self.train(training)
            for hook in hooks:
                hook.remove()
        self._spread()

    # ---- context

    @property
    def context_names(self) -> tuple[str, ...]:
        return () if self.config.num_classes is None else (self.config.context_name,)

    @property
    def num_classes_by_context(self) -> Mapping[str, int]:
        return {} if self.config.num_classes is None else {self.config.context_name: self.config.num_classes}

    def example_context(self, num_examples: int, generator: torch.Generator) -> NamedContext:
        if self.config.num_classes is None:
            return None
        return {
            self.config.context_name: torch.randint(-1, self.config.num_classes, (num_examples,), generator=generator)
        }

    def classes(self, context: NamedContext) -> Tensor | None:
        """The checked context as one-hot classes, shape (B, num_classes); nothing at all for -1."""
        if context is None or self.config.num_classes is None:
            return None
        return one_hot(context[self.config.context_name], self.config.num_classes).to(self.output.bias.dtype)

    # ---- likelihood

    def network(self, images: Tensor, classes: Tensor | None) -> Tensor:
        """
        Arguments:
            images: Numbers from -1 to 1, shape (B, C, H, W).
            classes: Shape (B, num_classes).

        Returns:
            Parameters of the mixtures, shape (B, outputs, H, W).
        """
        x = torch.cat([images, torch.ones_like(images[:, :1])], 1).contiguous(memory_format=torch.channels_last)
        streams = self.rows_above(x), self.row_above(x) + self.left(x)
        _, right = self.scales(streams, classes)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 cannot tell levels apart
            return self.output(F.elu(right.to(x.dtype)))  # type: ignore[no-any-return]

    def mixture_parameters(self, x: Tensor, context: NamedContext) -> Tensor:
        """Of checked events and their context, shape (B, H, W, outputs), float32."""
        images = place(x, self.levels, self.output.bias.dtype)
        return self.network(images, self.classes(context)).permute(0, 2, 3, 1).float()

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        return LogisticMixture(self.mixture_parameters(x, context), self.channels, self.levels)

    # ---- walk

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> PixelCNNPPDecoder:
        return PixelCNNPPDecoder(self, num_samples, self.classes(context))
