"""Orderless training: one network for the conditionals of every order (Uria et al. 2014, arXiv:1310.1757).

The network sees which scalars are known and their values, and predicts all others.  In an order o it is the density
p(x | o); averaged over K orders it is EoNADE, p(x) = 1/K sum_k p(x | o_k).
"""

import copy
import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.decoding import Sharpening, check_order, walk
from arzoo.model import Context, NamedContext
from arzoo.scalars import Scalars, discrete_scalars

from .evidence import Evidence


@dataclass(frozen=True, kw_only=True)
class OrderlessConfig(arzoo.ModelConfig):
    """
    Attributes:
        hidden_sizes: Units of each hidden layer of the fully connected network.
        num_orders: Number K of orders, drawn at random once, whose probabilities are averaged.  Training knows none of
            them; `with_orders` gives others to a trained model.
        dropout: Share of the fully connected network's hidden units that training drops.
    """

    hidden_sizes: tuple[int, ...] = (500, 500)
    num_orders: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be one or more positive numbers, got {self.hidden_sizes}")
        if self.num_orders < 1:
            raise ValueError(f"num_orders must be at least 1, got {self.num_orders}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class Orderless(arzoo.Autoregressive):
    """Discrete events of any shape; one site a scalar."""

    config: OrderlessConfig
    orders: Tensor

    def __init__(self, config: OrderlessConfig) -> None:
        super().__init__(config)
        self.scalars: Scalars = discrete_scalars(config)
        sizes = (config.dims * (self.scalars.num_inputs + 1), *config.hidden_sizes)
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], config.dims * self.scalars.num_outputs)
        # Drawn at random, so saved: random streams may change between releases of torch, a density may not.
        self.register_buffer("orders", torch.stack([torch.randperm(config.dims) for _ in range(config.num_orders)]))

    @property
    def num_members(self) -> int:
        return self.config.num_orders

    def order(self, member: int = 0) -> Tensor:
        return self.orders[member]

    def with_orders(self, orders: Tensor) -> Self:
        """The same weights as another density: the average over other orders.

        Arguments:
            orders: Row-major indices of the D scalars as each order visits them, integers (K, D).

        Raises:
            ValueError: An order does not visit every scalar once.
        """
        dims = self.config.dims
        if orders.dtype != torch.int64 or orders.dim() != 2 or orders.shape[1] != dims or not len(orders):
            raise ValueError(f"orders must be int64 of shape (K, {dims}), got {orders.dtype} {tuple(orders.shape)}")
        for index, order in enumerate(orders.tolist()):
            check_order(order, dims, f"order {index}")
        model = copy.deepcopy(self)
        model.config = dataclasses.replace(self.config, num_orders=len(orders))
        model.orders = orders.to(self.orders.device, copy=True)
        return model

    # ---- the network

    def inputs(self, x: Tensor, known: Tensor) -> Tensor:
        """What the network sees of each scalar: its value where known, else zeros, and whether it is known.

        Arguments:
            x: Shape (B, D).
            known: Boolean, shape (B, D).

        Returns:
            Shape (B, D, R + 1).
        """
        mask = known.unsqueeze(-1).float()
        return torch.cat([self.scalars.encode(x) * mask, mask], -1)

    def fully_connected(self, inputs: Tensor) -> Tensor:
        """ReLU layers from inputs (B, D, R + 1) to outputs (B, D, O)."""
        h = inputs.flatten(1)
        for layer in self.hidden:
            h = F.dropout(layer(h).relu(), self.config.dropout, self.training)
        return self.output(h).view(len(h), self.config.dims, -1)  # type: ignore[no-any-return]

    @abstractmethod
    def outputs(self, x: Tensor, known: Tensor) -> Tensor:
        """Of all scalars given those known, shape (B, D, O); arguments as of `inputs`."""

    def evidence(self, x: Tensor, known: Tensor) -> Evidence:
        """Where a walk begins; arguments as of `inputs`."""
        return Evidence(self, x, known)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals."""
        self.output.bias.copy_(self.scalars.start(self.check_events(x).flatten(1)).flatten())

    # ---- training

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor:
        """What each example knows, boolean (B, D): the first d scalars of an order of its own, d from 0 to D - 1."""
        dims = self.config.dims
        ranks = torch.stack([torch.randperm(dims, generator=generator) for _ in range(num_examples)])
        return ranks < torch.randint(dims, (num_examples, 1), generator=generator)

    def loss(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        """D / (D - d) sum_i -log p(x_i | known) over the D - d scalars that are not known.

        Its expectation over orders and positions is that of -log p(x | o) over orders.
        """
        x = self.check_events(x)
        self.check_context(len(x), context)
        known = (self.noise(len(x)) if noise is None else noise).to(x.device)
        outputs = self.outputs(x.flatten(1), known)
        nll = -self.scalars.distribution(outputs.view(*x.shape, -1)).log_prob(x).flatten(1)  # (B, D)
        return (nll * ~known).sum(1) * self.config.dims / (~known).sum(1)

    # ---- density

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        order, values = self.order(member), x.flatten(1)
        outputs = []
        with torch.autocast(x.device.type, enabled=False):
            evidence = self.evidence(torch.zeros_like(values), torch.zeros_like(values, dtype=torch.bool))
            for site in order.tolist():
                outputs.append(evidence.outputs(site))
                evidence.add(site, values[:, site])
        stacked = torch.stack(outputs, 1)[:, order.argsort()]  # (B, D, O)
        return self.scalars.distribution(stacked.view(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> arzoo.Decoder:
        blank = self.blank_events(num_samples).flatten(1)
        return _Decoder(self.scalars, self.evidence(blank, blank.bool()), self.order(member).tolist())

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        context: Context = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> arzoo.Completion:
        """Fills in what is not known: any scalars, which may differ from event to event, by an exact draw.

        The density is that of the K orders that visit the known scalars first, those alike, and then the unknown ones
        as `orders` does.  So what is known is equally likely under all of them, and any may be drawn.

        Arguments:
            x: Events, shape (B, *E); any valid values where not known.
            known: True where x is to be kept, boolean, shape E or (B, *E).
        """
        sharpening = Sharpening(temperature=temperature, top_k=top_k, top_p=top_p)
        known = self.check_known(x, known)
        x = self.check_events(torch.where(known, x, 0))
        self.check_context(len(x), context)
        values, there = x.flatten(1).clone(), known.flatten(1)  # (B, D)
        uniforms, members = self._draw_uniforms(len(x), self.config.dims, generator)
        with torch.autocast(x.device.type, enabled=False):
            for member in members.unique().tolist():
                rows = (members == member).nonzero().squeeze(1)
                given, kept = values[rows], there[rows]
                order = self.order(member)[~kept.all(0)[self.order(member)]]
                decoder = _Decoder(self.scalars, self.evidence(given, kept), order.tolist())
                drawn = walk(decoder, uniforms[rows][:, : len(order)], sharpening, given[:, order], kept[:, order])
                for site, value in zip(order.tolist(), drawn, strict=True):
                    values[rows, site] = value
        plain = sharpening == Sharpening()
        density = f"the {self.family} in orders that visit what is known first"
        return arzoo.Completion(
            events=values.view(x.shape),
            exact=plain,
            density=f"p(unknown | known) of {density}" if plain else f"the conditionals of {density}, sharpened",
        )


class _Decoder(arzoo.Decoder):
    def __init__(self, scalars: Scalars, evidence: Evidence, order: Sequence[int]) -> None:
        self._scalars, self._evidence, self._order, self._step = scalars, evidence, order, 0

    def conditional(self) -> Distribution:
        site = self._order[self._step]
        return self._scalars.distribution(self._evidence.outputs(site), site)

    def append(self, value: Tensor) -> None:
        self._evidence.add(self._order[self._step], value)
        self._step += 1
