"""A network for every conditional: what each sees, and its formula."""

import math
from typing import Any

import arzoo_mlp_ar
import numpy as np
import pytest
import torch
from arzoo_mlp_ar import MLPAR, MLPARConfig
from torch import Tensor

from arzoo import testing

LONG = {"event_shape": (2, 70), "hidden_size": 2, "ordering": "random"}  # three chunks
SPACES: dict[str, dict[str, Any]] = {
    "bits": {"event_shape": (7,), "hidden_size": 4},
    "chunks": LONG,
    "categories": {"event_shape": (2, 2), "num_categories": (2, 3, 4, 2), "hidden_size": 3, "ordering": "random"},
}


def build(space: str) -> MLPAR:
    model = testing.random_model(MLPAR, MLPARConfig(**SPACES[space]))
    assert isinstance(model, MLPAR)
    return model


def events(model: MLPAR, num_events: int) -> Tensor:
    return testing.random_events(model, num_events, torch.Generator().manual_seed(0))


def test_the_number_of_weights_is_that_of_the_definition() -> None:
    """For 784 bits and 20 units each 6.2 million: those that have a gradient; few more are stored."""
    model = MLPAR(MLPARConfig(event_shape=(1, 28, 28)))
    model(torch.ones(1, 1, 28, 28, dtype=torch.long)).sum().backward()
    used = sum(int(parameter.grad.count_nonzero()) for parameter in model.parameters())
    assert used == 20 * 784 * 783 // 2 + 2 * 20 * 784 + 784 == 6_170_864
    assert sum(parameter.numel() for parameter in model.parameters()) < 1.09 * used


def slow_log_prob(model: MLPAR, x: Tensor) -> list[float]:
    """By the definition in float64, one event, one site and one unit at a time."""
    size, width, chunk = model.config.hidden_size, model.scalars.num_inputs, arzoo_mlp_ar.CHUNK
    weights = [layer.weight.detach().double().numpy() for layer in model.layers]
    biases = [layer.bias.detach().double().numpy() for layer in model.layers]
    output, output_bias = (each.detach().double().numpy() for each in (model.output, model.output_bias))
    sizes = np.broadcast_to(np.array(model.config.num_categories), model.config.dims)
    order, results = model.order().tolist(), []
    for event in x.flatten(1).tolist():
        total = 0.0
        for i, site in enumerate(order):
            scores = output_bias[i].copy()
            for k in range(size):
                unit = (i % chunk) * size + k
                a = biases[i // chunk][unit]
                for j in range(i):
                    value = event[order[j]]
                    row = weights[i // chunk][unit]
                    a += row[j] * value if width == 1 else row[j * width + value]
                scores += output[i, k] / (1 + math.exp(-a))
            scores = np.array([0, scores[0]]) if width == 1 else scores[: sizes[site]]
            total += scores[event[site]] - math.log(np.exp(scores).sum())
        results.append(total)
    return results


@pytest.mark.parametrize("space", SPACES)
def test_the_density_is_that_of_the_definition(space: str) -> None:
    model = build(space)
    x = events(model, 4)
    assert model.log_prob(x).tolist() == pytest.approx(slow_log_prob(model, x), rel=1e-5, abs=1e-5)


def test_every_site_sees_all_that_come_before_it_and_no_other() -> None:
    model = build("chunks")
    order = model.order()
    assert order.tolist() != list(range(140))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().mul_(0.1)  # no path is hidden by a sign, no unit saturated
    x = torch.zeros(1, 140, dtype=torch.long)
    flipped = torch.eye(140, dtype=torch.long)[order]  # row j: the j-th of the order
    logits = [model.conditionals(each.view(-1, 2, 70)).logits.flatten(1)[:, order] for each in (x, flipped)]
    assert torch.equal(logits[1] != logits[0], torch.ones(140, 140, dtype=torch.bool).triu(1))


@pytest.mark.parametrize(
    "check",
    [
        testing.check_decoder_agrees_with_the_parallel_pass,
        testing.check_cached_and_naive_samples_agree,
        testing.check_saving_and_loading,
    ],
)
def test_several_chunks_conform(check: Any) -> None:
    check(build("chunks"))


def test_training_starts_near_the_marginals() -> None:
    torch.manual_seed(0)
    model = MLPAR(MLPARConfig(**SPACES["categories"]))
    x = events(model, 400)
    x[:100] = 0
    model.initialize(x)
    probs = model.conditionals(x[:1]).probs[0].flatten(0, 1).detach().double()  # (D, K)
    for site, size in enumerate((2, 3, 4, 2)):
        counts = torch.bincount(x.flatten(1)[:, site], minlength=size) / len(x)
        torch.testing.assert_close(probs[site, :size], counts.double(), atol=0.02, rtol=0.02)


def test_gradient_descent_learns_what_no_logistic_regression_can() -> None:
    """The third of three bits is the exclusive or of the others."""
    torch.manual_seed(0)
    model = MLPAR(MLPARConfig(event_shape=(3,), hidden_size=8))
    x = torch.tensor([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        model(x).mean().backward()
        optimizer.step()
    assert float(model(x).mean().detach()) == pytest.approx(2 * math.log(2), abs=0.02)


def test_one_site_is_its_bias() -> None:
    model = MLPAR(MLPARConfig(event_shape=(1,)))
    x = torch.tensor([[1], [1], [0]])
    model.initialize(x)
    assert model.conditionals(x[:1]).probs.item() == pytest.approx(3 / 5, abs=0.05)
    assert model.sample(5).shape == (5, 1)
    assert float(model.log_prob(torch.tensor([[0], [1]])).detach().exp().sum()) == pytest.approx(1)


def test_a_layer_without_units_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden_size must be at least 1, got 0"):
        MLPARConfig(event_shape=(3,), hidden_size=0)


class SeesItself(MLPAR):
    """The input of a site is shifted by none."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        return super().conditionals(x.flatten(1).roll(-1, 1).view(x.shape), context, member)


class HalfTheInputs(MLPAR):
    """The decoder shows the units no more than half of what comes before."""

    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder = super().decoder(*args, **options)
        decoder._units = [
            (bias, weight[:, : weight.shape[1] // 2], seen[: weight.shape[1] // 2])
            for bias, weight, seen in decoder._units
        ]
        return decoder


@pytest.mark.parametrize(
    ("family", "check", "message"),
    [
        (SeesItself, testing.check_causality, "which does not come before it"),
        (HalfTheInputs, testing.check_decoder_agrees_with_the_parallel_pass, "off that of the parallel pass"),
    ],
)
def test_faults_are_caught(family: Any, check: Any, message: str) -> None:
    model = testing.random_model(family, family.tiny_configs()[0])
    with pytest.raises(AssertionError, match=message):
        check(model)
