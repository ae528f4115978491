"""What torch.distributions lacks: drawing from given uniform numbers, one site out of many, sharpening.

A sample is a function of uniform numbers, drawn beforehand, one for every scalar.  So two samplers that compute the
same conditionals give the same sample.  `Bernoulli` and `Categorical` are those of torch without the cost of
checking arguments at every step; torch's Normal, Laplace, Uniform and Exponential and mixtures of them work too, and
any distribution that has the methods `draw` and `take`.
"""

import math
from typing import Any

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor

from arzoo.gradients import first_order


class Bernoulli(td.Bernoulli):
    """torch's Bernoulli from logits of any shape, made without checks in a microsecond."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = self._param = logits
        self._batch_shape, self._event_shape, self._validate_args = logits.shape, torch.Size(), False

    def log_prob(self, value: Tensor) -> Tensor:
        return -F.softplus(torch.where(value > 0, -self.logits, self.logits))

    def draw(self, uniforms: Tensor) -> Tensor:
        return uniforms.ge(torch.sigmoid(-self.logits)).long()

    def take(self, index: Any) -> "Bernoulli":
        return Bernoulli(self.logits[index])

    def sharpen(self, temperature: float, top_k: int | None, top_p: float | None) -> "Bernoulli":
        logits = self.logits / temperature
        if top_k == 1 or top_p is not None:
            covered = 0.0 if top_k == 1 else float(top_p or 1.0)
            certain = torch.where(logits > 0, math.inf, -math.inf)
            logits = torch.where(torch.sigmoid(logits.abs()) >= covered, certain, logits)
        return Bernoulli(logits)


class _CategoricalLogProb(torch.autograd.Function):
    """The logit of a category less the logsumexp; torch's cross entropy goes through two more tensors of all logits.

    It has a first derivative and no second.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor) -> Tensor:
        log_probs, index = logits.log_softmax(-1), value[..., None]
        ctx.save_for_backward(log_probs, index)
        return log_probs.gather(-1, index).squeeze(-1)

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        log_probs, index = ctx.saved_tensors
        gradient = gradients[0][..., None]
        return log_probs.exp().mul_(-gradient).scatter_add_(-1, index, gradient), None


class Categorical(td.Categorical):
    """torch's Categorical from logits (..., K) that need not be normalised, made without checks."""

    def __init__(self, logits: Tensor) -> None:
        self._raw = logits
        self._num_events = logits.shape[-1]
        self._batch_shape, self._event_shape, self._validate_args = logits.shape[:-1], torch.Size(), False

    @property
    def logits(self) -> Tensor:
        return self._raw.log_softmax(-1)

    @property
    def probs(self) -> Tensor:
        return self._raw.softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.expand(self._batch_shape)
        return _CategoricalLogProb.apply(self._raw, value)  # type: ignore[no-untyped-call, no-any-return]

    def draw(self, uniforms: Tensor) -> Tensor:
        cdf = self._raw.softmax(-1).cumsum(-1)
        # By rounding the last sum may not be one: measured in it, no uniform number falls on what has no probability.
        level = uniforms.double() * cdf[..., -1].double()  # exact, so below the last sum
        return (cdf[..., :-1] <= level[..., None]).sum(-1)

    def take(self, index: Any) -> "Categorical":
        return Categorical(self._raw[index])

    def sharpen(self, temperature: float, top_k: int | None, top_p: float | None) -> "Categorical":
        logits = self._raw / temperature
        ranked, where = logits.sort(dim=-1, descending=True, stable=True)
        drop = torch.zeros_like(ranked, dtype=torch.bool)
        if top_k is not None:
            drop[..., top_k:] = True
        if top_p is not None:
            probs = ranked.softmax(-1)
            drop |= probs.cumsum(-1) - probs >= top_p  # what the more likely ones already cover
        return Categorical(logits.masked_fill(torch.zeros_like(drop).scatter(-1, where, drop), -math.inf))


def draw(distribution: td.Distribution, uniforms: Tensor) -> Tensor:
    """The sample that given uniform numbers stand for, by inverting the CDF.

    Arguments:
        distribution: One with a method `draw`, a mixture, or one with an inverse CDF.
        uniforms: In [0, 1), shape batch_shape; one number decides one scalar.

    Returns:
        Shape batch_shape.

    Raises:
        TypeError: It can be drawn from in none of these ways.
    """
    own = getattr(distribution, "draw", None)
    if own is not None:
        return own(uniforms)  # type: ignore[no-any-return]
    if isinstance(distribution, td.MixtureSameFamily):
        # The number that chooses the component, rescaled within its share, is uniform again.
        weights = distribution.mixture_distribution.probs.double()  # (..., K)
        cdf = weights.cumsum(-1)
        u = uniforms.double() * cdf[..., -1]
        chosen = (cdf[..., :-1] <= u[..., None]).sum(-1, keepdim=True)
        rest = (u[..., None] - (cdf - weights).gather(-1, chosen)) / weights.gather(-1, chosen)
        values = draw(distribution.component_distribution, rest.clamp(0, 1).expand_as(weights))
        return values.gather(-1, chosen).squeeze(-1)
    if isinstance(distribution, (td.Normal, td.Laplace, td.Uniform, td.Exponential)):
        inside = uniforms.double().clamp(2**-54, 1 - 2**-53)
        inverted: Tensor = distribution.icdf(inside)  # type: ignore[no-untyped-call]
        return inverted.float()
    raise TypeError(f"cannot draw from {type(distribution).__name__}: give it a method draw(uniforms)")


def take(distribution: td.Distribution, index: Any) -> td.Distribution:
    """The distribution of some of the batch, by indexing its parameters.

    Arguments:
        index: Whatever indexes a tensor of shape batch_shape.
    """
    index = _without_ellipsis(index, len(distribution.batch_shape))
    own = getattr(distribution, "take", None)
    if own is not None:
        return own(index)  # type: ignore[no-any-return]
    if isinstance(distribution, td.Independent):
        return type(distribution)(
            take(distribution.base_dist, index), distribution.reinterpreted_batch_ndims, validate_args=False
        )
    if isinstance(distribution, td.MixtureSameFamily):
        return type(distribution)(
            td.Categorical(logits=distribution.mixture_distribution.logits[index], validate_args=False),
            take(distribution.component_distribution, index),
            validate_args=False,
        )
    names = [name for name in distribution.arg_constraints if name in distribution.__dict__]
    if "logits" in names and "probs" in names:  # torch keeps the other once it was asked for
        names.remove("probs")
    parameters = {name: getattr(distribution, name)[index] for name in names}
    return type(distribution)(**parameters, validate_args=False)


def _without_ellipsis(index: Any, num_axes: int) -> tuple[Any, ...]:
    """An ellipsis stands for axes of the batch; parameters may have more axes than that."""
    parts = index if isinstance(index, tuple) else (index,)
    for place, part in enumerate(parts):
        if part is Ellipsis:
            return parts[:place] + (slice(None),) * (num_axes + 1 - len(parts)) + parts[place + 1 :]
    return parts


def component(distribution: td.Distribution, values: Tensor) -> td.Distribution:
    """The exact conditional of component i of a vector site, given the i components before it.

    Arguments:
        distribution: event_shape (n,), with a method `component` or with independent components.
        values: The first i components, shape (*batch_shape, i).

    Returns:
        event_shape (), batch_shape as before.
    """
    own = getattr(distribution, "component", None)
    if own is not None:
        return own(values)  # type: ignore[no-any-return]
    if isinstance(distribution, td.Independent) and distribution.reinterpreted_batch_ndims == 1:
        return take(distribution.base_dist, (..., values.shape[-1]))
    raise TypeError(f"{type(distribution).__name__} has no components: give it a method component(values)")


def sharpen(
    distribution: td.Distribution, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> td.Distribution:
    """A distribution made less random: p^(1/temperature), cut to the likeliest outcomes.

    Arguments:
        temperature: Above 0; below 1 prefers the likely.
        top_k: Keep the k likeliest categories.
        top_p: Keep the fewest categories that hold at least this probability.

    Raises:
        ValueError: A number out of range, or a distribution that cannot be sharpened so.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    if (temperature, top_k, top_p) == (1.0, None, None):
        return distribution
    own = getattr(distribution, "sharpen", None)
    if own is not None:
        return own(temperature, top_k, top_p)  # type: ignore[no-any-return]
    if top_k is None and top_p is None and isinstance(distribution, td.Normal):
        return td.Normal(distribution.loc, distribution.scale * math.sqrt(temperature), validate_args=False)
    if top_k is None and top_p is None and isinstance(distribution, td.Laplace):
        return td.Laplace(distribution.loc, distribution.scale * temperature, validate_args=False)
    what = "temperature" if top_k is None and top_p is None else "top_k and top_p"
    raise ValueError(f"{what} cannot be applied to {type(distribution).__name__} conditionals; leave it at its default")
