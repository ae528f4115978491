"""The discretised logistic mixture of PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517, sections 2.1 and 2.2).

A pixel of C channels of L levels: a mixture of K components whose weights the channels share; in a component, each
channel is a logistic distribution, cut into L bins of which the first and the last take the tails.  The mean of a
channel is shifted by the true levels of those before it.  So few numbers make a distribution over L^C colours.
"""

import math
from typing import Any, ClassVar

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor, nn

from arzoo.distributions import Categorical

_LOG_SCALES = (-7.0, 30.0)
"""The paper's code has the least; the largest is far from where a bin's share of a float32 becomes zero."""

_HALF_GRAIN = 2.0**-25
"""Of uniform numbers in float32, of which 0 is one: each stands for what is around it, not for the end of all."""


_START_SCALE = 0.1
"""Of the weights of a last layer."""


def _outputs_per_component(num_channels: int) -> int:
    return 1 + 2 * num_channels + num_channels * (num_channels - 1) // 2


def num_mixture_outputs(num_channels: int, num_mixtures: int) -> int:
    """Numbers that make the distribution of a pixel of C channels: 10 K of K components if C is 3, 3 K if it is 1."""
    return num_mixtures * _outputs_per_component(num_channels)


def spread_mixture(num_channels: int, num_mixtures: int) -> Tensor:
    """Parameters that cover the range evenly: where the bias of a network's last layer should start.

    Returns:
        Shape (num_mixture_outputs,): components of equal weight, side by side from the darkest to the brightest.
    """
    means = (2 * torch.arange(num_mixtures) + 1) / num_mixtures - 1
    bias = torch.zeros(num_mixture_outputs(num_channels, num_mixtures))
    _, where, log_scales, _ = _split(bias, num_channels)
    where.copy_(means)
    log_scales.fill_(-math.log(num_mixtures + 1))
    return bias


class MixtureLinear(nn.Linear):
    """The last layer of a network, from features (..., in_features) to parameters (..., num_mixture_outputs).

    It computes in the dtype of its weights under autocast too: bfloat16 cannot tell levels apart.  It starts spread
    evenly, with small weights, so that the mixtures of different sites are alike.
    """

    def __init__(self, in_features: int, num_channels: int, num_mixtures: int) -> None:
        super().__init__(in_features, num_mixture_outputs(num_channels, num_mixtures))
        with torch.no_grad():
            self.weight.mul_(_START_SCALE)
            self.bias.copy_(spread_mixture(num_channels, num_mixtures))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


def _split(parameters: Tensor, num_channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views of parameters: logits (..., K), means and log-scales (..., C, K), coefficients (..., P, K)."""
    parts = parameters.unflatten(-1, (_outputs_per_component(num_channels), -1))
    logits, means, log_scales, coefficients = parts.split(
        (1, num_channels, num_channels, parts.shape[-2] - 1 - 2 * num_channels), -2
    )
    return logits.squeeze(-2), means, log_scales, coefficients


def place(levels: Tensor, num_levels: int, dtype: torch.dtype) -> Tensor:
    """Levels as numbers, evenly from -1 to 1: the middle of their bins."""
    return levels.to(dtype) * (2 / (num_levels - 1)) - 1


def _log_mass(means: Tensor, log_scales: Tensor, levels: Tensor, num_levels: int) -> Tensor:
    """Log-probabilities of levels (..., 1) in every component (..., K).

    With u and v the upper and the lower edge of a bin in units of the scale, and d = u - v its width,
    sigma(u) - sigma(v) = sigma(u) sigma(-v) (1 - exp(-d)): accurate however far out or thin the bin is.
    """
    inverse = (-log_scales).exp()
    middle = (place(levels, num_levels, means.dtype) - means) * inverse
    half = inverse / (num_levels - 1)
    lowest, highest = levels == 0, levels == num_levels - 1
    below_upper = F.logsigmoid(middle + half).masked_fill(highest, 0.0)
    above_lower = F.logsigmoid(half - middle).masked_fill(lowest, 0.0)
    width = (-torch.expm1(-2 * half)).log().masked_fill(lowest | highest, 0.0)
    return below_upper + above_lower + width


class LogisticChannel(Categorical):
    """The L levels of one channel; their logits are computed when they are asked for, which a draw does not.

    Arguments:
        log_weights: Of the components, which need not be normalised, shape (*batch, K).
        means: Shape (*batch, K).
        log_scales: Shape (*batch, K).
    """

    def __init__(self, log_weights: Tensor, means: Tensor, log_scales: Tensor, num_levels: int) -> None:
        self._log_weights, self._means, self._log_scales = log_weights, means, log_scales
        self._num_events = num_levels
        self._batch_shape, self._event_shape, self._validate_args = means.shape[:-1], torch.Size(), False

    @property
    def _raw(self) -> Tensor:  # type: ignore[override]
        levels = torch.arange(self._num_events, device=self._means.device)[:, None]
        means, log_scales = self._means[..., None, :], self._log_scales[..., None, :]
        log_masses = _log_mass(means, log_scales, levels, self._num_events)  # (*batch, L, K)
        return (self._log_weights[..., None, :] + log_masses).logsumexp(-1)

    def draw(self, uniforms: Tensor) -> Tensor:
        """By the inverse of a component's distribution function: the bin of what a logistic distribution draws."""
        weights = self._log_weights.softmax(-1).double()
        cdf = weights.cumsum(-1)
        level = (uniforms.double() + _HALF_GRAIN) * cdf[..., -1]
        chosen = (cdf[..., :-1] <= level[..., None]).sum(-1, keepdim=True)
        # The number that chooses the component, rescaled within its share, is uniform again.
        rest = (level[..., None] - (cdf - weights).gather(-1, chosen)) / weights.gather(-1, chosen)
        mean, log_scale = (part.gather(-1, chosen).double() for part in (self._means, self._log_scales))
        drawn = mean + log_scale.exp() * rest.clamp(0, 1).logit()
        return ((drawn + 1) * ((self._num_events - 1) / 2)).round().clamp(0, self._num_events - 1).long().squeeze(-1)

    def take(self, index: Any) -> "LogisticChannel":
        return LogisticChannel(self._log_weights[index], self._means[index], self._log_scales[index], self._num_events)


class LogisticMixture(td.Distribution):
    """The levels of a pixel's channels, event_shape (C,): integers 0 to L - 1.

    Arguments:
        parameters: Shape (*batch, num_mixture_outputs), float32 or more: K logits of the components, the C means (K of
            them each, in the range [-1, 1] of the levels), C log-scales, and a coefficient for each pair of channels
            (1, 0), (2, 0), (2, 1), ...: that of (c, b) shifts the mean of channel c by its tanh times the place of b's
            level in that range.
        num_levels: Number L of levels, at least 2.

    Raises:
        ValueError: The parameters are none of a whole number of components.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, parameters: Tensor, num_channels: int, num_levels: int) -> None:
        if not parameters.shape[-1] or parameters.shape[-1] % _outputs_per_component(num_channels):
            raise ValueError(
                f"parameters of a mixture over {num_channels} channels must be a positive multiple of"
                f" {_outputs_per_component(num_channels)}, got {parameters.shape[-1]}"
            )
        self.parameters, self.num_channels, self.num_levels = parameters, num_channels, num_levels
        self._logits, self._means, self._log_scales, self._coefficients = _split(parameters, num_channels)
        super().__init__(parameters.shape[:-1], torch.Size((num_channels,)), validate_args=False)

    def _channel(self, values: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Means and log-scales of a channel given the values (*batch, i) of those before it, shape (*batch, K)."""
        means, first = self._means[..., index, :], index * (index - 1) // 2
        for earlier in range(index):
            coefficient = self._coefficients[..., first + earlier, :].tanh()
            means = means + coefficient * place(values[..., earlier, None], self.num_levels, means.dtype)
        return means, self._log_scales[..., index, :].clamp(*_LOG_SCALES)

    def _joint(self, values: Tensor) -> Tensor:
        """Log-probabilities of a component and the first i channels' values (*batch, i), shape (*batch, K)."""
        joint = self._logits.log_softmax(-1)
        for index in range(values.shape[-1]):
            means, log_scales = self._channel(values, index)
            joint = joint + _log_mass(means, log_scales, values[..., index, None], self.num_levels)
        return joint

    def log_prob(self, value: Tensor) -> Tensor:
        """
        Arguments:
            value: Levels, shape (*batch, C).

        Returns:
            Shape (*batch), in nats.

        Raises:
            ValueError: The levels are those of another number of channels.
        """
        if value.shape[-1:] != self.event_shape:
            raise ValueError(f"levels must be of {self.num_channels} channels, got shape {tuple(value.shape)}")
        return self._joint(value).logsumexp(-1)

    def component(self, values: Tensor) -> "LogisticChannel":
        """The exact conditional of channel i given the values (*batch, i) of those before it, over all L levels."""
        return LogisticChannel(self._joint(values), *self._channel(values, values.shape[-1]), self.num_levels)

    def draw(self, uniforms: Tensor) -> Tensor:
        """The levels (*batch, C) that uniform numbers of that shape stand for, channel by channel."""
        values = uniforms.new_empty((*uniforms.shape[:-1], 0), dtype=torch.int64)
        for uniform in uniforms.unbind(-1):
            values = torch.cat([values, self.component(values).draw(uniform)[..., None]], -1)
        return values

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            many = LogisticMixture(self.parameters.expand(*shape, -1), self.num_channels, self.num_levels)
            return many.draw(torch.rand((*shape, self.num_channels), device=self.parameters.device))

    def take(self, index: Any) -> "LogisticMixture":
        return LogisticMixture(self.parameters[index], self.num_channels, self.num_levels)
