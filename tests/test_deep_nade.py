"""Orderless training: DeepNADE and ConvNADE against the definition, and the faults that such code had."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from arzoo_deep_nade import ConvNADE, ConvNADEConfig, DeepNADE, DeepNADEConfig
from arzoo_deep_nade.orderless import Orderless
from torch import Tensor, nn

import arzoo
from arzoo import testing
from arzoo.testing.samples import check_frequencies

BITS = {"event_shape": (1, 2, 2)}
SMALL: list[Any] = [
    (DeepNADE, {**BITS, "hidden_sizes": (6, 5)}),
    (DeepNADE, {"event_shape": (4,), "num_categories": (2, 3, 4, 2), "hidden_sizes": (6,)}),
    (ConvNADE, {**BITS, "hidden_sizes": (5,), "num_channels": 3, "kernel_sizes": (2,)}),
    (ConvNADE, {"event_shape": (2, 1, 2), "num_categories": 3, "hidden_sizes": (5,), "kernel_sizes": (1, 1)}),
]
ORDERS = torch.tensor(list(itertools.permutations(range(4))))


def build(family: Any, **fields: Any) -> Any:
    return testing.random_model(family, family.config_class(**fields))


def events(model: Any, num_events: int, seed: int = 0) -> Tensor:
    return testing.random_events(model, num_events, torch.Generator().manual_seed(seed))


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ---- the definition


def slow_outputs(state: dict[str, np.ndarray], x: np.ndarray, known: list[int], rows: int, depth: int) -> np.ndarray:
    """Outputs (D, O) for one flat event of which some scalars are known, by the definition, in float64."""
    inputs = np.zeros((len(x), rows + 1))
    for site in known:
        inputs[site, 0 if rows == 1 else x[site]] = x[site] if rows == 1 else 1
        inputs[site, rows] = 1
    h = inputs.reshape(-1)
    for layer in range(depth):
        h = np.maximum(state[f"hidden.{layer}.weight"] @ h + state[f"hidden.{layer}.bias"], 0)
    return (state["output.weight"] @ h + state["output.bias"]).reshape(len(x), -1)


def slow_convolutions(state: dict[str, np.ndarray], x: np.ndarray, known: list[int], model: Any) -> np.ndarray:
    """What the convolutions add to the outputs (D, O), pixel by pixel."""
    rows, (colours, height, width) = model.scalars.num_inputs, model.config.event_shape
    h = np.zeros((colours, rows + 1, height, width))
    for site in known:
        c, i, j = np.unravel_index(site, (colours, height, width))
        h[c, 0 if rows == 1 else x[site], i, j] = x[site] if rows == 1 else 1
        h[c, rows, i, j] = 1
    h = h.reshape(-1, height, width)
    kernels = [*model.config.kernel_sizes, *reversed(model.config.kernel_sizes)]
    for layer, size in enumerate(kernels):
        weight, bias = state[f"convolutions.{layer}.weight"], state[f"convolutions.{layer}.bias"]
        if layer:
            h = np.maximum(h, 0)
        if layer >= len(kernels) // 2:  # full: every place where the kernel touches the map
            h = np.pad(h, ((0, 0), (size - 1, size - 1), (size - 1, size - 1)))
        out = np.zeros((len(weight), h.shape[1] - size + 1, h.shape[2] - size + 1))
        for i, j in np.ndindex(out.shape[1:]):
            out[:, i, j] = (weight * h[:, i : i + size, j : j + size]).sum((1, 2, 3)) + bias
        h = out
    return h.reshape(colours, -1, height, width).transpose(0, 2, 3, 1).reshape(len(x), -1)


def slow_log_prob(model: Any, x: Tensor, order: list[int]) -> float:
    """log p(x | o) of one event."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    flat, rows, sizes = x.flatten().numpy(), model.scalars.num_inputs, model.config.num_categories
    total = 0.0
    for step, site in enumerate(order):
        outputs = slow_outputs(state, flat, order[:step], rows, len(model.config.hidden_sizes))
        if isinstance(model, ConvNADE):
            outputs = outputs + slow_convolutions(state, flat, order[:step], model)
        scores = np.array([0, outputs[site, 0]]) if rows == 1 else outputs[site]
        scores = scores[: sizes[site] if isinstance(sizes, tuple) else sizes]
        total += scores[flat[site]] - np.log(np.exp(scores).sum())
    return total


@pytest.mark.parametrize(
    ("family", "fields"),
    [*SMALL, (ConvNADE, {"event_shape": (1, 5, 6), "hidden_sizes": (4,), "num_channels": 2, "kernel_sizes": (3, 2)})],
)
def test_the_likelihood_of_an_order_against_the_definition(family: Any, fields: dict[str, Any]) -> None:
    model = build(family, **fields)
    x, dims = events(model, 3), model.config.dims
    orders = torch.stack([torch.arange(dims), torch.arange(dims).flip(0), *map(torch.randperm, [dims] * 2)])
    for member, order in enumerate(orders.tolist()):
        truth = [slow_log_prob(model, event, order) for event in x]
        got = model.with_orders(orders).member_log_prob(x, member=member).flatten(1).sum(1)
        np.testing.assert_allclose(got.detach().numpy(), truth, rtol=1e-5, atol=1e-5)


def test_the_parameters_of_the_papers() -> None:
    connected = 1568 * 500 + 500 + 500 * 500 + 500 + 500 * 784 + 784
    assert num_parameters(DeepNADE(DeepNADEConfig(event_shape=(1, 28, 28)))) == connected == 1_427_784
    config = ConvNADEConfig(event_shape=(1, 28, 28), num_channels=64, kernel_sizes=(8, 4, 6, 7))
    model, maps = ConvNADE(config), []
    for layer in model.convolutions:
        layer.register_forward_hook(lambda module, inputs, output: maps.append(tuple(output.shape[1:])))
    model(torch.zeros(1, 1, 28, 28, dtype=torch.long))
    assert maps == [(64, s, s) for s in (21, 18, 13, 7, 13, 18, 21)] + [(1, 28, 28)]
    kernels = 64 * 64 * (4**2 + 6**2 + 7**2) * 2 + 2 * 64 * 8**2 + 64 * 8**2
    assert num_parameters(model) == connected + kernels + 7 * 64 + 1


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        (DeepNADE, {"event_shape": (7,), "num_categories": 3, "hidden_sizes": (9, 8, 7)}),
        (ConvNADE, {"event_shape": (1, 5, 4), "hidden_sizes": (6,), "num_channels": 3, "kernel_sizes": (3,)}),
        (ConvNADE, {"event_shape": (1, 6, 9), "hidden_sizes": (6,), "num_channels": 2, "kernel_sizes": (3, 2, 2)}),
        (
            ConvNADE,
            {"event_shape": (2, 4, 3), "num_categories": 3, "hidden_sizes": (6,), "num_channels": 3}
            | {"kernel_sizes": (2, 1)},
        ),
    ],
)
def test_evidence_is_kept_up_to_date(family: Any, fields: dict[str, Any]) -> None:
    """Whatever is known in whatever row, and however it came to be known, the outputs are those of a full pass."""
    model = build(family, **fields)
    dims, draw = model.config.dims, torch.Generator().manual_seed(0)
    x = events(model, 12).flatten(1)
    for known in (torch.rand(12, dims, generator=draw) < 0.4, torch.zeros(12, dims, dtype=torch.bool)):
        evidence = model.evidence(x, known)
        for site in torch.randperm(dims, generator=draw).tolist():
            outputs = model.outputs(x, known)
            for other in range(dims):
                torch.testing.assert_close(evidence.outputs(other), outputs[:, other], atol=1e-5, rtol=1e-5)
            evidence.add(site, x[:, site])
            known[:, site] = True


@pytest.mark.parametrize(("family", "fields"), SMALL)
def test_the_exact_likelihood_has_gradients(family: Any, fields: dict[str, Any]) -> None:
    model = build(family, **fields, num_orders=2)
    x = events(model, 5)
    flat = x.flatten(1)
    model.log_prob(x).sum().backward()
    walked = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    members = []
    for order in model.orders:
        total = torch.zeros(5)
        for step in range(4):
            known = torch.zeros(5, 4, dtype=torch.bool)
            known[:, order[:step]] = True
            outputs = model.outputs(flat, known).view(*x.shape, -1)
            total = total + model.scalars.distribution(outputs).log_prob(x).flatten(1)[:, order[step]]
        members.append(total)
    torch.stack(members).logsumexp(0).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(walked[name], parameter.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("family", "fields"), SMALL)
def test_training_starts_at_the_marginals(family: Any, fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = family(family.config_class(**fields))
    x = events(model, 2000) * events(model, 2000, 1).clamp(max=1)  # zero more often than not
    model.initialize(x)
    with torch.no_grad():
        for weight in (model.output.weight, *(model.convolutions[-1].parameters() if family is ConvNADE else ())):
            weight.zero_()
    sizes = model.config.num_categories
    for site, size in enumerate(sizes if isinstance(sizes, tuple) else (sizes,) * 4):
        counts = F.one_hot(x.flatten(1)[:, site], size).double().sum(0) + 1
        for k in range(size):
            constant = torch.full((1, *x.shape[1:]), 0)
            constant.view(4)[site] = k
            probability = model.site_log_prob(constant).detach().flatten()[site].double().exp()
            assert float(probability) == pytest.approx(float(counts[k] / counts.sum()), abs=1e-3)


# ---- checks of what only orderless models have


@torch.no_grad()
def check_the_loss_is_unbiased(model: Any) -> None:
    """Over all orders and positions it is on average what -log p(x | o) is over all orders."""
    x = testing.all_events(model)[0]
    steps = torch.arange(4)
    masks = (ORDERS.argsort(1)[:, None] < steps[None, :, None]).flatten(0, 1)  # (24 * 4, D)
    losses = torch.stack([model.loss(x, None, mask.expand(len(x), -1)) for mask in masks])
    every = model.with_orders(ORDERS)
    nlls = torch.stack([-every.member_log_prob(x, member=k).flatten(1).sum(1) for k in range(24)])
    error = float((losses.double().mean(0) - nlls.double().mean(0)).abs().max())
    assert error < 1e-5, f"the loss is {error:.2g} nats off on average over all orders and positions"


def check_noise_is_uniform(model: Any) -> None:
    """Any number of known scalars from 0 to D - 1 is as likely, and any set of so many; for every row anew."""
    seen = model.noise(20_000, torch.Generator().manual_seed(0))
    masks = torch.cartesian_prod(*[torch.tensor([False, True])] * 4)[:-1]
    probs = torch.tensor([1 / (4 * math.comb(4, int(mask.sum()))) for mask in masks], dtype=torch.float64)
    check_frequencies(seen.long(), masks.long(), probs, "masks of training")
    pairs = torch.cat([seen[::2], seen[1::2]], 1).long()
    both = torch.cat([masks.repeat_interleave(15, 0), masks.repeat(15, 1)], 1).long()
    check_frequencies(pairs, both, probs.repeat_interleave(15) * probs.repeat(15), "pairs of masks in a batch")


@torch.no_grad()
def check_a_known_zero_is_told_from_an_unknown_scalar(model: Any) -> None:
    x, known = torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.bool)
    told = [site for site in range(4) if not torch.equal(model.outputs(x, known), model.outputs(x, _with(known, site)))]
    assert told == [0, 1, 2, 3], "the network is not told which scalars are known"


def _with(known: Tensor, site: int) -> Tensor:
    known = known.clone()
    known[:, site] = True
    return known


@torch.no_grad()
def check_any_sites_are_completed_exactly(model: Any) -> None:
    """Rows of a batch with different known scalars, each against p(unknown | known) by enumeration."""
    every, copies, generator = testing.all_events(model)[0], 1500, torch.Generator().manual_seed(0)
    masks = torch.cartesian_prod(*[torch.tensor([False, True])] * 4)
    x = every[torch.arange(len(masks)) * 5 % len(every)]
    known = masks.view(-1, *x.shape[1:]).repeat_interleave(copies, 0)
    done = model.complete(x.repeat_interleave(copies, 0), known, generator=generator)
    assert done.exact and "first" in done.density
    for mask, event, drawn in zip(masks, x, done.events.split(copies), strict=True):
        orders = [[*mask.nonzero().flatten().tolist(), *(s for s in order if not mask[s])] for order in model.orders]
        joint = model.with_orders(torch.tensor(orders)).log_prob(every).double().exp()
        fits = (every.flatten(1) == event.flatten())[:, mask].all(1)
        check_frequencies(drawn, every, joint * fits / joint[fits].sum(), f"completions of {mask.tolist()}")


CHECKS = (
    check_the_loss_is_unbiased,
    check_noise_is_uniform,
    check_a_known_zero_is_told_from_an_unknown_scalar,
    check_any_sites_are_completed_exactly,
)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("family", "fields"), SMALL)
def test_orderless(family: Any, fields: dict[str, Any], check: Callable[[Any], None]) -> None:
    check(build(family, **fields, num_orders=2))


# ---- faults

FAULTS: list[Any] = []


def fault(*checks: Callable[[Any], None]) -> Callable[[type[Orderless]], type[Orderless]]:
    """Marks a DeepNADE as wrong: each of these checks must refuse it."""

    def mark(family: type[Orderless]) -> type[Orderless]:
        FAULTS.extend(pytest.param(family, check, id=f"{family.__name__}-{check.__name__[6:]}") for check in checks)
        return family

    return mark


@fault(check_the_loss_is_unbiased)
class OffByOne(DeepNADE):
    """D / (D - d + 1) with d the number of known scalars: the last step has half its weight."""

    def loss(self, x: Tensor, context: Any = None, noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        unknown = (~noise).sum(1)
        return super().loss(x, context, noise) * unknown / (unknown + 1)


@fault(check_the_loss_is_unbiased)
class NoWeight(DeepNADE):
    def loss(self, x: Tensor, context: Any = None, noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        return super().loss(x, context, noise) * (~noise).sum(1) / self.config.dims


@fault(check_the_loss_is_unbiased)
class LossOfWhatIsKnown(DeepNADE):
    """All scalars, known ones too."""

    def loss(self, x: Tensor, context: Any = None, noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        outputs = self.outputs(x.flatten(1), noise).view(*x.shape, -1)
        return -self.scalars.distribution(outputs).log_prob(x).flatten(1).sum(1)


@fault(check_noise_is_uniform)
class OneOrderForTheBatch(DeepNADE):
    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor:
        return super().noise(num_examples // 2, generator).repeat_interleave(2, 0)


@fault(check_noise_is_uniform)
class NeverNothing(DeepNADE):
    """Positions from 1: the first scalar of an order is never learnt without any known."""

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor:
        ranks = torch.stack([torch.randperm(4, generator=generator) for _ in range(num_examples)])
        return ranks < torch.randint(1, 4, (num_examples, 1), generator=generator)


@fault(check_noise_is_uniform)
class CoinsForMasks(DeepNADE):
    """Every scalar known with probability 1/2: small and large sets are too rare."""

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor:
        known = torch.rand(num_examples, 4, generator=generator) < 0.5
        return known & ~known.all(1, keepdim=True)


@fault(check_a_known_zero_is_told_from_an_unknown_scalar)
class NoMaskInput(DeepNADE):
    def inputs(self, x: Tensor, known: Tensor) -> Tensor:
        inputs = super().inputs(x, known)
        inputs[..., -1] = 0
        return inputs


@fault(testing.check_decoder_agrees_with_the_parallel_pass, testing.check_sample_frequencies)
class NeverConditionsOnWhatItDrew(DeepNADE):
    """Adds x_i W_i to the first layer before x_i is drawn: always nothing."""

    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder: Any = super().decoder(*args, **options)
        append = decoder.append
        decoder.append = lambda value: append(value * 0)
        return decoder


@fault(testing.check_probabilities_sum_to_one, testing.check_samples_in_a_batch_are_independent)
class OrdersThatDifferBetweenEvents(DeepNADE):
    """Not the same for every event: no density."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        halves = x.split((len(x) + 1) // 2)
        parts = [Orderless.conditionals(self, half, context, k) for k, half in enumerate(halves)]
        return type(parts[0])(torch.cat([part.logits for part in parts]))


@fault(testing.check_sites_sum_to_log_prob)
class LogProbsAveragedOverOrders(DeepNADE):
    """A lower bound of EoNADE, which averages probabilities."""

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        members = [self.member_log_prob(x, context, k).flatten(1).sum(1) for k in range(self.num_members)]
        return torch.stack(members).mean(0)


@fault(check_any_sites_are_completed_exactly, testing.check_completion_frequencies)
class CompletesInItsOwnOrder(DeepNADE):
    """What is known behind a site is ignored, and the draw still called exact."""

    def complete(self, *args: Any, **options: Any) -> Any:
        done = arzoo.Autoregressive.complete(self, *args, **options)
        return arzoo.Completion(events=done.events, exact=True, density="that of orders that visit the known first")


@fault(check_any_sites_are_completed_exactly)
class AddsWhatIsKnownTwice(DeepNADE):
    """Once at the beginning and once when the walk comes by, in rows that differ in what they know."""

    def evidence(self, x: Tensor, known: Tensor) -> Any:
        evidence: Any = super().evidence(x, known)
        evidence._new = None
        return evidence


@pytest.mark.parametrize(("family", "check"), FAULTS)
def test_fault_is_caught(family: Any, check: Callable[[Any], None]) -> None:
    model = build(family, **BITS, hidden_sizes=(8, 6), num_orders=2)
    with torch.no_grad():  # far from independence
        for parameter in model.parameters():
            parameter.mul_(1.5)
    with pytest.raises(AssertionError):
        check(model)
    right = build(DeepNADE, **BITS, hidden_sizes=(8, 6), num_orders=2)
    right.load_state_dict(model.state_dict())
    check(right)


# ---- orders


def test_with_orders_is_the_same_network_as_another_density() -> None:
    model = build(DeepNADE, event_shape=(4,), hidden_sizes=(6,), num_orders=2)
    x, before = events(model, 8), model.orders.clone()
    state = torch.random.get_rng_state()
    every = model.with_orders(ORDERS)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert every.num_members == 24 and not every.training and torch.equal(every.orders, ORDERS)
    assert torch.equal(model.orders, before) and model.num_members == 2
    alone = torch.stack([model.with_orders(order[None]).log_prob(x) for order in ORDERS])
    torch.testing.assert_close(every.log_prob(x), alone.logsumexp(0) - math.log(24))
    torch.testing.assert_close(model.log_prob(x), model.with_orders(before).log_prob(x))
    assert not torch.allclose(alone[0], alone[-1])
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, every.get_parameter(name))


def test_with_orders_survives_saving(tmp_path: Any) -> None:
    model = build(ConvNADE, **BITS, kernel_sizes=(2,)).with_orders(ORDERS[:5])
    model.save_pretrained(tmp_path)
    again = arzoo.load(str(tmp_path))
    assert again.config.num_orders == 5 and torch.equal(again.orders, ORDERS[:5])


@pytest.mark.parametrize(
    "orders",
    [
        [[0, 1, 2]],
        [[0, 1, 2, 3], [0, 1, 1, 3]],
        [[1, 2, 3, 4]],
        [[-1, 0, 1, 2]],
        [0, 1, 2, 3],
        [[0.0, 1.0, 2.0, 3.0]],
        torch.empty(0, 4).long(),
    ],
)
def test_with_orders_refuses_what_is_no_permutation(orders: Any) -> None:
    model = build(DeepNADE, event_shape=(4,), hidden_sizes=(3,))
    with pytest.raises(ValueError, match="order"):
        model.with_orders(torch.as_tensor(orders))


def test_orders_are_drawn_one_by_one() -> None:
    model = DeepNADE(DeepNADEConfig(event_shape=(20,), hidden_sizes=(3,), num_orders=30))
    assert len({tuple(order) for order in model.orders.tolist()}) == 30
    assert torch.equal(model.orders.sort(1).values, torch.arange(20).expand(30, -1))


# ---- completion


@pytest.mark.parametrize("family", [DeepNADE, ConvNADE])
def test_completion_says_what_it_drew_from(family: Any) -> None:
    stack = {"kernel_sizes": (2,)} if family is ConvNADE else {}
    model = build(family, event_shape=(1, 3, 3), hidden_sizes=(4,), num_orders=3, **stack)
    x = events(model, 6)
    known = torch.rand(6, 1, 3, 3) < 0.5
    for mask in (known, known[0], known | True, known & False):
        done = model.complete(x, mask)
        assert done.exact and done.density.startswith("p(unknown | known)")
        assert torch.equal(done.events[mask.expand_as(x)], x[mask.expand_as(x)])
    sharp = model.complete(x, known, temperature=0.5)
    assert not sharp.exact and "sharpened" in sharp.density
    assert torch.equal(model.complete(x - 5 * (~known).long(), known, top_k=1).events[known], x[known])
    with pytest.raises(ValueError, match="boolean"):
        model.complete(x, known.long())
    with pytest.raises(ValueError, match="shape"):
        model.complete(x, known[:, 0])
    with pytest.raises(ValueError, match="integers 0 to 1"):
        model.complete(x + 1, known | True)
    with pytest.raises(ValueError, match="takes no context"):
        model.complete(x, known, torch.zeros(6))


# ---- configs


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        (DeepNADE, {"event_shape": (4,), "hidden_sizes": ()}, "hidden_sizes"),
        (DeepNADE, {"event_shape": (4,), "hidden_sizes": (3, 0)}, "hidden_sizes"),
        (DeepNADE, {"event_shape": (4,), "num_orders": 0}, "num_orders"),
        (DeepNADE, {"event_shape": (4,), "num_categories": None}, "no densities of real values"),
        (ConvNADE, {"event_shape": (4,)}, "event_shape"),
        (ConvNADE, {"event_shape": (1, 9, 9), "num_channels": 0}, "num_channels"),
        (ConvNADE, {"event_shape": (1, 9, 9), "kernel_sizes": ()}, "kernel_sizes"),
        (ConvNADE, {"event_shape": (1, 9, 8)}, "leave a pixel of 9x8"),
    ],
)
def test_refuses_a_config_that_makes_no_model(family: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        family(family.config_class(**fields))
