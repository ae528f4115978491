"""How dense families see a scalar: the numbers that enter a network for its value, and those that come out for it.

A family multiplies matrices and need not know whether events are bits, categories or real numbers.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor, nn

from arzoo.distributions import Bernoulli, Categorical
from arzoo.model import ModelConfig


class Scalars(nn.Module, ABC):
    """The D scalars of an event of shape E.

    Attributes:
        num_inputs: Numbers R that a value enters as.
        num_outputs: Numbers O that its distribution is made of.
    """

    num_inputs: int
    num_outputs: int

    @abstractmethod
    def encode(self, values: Tensor) -> Tensor:
        """Values (...) as inputs (..., R), float32."""

    @abstractmethod
    def distribution(self, outputs: Tensor, index: int | None = None) -> td.Distribution:
        """What outputs (B, *E, O) say, of shape (B, *E); or those (B, O) of the scalar with this row-major index."""

    @abstractmethod
    def start(self, x: Tensor) -> Tensor:
        """Outputs (D, O) whose distributions are near the marginals of the events x (B, D)."""


class Bits(Scalars):
    """One input, one logit."""

    num_inputs = num_outputs = 1

    def encode(self, values: Tensor) -> Tensor:
        return values.unsqueeze(-1).float()

    def distribution(self, outputs: Tensor, index: int | None = None) -> Bernoulli:
        return Bernoulli(outputs.select(-1, 0).float())

    def start(self, x: Tensor) -> Tensor:
        """The marginals, smoothed by one example of each value."""
        ones = x.double().sum(0)
        return ((ones + 1) / (len(x) - ones + 1)).log()[:, None]


class Categories(Scalars):
    """K inputs, one of them 1, and K logits; K is the largest where scalars differ in the number of categories."""

    absent: Tensor

    def __init__(self, sizes: tuple[int, ...], event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.num_inputs = self.num_outputs = max(sizes)
        there = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        # Added to the logits: what a scalar does not have has probability zero.
        absent = torch.where(there, 0.0, -math.inf).view(*event_shape, -1)
        self.register_buffer("absent", absent, persistent=False)  # (*E, K)
        self._differ = len(set(sizes)) > 1

    def encode(self, values: Tensor) -> Tensor:
        return F.one_hot(values, self.num_inputs).float()

    def distribution(self, outputs: Tensor, index: int | None = None) -> Categorical:
        outputs = outputs.float()
        if self._differ:
            outputs = outputs + (self.absent if index is None else self.absent.flatten(0, -2)[index])
        return Categorical(outputs)

    def start(self, x: Tensor) -> Tensor:
        """The marginals, smoothed by one example of each category."""
        counts = F.one_hot(x, self.num_inputs).double().sum(0) + 1
        return (counts / counts.sum(1, keepdim=True)).log()


class Reals(Scalars):
    """One input; a mixture of C normal or Laplace components: logits, locations and scales are outputs.

    A scale is `min_scale` plus the softplus of its output, so that no density grows without bound on values
    that occur many times, and no scale explodes far from the data.
    """

    num_inputs = 1

    def __init__(self, num_components: int, component: Literal["normal", "laplace"], min_scale: float) -> None:
        super().__init__()
        self.num_outputs = 3 * num_components
        self._component = td.Normal if component == "normal" else td.Laplace
        self._min_scale = min_scale

    def encode(self, values: Tensor) -> Tensor:
        return values.unsqueeze(-1).float()

    def distribution(self, outputs: Tensor, index: int | None = None) -> td.MixtureSameFamily:
        logits, location, width = outputs.float().chunk(3, -1)  # (..., C) each
        scale = self._min_scale + F.softplus(width)
        return td.MixtureSameFamily(
            td.Categorical(logits=logits, validate_args=False),
            self._component(location, scale, validate_args=False),
            validate_args=False,
        )

    def start(self, x: Tensor) -> Tensor:
        """Locations at evenly spaced quantiles, scales of a standard deviation."""
        num = self.num_outputs // 3
        levels = (torch.arange(num, dtype=torch.double) + 0.5) / num
        location = x.double().quantile(levels, 0).t()  # (D, C)
        deviation = x.double().std(0, correction=0).clamp_min(1e-3)
        width = (deviation + (-torch.expm1(-deviation)).log())[:, None].expand_as(location)  # the inverse of softplus
        return torch.cat([torch.zeros_like(location), location, width], 1)


def discrete_scalars(config: ModelConfig) -> Bits | Categories:
    """Those of events with categories.

    Raises:
        ValueError: Events are real.
    """
    sizes = config.num_categories
    if sizes is None:
        raise ValueError("num_categories must be given: the family has no densities of real values")
    if isinstance(sizes, int):
        sizes = (sizes,) * config.dims
    return Bits() if set(sizes) == {2} else Categories(sizes, config.event_shape)
