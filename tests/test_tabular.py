"""Tables against counting by hand: frequencies, smoothing, contexts that never occurred."""

import itertools
import math
from typing import Any

import arzoo_tabular
import pytest
import torch
from arzoo_tabular import Tabular, TabularConfig
from torch import Tensor

from arzoo import testing

SIZES = (2, 3, 2, 4, 2)
SPACES: dict[str, dict[str, Any]] = {
    "bits": {"event_shape": (6,)},
    "image": {"event_shape": (1, 2, 3), "num_categories": 3},
    "sizes": {"event_shape": (5,), "num_categories": SIZES},
}


def data(space: str, num_events: int, seed: int = 0) -> Tensor:
    """Events in which every scalar tends to be the one before it."""
    config = TabularConfig(**SPACES[space])
    generator, columns = torch.Generator().manual_seed(seed), []
    for size in config.sizes:
        drawn = torch.randint(size, (num_events,), generator=generator)
        stay = torch.rand(num_events, generator=generator) < 0.6
        columns.append(torch.where(stay, columns[-1] % size, drawn) if columns else drawn)
    return torch.stack(columns, 1).view(-1, *config.event_shape)


def fitted(x: Tensor, **fields: Any) -> Tabular:
    model = Tabular(TabularConfig(**fields)).eval()
    model.fit(x, x[:0])
    return model


def all_events(model: Tabular) -> Tensor:
    return torch.tensor(list(itertools.product(*map(range, model.config.sizes)))).view(-1, *model.config.event_shape)


def slow_conditional(
    rows: list[list[int]], sizes: tuple[int, ...], place: int, context: tuple[int, ...], a: float
) -> list[float]:
    """p(v | context) for all values v at a place, by the recursion over shorter contexts."""
    size = sizes[place]
    shorter = slow_conditional(rows, sizes, place, context[1:], a) if context else [1 / size] * size
    counts = [0] * size
    for row in rows:
        if tuple(row[place - len(context) : place]) == context:
            counts[row[place]] += 1
    total = sum(counts) + a * size
    return [(n + a * size * q) / total for n, q in zip(counts, shorter, strict=True)] if total else shorter


def slow_log_prob(x: Tensor, event: Tensor, sizes: tuple[int, ...], order: int | None, a: float) -> float:
    rows, values = x.flatten(1).tolist(), event.flatten().tolist()
    result = 0.0
    for place, value in enumerate(values):
        context = tuple(values[max(place - (len(values) if order is None else order), 0) : place])
        p = slow_conditional(rows, sizes, place, context, a)[value]
        result += math.log(p) if p else -math.inf
    return result


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("order", [None, 0, 1, 2, 9])
@pytest.mark.parametrize("space", SPACES)
def test_tables_are_those_of_counting_by_hand(space: str, order: int | None, smoothing: float) -> None:
    x = data(space, 12)
    model = fitted(x, **SPACES[space], markov_order=order, smoothing=smoothing)
    events = all_events(model)[::5]
    truth = [slow_log_prob(x, event, model.config.sizes, order, smoothing) for event in events]
    torch.testing.assert_close(model.log_prob(events).detach(), torch.tensor(truth), rtol=1e-5, atol=1e-5)
    total = model.log_prob(all_events(model)).detach().double().exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-6)
    contexts = {tuple(row[:-1]) for row in x.flatten(1).tolist()}
    assert len(contexts) < math.prod(model.config.sizes[:-1]), "every context occurred: nothing backed off"
    for check in (testing.check_decoder_agrees_with_the_parallel_pass, testing.check_causality):
        check(model)


@pytest.mark.parametrize("space", SPACES)
def test_unsmoothed_full_tables_are_the_frequencies_of_whole_events(space: str) -> None:
    x = data(space, 300)
    model = fitted(x, **SPACES[space], smoothing=0.0)
    events = all_events(model)
    counts = (events.flatten(1)[:, None] == x.flatten(1)).all(2).sum(1)
    torch.testing.assert_close(
        model.log_prob(events).detach().double().exp(), counts.double() / 300, atol=1e-6, rtol=1e-5
    )


def test_a_context_that_never_occurred_backs_off_to_a_shorter_one() -> None:
    """After 1, 0 nothing was seen; after 0 alone a 1 in three of four cases."""
    x = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]])
    model = fitted(x, event_shape=(3,), smoothing=0.0)
    p = model.conditionals(torch.tensor([[1, 0, 0], [0, 0, 0], [1, 1, 0]])).probs[:, 2].tolist()
    assert p == pytest.approx([0.75, 0.75, 0.0])
    smoothed = fitted(x, event_shape=(3,), smoothing=0.5)
    anywhere = (3 + 0.5) / (5 + 1)
    after_zero = (3 + 1 * anywhere) / (4 + 1)
    assert smoothed.conditionals(torch.tensor([[1, 0, 0]])).probs[0, 2].item() == pytest.approx(after_zero)


def test_without_smoothing_one_unseen_event_has_no_likelihood() -> None:
    x = torch.zeros(50, 4, dtype=torch.long)
    new = torch.tensor([[0, 0, 0, 1]])
    assert fitted(x, event_shape=(4,), smoothing=0.0).log_prob(new) == -math.inf
    assert fitted(x, event_shape=(4,), smoothing=0.5).log_prob(new).item() > -30


def test_tables_reach_the_entropy_of_what_is_markov() -> None:
    """Ten bits, each the exclusive or of the two before it in nine of ten cases, drawn 100,000 times."""
    generator = torch.Generator().manual_seed(0)
    bits = [torch.randint(2, (100_000,), generator=generator) for _ in range(2)]
    for _ in range(8):
        flip = torch.rand(100_000, generator=generator) < 0.1
        bits.append(bits[-1] ^ bits[-2] ^ flip)
    x = torch.stack(bits, 1)
    entropy = 2 * math.log(2) - 8 * (0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    losses = {}
    for order in (1, 2, None):
        model = fitted(x[:50_000], event_shape=(10,), markov_order=order)
        losses[order] = -float(model.log_prob(x[50_000:]).detach().double().mean())
    assert losses[1] == pytest.approx(10 * math.log(2), abs=0.02)
    assert losses[2] == pytest.approx(entropy, abs=0.02)
    assert losses[2] < losses[None] < losses[2] + 0.02


def test_what_is_saved_has_the_shapes_of_the_config(tmp_path: Any) -> None:
    x = data("sizes", 40)
    model = fitted(x, **SPACES["sizes"], smoothing=0.0)
    assert {name: value.shape for name, value in model.state_dict().items()} == {"table": (1 + 2 + 6 + 12 + 48, 4)}
    model.save_pretrained(tmp_path / "tabular-toy")
    again = Tabular.from_pretrained(tmp_path / "tabular-toy")
    events = all_events(model)
    assert torch.equal(again.log_prob(events), model.log_prob(events))
    assert bool((model.log_prob(events) == -math.inf).any())


@pytest.mark.parametrize(("fields", "below"), [({}, 13), ({"num_categories": 16}, 3), ({"markov_order": 500}, 13)])
def test_tables_too_large_are_refused_with_the_order_that_is_not(fields: dict[str, Any], below: int) -> None:
    with pytest.raises(ValueError, match=rf"need more than 4,194,304 numbers; markov_order must be below {below}$"):
        TabularConfig(event_shape=(1, 28, 28), **fields)
    with pytest.raises(
        ValueError, match=r"need more than 4,194,304 numbers; there are too many scalars or categories$"
    ):
        TabularConfig(event_shape=(3, 128, 128), num_categories=256)
    fits = TabularConfig(event_shape=(1, 28, 28), **fields | {"markov_order": below - 1})
    assert Tabular(fits).table.numel() <= arzoo_tabular.MOST_NUMBERS
    with pytest.raises(ValueError, match=rf"below {below}$"):
        TabularConfig(event_shape=(1, 28, 28), **fields | {"markov_order": below})


def test_22_bits_have_full_tables() -> None:
    assert Tabular(TabularConfig(event_shape=(22,))).table.numel() == 2**22 - 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"markov_order": -1}, "markov_order must not be negative, got -1"),
        ({"smoothing": -0.5}, "smoothing must not be negative, got -0.5"),
        ({"num_categories": None}, "no densities of real values"),
    ],
)
def test_wrong_configs_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tabular(TabularConfig(**{"event_shape": (3,), **fields}))


def test_nothing_to_count_is_refused() -> None:
    model = Tabular(TabularConfig(event_shape=(3,)))
    with pytest.raises(ValueError, match="at least one event"):
        model.fit(torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="integers 0 to 1"):
        model.fit(torch.full((4, 3), 2), torch.zeros(0, 3, dtype=torch.long))


def test_progress_ends_at_one() -> None:
    shares: list[float] = []
    Tabular(TabularConfig(event_shape=(4,))).fit(data("bits", 9)[:, :4], data("bits", 0)[:, :4], shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


class SeesItself(Tabular):
    """The context is inclusive."""

    def _rows(self, x: Tensor) -> Tensor:
        return super()._rows(torch.cat([x[:, 1:], x[:, -1:]], 1))


class ForgetsAllButOne(Tabular):
    """The context of the decoder is the last value alone."""

    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder = super().decoder(*args, **options)
        decoder._sizes = (0,) * self.config.dims
        return decoder


@pytest.mark.parametrize(
    ("family", "check", "message"),
    [
        (SeesItself, testing.check_causality, "which does not come before it"),
        (ForgetsAllButOne, testing.check_decoder_agrees_with_the_parallel_pass, "off that of the parallel pass"),
    ],
)
def test_faults_are_caught(family: Any, check: Any, message: str) -> None:
    model = testing.random_model(family, TabularConfig(event_shape=(6,)))
    with pytest.raises(AssertionError, match=message):
        check(model)
