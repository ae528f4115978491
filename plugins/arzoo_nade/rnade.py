"""RNADE: The real-valued neural autoregressive density-estimator, Uria, Murray & Larochelle 2013,
https://arxiv.org/abs/1306.0186.

    a_1 = c,  h_i = f(rho_i a_i),  p(x_i | x_<i) = a mixture given by b_i + V_i h_i,  a_{i+1} = a_i + W_i x_i

The paper multiplies the gradient of each mean by its scale, since a component of tiny scale makes steps without bound.
Here no scale falls below `min_scale`; in trials no training diverged, and with Adam that factor made them slower, so
gradients are those of the density.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from arzoo.model import Context, NamedContext
from arzoo.orders import Ordered, OrderedConfig
from arzoo.scalars import Reals

from .recursion import RecursionDecoder, recursion


@dataclass(frozen=True, kw_only=True)
class RNADEConfig(OrderedConfig):
    """
    Attributes:
        hidden_size: Units H of the one hidden layer.
        activation: The function f.
        num_components: Components of the mixture at a site.
        component: Their kind.
        min_scale: What no scale of a component falls below, in units of the data: where values are rounded or
            repeated, scales without a floor would make the density grow without bound.
        noise_scale: Standard deviation of the normal noise that training adds to every value, in units of the data;
            of a density it smooths what decay of the weights leaves rough (Rothfuss et al. 2019,
            https://arxiv.org/abs/1907.08982).
    """

    num_categories: None = None
    hidden_size: int = 50
    activation: Literal["sigmoid", "relu"] = "relu"
    num_components: int = 10
    component: Literal["normal", "laplace"] = "normal"
    min_scale: float = 0.01
    noise_scale: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden_size", "num_components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.min_scale > 0:
            raise ValueError(f"min_scale must be above 0, got {self.min_scale}")
        if not 0 <= self.noise_scale < 1e6:
            raise ValueError(f"noise_scale must be at least 0 and below 1e6, got {self.noise_scale}")


class RNADE(Ordered):
    """Real events of any shape, flattened; densities are of the values as they come, so standardise them."""

    family = "rnade"
    config_class = RNADEConfig
    config: RNADEConfig

    def __init__(self, config: RNADEConfig) -> None:
        super().__init__(config)
        self.scalars = Reals(config.num_components, config.component, config.min_scale)
        num_outputs = self.scalars.num_outputs
        self.encoder = nn.Parameter(torch.randn(config.dims, 1, config.hidden_size) * 0.1)  # W
        self.encoder_bias = nn.Parameter(torch.zeros(config.hidden_size))  # c
        # a_i is a sum of i terms: so it neither grows nor shrinks on its way.
        self.rescaling = nn.Parameter(torch.arange(1, config.dims + 1).float().rsqrt())  # rho
        self.output = nn.Parameter(torch.randn(config.dims, num_outputs, config.hidden_size) * 0.01)  # V
        self.output_bias = nn.Parameter(torch.zeros(config.dims, num_outputs))  # b
        self.set_order()

    @classmethod
    def tiny_configs(cls) -> Sequence[RNADEConfig]:
        return [
            RNADEConfig(event_shape=(3,), hidden_size=4, num_components=2, noise_scale=0.1),
            RNADEConfig(event_shape=(2, 1), hidden_size=3, num_components=3, component="laplace", min_scale=0.1),
            RNADEConfig(event_shape=(4,), hidden_size=3, activation="sigmoid", num_components=1, ordering="random"),
        ]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from components spread over the data."""
        self.output_bias.copy_(self.scalars.start(self.check_events(x).flatten(1)))

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor | None:
        """What is added to events, shape (num_examples, *E); None if nothing is."""
        if not self.config.noise_scale:
            return None
        return torch.randn((num_examples, *self.config.event_shape), generator=generator) * self.config.noise_scale

    def loss(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        """-log_prob of events with noise."""
        if not self.config.noise_scale:
            return super().loss(x, context)
        x = self.check_events(x)
        noise = self.noise(len(x)) if noise is None else noise
        assert noise is not None  # there is a scale
        return super().loss(x + noise.to(x.device), context)

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        with torch.autocast(x.device.type, enabled=False):
            outputs = recursion(
                self.scalars.encode(x.flatten(1).t()),  # (D, B, 1)
                self.encoder,
                self.encoder_bias,
                self.output,
                self.rescaling,
                self.config.activation,
                self.get_buffer("fixed_order"),
            )
            outputs = outputs.transpose(0, 1) + self.output_bias  # (B, D, O)
        return self.scalars.distribution(outputs.reshape(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> RecursionDecoder:
        return RecursionDecoder(
            num_samples,
            self.scalars,
            self.encoder,
            self.encoder_bias,
            self.output,
            self.output_bias,
            self.rescaling,
            self.config.activation,
            self.order().tolist(),
        )
