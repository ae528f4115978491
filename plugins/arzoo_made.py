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
from arzoo.model import Context, NamedContext
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

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        inputs = self.encode(x.flatten(1)).flatten(1)  # (B, D R)
        ranks, *hidden = degrees = self.degrees(member)
        h = inputs
        for layer, before, after in zip(self.layers, degrees, hidden, strict=False):
            h = layer(h, after[:, None] >= before).relu()
        logits = self.output(h, ranks[:, None] > degrees[-1])
        if self.direct is not None:
            logits = logits + self.direct(inputs, ranks[:, None] > ranks)
        return self.distribution(logits.float().view(*x.shape, self.rows))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples, member)


class _Decoder(arzoo.Decoder):
    """Computes every hidden unit once, as soon as the input of its degree is there: an image costs about one pass.

    What is not computed yet is zero, and what is computed is all that the next may see: no mask is needed.  With the
    units of each layer sorted by degree, those that an input completes lie side by side.
    """

    def __init__(self, model: MADE, num_samples: int, member: int) -> None:
        self._binary, self._step = model.rows == 1, 0
        degrees = model.degrees(member)
        by_degree = [each.argsort(stable=True) for each in degrees]
        # Features first, the batch last: the hidden layers, then the inputs.
        sizes = [len(each) for each in (*degrees[1:], degrees[0])]
        values = torch.zeros(sum(sizes), num_samples, device=model.orders.device)
        *hidden, inputs = values.split(sizes)

        def weight(layer: nn.Module, into: int, out: int) -> Tensor:
            assert isinstance(layer, MaskedLinear)
            return layer.weight.detach().index_select(0, by_degree[out]).index_select(1, by_degree[into])

        # The units that each input completes: (values, bias, weight, what they see), a layer behind the other.
        self._units: list[list[tuple[Tensor, Tensor, Tensor, Tensor]]] = [[] for _ in range(model.config.dims)]
        for index, layer in enumerate(model.layers):
            assert isinstance(layer, MaskedLinear)
            counts = torch.bincount(degrees[index + 1], minlength=model.config.dims + 1)[1:].tolist()
            bias, seen = layer.bias.detach()[by_degree[index + 1], None], hidden[index - 1] if index else inputs
            parts = (each.split(counts) for each in (hidden[index], bias, weight(layer, index, index + 1)))
            for units, count, part in zip(self._units, counts, zip(*parts, strict=True), strict=True):
                if count:
                    units.append((*part, seen))
        self._inputs = inputs.split(model.rows)
        self._seen, output = hidden[-1], weight(model.output, -1, 0)
        if model.direct is not None:  # inputs lie behind the last layer: one product gives the logits
            self._seen = values[-len(hidden[-1]) - len(inputs) :]
            output = torch.cat([output, weight(model.direct, 0, 0)], 1)
        self._output = output.split(model.rows)
        self._output_bias = model.output.bias.detach()[by_degree[0], None].split(model.rows)

    def conditional(self) -> Bernoulli | Categorical:
        logits = torch.addmm(self._output_bias[self._step], self._output[self._step], self._seen)
        return Bernoulli(logits[0]) if self._binary else Categorical(logits.t())

    def append(self, value: Tensor) -> None:
        self._inputs[self._step].copy_(value if self._binary else F.one_hot(value, len(self._inputs[0])).t())
        for out, bias, weight, seen in self._units[self._step]:
            torch.addmm(bias, weight, seen, out=out).relu_()
        self._step += 1


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [MADE]
