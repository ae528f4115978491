"""NADE: The Neural Autoregressive Distribution Estimator, Larochelle & Murray 2011,
https://proceedings.mlr.press/v15/larochelle11a.html; Uria et al. 2016, https://arxiv.org/abs/1605.02226.

    a_1 = c,  h_i = f(a_i),  logit_i = b_i + V_i . h_i,  a_{i+1} = a_i + W_i x_i
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from arzoo.model import Context, NamedContext
from arzoo.orders import Ordered, OrderedConfig
from arzoo.scalars import discrete_scalars

from .recursion import RecursionDecoder, recursion


@dataclass(frozen=True, kw_only=True)
class NADEConfig(OrderedConfig):
    """
    Attributes:
        hidden_size: Units H of the one hidden layer.
        activation: The function f.
        tied: Whether V is W.
    """

    hidden_size: int = 500
    activation: Literal["sigmoid", "relu"] = "sigmoid"
    tied: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size must be at least 1, got {self.hidden_size}")


class NADE(Ordered):
    """Discrete events of any shape, flattened."""

    family = "nade"
    config_class = NADEConfig
    config: NADEConfig

    def __init__(self, config: NADEConfig) -> None:
        super().__init__(config)
        self.scalars = discrete_scalars(config)
        shape = (config.dims, self.scalars.num_inputs, config.hidden_size)
        self.encoder = nn.Parameter(torch.randn(shape) * 0.01)  # W
        self.encoder_bias = nn.Parameter(torch.zeros(config.hidden_size))  # c
        self.output = self.encoder if config.tied else nn.Parameter(torch.randn(shape) * 0.01)  # V
        self.output_bias = nn.Parameter(torch.zeros(shape[:2]))  # b
        self.set_order()

    @classmethod
    def tiny_configs(cls) -> Sequence[NADEConfig]:
        return [
            NADEConfig(event_shape=(10,), hidden_size=4),
            NADEConfig(event_shape=(3, 2, 2), hidden_size=3),
            NADEConfig(event_shape=(3, 1, 2), num_categories=4, hidden_size=3),
            NADEConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2), hidden_size=3, ordering="random"),
            NADEConfig(event_shape=(7,), hidden_size=3, activation="relu", tied=True),
        ]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals."""
        self.output_bias.copy_(self.scalars.start(self.check_events(x).flatten(1)))

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        with torch.autocast(x.device.type, enabled=False):
            logits = recursion(
                self.scalars.encode(x.flatten(1).t()),  # (D, B, R)
                self.encoder,
                self.encoder_bias,
                self.output,
                None,
                self.config.activation,
                self.get_buffer("fixed_order"),
            )
            logits = logits.transpose(0, 1) + self.output_bias  # (B, D, R)
        return self.scalars.distribution(logits.reshape(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> RecursionDecoder:
        return RecursionDecoder(
            num_samples,
            self.scalars,
            self.encoder,
            self.encoder_bias,
            self.output,
            self.output_bias,
            None,
            self.config.activation,
            self.order().tolist(),
        )
