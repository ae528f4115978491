"""RNADE against the equations of its paper, and the recursion it shares with NADE, in torch and compiled."""

import math
import sys
from typing import Any

import arzoo_nade
import numpy as np
import pytest
import torch
from arzoo_nade import recursion
from torch import Tensor, nn

import arzoo
from arzoo import testing
from arzoo.compiling import find_kernels

NADE, RNADE, RNADEConfig = arzoo_nade.NADE, arzoo_nade.RNADE, arzoo_nade.RNADEConfig


def build(family: Any = RNADE, **fields: Any) -> Any:
    return testing.random_model(family, family.config_class(**fields))


def slow_rnade(parameters: dict[str, np.ndarray], config: Any, x: np.ndarray) -> np.ndarray:
    """Log-densities (N,) by the definition, in float64, one event, site and component at a time."""
    w, c, rho, v, b = (parameters[name] for name in ("encoder", "encoder_bias", "rescaling", "output", "output_bias"))
    size = config.num_components
    result = np.zeros(len(x))
    for n, event in enumerate(x):
        a = c.copy()
        for i, value in enumerate(event):
            h = np.maximum(rho[i] * a, 0) if config.activation == "relu" else 1 / (1 + np.exp(-rho[i] * a))
            outputs = [b[i, o] + sum(v[i, o, k] * h[k] for k in range(len(h))) for o in range(3 * size)]
            alpha = np.exp(outputs[:size]) / np.exp(outputs[:size]).sum()
            density = 0.0
            for k in range(size):
                mu, sigma = outputs[size + k], config.min_scale + math.log(1 + math.exp(outputs[2 * size + k]))
                z = (value - mu) / sigma
                if config.component == "normal":
                    density += alpha[k] * math.exp(-(z**2) / 2) / (sigma * math.sqrt(2 * math.pi))
                else:
                    density += alpha[k] * math.exp(-abs(z)) / (2 * sigma)
            result[n] += math.log(density)
            a = a + w[i, 0] * value
    return result


CASES = [
    {"event_shape": (4,), "hidden_size": 5, "num_components": 2},
    {"event_shape": (2, 2), "hidden_size": 3, "num_components": 3, "component": "laplace", "activation": "sigmoid"},
    {"event_shape": (3,), "hidden_size": 4, "num_components": 1, "min_scale": 0.3},
]


@pytest.mark.parametrize("fields", CASES)
def test_rnade_against_the_definition(fields: dict[str, Any]) -> None:
    model = build(**fields)
    parameters = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    x = testing.random_events(model, 6, torch.Generator().manual_seed(0)).requires_grad_()
    values = x.detach().flatten(1).double().numpy()
    truth = slow_rnade(parameters, model.config, values)
    np.testing.assert_allclose(model.log_prob(x).detach().numpy(), truth, rtol=1e-4, atol=1e-4)

    model.log_prob(x).sum().backward()
    generator = np.random.default_rng(0)
    for name, parameter in [*model.named_parameters(), ("x", x)]:
        for _ in range(6):
            place = tuple(int(generator.integers(size)) for size in parameter.shape)
            ends = []
            for step in (1e-5, -1e-5):
                moved = {key: value.copy() for key, value in {**parameters, "x": values.reshape(x.shape)}.items()}
                moved[name][place] += step
                ends.append(slow_rnade(moved, model.config, moved["x"].reshape(len(x), -1)).sum())
            difference = (ends[0] - ends[1]) / 2e-5
            assert float(parameter.grad[place]) == pytest.approx(difference, rel=2e-3, abs=1e-3), (name, place)


def test_rnade_has_the_parameters_of_the_paper() -> None:
    model = RNADE(RNADEConfig(event_shape=(11,), hidden_size=50, num_components=20))
    matrix, heads = 11 * 50 + 50, 3 * 20 * 11 * (50 + 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == matrix + 11 + heads


def test_gradients_stay_exact_over_many_sites() -> None:
    """The activation that the backward pass rolls back over 400 sites against the one that autograd keeps."""
    model = build(event_shape=(400,), hidden_size=12, num_components=1, min_scale=0.5)
    with torch.no_grad():
        model.encoder.mul_(0.3)
    x = testing.random_events(model, 8, torch.Generator().manual_seed(0))
    model.loss(x).mean().backward()
    w, c, rho, v, b = (p.detach().double().requires_grad_() for p in model.parameters())
    before = torch.cat([torch.zeros(8, 1, 12), (x.double()[..., None] * w[:, 0]).cumsum(1)[:, :-1]], 1)
    h = (rho[:, None] * (c + before)).relu()
    outputs = torch.einsum("bdh,doh->bdo", h, v) + b
    scale = 0.5 + nn.functional.softplus(outputs[..., 2])
    (-torch.distributions.Normal(outputs[..., 1], scale).log_prob(x.double()).sum(1).mean()).backward()
    for (name, ours), truth in zip(model.named_parameters(), (w, c, rho, v, b), strict=True):
        error = (ours.grad - truth.grad).norm() / truth.grad.norm().clamp_min(1e-6)
        assert float(error) < 1e-4, name


# ---- densities


@pytest.mark.parametrize("component", ["normal", "laplace"])
def test_the_joint_density_is_normalised_and_that_of_the_samples(component: str) -> None:
    model = build(event_shape=(2,), hidden_size=4, num_components=2, component=component, min_scale=0.2)
    points = 600
    t = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    v = torch.tan(math.pi * (t - 0.5))  # the whole line
    weight = math.pi / points * (1 + v**2)
    with torch.no_grad():
        density = model.log_prob(torch.cartesian_prod(v, v).float()).double().exp().view(points, points)
    mass = density * weight[:, None] * weight
    assert float(mass.sum()) == pytest.approx(1, abs=2e-3)
    samples = model.sample(20_000, generator=torch.Generator().manual_seed(0))
    for first in (-1.0, 0.0, 1.0):
        for second in (-1.0, 0.0, 1.0):
            truth = float(mass[v < first][:, v < second].sum())
            found = float(((samples[:, 0] < first) & (samples[:, 1] < second)).double().mean())
            assert found == pytest.approx(truth, abs=0.02), (first, second)


@pytest.mark.parametrize("component", ["normal", "laplace"])
def test_no_density_grows_without_bound_on_repeated_values(component: str) -> None:
    """The most that a scale's floor allows, however far below zero its output is driven."""
    model = build(event_shape=(3,), hidden_size=4, num_components=1, component=component, min_scale=0.05)
    with torch.no_grad():
        model.output.zero_()
        model.output_bias.zero_()[:, 2] = -1e4
    peak = 1 / (0.05 * math.sqrt(2 * math.pi)) if component == "normal" else 1 / (2 * 0.05)
    log_prob = model.log_prob(torch.zeros(1, 3))
    torch.testing.assert_close(log_prob, torch.tensor([3 * math.log(peak)]))
    assert torch.isfinite(model.log_prob(torch.full((1, 3), 1e4))).all()


# ---- the start


def test_rho_keeps_the_activation_at_one_size() -> None:
    """A sum of i terms, times 1 / sqrt(i)."""
    torch.manual_seed(0)
    model = RNADE(RNADEConfig(event_shape=(400,), hidden_size=200))
    x = torch.randn(500, 400)
    a = torch.einsum("bd,dh->bdh", x[:, :-1], model.encoder[:-1, 0]).cumsum(1) * model.rescaling[1:, None]
    size = a.detach().square().mean((0, 2)).sqrt()  # of the sites from the second on
    assert float(size[20:].max() / size[20:].min()) < 1.2


def test_training_starts_with_components_spread_over_the_data() -> None:
    torch.manual_seed(0)
    model = RNADE(RNADEConfig(event_shape=(2,), hidden_size=8))
    x = torch.randn(1000, 2) * torch.tensor([3.0, 0.1]) + torch.tensor([-20.0, 5.0])
    model.initialize(x)
    normal = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x).sum(1).mean()
    assert float(normal) - 1 < float(model.log_prob(x).detach().mean()) < float(normal)


# ---- refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_categories": 2}, "num_categories"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_components": 0}, "num_components must be at least 1, got 0"),
        ({"min_scale": 0.0}, "min_scale must be above 0"),
        ({"noise_scale": -0.1}, "noise_scale must be at least 0"),
        ({"noise_scale": 1e7}, "noise_scale must be at least 0 and below 1e6"),
        ({"component": "cauchy"}, "component"),
        ({"activation": "tanh"}, "activation"),
    ],
)
def test_rnade_config_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNADEConfig(event_shape=(3,), **fields)


# ---- faults: each a right family with one thing changed


class SeesItself(RNADE):
    """x_i is added before h_i is computed."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        a = self.encoder_bias + (x.flatten(1)[..., None] * self.encoder[:, 0]).cumsum(1)  # (B, D, H)
        h = (self.rescaling[:, None] * a).relu()
        outputs = torch.einsum("bdh,doh->bdo", h, self.output) + self.output_bias
        return self.scalars.distribution(outputs.view(*x.shape, -1))


class SampledWithScalesOfOneAtMost(RNADE):
    """As the sampler of a public implementation does: the samples are not those of the density."""

    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        decoder = super().decoder(num_samples)
        right = decoder.conditional

        def conditional() -> Any:
            mixture = right()
            part = mixture.component_distribution
            clipped = type(part)(part.loc, part.scale.clamp_max(0.7), validate_args=False)
            return type(mixture)(mixture.mixture_distribution, clipped, validate_args=False)

        decoder.conditional = conditional
        return decoder


class DecoderWithoutRho(RNADE):
    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        decoder = super().decoder(num_samples)
        decoder._rho = None
        return decoder


class DecoderForgets(RNADE):
    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        decoder = super().decoder(num_samples)
        add = decoder.append
        decoder.append = lambda value: add(torch.zeros_like(value))
        return decoder


@pytest.mark.parametrize(
    ("family", "check"),
    [
        (SeesItself, testing.check_causality),
        (SampledWithScalesOfOneAtMost, testing.check_decoder_agrees_with_the_parallel_pass),
        (SampledWithScalesOfOneAtMost, testing.check_sample_frequencies),
        (DecoderWithoutRho, testing.check_decoder_agrees_with_the_parallel_pass),
        (DecoderForgets, testing.check_decoder_agrees_with_the_parallel_pass),
        (DecoderForgets, testing.check_cached_and_naive_samples_agree),
    ],
)
def test_faults_are_refused(family: Any, check: Any) -> None:
    check(build(**vars(RNADE.tiny_configs()[0])))
    with pytest.raises(AssertionError):
        check(build(family, **vars(RNADE.tiny_configs()[0])))


# ---- the compiled recursion


def values_and_gradients(model: arzoo.Model, x: Tensor) -> list[Tensor]:
    model.zero_grad()
    log_prob = model.log_prob(x)
    (log_prob * torch.linspace(0.5, 2, len(x))).sum().backward()
    return [log_prob.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("fields", [{}, {"activation": "relu"}, {"tied": True}, {"ordering": "random"}])
def test_compiled_and_torch_recursion_agree(
    fields: dict[str, Any], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    kernels = find_kernels(recursion.KERNELS)
    assert kernels is not None
    calls = []
    for name in ("forward", "backward"):
        right = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *a, right=right, name=name: calls.append(name) or right(*a))
    model = build(NADE, event_shape=(5, 61), hidden_size=37, **fields)
    x = (torch.rand(9, 5, 61, generator=torch.Generator().manual_seed(0)) < share).long()
    compiled = values_and_gradients(model, x)
    assert calls == ["forward", "backward"]
    monkeypatch.setattr(recursion, "find_kernels", lambda name: None)
    plain = values_and_gradients(model, x)
    assert calls == ["forward", "backward"]
    for ours, truth in zip(compiled, plain, strict=True):
        assert float((ours - truth).norm() / truth.norm()) < 2e-6


def test_compiled_sigmoid_is_a_sigmoid() -> None:
    pytest.importorskip("numba")
    kernels = find_kernels(recursion.KERNELS)
    assert kernels is not None
    a = torch.cat([torch.linspace(-90, 90, 100_001), torch.tensor([math.inf, -math.inf, -1e30, 1e30, 0.0])])
    h = torch.empty_like(a)
    kernels.activate(a.numpy(), h.numpy(), False)
    torch.testing.assert_close(h.double(), a.double().sigmoid(), atol=2e-7, rtol=0)
    kernels.activate(torch.full((40,), math.nan).numpy(), h[:40].numpy(), False)
    assert bool(h[:40].isnan().all())  # a diverged training is seen


def test_without_numba_the_recursion_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("arzoo.kernels", "arzoo_nade.kernels"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert find_kernels.__wrapped__(recursion.KERNELS) is None


def test_the_recursion_of_rnade_is_never_the_compiled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one knows neither rho nor several outputs a site."""

    def refuse(name: str) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(recursion, "find_kernels", refuse)
    model = build(**CASES[0])
    model.log_prob(torch.zeros(2, 4)).sum().backward()


# ---- noise


@torch.no_grad()
def test_training_sees_events_with_noise_and_nothing_else_does() -> None:
    model, clean = (build(event_shape=(3,), hidden_size=4, noise_scale=scale) for scale in (0.5, 0.0))
    clean.load_state_dict(model.state_dict())
    x = torch.randn(2000, 3)
    noise = model.noise(2000, torch.Generator().manual_seed(1))
    assert noise.std(0).sub(0.5).abs().max() < 0.05 and noise.mean(0).abs().max() < 0.05
    torch.testing.assert_close(model.loss(x, None, noise), -clean.log_prob(x + noise))
    assert torch.equal(model.log_prob(x), clean.log_prob(x))
    assert not torch.equal(model.loss(x), model.loss(x))
    assert clean.noise(5) is None and torch.equal(clean.loss(x), -clean.log_prob(x))
