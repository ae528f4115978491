"""Drawing from given uniform numbers is inverting the CDF, to the last bit of the range."""

import math
from typing import Any

import pytest
import torch
import torch.distributions as td
from torch import Tensor

from arzoo.distributions import Bernoulli, Categorical, component, draw, sharpen, take

LAST = 1 - 2.0**-24  # the largest number that torch.rand gives in float32
INF = math.inf


def grid(n: int) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def mixture(*shape: int) -> td.MixtureSameFamily:
    generator = torch.Generator().manual_seed(0)
    logits, loc, scale = torch.randn((3, *shape, 3), generator=generator)
    return td.MixtureSameFamily(td.Categorical(logits=logits), td.Normal(loc, scale.exp()))


# ---- likelihood


def test_the_gradient_of_categorical_is_that_of_the_formula() -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = torch.tensor([[0, 3, 1], [2, 2, 0]])
    assert torch.autograd.gradcheck(lambda raw: Categorical(raw).log_prob(value) * torch.arange(3), logits)


def test_what_a_categorical_excludes_has_no_gradient() -> None:
    logits = torch.tensor([[0.5, -INF, 1.0]], requires_grad=True)
    Categorical(logits).log_prob(torch.tensor([0])).sum().backward()
    share = 1 / (1 + math.exp(0.5))
    torch.testing.assert_close(logits.grad, torch.tensor([[1 - share, 0.0, share - 1]]))


@pytest.mark.parametrize("shape", [(2, 3), (4, 2), (4, 3, 1)])
def test_a_categorical_refuses_values_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError, match="expand"):
        Categorical(torch.zeros(4, 3, 5)).log_prob(torch.zeros(shape, dtype=torch.long))


def test_bernoulli_is_that_of_torch() -> None:
    logits = torch.tensor([[-40.0, -3.0, 0.0], [0.5, 7.0, 90.0]])
    ours, theirs = Bernoulli(logits), td.Bernoulli(logits=logits)
    for value in (0, 1):
        x = torch.full((2, 3), value)
        torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x.float()))
    torch.testing.assert_close(ours.probs, theirs.probs)
    torch.testing.assert_close(ours.entropy(), theirs.entropy())


def test_certain_bernoulli() -> None:
    certain = Bernoulli(torch.tensor([INF, -INF]))
    assert certain.log_prob(torch.tensor([1, 0])).tolist() == [0, 0]
    assert certain.log_prob(torch.tensor([0, 1])).tolist() == [-INF, -INF]


def test_categorical_is_that_of_torch() -> None:
    logits = torch.randn(4, 3, 5) * 4 + 30
    ours, theirs = Categorical(logits), td.Categorical(logits=logits)
    x = torch.randint(5, (4, 3))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.probs, theirs.probs)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.entropy(), theirs.entropy())


def test_categories_that_do_not_exist() -> None:
    ours = Categorical(torch.tensor([[-INF, 1.0, 1.0, -INF]]))
    assert ours.log_prob(torch.tensor([1])).item() == pytest.approx(-math.log(2))
    assert ours.log_prob(torch.tensor([0])).item() == -INF
    assert ours.probs.tolist() == [[0, 0.5, 0.5, 0]]


# ---- drawing


def test_bernoulli_inverts_its_cdf() -> None:
    p = torch.tensor([0.0, 0.1, 0.5, 0.93, 1.0])
    x = Bernoulli(p.logit()).draw(grid(1000)[:, None].expand(1000, 5).float())
    torch.testing.assert_close(x.double().mean(0), p.double(), atol=1e-3, rtol=0)
    assert bool((x.diff(dim=0) >= 0).all())


@pytest.mark.parametrize("uniform", [0.0, 2.0**-24, 0.5, LAST])
def test_nothing_impossible_is_drawn(uniform: float) -> None:
    u = torch.full((2,), uniform)
    assert Bernoulli(torch.tensor([INF, -INF])).draw(u).tolist() == [1, 0]
    for seed in range(50):
        logits = torch.randn(2, 257, generator=torch.Generator().manual_seed(seed)) * 3
        logits[:, :3] = logits[:, -3:] = logits[0, 7:50] = -INF
        x = Categorical(logits).draw(u)
        assert bool(logits.gather(1, x[:, None]).isfinite().all()), (seed, x)


def test_categorical_inverts_its_cdf() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0, 3.0], [9.0, -INF, 9.0, 8.0]]) + 5
    x = Categorical(logits).draw(grid(4000).float()[:, None].expand(4000, 2))
    assert bool((x.diff(dim=0) >= 0).all())
    for row in range(2):
        got = x[:, row].bincount(minlength=4) / 4000
        torch.testing.assert_close(got, logits[row].softmax(0), atol=3e-4, rtol=0)


def test_the_last_of_many_categories_is_drawn_at_the_end() -> None:
    flat = Categorical(torch.zeros(1, 256))
    assert flat.draw(torch.tensor([0.0])).item() == 0
    assert flat.draw(torch.tensor([LAST])).item() == 255


@pytest.mark.parametrize(
    "distribution",
    [
        td.Normal(torch.tensor(1.0), torch.tensor(2.0)),
        td.Laplace(torch.tensor(1.0), torch.tensor(2.0)),
        td.Exponential(torch.tensor(3.0)),
    ],
)
def test_real_values_invert_their_cdf(distribution: Any) -> None:
    u = grid(101)
    x = draw(distribution, u)
    assert x.dtype == torch.float32
    torch.testing.assert_close(distribution.cdf(x).double(), u, atol=1e-5, rtol=0)
    ends = draw(distribution, torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64))
    assert bool(ends.isfinite().all()), ends


def test_a_mixture_follows_its_cdf() -> None:
    distribution = mixture(2)
    x = draw(distribution.expand((20_000, 2)), grid(20_000)[:, None].expand(20_000, 2))
    for row in range(2):
        u = take(distribution, row).cdf(x[:, row].sort().values)
        assert float((u - grid(20_000)).abs().max()) < 1e-3
    for end in (0.0, 1 - 2.0**-53):
        assert bool(draw(distribution, torch.full((2,), end, dtype=torch.float64)).isfinite().all())


def test_a_mixture_never_draws_a_component_without_weight() -> None:
    logits = torch.tensor([-INF, 0.0, 1.0, -INF])
    normals = td.Normal(torch.tensor([9.0, 0.0, 0.0, 9.0]), torch.full((4,), 1e-3))
    distribution = td.MixtureSameFamily(Categorical(logits), normals, validate_args=False)
    u = torch.cat([grid(1000), torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)])
    x = torch.stack([draw(distribution, each) for each in u])
    assert float(x.abs().max()) < 0.1


def test_a_weight_sum_short_of_one_makes_no_outliers() -> None:
    weights = td.Categorical(logits=torch.zeros(7))
    weights.probs = torch.full((7,), 1 / 7) * (1 - 2e-7)  # as float32 sums may turn out
    distribution = td.MixtureSameFamily(weights, td.Uniform(torch.zeros(7), torch.ones(7)), validate_args=False)
    x = draw(distribution, torch.tensor(1 - 1e-7, dtype=torch.float64))
    assert x.item() < 1 - 1e-7


def test_what_cannot_be_drawn_from() -> None:
    with pytest.raises(TypeError, match="Poisson"):
        draw(td.Poisson(torch.ones(2)), torch.zeros(2))


# ---- one of many


@pytest.mark.parametrize(
    "distribution",
    [
        Bernoulli(torch.randn(4, 3, 2)),
        Categorical(torch.randn(4, 3, 2, 5)),
        td.Bernoulli(logits=torch.randn(4, 3, 2)),
        td.Categorical(logits=torch.randn(4, 3, 2, 5)),
        td.Categorical(probs=torch.rand(4, 3, 2, 5)),
        td.Normal(torch.randn(4, 3, 2), torch.rand(4, 3, 2)),
        mixture(4, 3, 2),
    ],
    ids=lambda distribution: type(distribution).__module__.split(".")[0] + type(distribution).__name__,
)
def test_take(distribution: Any) -> None:
    x = torch.randint(2, (4, 3, 2)).to(torch.float32 if "Normal" in repr(distribution) else torch.int64)
    x = x.float() if isinstance(distribution, td.Bernoulli) and not isinstance(distribution, Bernoulli) else x
    whole = distribution.log_prob(x)
    if isinstance(distribution, td.Bernoulli | td.Categorical):
        assert distribution.probs is not None and distribution.logits is not None  # torch caches the other one
    for index in ((slice(None), 1, 0), (slice(None), 2), (Ellipsis, 1)):
        part = take(distribution, index)
        assert part.batch_shape == x[index].shape
        torch.testing.assert_close(part.log_prob(x[index]), whole[index])


def test_take_of_vectors() -> None:
    distribution = td.Independent(td.Normal(torch.randn(4, 3, 2), torch.rand(4, 3, 2)), 1)
    x = torch.randn(4, 3, 2)
    part = take(distribution, (slice(None), 1))
    assert (part.batch_shape, part.event_shape) == ((4,), (2,))
    torch.testing.assert_close(part.log_prob(x[:, 1]), distribution.log_prob(x)[:, 1])


def test_independent_components() -> None:
    distribution = td.Independent(Categorical(torch.randn(4, 3, 5)), 1)
    x = torch.randint(5, (4, 3))
    parts = [component(distribution, x[:, :i]).log_prob(x[:, i]) for i in range(3)]
    torch.testing.assert_close(torch.stack(parts).sum(0), distribution.log_prob(x))
    with pytest.raises(TypeError, match="no components"):
        component(td.MultivariateNormal(torch.zeros(2), torch.eye(2)), x[:, :0])


# ---- sharpening


@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (1, None), (2, None), (None, 0.6), (None, 0.9), (1, 0.9)])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_two_categories_are_sharpened_as_a_bernoulli_is(
    top_k: int | None, top_p: float | None, temperature: float
) -> None:
    logits = torch.tensor([-2.0, -0.7, 0.0, 0.3, 1.1, 5.0])
    one = sharpen(Bernoulli(logits), temperature, top_k, top_p)
    two = sharpen(Categorical(torch.stack([torch.zeros(6), logits], 1)), temperature, top_k, top_p)
    torch.testing.assert_close(one.probs, two.probs[:, 1])


def test_top_k_keeps_k_even_of_equals() -> None:
    assert sharpen(Categorical(torch.zeros(1, 5)), top_k=2).probs.tolist() == [[0.5, 0.5, 0, 0, 0]]


def test_temperature_of_densities() -> None:
    normal, laplace = td.Normal(torch.ones(1), 2 * torch.ones(1)), td.Laplace(torch.ones(1), 2 * torch.ones(1))
    x = torch.tensor([[-1.0], [0.5], [3.0]])
    for distribution in (normal, laplace):
        ratio = sharpen(distribution, 0.25).log_prob(x) - 4 * distribution.log_prob(x)  # p^(1/t), but for a constant
        torch.testing.assert_close(ratio, ratio[:1].expand(3, 1))


@pytest.mark.parametrize("arguments", [{"temperature": -1.0}, {"temperature": math.nan}, {"top_k": 0}, {"top_p": 1.5}])
def test_sharpen_refuses(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        sharpen(Bernoulli(torch.zeros(1)), **arguments)


def test_what_cannot_be_sharpened() -> None:
    with pytest.raises(ValueError, match="MixtureSameFamily"):
        sharpen(mixture(1), 0.5)
