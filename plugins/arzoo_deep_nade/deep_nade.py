"""DeepNADE: A Deep and Tractable Density Estimator, Uria, Murray & Larochelle 2014, https://arxiv.org/abs/1310.1757.

A fully connected network that is told which scalars are known, trained on an order and a position drawn at random for
every example.  Several orders are one density: EoNADE, the average of their probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .orderless import Evidence, Orderless, OrderlessConfig


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
            DeepNADEConfig(event_shape=(2, 2, 2), hidden_sizes=(8,), num_orders=3),
            DeepNADEConfig(event_shape=(3, 1, 2), num_categories=3, hidden_sizes=(6, 5, 4), num_orders=2),
            DeepNADEConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2), hidden_sizes=(8,)),
        ]

    def outputs(self, x: Tensor, known: Tensor) -> Tensor:
        return self.fully_connected(self.inputs(x, known))

    def evidence(self, x: Tensor, known: Tensor) -> Evidence:
        return _Incremental(self, x, known)


class _Incremental(Evidence):
    """Keeps the first layer's activation, to which a known scalar adds one row a number, and asks for one output."""

    def __init__(self, model: DeepNADE, x: Tensor, known: Tensor) -> None:
        first, *self._middle = model.hidden
        assert isinstance(first, nn.Linear)
        self._scalars = model.scalars
        self._a = first(model.inputs(x, known).flatten(1))  # (B, H)
        self._first = first.weight.t().contiguous().view(x.shape[1], -1, self._a.shape[1]).unbind()  # D of (R + 1, H)
        self._last = model.output.weight.view(x.shape[1], -1, model.output.in_features).mT.unbind()  # D of (H, O)
        self._bias = model.output.bias.view(x.shape[1], -1).unbind()
        self._ones = self._a.new_ones(len(x), 1)
        self._new = (~known).float().t().unsqueeze(-1).unbind() if bool(known.any()) else None  # D of (B, 1)

    def outputs(self, site: int) -> Tensor:
        h = self._a.relu()
        for layer in self._middle:
            h = layer(h).relu_()
        return torch.addmm(self._bias[site], h, self._last[site])

    def add(self, site: int, values: Tensor) -> None:
        inputs = torch.cat([self._scalars.encode(values), self._ones], 1)  # (B, R + 1)
        if self._new is not None:
            inputs *= self._new[site]
        self._a.addmm_(inputs, self._first[site])
