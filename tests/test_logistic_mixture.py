"""The discretised logistic mixture: exact at the edges, in the tails and at every scale, by itself and in turn."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from arzoo.distributions import component, sharpen, take
from arzoo.logistic_mixture import LogisticMixture, num_mixture_outputs, spread_mixture


def parameters(*shape: int, channels: int, mixtures: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((*shape, num_mixture_outputs(channels, mixtures)), generator=generator).double() * scale


def levels(*shape: int, count: int) -> Tensor:
    return torch.randint(count, shape, generator=torch.Generator().manual_seed(1))


def with_scale(log_scale: float, *, channels: int, mixtures: int) -> Tensor:
    """Parameters whose log-scales are all one number, float64."""
    rows = parameters(channels=channels, mixtures=mixtures).view(-1, mixtures)
    rows[1 + channels : 1 + 2 * channels] = log_scale
    return rows.flatten()


@pytest.mark.parametrize(("channels", "outputs"), [(1, 30), (2, 60), (3, 100), (4, 150)])
def test_the_numbers_of_a_pixel(channels: int, outputs: int) -> None:
    assert num_mixture_outputs(channels, 10) == outputs
    distribution = LogisticMixture(torch.zeros(2, 5, outputs), channels, 256)
    assert distribution.batch_shape == (2, 5) and distribution.event_shape == (channels,)


# ---- the definition


def slow_probability(numbers: Tensor, value: Tensor, num_levels: int) -> float:
    """Of one pixel, by differences of logistic functions in float64, with loops."""
    channels = len(value)
    rows = numbers.view(1 + 2 * channels + channels * (channels - 1) // 2, -1).numpy()
    x = [2 * int(level) / (num_levels - 1) - 1 for level in value]

    def cdf(v: float, mean: float, scale: float) -> float:
        return 1 / (1 + math.exp(-(v - mean) / scale))

    weights = np.exp(rows[0]) / np.exp(rows[0]).sum()
    total = 0.0
    for k, weight in enumerate(weights):
        product = weight
        coefficients = iter(rows[1 + 2 * channels :, k])
        for c in range(channels):
            mean = rows[1 + c, k] + sum(math.tanh(next(coefficients)) * x[earlier] for earlier in range(c))
            scale = math.exp(max(rows[1 + channels + c, k], -7))
            upper = 1.0 if value[c] == num_levels - 1 else cdf(x[c] + 1 / (num_levels - 1), mean, scale)
            lower = 0.0 if value[c] == 0 else cdf(x[c] - 1 / (num_levels - 1), mean, scale)
            product *= upper - lower
        total += product
    return total


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_the_likelihood_against_the_definition(channels: int, num_levels: int) -> None:
    numbers = parameters(200, channels=channels, mixtures=3)
    value = levels(200, channels, count=num_levels)
    value[:20], value[20:40] = 0, num_levels - 1
    truth = [slow_probability(*pair, num_levels) for pair in zip(numbers, value, strict=True)]
    got = LogisticMixture(numbers, channels, num_levels).log_prob(value).exp()
    np.testing.assert_allclose(got, truth, rtol=1e-8, atol=1e-13)
    in_float32 = LogisticMixture(numbers.float(), channels, num_levels).log_prob(value).exp()
    np.testing.assert_allclose(in_float32, truth, rtol=1e-3, atol=1e-7)


def test_far_from_its_mean_a_bin_has_the_logarithm_of_the_tail() -> None:
    """Where the paper's code takes the density at the middle of the bin, and a difference in float32 is zero."""
    numbers = torch.tensor([0.0, -0.5, -5.0])  # logit, mean, log-scale
    level = torch.tensor([[250]])
    got = LogisticMixture(numbers.expand(1, -1), 1, 256).log_prob(level)
    scale, middle = math.exp(-5.0), 2 * 250 / 255 - 1
    upper, lower = (-(middle + edge / 255 + 0.5) / scale for edge in (1, -1))  # log of what lies beyond, this far out
    assert float(got) == pytest.approx(lower + math.log1p(-math.exp(upper - lower)), rel=1e-6)
    assert float(got) < -200


@pytest.mark.parametrize("log_scale", [-50.0, -7.0, -4.0, -1.0, 0.0, 3.0, 10.0, 29.0, 80.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-4)])
def test_a_channel_sums_to_one_at_every_scale(log_scale: float, dtype: torch.dtype, tolerance: float) -> None:
    numbers = with_scale(log_scale, channels=1, mixtures=5).to(dtype)
    every = torch.arange(256)[:, None]
    log_probs = LogisticMixture(numbers.expand(256, -1), 1, 256).log_prob(every)
    assert float(log_probs.double().logsumexp(0).exp()) == pytest.approx(1, abs=tolerance)


def test_log_scales_stop_at_minus_seven() -> None:
    value = levels(9, 3, count=256)
    least, less = (with_scale(s, channels=3, mixtures=2).expand(9, -1) for s in (-7.0, -9.0))
    ours = LogisticMixture(least, 3, 256).log_prob(value)
    assert torch.equal(ours, LogisticMixture(less, 3, 256).log_prob(value))


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_all_colours_sum_to_one(scale: float) -> None:
    numbers = parameters(channels=3, mixtures=3, scale=scale)
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        log_probs = LogisticMixture(numbers.to(dtype).expand(64, -1), 3, 4).log_prob(every)
        assert float(log_probs.double().logsumexp(0).exp()) == pytest.approx(1, abs=tolerance)


# ---- channel by channel


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("num_levels", [2, 4, 256])
def test_channels_in_turn_make_up_the_pixel(channels: int, num_levels: int) -> None:
    distribution = LogisticMixture(parameters(6, 2, channels=channels, mixtures=4), channels, num_levels)
    value = levels(6, 2, channels, count=num_levels)
    parts = [component(distribution, value[..., :i]).log_prob(value[..., i]) for i in range(channels)]
    torch.testing.assert_close(torch.stack(parts).sum(0), distribution.log_prob(value))


def test_the_conditional_of_a_channel_is_a_ratio_of_marginals() -> None:
    numbers = parameters(channels=3, mixtures=3, scale=1.5)
    distribution = LogisticMixture(numbers.expand(64, -1), 3, 4)
    joint = distribution.log_prob(torch.cartesian_prod(*[torch.arange(4)] * 3)).exp().view(4, 4, 4)
    one = LogisticMixture(numbers[None], 3, 4)
    for r, g in np.ndindex(4, 4):
        first, second = torch.tensor([[r]]), torch.tensor([[r, g]])
        torch.testing.assert_close(one.component(first).probs[0], joint[r].sum(1) / joint[r].sum())
        torch.testing.assert_close(one.component(second).probs[0], joint[r, g] / joint[r, g].sum())
    torch.testing.assert_close(one.component(torch.zeros(1, 0)).probs[0], joint.sum((1, 2)))


def test_the_channels_so_far_say_which_component_it_is() -> None:
    """Two components apart, without coefficients: after a dark first channel the second is dark."""
    rows = torch.tensor([[0.0, 0.0], [-0.8, 0.8], [-0.8, 0.8], [-3.0, -3.0], [-3.0, -3.0], [0.0, 0.0]])
    distribution = LogisticMixture(rows.flatten()[None], 2, 256)
    second = distribution.component(torch.tensor([[25]])).probs[0]
    assert float(second[:128].sum()) > 0.99
    assert float(distribution.component(torch.zeros(1, 0)).probs[0, :128].sum()) == pytest.approx(0.5, abs=1e-4)


# ---- drawing


@pytest.mark.parametrize("shrink", [0.0, -4.0, -20.0])
def test_evenly_spread_numbers_draw_levels_as_often_as_they_are_likely(shrink: float) -> None:
    """A component turns its share of the numbers around in order, so a count is off by one at either end of a bin."""
    row = parameters(channels=1, mixtures=3).float()
    row[6:] += shrink  # log-scales
    number = 30_000
    numbers = (torch.arange(number) + 0.5) / number
    drawn = LogisticMixture(row.expand(number, -1), 1, 8).draw(numbers[:, None])[:, 0]
    counts = drawn.bincount(minlength=8)
    probs = LogisticMixture(row[None], 1, 8).component(torch.zeros(1, 0)).probs[0]
    assert float((counts - number * probs).abs().max()) <= 2 * 3
    assert int((counts > 0).sum()) > 1


def test_numbers_at_both_ends_draw_levels_that_there_are() -> None:
    distribution = LogisticMixture(parameters(6, channels=1, mixtures=3).float(), 1, 8)
    drawn = distribution.draw(torch.tensor([0.0, 2.0**-149, 2.0**-24, 0.5, 1 - 2.0**-23, 1 - 2.0**-24])[:, None])
    assert drawn.dtype == torch.int64
    assert int(drawn.min()) >= 0 and int(drawn.max()) <= 7


def test_the_number_zero_draws_nothing_less_likely_than_it_is() -> None:
    """torch.rand gives it once in 2^24 draws."""
    bright = LogisticMixture(torch.tensor([[0.0, 0.9, -5.0]]), 1, 256)
    drawn = bright.draw(torch.tensor([[0.0]]))
    assert float(bright.log_prob(drawn)) > math.log(2.0**-27)


def test_samples_are_as_frequent_as_they_are_likely() -> None:
    distribution = LogisticMixture(parameters(1, channels=3, mixtures=2).float(), 3, 4)
    torch.manual_seed(0)
    samples = distribution.sample((40_000,))[:, 0]
    counts = (samples @ torch.tensor([16, 4, 1])).bincount(minlength=64).double()
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)
    expected = 40_000 * distribution.log_prob(every[:, None])[:, 0].double().exp()
    z = (counts - expected) / expected.clamp_min(4).sqrt()
    assert float(z.abs().max()) < 5


def test_taking_some_is_indexing_what_they_say() -> None:
    distribution = LogisticMixture(parameters(5, 3, 2, channels=3, mixtures=4), 3, 256)
    value = levels(5, 3, 2, 3, count=256)
    whole = distribution.log_prob(value)
    cases: list[Any] = [3, (slice(None), 2), (..., 1), (slice(None), 1, 0), torch.tensor([4, 0])]
    for index in cases:
        part = take(distribution, index)
        parts = value[(*index, slice(None))] if isinstance(index, tuple) else value[index]
        assert part.batch_shape == whole[index].shape
        torch.testing.assert_close(part.log_prob(parts), whole[index])


def test_taking_some_of_a_channel_is_indexing_what_it_says() -> None:
    distribution = LogisticMixture(parameters(5, 3, channels=2, mixtures=4), 2, 6)
    channel = distribution.component(levels(5, 3, 1, count=6))
    torch.testing.assert_close(take(channel, (slice(None), 1)).probs, channel.probs[:, 1])  # type: ignore[attr-defined]


def test_a_channel_can_be_sharpened() -> None:
    part = LogisticMixture(parameters(4, channels=2, mixtures=3), 2, 6).component(torch.ones(4, 1))
    assert int((sharpen(part, top_k=2).probs > 0).sum(1).max()) == 2  # type: ignore[attr-defined]


# ---- training


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("num_levels", [2, 256])
def test_gradients_are_finite_at_extreme_parameters(size: float, num_levels: int) -> None:
    numbers = (parameters(300, channels=3, mixtures=4).float() * size).requires_grad_()
    value = levels(300, 3, count=num_levels)
    log_prob = LogisticMixture(numbers, 3, num_levels).log_prob(value)
    (gradient,) = torch.autograd.grad(log_prob.sum(), numbers)
    assert bool(log_prob.isfinite().all()) and bool(gradient.isfinite().all())
    assert bool((log_prob <= 0).all())


def test_gradients_are_those_of_finite_differences() -> None:
    numbers = parameters(6, channels=3, mixtures=2).requires_grad_()
    value = torch.tensor([[0, 4, 2], [4, 0, 0], [1, 2, 3], [4, 4, 4], [0, 0, 0], [3, 1, 0]])
    assert torch.autograd.gradcheck(lambda each: LogisticMixture(each, 3, 5).log_prob(value), (numbers,))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mixtures", [1, 5, 10])
def test_it_starts_spread_over_all_levels(channels: int, mixtures: int) -> None:
    """A grey pixel, whatever its brightness, costs hardly more than 8 bits a channel."""
    distribution = LogisticMixture(spread_mixture(channels, mixtures)[None], channels, 256)
    first = distribution.component(torch.zeros(1, 0)).probs[0]
    assert float(first.min()) > 0.4 / 256
    assert first[0] == pytest.approx(float(first[-1]), rel=1e-4)
    grey = torch.arange(256)[:, None].expand(-1, channels)
    bits = -distribution.log_prob(grey) / channels / math.log(2)
    assert float(bits.mean()) < 8.5 and float(bits.max()) < 9.5


def test_it_fits_what_it_is_shown() -> None:
    """Two colours, one red with green that follows it: one step at a time from the start."""
    value = torch.tensor([[200, 100, 30], [60, 30, 200]] * 8)
    numbers = nn.Parameter(spread_mixture(3, 4))
    optimizer = torch.optim.Adam([numbers], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss = -LogisticMixture(numbers.expand(16, -1), 3, 256).log_prob(value).mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 3.5  # ln 2 for which of the two, and what the least scale leaves


def test_refuses_levels_of_other_channels() -> None:
    with pytest.raises(ValueError, match=r"must be of 3 channels, got shape \(4, 2\)"):
        LogisticMixture(torch.zeros(4, 10), 3, 256).log_prob(torch.zeros(4, 2, dtype=torch.long))


def test_refuses_numbers_of_no_whole_number_of_components() -> None:
    with pytest.raises(ValueError, match="must be a positive multiple of 10, got 15"):
        LogisticMixture(torch.zeros(2, 15), 3, 256)
