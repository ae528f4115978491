"""A network for every conditional: Modeling High-Dimensional Discrete Data with Multi-Layer Neural Networks, Bengio &
Bengio 1999, https://papers.nips.cc/paper/1679-modeling-high-dimensional-discrete-data-with-multi-layer-neural-networks.

    h_i = sigmoid(A_i x_<i + c_i),  logits_i = V_i h_i + b_i

Each site has H hidden units of its own, and nothing is shared: D bits have H D (D - 1) / 2 weights A.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.model import Context, NamedContext
from arzoo.orders import Ordered, OrderedConfig
from arzoo.scalars import discrete_scalars

CHUNK = 64
"""Sites whose weights A are one masked matrix: it ends with what the last of them sees, so nearly half is left out."""


@dataclass(frozen=True, kw_only=True)
class MLPARConfig(OrderedConfig):
    """
    Attributes:
        hidden_size: Hidden units H of each conditional.
    """

    hidden_size: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size must be at least 1, got {self.hidden_size}")


class MLPAR(Ordered):
    """Bits or categories of any shape, flattened; the weights lie in the order of the walk."""

    family = "mlp_ar"
    config_class = MLPARConfig
    config: MLPARConfig

    def __init__(self, config: MLPARConfig) -> None:
        super().__init__(config)
        self.scalars = discrete_scalars(config)
        self.chunks = torch.arange(config.dims).split(CHUNK)
        width = self.scalars.num_inputs
        self.layers = nn.ModuleList(
            nn.Linear(max(int(sites[-1]), 1) * width, len(sites) * config.hidden_size) for sites in self.chunks
        )  # A and c
        self.output = nn.Parameter(torch.randn(config.dims, config.hidden_size, self.scalars.num_outputs) * 0.01)  # V
        self.output_bias = nn.Parameter(torch.zeros(config.dims, self.scalars.num_outputs))  # b
        self.set_order()

    @classmethod
    def tiny_configs(cls) -> Sequence[MLPARConfig]:
        return [
            MLPARConfig(event_shape=(8,), hidden_size=3),
            MLPARConfig(event_shape=(3, 2, 2), hidden_size=2, ordering="random"),
            MLPARConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2), hidden_size=3, ordering="random"),
            MLPARConfig(event_shape=(3, 1, 2), num_categories=3, hidden_size=2),
        ]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts near the marginals."""
        self.output_bias.copy_(self.scalars.start(self.check_events(x).flatten(1)[:, self.order()]))

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        order = self.order().to(x.device)
        inputs = self.scalars.encode(x.flatten(1)[:, order]).flatten(1)  # (B, D R)
        sources = torch.arange(self.config.dims, device=x.device).repeat_interleave(self.scalars.num_inputs)
        parts = []
        for layer, sites in zip(self.layers, self.chunks, strict=True):
            assert isinstance(layer, nn.Linear)
            units = sites.to(x.device).repeat_interleave(self.config.hidden_size)
            # Five times as fast as a product with the mask.
            weight = torch.where(units[:, None] > sources[: layer.in_features], layer.weight, 0.0)
            parts.append(F.linear(inputs[:, : layer.in_features], weight, layer.bias))
        hidden = torch.cat(parts, 1).sigmoid().view(len(x), *self.output.shape[:2])  # (B, D, H)
        outputs = torch.einsum("bdh,dho->bdo", hidden, self.output) + self.output_bias
        return self.scalars.distribution(outputs[:, order.argsort()].view(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)


class _Decoder(arzoo.Decoder):
    """Computes the hidden units of a site when its turn comes."""

    def __init__(self, model: MLPAR, num_samples: int) -> None:
        self._scalars, self._order, self._step = model.scalars, model.order().tolist(), 0
        width, size = model.scalars.num_inputs, model.config.hidden_size
        inputs = torch.zeros(model.config.dims * width, num_samples, device=model.device)  # the batch last
        self._inputs = inputs.t().split(width, 1)
        self._hidden = torch.empty(size, num_samples, device=model.device)
        # For every site: c_i, A_i and the inputs that they see.
        self._units: list[tuple[Tensor, Tensor, Tensor]] = []
        for layer in model.layers:
            assert isinstance(layer, nn.Linear)
            biases, weights = layer.bias.detach().split(size), layer.weight.detach().split(size)
            for bias, weight in zip(biases, weights, strict=True):
                end = len(self._units) * width
                self._units.append((bias[:, None], weight[:, :end], inputs[:end]))
        self._output = list(zip(model.output_bias.detach().unbind(), model.output.detach().unbind(), strict=True))

    def conditional(self) -> Distribution:
        bias, weight, seen = self._units[self._step]
        torch.addmm(bias, weight, seen, out=self._hidden).sigmoid_()
        output_bias, output = self._output[self._step]
        outputs = torch.addmm(output_bias, self._hidden.t(), output)
        return self._scalars.distribution(outputs, self._order[self._step])

    def append(self, value: Tensor) -> None:
        self._inputs[self._step].copy_(self._scalars.encode(value))
        self._step += 1


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [MLPAR]
