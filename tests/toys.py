"""Toy families, a few lines each: what the contract must carry besides images and vectors of categories.

All but the last are linear: what a site sees of those before it is one masked linear map.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributions as td
from torch import Tensor, nn

import arzoo
from arzoo.distributions import Bernoulli, Categorical
from arzoo.model import Context, NamedContext


@dataclass(frozen=True, kw_only=True)
class ToyConfig(arzoo.ModelConfig):
    pass


class Linear(arzoo.Autoregressive):
    """Scalar or vector sites S with F inputs and P distribution parameters each."""

    config_class = ToyConfig

    def __init__(self, config: arzoo.ModelConfig, inputs: int, outputs: int) -> None:
        super().__init__(config)
        sites = math.prod(self.grid_shape)
        self.weight = nn.Parameter(torch.randn(sites, outputs, sites, inputs) * 0.3)
        self.bias = nn.Parameter(torch.zeros(sites, outputs))

    def before(self, member: int = 0) -> Tensor:
        rank = self.order(member).argsort()
        return (rank[:, None] > rank).float()[:, None, :, None]

    def linear(self, inputs: Tensor, member: int = 0) -> Tensor:
        """(B, S, F) -> (B, S, P); S may be less than all sites, the first ones."""
        n = inputs.shape[1]
        weight = (self.weight * self.before(member))[:n, :, :n]
        return torch.einsum("bsf,tpsf->btp", inputs, weight) + self.bias[:n]


class Real(Linear):
    """Real scalars, a mixture of two Gaussians each."""

    family = "toy_real"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config, 1, 6)

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(3,), num_categories=None), ToyConfig(event_shape=(2, 1), num_categories=None)]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        parameters = self.linear(x.flatten(1)[..., None].tanh(), member).float()
        logits, loc, log_scale = parameters.view(*x.shape, 6).chunk(3, -1)
        normals = td.Normal(loc, log_scale.tanh().exp(), validate_args=False)
        return td.MixtureSameFamily(Categorical(logits), normals, validate_args=False)


class Steps(Linear):
    """Real vectors (T, C), one time step a site."""

    family = "toy_steps"
    site_axes = (1,)

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config, config.event_shape[1], 2 * config.event_shape[1])

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(3, 2), num_categories=None)]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        loc, log_scale = self.linear(x.tanh()).float().chunk(2, -1)
        return td.Independent(td.Laplace(loc, log_scale.tanh().exp(), validate_args=False), 1, validate_args=False)


class Pair(td.Distribution):
    """Two categories, the second given the first: logits (..., K) and (..., K, K)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = first, second
        super().__init__(first.shape[:-1], torch.Size((2,)), validate_args=False)

    def _second(self, first: Tensor) -> Categorical:
        index = first[..., None, None].expand(*first.shape, 1, self.second.shape[-1])
        return Categorical(self.second.gather(-2, index).squeeze(-2))

    def log_prob(self, value: Tensor) -> Tensor:
        first, second = value.unbind(-1)
        return Categorical(self.first).log_prob(first) + self._second(first).log_prob(second)

    def component(self, values: Tensor) -> Categorical:
        return self._second(values[..., 0]) if values.shape[-1] else Categorical(self.first)

    def take(self, index: Any) -> "Pair":
        return Pair(self.first[index], self.second[index])


class Pixels(Linear):
    """Images of two colours, one pixel a site, its colours drawn jointly; the last pixel first."""

    family = "toy_pixels"
    site_axes = (0,)

    def __init__(self, config: ToyConfig) -> None:
        k = config.num_categories
        super().__init__(config, 2, k + k * k)

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [
            ToyConfig(event_shape=(2, 1, 3), num_categories=3),
            ToyConfig(event_shape=(2, 2, 2), num_categories=2),
        ]

    def order(self, member: int = 0) -> Tensor:
        return super().order().flip(0)

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        k = self.config.num_categories
        parameters = self.linear(x.flatten(2).mT.float()).float().view(len(x), *self.grid_shape, k + k * k)
        return Pair(parameters[..., :k], parameters[..., k:].unflatten(-1, (k, k)))


@dataclass(frozen=True, kw_only=True)
class LabelledConfig(arzoo.ModelConfig):
    num_classes: int = 3


class Labelled(Linear):
    """Conditioned on a class, -1 for none."""

    family = "toy_labelled"
    config_class = LabelledConfig
    context_names = ("label",)

    @property
    def num_classes_by_context(self) -> Mapping[str, int]:
        return {"label": self.config.num_classes}

    def __init__(self, config: LabelledConfig) -> None:
        super().__init__(config, 1, 1)
        self.embed = nn.Embedding(config.num_classes + 1, config.dims)

    @classmethod
    def tiny_configs(cls) -> Sequence[LabelledConfig]:
        return [LabelledConfig(event_shape=(2, 3))]

    def example_context(self, num_examples: int, generator: torch.Generator) -> NamedContext:
        return {"label": torch.randint(-1, self.config.num_classes, (num_examples,), generator=generator)}

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        logits = self.linear(x.flatten(1)[..., None].float()).squeeze(-1) + self.embed(context["label"] + 1)
        return Bernoulli(logits.float().view(x.shape))


@dataclass(frozen=True, kw_only=True)
class TextConfig(arzoo.ModelConfig):
    end: int | None = None


class Text(Linear):
    """Sequences that end with a category, or have any length."""

    family = "toy_text"
    config_class = TextConfig
    variable_length = True

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config, config.num_categories, config.num_categories)

    @classmethod
    def tiny_configs(cls) -> Sequence[TextConfig]:
        return [
            TextConfig(event_shape=(4,), num_categories=3),
            TextConfig(event_shape=(4,), num_categories=3, end=0),
        ]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        return Categorical(self.linear(nn.functional.one_hot(x, self.config.num_categories).float()).float())


class Notes(Linear):
    """Chords (T, C) of any length, one step a site: which of C keys are down."""

    family = "toy_notes"
    config_class = ToyConfig
    variable_length = True
    site_axes = (1,)

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config, config.event_shape[1], config.event_shape[1])

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(3, 2)), ToyConfig(event_shape=(2, 1))]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        return td.Independent(Bernoulli(self.linear(x.float()).float()), 1, validate_args=False)


class Translation(Text):
    """A sentence given another, padded with -1, of any length, and a style: sites attend to the source."""

    family = "toy_translation"
    context_names = ("source", "style")

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config)
        self.source = nn.Embedding(4, 2 * config.num_categories)
        self.query = nn.Parameter(torch.randn(config.dims, config.num_categories))
        self.style = nn.Embedding(3, config.num_categories)

    @classmethod
    def tiny_configs(cls) -> Sequence[TextConfig]:
        return [TextConfig(event_shape=(3,), num_categories=3, end=2)]

    def example_context(self, num_examples: int, generator: torch.Generator) -> NamedContext:
        source = torch.randint(4, (num_examples, 5), generator=generator)
        lengths = torch.randint(1, 6, (num_examples, 1), generator=generator)
        style = torch.randint(-1, 2, (num_examples,), generator=generator)
        return {"source": torch.where(torch.arange(5) < lengths, source, -1), "style": style}

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        key, value = self.source(context["source"].clamp_min(0)).chunk(2, -1)  # (B, L, K)
        score = torch.einsum("tk,blk->btl", self.query[: x.shape[1]], key).float()
        weight = score.masked_fill(context["source"][:, None] < 0, -math.inf).softmax(-1)
        logits = super().conditionals(x).logits + weight @ value.float() + self.style(context["style"] + 1)[:, None]
        return Categorical(logits.float())


class Orders(Linear):
    """The average over three orders, drawn at random, of one set of weights."""

    family = "toy_orders"
    num_members = 3

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config, 1, 1)
        self.register_buffer("orders", torch.stack([torch.randperm(config.dims) for _ in range(3)]))

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(5,)), ToyConfig(event_shape=(1, 2, 3))]

    def order(self, member: int = 0) -> Tensor:
        return self.orders[member]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        return Bernoulli(self.linear(x.flatten(1)[..., None].float(), member).float().view(x.shape))


class RealOrders(Real):
    """Real values under two orders."""

    family = "toy_real_orders"
    num_members = 2

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(3,), num_categories=None)]

    def order(self, member: int = 0) -> Tensor:
        order = super().order()
        return order.flip(0) if member else order


class PixelOrders(Pixels):
    """Vector sites whose last two may change places: an ensemble that can be completed exactly."""

    family = "toy_pixel_orders"
    num_members = 2

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.gain = nn.Parameter(torch.ones(2))

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(2, 1, 3), num_categories=2)]

    def order(self, member: int = 0) -> Tensor:
        return torch.tensor([[0, 1, 2], [0, 2, 1]])[member]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        k = self.config.num_categories
        inputs = x.flatten(2).mT.float() * self.gain[member]
        parameters = self.linear(inputs, member).float().view(len(x), *self.grid_shape, k + k * k)
        return Pair(parameters[..., :k], parameters[..., k:].unflatten(-1, (k, k)))


class Coins(arzoo.Autoregressive):
    """One of two biased coins, thrown several times: what was thrown tells which."""

    family = "toy_coins"
    config_class = ToyConfig
    num_members = 2

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.sides = nn.Parameter(torch.tensor([2.0, -2.0]))

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(4,))]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        return Bernoulli(self.sides[member].expand(x.shape))


class Table(Linear):
    """Columns of different numbers of categories."""

    family = "toy_table"

    def __init__(self, config: ToyConfig) -> None:
        self.largest = max(config.num_categories)
        super().__init__(config, self.largest, self.largest)
        exists = torch.arange(self.largest) < torch.tensor(config.num_categories)[:, None]
        self.register_buffer("exists", exists, persistent=False)

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(4,), num_categories=(2, 5, 3, 4))]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        logits = self.linear(nn.functional.one_hot(x, self.largest).float()).float()
        return Categorical(torch.where(self.exists, logits, -math.inf))


class Orderless(Linear):
    """Trained on one random order and one random step of it an example, with dropout (Uria et al. 2014)."""

    family = "toy_orderless"
    num_members = 2

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config, 2, 1)
        self.dropout = nn.Dropout(0.3)

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(5,))]

    def order(self, member: int = 0) -> Tensor:
        order = super().order()
        return order.flip(0) if member else order

    def logits(self, x: Tensor, seen: Tensor) -> Tensor:
        """Of all sites (N, D) given those where seen (N, D) is one; no site sees itself."""
        inputs = torch.stack([x * seen, seen], -1)
        weight = self.weight * (1 - torch.eye(x.shape[1]))[:, None, :, None]
        return self.dropout(torch.einsum("bsf,tpsf->btp", inputs, weight).squeeze(-1)) + self.bias[:, 0]

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> td.Distribution:
        seen = self.before(member).view(1, x.shape[1], x.shape[1]).expand(len(x), -1, -1)
        logits = self.logits(x.float()[:, None].expand(seen.shape).flatten(0, 1), seen.flatten(0, 1))
        return Bernoulli(logits.view(seen.shape).diagonal(dim1=1, dim2=2).float())

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor:
        """Ranks of the sites and a step, (B, D + 1)."""
        dims = self.config.dims
        ranks = torch.rand(num_examples, dims, generator=generator).argsort(1)
        return torch.cat([ranks, torch.randint(dims, (num_examples, 1), generator=generator)], 1)

    def loss(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        x = self.check_events(x)
        self.check_context(len(x), context)
        noise = self.noise(len(x)) if noise is None else noise
        ranks, step = noise[:, :-1], noise[:, -1:]
        nll = -Bernoulli(self.logits(x.float(), (ranks < step).float()).float()).log_prob(x)
        return (nll * (ranks >= step)).sum(1) * x.shape[1] / (x.shape[1] - step[:, 0])


class Latent(arzoo.Model):
    """One of M causes, an encoder that guesses it, and the bound E_q log p(x, z) / q(z): no site, no order."""

    family = "toy_latent"
    config_class = ToyConfig
    likelihood = "lower_bound"

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.encoder = nn.Linear(config.dims, 4)
        self.prior = nn.Parameter(torch.zeros(4))
        self.pixels = nn.Parameter(torch.randn(4, config.dims))

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(1, 2, 3))]

    def log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        x = self.check_events(x).flatten(1)
        self.check_context(len(x), context)
        log_q = self.encoder(x.float()).log_softmax(1)  # (B, M)
        log_p = Bernoulli(self.pixels.expand(len(x), -1, -1)).log_prob(x[:, None]).sum(2) + self.prior.log_softmax(0)
        return (log_q.exp() * (log_p - log_q)).sum(1)

    def sample(
        self,
        num_samples: int,
        context: Context = None,
        *,
        length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        self.check_context(num_samples, context)
        cause = Categorical(self.prior.expand(num_samples, -1)).draw(torch.rand(num_samples, generator=generator))
        uniforms = torch.rand(num_samples, self.config.dims, generator=generator)
        return Bernoulli(self.pixels[cause]).draw(uniforms).view(-1, *self.config.event_shape)


TOYS: tuple[type[arzoo.Model], ...] = (
    Real,
    Steps,
    Pixels,
    Labelled,
    Text,
    Notes,
    Translation,
    Orders,
    RealOrders,
    PixelOrders,
    Coins,
    Table,
    Orderless,
    Latent,
)
