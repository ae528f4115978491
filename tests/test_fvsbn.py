"""FVSBN: its definition, and that `fit` finds the optimum which an independent solver finds."""

import math
from typing import Any

import arzoo_fvsbn
import numpy as np
import pytest
import torch
from arzoo_fvsbn import FVSBN, FVSBNConfig, regressions
from torch import Tensor

from arzoo import testing

SPACES: dict[str, dict[str, Any]] = {
    "bits": {"event_shape": (8,)},
    "order": {"event_shape": (1, 2, 4), "ordering": "random"},
    "categories": {"event_shape": (2, 2), "num_categories": (2, 3, 4, 2), "ordering": "random"},
}


def new(space: str) -> FVSBN:
    torch.manual_seed(0)
    return FVSBN(FVSBNConfig(**SPACES[space])).eval()


def data(space: str, num_events: int, seed: int = 0) -> Tensor:
    """Events of a model with random weights."""
    source = testing.random_model(FVSBN, FVSBNConfig(**SPACES[space]))
    with torch.no_grad():
        source.weight.mul_(3)
    return source.sample(num_events, generator=torch.Generator().manual_seed(seed))


# ---- the model


def test_the_number_of_parameters_is_that_of_the_definition() -> None:
    model = FVSBN(FVSBNConfig(event_shape=(1, 28, 28)))
    assert sum(parameter.numel() for parameter in model.parameters()) == 784 * 783 // 2 + 784 == 307_720


def matrices(model: FVSBN) -> tuple[np.ndarray, np.ndarray]:
    """Weights (D, R, D, O) from site, value to site, output; biases (D, O): in the order of the walk, float64."""
    dims, width = model.bias.shape
    packed, full = iter(model.weight.detach().double().tolist()), np.zeros((dims, width, dims, width))
    for source in range(dims):
        for value in range(width):
            for target in range(source + 1, dims):
                full[source, value, target] = [next(packed) for _ in range(width)]
    assert next(packed, None) is None
    return full, model.bias.detach().double().numpy()


def slow_log_prob(model: FVSBN, x: Tensor) -> list[float]:
    """By the definition, one event and one site at a time."""
    weights, biases = matrices(model)
    order, sizes, results = model.order().tolist(), model.config.num_categories, []
    for event in x.flatten(1).tolist():
        total = 0.0
        for i, site in enumerate(order):
            scores = biases[i].copy()
            for j in range(i):
                value = event[order[j]]
                scores += weights[j, 0, i] * value if len(scores) == 1 else weights[j, value, i]
            scores = np.array([0, scores[0]]) if len(scores) == 1 else scores[: np.array(sizes)[site]]
            total += scores[event[site]] - math.log(np.exp(scores).sum())
        results.append(total)
    return results


@pytest.mark.parametrize("space", SPACES)
def test_the_density_is_that_of_the_definition(space: str) -> None:
    model = testing.random_model(FVSBN, FVSBNConfig(**SPACES[space]))
    x = testing.random_events(model, 7, torch.Generator().manual_seed(0))
    assert model.log_prob(x).tolist() == pytest.approx(slow_log_prob(model, x), rel=1e-5, abs=1e-5)


def test_training_starts_at_the_marginals() -> None:
    model, x = new("order"), data("order", 500)
    model.initialize(x)
    ones = (x.double().sum(0) + 1) / (len(x) + 2)
    torch.testing.assert_close(model.conditionals(x[:1]).probs[0].double(), ones)


def test_one_site_is_its_marginal() -> None:
    model = FVSBN(FVSBNConfig(event_shape=(1,)))
    x = torch.tensor([[1], [1], [0]])
    model.fit(x, x)
    assert model.conditionals(x[:1]).probs.item() == pytest.approx(3 / 5)
    assert model.sample(5).shape == (5, 1)


# ---- the fit


def problem(model: FVSBN, x: Tensor, i: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Inputs (N, F) with a one in front, values (N,) and number of categories of the i-th conditional, float64.

    Behind the events stands one example of each value, in which all inputs are zero.
    """
    order, flat = model.order().numpy(), x.flatten(1).numpy()
    sizes = np.broadcast_to(np.array(model.config.num_categories), flat.shape[1])
    width, size = model.bias.shape[1], int(sizes[order[i]])
    columns = [np.ones(len(flat))]
    for j in range(i):
        values = flat[:, order[j]]
        columns += [values] if width == 1 else [values == value for value in range(width)]
    extra = np.zeros((size, len(columns)))
    extra[:, 0] = 1
    inputs = np.concatenate([np.stack(columns, 1).astype(float), extra])
    return inputs, np.concatenate([flat[:, order[i]], np.arange(size)]), size


def softmax_loss(weights: np.ndarray, inputs: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-log p of every row, and the probabilities (N, K)."""
    scores = inputs @ weights
    if weights.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], 1)
    probs = np.exp(scores - scores.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    return -np.log(probs[np.arange(len(values)), values.astype(int)]), probs


def slow_fit(inputs: np.ndarray, values: np.ndarray, size: int, width: int, strength: float) -> np.ndarray:
    """Weights (F, O) by Newton's method with the whole Hessian, one entry at a time, and a small step to be safe."""
    outputs = 1 if width == 1 else size
    weights, count = np.zeros((inputs.shape[1], outputs)), inputs.shape[1] * outputs
    ridge = np.repeat(strength * (np.arange(inputs.shape[1]) > 0), outputs)
    for _ in range(200):
        _, probs = softmax_loss(weights, inputs, values)
        probs = probs[:, -outputs:]
        certain = (values[:, None] == (np.array([1]) if outputs == 1 else np.arange(size))).astype(float)
        gradient = (inputs.T @ (probs - certain)).reshape(-1) + ridge * weights.reshape(-1)
        if np.abs(gradient).max() < 1e-9:
            return weights
        spread = np.einsum("no,op->nop", probs, np.eye(outputs)) - np.einsum("no,np->nop", probs, probs)
        hessian = np.einsum("nf,nop,ng->fogp", inputs, spread, inputs).reshape(count, count) + np.diag(ridge)
        step = np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0]  # all biases of a softmax may move together
        weights = weights - (step * min(1.0, 2.0 / np.abs(step).max())).reshape(weights.shape)
    raise AssertionError("the reference did not converge")


def fitted_weights(model: FVSBN, i: int) -> np.ndarray:
    """Weights (F, O) of the i-th conditional, float64."""
    weights, biases = matrices(model)
    return np.concatenate([biases[i][None], weights[:i, :, i].reshape(-1, biases.shape[1])])


@pytest.mark.parametrize("strength", [0.1, 3.0, 100.0])
@pytest.mark.parametrize("space", SPACES)
def test_the_fit_is_the_optimum(space: str, strength: float) -> None:
    model, x = new(space), data(space, 300)
    model.fit(x, x[:5], strengths=[strength])
    for i in range(model.config.dims):
        inputs, values, size = problem(model, x, i)
        weights = fitted_weights(model, i)
        outputs = weights.shape[1]
        assert outputs == 1 or not weights[1:, size:].any()  # of categories that are not there
        _, probs = softmax_loss(weights[:, :size] if outputs > 1 else weights, inputs, values)
        certain = np.eye(size)[values.astype(int)]
        residual = (probs - certain)[:, -1:] if outputs == 1 else probs - certain
        penalty = strength * weights[:, : residual.shape[1]]
        penalty[0] = 0
        gradient = (inputs.T @ residual + penalty) / len(inputs)
        assert np.abs(gradient).max() < 1e-6
        truth = slow_fit(inputs, values, size, outputs, strength)
        ours = weights[:, : truth.shape[1]].copy()
        if outputs > 1:  # a constant added to all biases changes nothing
            ours[0] -= ours[0].mean()
            truth[0] -= truth[0].mean()
        np.testing.assert_allclose(ours, truth, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("space", SPACES)
def test_every_conditional_takes_the_strength_that_is_best_on_the_validation_events(space: str) -> None:
    strengths = (0.3, 30.0, 3.0)
    model, x, validation = new(space), data(space, 120), data(space, 60, seed=1)
    model.fit(x, validation, strengths=strengths)
    chosen = []
    for i in range(1, model.config.dims):
        inputs, values, size = problem(model, x, i)
        tests = problem(model, validation, i)[0][: len(validation)], problem(model, validation, i)[1][: len(validation)]
        width = model.bias.shape[1]
        candidates = [slow_fit(inputs, values, size, width, strength) for strength in strengths]
        means = [softmax_loss(candidate, *tests)[0].mean() for candidate in candidates]
        chosen.append(int(np.argmin(means)))
        ours = fitted_weights(model, i)[1:, : candidates[0].shape[1]]
        np.testing.assert_allclose(ours, candidates[chosen[-1]][1:], atol=2e-5, rtol=2e-5)
    assert len(set(chosen)) > 1, "one strength is best for all: nothing was chosen"


def test_neither_samples_nor_groups_change_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    x, validation = data("bits", 400), data("bits", 100, seed=1)
    whole, parts = new("bits"), new("bits")
    whole.fit(x, validation)
    monkeypatch.setattr(regressions, "SAMPLED_EVENTS", 30)  # a Hessian that is far off
    monkeypatch.setattr(arzoo_fvsbn, "LARGEST_ROOTS", 200)  # three sites at a time
    parts.fit(x, validation)
    for ours, others in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(ours, others, atol=1e-5, rtol=1e-5)


def test_an_order_renames_the_sites() -> None:
    x, validation = data("order", 200), data("order", 50, seed=1)
    model, natural = new("order"), new("bits")
    order = model.order()
    assert order.tolist() != list(range(8))
    model.fit(x, validation)
    natural.fit(x.flatten(1)[:, order], validation.flatten(1)[:, order])
    torch.testing.assert_close(model.log_prob(x), natural.log_prob(x.flatten(1)[:, order]))


def test_what_has_no_finite_optimum_without_a_penalty_has_one() -> None:
    """A bit that is always 0, one that repeats the first, and more columns than rows."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(2, (20, 30), generator=generator)
    x[:, 1], x[:, 2] = 0, x[:, 0]
    model = FVSBN(FVSBNConfig(event_shape=(30,)))
    model.fit(x, x[:10])
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    probs = model.conditionals(x).probs.detach()
    assert probs[:, 1].max() < 2 / 22
    assert probs[x[:, 0] == 1, 2].min() > 0.7 > 0.3 > probs[x[:, 0] == 0, 2].max()


def test_an_endless_penalty_leaves_the_marginals() -> None:
    model, marginals, x = new("bits"), new("bits"), data("bits", 200)
    marginals.initialize(x)
    model.fit(x, x, strengths=[1e9])
    torch.testing.assert_close(model.log_prob(x), marginals.log_prob(x), atol=1e-4, rtol=1e-4)


def test_scalars_of_few_categories_are_smoothed_by_their_own_values() -> None:
    """Beside one of five categories a bit had values 0, 1, 0, 1, 0 added: what is balanced came out unbalanced."""
    model = FVSBN(FVSBNConfig(event_shape=(2,), num_categories=(2, 5)))
    x = torch.tensor([[bit, 0] for bit in (0, 1)] * 4)
    model.fit(x, x)
    torch.testing.assert_close(model.conditionals(x[:1]).probs[0, 0, :2], torch.tensor([0.5, 0.5]))


def test_training_by_gradient_comes_to_the_same_density() -> None:
    """Full-batch steps on the loss that training minimises, with the penalty of weight decay on the weights."""
    model, trained, x = new("bits"), new("bits"), data("bits", 2000)
    model.fit(x, x, strengths=[0.1])
    trained.initialize(x)
    optimizer = torch.optim.LBFGS(trained.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = trained(x).sum() / len(x) + 0.05 / len(x) * trained.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    assert float(trained.log_prob(x).mean().detach()) == pytest.approx(
        float(model.log_prob(x).mean().detach()), abs=1e-3
    )


def test_progress_rises_to_one() -> None:
    shares: list[float] = []
    new("bits").fit(data("bits", 50), data("bits", 20), shares.append, strengths=(10.0, 1.0))
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) == 2


@pytest.mark.parametrize("strengths", [(), (0.0,), (1.0, -2.0), (1.0, math.nan), (math.inf,)])
def test_strengths_that_are_none_are_refused(strengths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="strengths must be one or more numbers above 0"):
        new("bits").fit(data("bits", 5), data("bits", 5), strengths=strengths)


def test_events_that_are_none_are_refused() -> None:
    x = data("bits", 5)
    for train, validation in ((x[:0], x), (x, x[:0])):
        with pytest.raises(ValueError, match="must be at least one event, got none"):
            new("bits").fit(train, validation)
    with pytest.raises(ValueError, match=r"must have shape \(B, 8\)"):
        new("bits").fit(x, x[:, :7])


def test_more_weights_than_memory_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="784 scalars of 256 categories need 20,115,357,696 weights, more than"):
        FVSBNConfig(event_shape=(1, 28, 28), num_categories=256)
    FVSBNConfig(event_shape=(10_000,))


# ---- faults


class SeesItself(FVSBN):
    """The diagonal is not masked."""

    def __init__(self, config: FVSBNConfig) -> None:
        super().__init__(config)
        self.before = self.before | torch.eye(len(self.before), dtype=torch.bool)
        self.weight = torch.nn.Parameter(torch.zeros(int(self.before.sum())))


class SamplesInTheNaturalOrder(FVSBN):
    """Weights are read in the order of the walk, outputs in that of the array."""

    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder = super().decoder(*args, **options)
        outputs = [decoder._sites[site][0] for site in self.order()]
        decoder._sites = [(mine, *rest) for mine, (_, *rest) in zip(outputs, decoder._sites, strict=True)]
        decoder.draw = lambda uniforms: None
        return decoder


@pytest.mark.parametrize(
    ("family", "config", "check"),
    [
        (SeesItself, 0, testing.check_causality),
        (SeesItself, 0, testing.check_probabilities_sum_to_one),
        (SamplesInTheNaturalOrder, 1, testing.check_decoder_agrees_with_the_parallel_pass),
        (SamplesInTheNaturalOrder, 1, testing.check_cached_and_naive_samples_agree),
    ],
)
def test_faults_are_caught(family: Any, config: int, check: Any) -> None:
    model = testing.random_model(family, family.tiny_configs()[config])
    with pytest.raises(AssertionError):
        check(model)
