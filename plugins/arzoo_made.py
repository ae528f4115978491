"""MADE: Masked Autoencoder for Distribution Estimation, Germain et al. 2015, https://arxiv.org/abs/1502.03509.

Every input has a rank in the order, every hidden unit a degree: the last rank it may depend on.  A unit sees the units
of its own degree or a lower one, an output the units of a degree below its rank (section 3).  Several orders or
connectivities are one density: the average of their probabilities (section 4.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.degree_decoder import DegreeDecoder
from arzoo.model import Context, NamedContext
from arzoo.nn import MaskedLinear
from arzoo.orders import OrderedConfig, Ordering, make_order
from arzoo.scalars import Reals, Scalars, discrete_scalars


@dataclass(frozen=True, kw_only=True)
class MADEConfig(OrderedConfig):
    """
    Attributes:
        hidden_sizes: Units of each hidden layer.
        num_masks: Number K of masks; one is drawn a training step, their probabilities are averaged.
        ordering: Whether every mask has an order of its own, drawn at random, or all of them the natural one, or that
            which is given: the scalars' row-major indices as they are visited.
        direct: Whether inputs are connected to outputs directly too.
        conditioning: Whether units are told what their mask lets them see (section 4.2).
        dropout: Share of the hidden units that training drops.
        num_components: Components of the mixture at a site, where events are real.
        component: Their kind.
        min_scale: What no scale of a component falls below, in units of the data.
    """

    hidden_sizes: tuple[int, ...] = (500,)
    num_masks: int = 1
    ordering: Ordering = "random"
    direct: bool = True
    conditioning: bool = False
    dropout: float = 0.0
    num_components: int = 10
    component: Literal["normal", "laplace"] = "normal"
    min_scale: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be one or more positive numbers, got {self.hidden_sizes}")
        for name in ("num_masks", "num_components"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        if not self.min_scale > 0:
            raise ValueError(f"min_scale must be above 0, got {self.min_scale}")

    def scalars(self) -> Scalars:
        if self.num_categories is None:
            return Reals(self.num_components, self.component, self.min_scale)
        return discrete_scalars(self)


class MADE(arzoo.Autoregressive):
    """Events of any shape, flattened: bits, categories or real numbers."""

    family = "made"
    config_class = MADEConfig
    config: MADEConfig
    orders: Tensor

    def __init__(self, config: MADEConfig) -> None:
        super().__init__(config)
        self.scalars = config.scalars()
        sizes = (config.dims * self.scalars.num_inputs, *config.hidden_sizes)
        outputs, told = config.dims * self.scalars.num_outputs, config.conditioning
        self.layers = nn.ModuleList(MaskedLinear(*pair, conditioning=told) for pair in pairwise(sizes))
        self.output = MaskedLinear(sizes[-1], outputs, conditioning=told)
        self.direct = MaskedLinear(sizes[0], outputs, bias=False) if config.direct else None
        # Drawn at random, so saved: random streams may change between releases of torch, a density may not.
        orders = [make_order(config.ordering, config.dims) for _ in range(config.num_masks)]
        self.register_buffer("orders", torch.stack(orders))  # (M, D)
        lowest = torch.ones(config.num_masks, dtype=torch.long)
        for index, size in enumerate(config.hidden_sizes):
            span = (max(config.dims - 1, 1) - lowest + 1)[:, None]
            degrees = lowest[:, None] + (torch.rand(config.num_masks, size) * span).long()
            self.register_buffer(f"degrees_{index}", degrees)  # (M, H), from 1 to D - 1
            lowest = degrees.min(1).values

    @classmethod
    def tiny_configs(cls) -> Sequence[MADEConfig]:
        return [
            MADEConfig(event_shape=(10,), hidden_sizes=(20, 12)),
            MADEConfig(event_shape=(3, 2, 2), hidden_sizes=(16,), num_masks=3, dropout=0.2),
            MADEConfig(event_shape=(3, 1, 2), num_categories=4, hidden_sizes=(12, 12), num_masks=2, direct=False),
            MADEConfig(event_shape=(6,), hidden_sizes=(8,), num_masks=2, ordering="natural"),
            MADEConfig(event_shape=(4,), num_categories=(2, 3, 5, 2), hidden_sizes=(12, 9), conditioning=True),
            MADEConfig(event_shape=(3,), num_categories=None, hidden_sizes=(12,), num_components=2, min_scale=0.1),
        ]

    @property
    def num_members(self) -> int:
        return self.config.num_masks

    def order(self, member: int = 0) -> Tensor:
        return self.orders[member]

    def degrees(self, member: int) -> list[Tensor]:
        """Ranks 1 to D of the inputs (D R,), the degrees of each hidden layer, ranks of the outputs (D O,)."""
        ranks = self.orders[member].argsort() + 1
        hidden = [self.get_buffer(f"degrees_{index}")[member] for index in range(len(self.layers))]
        into, out = self.scalars.num_inputs, self.scalars.num_outputs
        return [ranks.repeat_interleave(into), *hidden, ranks.repeat_interleave(out)]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals."""
        self.output.bias.copy_(self.scalars.start(self.check_events(x).flatten(1)).flatten())

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor:
        """One mask for the whole batch (section 4.2), shape (num_examples,)."""
        return torch.randint(self.num_members, (1,), generator=generator).expand(num_examples)

    def loss(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        """-log p_k(x) under the mask k of this step."""
        mask = self.noise(1) if noise is None else noise
        return -self.member_log_prob(x, context, int(mask[0])).flatten(1).sum(1)

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        h = inputs = self.scalars.encode(x.flatten(1)).flatten(1)  # (B, D R)
        *degrees, ranks = self.degrees(member)
        for layer, (below, above) in zip(self.layers, pairwise(degrees), strict=True):
            h = F.dropout(layer(h, above[:, None] >= below).relu(), self.config.dropout, self.training)
        outputs = self.output(h, ranks[:, None] > degrees[-1])
        if self.direct is not None:
            outputs = outputs + self.direct(inputs, ranks[:, None] > degrees[0])
        return self.scalars.distribution(outputs.view(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> DegreeDecoder:
        degrees = self.degrees(member)
        layers = []
        for layer, (below, above) in zip((*self.layers, self.output), pairwise(degrees), strict=True):
            assert isinstance(layer, MaskedLinear)
            bias = layer.masked_bias(above[:, None] > below if layer is self.output else above[:, None] >= below)
            assert bias is not None
            layers.append((layer.weight, bias))
        direct = None if self.direct is None else self.direct.weight
        return DegreeDecoder(self.scalars, self.order(member).tolist(), num_samples, degrees, layers, direct)


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [MADE]
