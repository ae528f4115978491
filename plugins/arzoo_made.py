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
from arzoo.distributions import Bernoulli, Categorical
from arzoo.model import Context
from arzoo.nn import MaskedLinear


@dataclass(frozen=True, kw_only=True)
class MADEConfig(arzoo.ModelConfig):
    """
    Attributes:
        hidden_sizes: Units of each hidden layer.
        num_masks: Number K of masks; one is drawn a training step, their probabilities are averaged.
        ordering: Whether every mask has an order of its own, or all of them the natural one.
        direct: Whether inputs are connected to outputs directly too.
    """

    hidden_sizes: tuple[int, ...] = (500,)
    num_masks: int = 1
    ordering: Literal["random", "natural"] = "random"
    direct: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.num_categories, int):
            raise ValueError(f"num_categories must be one number, got {self.num_categories}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be one or more positive numbers, got {self.hidden_sizes}")
        if self.num_masks < 1:
            raise ValueError(f"num_masks must be at least 1, got {self.num_masks}")


class MADE(arzoo.Autoregressive):
    """Discrete events of any shape, flattened.

    A binary site is one input and one logit (R = 1), one of K categories is K of each.
    """

    family = "made"
    config_class = MADEConfig
    config: MADEConfig
    orders: Tensor

    def __init__(self, config: MADEConfig) -> None:
        super().__init__(config)
        assert isinstance(config.num_categories, int)
        self.rows = 1 if config.num_categories == 2 else config.num_categories  # R
        sizes = (config.dims * self.rows, *config.hidden_sizes)
        self.layers = nn.ModuleList(MaskedLinear(*pair) for pair in pairwise(sizes))
        self.output = MaskedLinear(sizes[-1], sizes[0])
        self.direct = MaskedLinear(sizes[0], sizes[0], bias=False) if config.direct else None
        # Drawn at random, so saved: random streams may change between releases of torch, a density may not.
        draw = torch.arange if config.ordering == "natural" else torch.randperm
        self.register_buffer("orders", torch.stack([draw(config.dims) for _ in range(config.num_masks)]))  # (M, D)
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
            MADEConfig(event_shape=(3, 2, 2), hidden_sizes=(16,), num_masks=3),
            MADEConfig(event_shape=(3, 1, 2), num_categories=4, hidden_sizes=(12, 12), num_masks=2, direct=False),
            MADEConfig(event_shape=(6,), hidden_sizes=(8,), num_masks=2, ordering="natural"),
        ]

    @property
    def num_members(self) -> int:
        return self.config.num_masks

    def order(self, member: int = 0) -> Tensor:
        return self.orders[member]

    def degrees(self, member: int) -> list[Tensor]:
        """Ranks 1 to D of the inputs (D R,), then the degrees of each hidden layer."""
        ranks = self.orders[member].argsort() + 1
        hidden = [self.get_buffer(f"degrees_{index}")[member] for index in range(len(self.layers))]
        return [ranks.repeat_interleave(self.rows), *hidden]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals of the sites, smoothed by one example of each category."""
        x = self.check_events(x).flatten(1)
        counts = F.one_hot(x, max(self.rows, 2)).double().sum(0) + 1  # (D, K)
        start = (counts / counts.sum(1, keepdim=True)).log()
        self.output.bias.copy_(start[:, 1] - start[:, 0] if self.rows == 1 else start.flatten())

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor:
        """One mask for the whole batch (section 4.2), shape (num_examples,)."""
        return torch.randint(self.num_members, (1,), generator=generator).expand(num_examples)

    def loss(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        """-log p_k(x) under the mask k of this step."""
        mask = self.noise(1) if noise is None else noise
        return -self.member_log_prob(x, context, int(mask[0])).flatten(1).sum(1)

    def encode(self, values: Tensor) -> Tensor:
        """Values of sites as inputs (..., R): the bit itself, or one of K."""
        return values[..., None].float() if self.rows == 1 else F.one_hot(values, self.rows).float()

    def distribution(self, logits: Tensor) -> Bernoulli | Categorical:
        """From logits (..., R)."""
        return Bernoulli(logits[..., 0]) if self.rows == 1 else Categorical(logits)

    def conditionals(self, x: Tensor, context: Context = None, member: int = 0) -> Distribution:
        inputs = self.encode(x.flatten(1)).flatten(1)  # (B, D R)
        ranks, *hidden = degrees = self.degrees(member)
        h = inputs
        for layer, before, after in zip(self.layers, degrees, hidden, strict=False):
            h = layer(h, after[:, None] >= before).relu()
        logits = self.output(h, ranks[:, None] > degrees[-1])
        if self.direct is not None:
            logits = logits + self.direct(inputs, ranks[:, None] > ranks)
        return self.distribution(logits.float().view(*x.shape, self.rows))

    def decoder(self, num_samples: int, context: Context = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples, member)


class _Decoder(arzoo.Decoder):
    """Computes every hidden unit once, as soon as the input of its degree is there.

    With the units of each layer sorted by degree, what a unit or an output sees is what has been computed so far: a
    prefix.  So an image costs one full pass, at any depth, and no mask is multiplied.
    """

    def __init__(self, model: MADE, num_samples: int, member: int) -> None:
        self._model, self._step = model, 0
        ranks, *hidden = degrees = model.degrees(member)
        by_degree = [each.argsort(stable=True) for each in degrees]
        steps = torch.arange(1, model.config.dims + 1, device=ranks.device)
        # After input i (from 1) a layer's first ends[i - 1] units can be computed; before input 1, none.
        ends = [torch.searchsorted(each.sort().values, steps, right=True).tolist() for each in hidden]
        rows = model.rows

        inputs = torch.zeros(model.config.dims * rows, num_samples, device=ranks.device)
        units = [inputs, *(inputs.new_zeros(len(each), num_samples) for each in hidden)]
        self._inputs = inputs.view(-1, rows, num_samples).unbind()
        # What to compute after each input: (what it sees, weights, bias, where the units go).
        self._updates: list[list[tuple[Tensor, Tensor, Tensor, Tensor]]] = [[] for _ in ends[0]]
        for index, layer in enumerate(model.layers):
            assert isinstance(layer, MaskedLinear)
            into, out = by_degree[index], by_degree[index + 1]
            weight, bias = layer.weight.detach()[out][:, into], layer.bias.detach()[out, None]
            seen = [rows * (i + 1) for i in range(len(ends[0]))] if index == 0 else ends[index - 1]
            start = 0
            for i, end in enumerate(ends[index]):
                if end > start:
                    new = slice(start, end)
                    sees = units[index][: seen[i]]
                    self._updates[i].append((sees, weight[new, : seen[i]], bias[new], units[index + 1][new]))
                start = end
        order = by_degree[0]
        output = model.output.weight.detach()[order][:, by_degree[-1]]
        output_bias = model.output.bias.detach()[order, None]
        direct = None if model.direct is None else model.direct.weight.detach()[order][:, order]
        # What the logits of each site are made of: bias and pairs of (weights, what they see).
        self._logits: list[tuple[Tensor, list[tuple[Tensor, Tensor]]]] = []
        for i in range(model.config.dims):
            mine, there = slice(rows * i, rows * (i + 1)), ends[-1][i - 1] if i else 0
            parts = [(output[mine, :there], units[-1][:there])] if there else []
            if direct is not None and i:
                parts.append((direct[mine, : rows * i], inputs[: rows * i]))
            self._logits.append((output_bias[mine].expand(rows, num_samples), parts))

    def conditional(self) -> Bernoulli | Categorical:
        logits, parts = self._logits[self._step]
        for weight, seen in parts:
            logits = torch.addmm(logits, weight, seen)
        return self._model.distribution(logits.t())

    def append(self, value: Tensor) -> None:
        self._inputs[self._step].copy_(self._model.encode(value).t())
        for seen, weight, bias, out in self._updates[self._step]:
            torch.addmm(bias, weight, seen, out=out).relu_()
        self._step += 1


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [MADE]
