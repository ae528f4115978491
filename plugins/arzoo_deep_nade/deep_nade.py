"""DeepNADE: A Deep and Tractable Density Estimator, Uria, Murray & Larochelle 2014, https://arxiv.org/abs/1310.1757.

A fully connected network that is told which scalars are known, trained on an order and a position drawn at random for
every example.  Several orders are one density: EoNADE, the average of their probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .orderless import Orderless, OrderlessConfig


@dataclass(frozen=True, kw_only=True)
class DeepNADEConfig(OrderlessConfig):
    """Two hidden layers of 500 ReLUs by default, the paper's best."""


class DeepNADE(Orderless):
    """Discrete events of any shape, flattened.

    A likelihood and a sample of one order cost D passes, but for the first layer, which costs one in all, and the
    last, of which a step needs one site.
    """

    family = "deep_nade"
    config_class = DeepNADEConfig
    config: DeepNADEConfig

    @classmethod
    def tiny_configs(cls) -> Sequence[DeepNADEConfig]:
        return [
            DeepNADEConfig(event_shape=(9,), hidden_sizes=(8, 6)),
            DeepNADEConfig(event_shape=(2, 2, 2), hidden_sizes=(8,), num_orders=3, dropout=0.3),
            DeepNADEConfig(event_shape=(3, 1, 2), num_categories=3, hidden_sizes=(6, 5, 4), num_orders=2),
            DeepNADEConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2), hidden_sizes=(8,)),
        ]

    def outputs(self, x: Tensor, known: Tensor) -> Tensor:
        return self.fully_connected(self.inputs(x, known))
