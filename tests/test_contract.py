"""The contract carries what is still to come, and its walks do what they say, exactly, on tiny events."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import toys
from torch import Tensor

import arzoo
from arzoo import testing
from arzoo.distributions import Bernoulli


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy(family: type[arzoo.Model], index: int = 0, seed: int = 0) -> Any:
    return testing.random_model(family, family.tiny_configs()[index], seed)


def frequencies(samples: Tensor, events: Tensor) -> Tensor:
    """How often each of the events, (N, *E), occurs in samples, (M, *E); all must be events."""
    _, index = torch.cat([events, samples]).flatten(1).unique(dim=0, return_inverse=True)
    assert int(index.max()) < len(events)
    return index[len(events) :].bincount(minlength=len(events))[index[: len(events)]] / len(samples)


@pytest.mark.parametrize(
    ("family", "index", "check"),
    [
        pytest.param(family, index, check, id=f"{family.family}-{index}-{check.__name__.removeprefix('check_')}")
        for family in toys.TOYS
        for index in range(len(family.tiny_configs()))
        for check in testing.checks_of(family)
    ],
)
def test_toy_conforms(family: type[arzoo.Model], index: int, check: Callable[[Any], None]) -> None:
    check(toy(family, index))


def test_check_family_names_the_check_and_the_config() -> None:
    class Doubled(toys.Table):
        def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
            return 2 * super().log_prob(x)

    with pytest.raises(AssertionError, match=r"check_probabilities_sum_to_one: .* \[ToyConfig\(event_shape=\(4,\)"):
        testing.check_family(Doubled)


def test_check_family_passes_a_right_family() -> None:
    testing.check_family(toys.Table)


def test_checks_leave_the_model_and_the_random_state_alone() -> None:
    model = toy(toys.Orderless)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.random.get_rng_state()
    for check in testing.CHECKS:
        check(model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.training
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# ---- sharpening


def one_site(probs: list[float]) -> toys.Table:
    """A model of one scalar with these probabilities."""
    model = toys.Table(toys.ToyConfig(event_shape=(1,), num_categories=(len(probs),)))
    with torch.no_grad():
        model.bias.copy_(torch.tensor([probs]).log())
    return model


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0.5}, [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        ({"temperature": 1e9}, [0.25, 0.25, 0.25, 0.25]),
        ({"top_k": 1}, [0, 0, 0, 1]),
        ({"top_k": 2}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_k": 9}, [0.1, 0.2, 0.3, 0.4]),
        ({"top_p": 0.39}, [0, 0, 0, 1]),
        ({"top_p": 0.41}, [0, 0, 3 / 7, 4 / 7]),
        ({"top_p": 0.75}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"top_p": 1.0}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0.5, "top_k": 2}, [0, 0, 9 / 25, 16 / 25]),
    ],
)
def test_sharpening(arguments: dict[str, Any], expected: list[float]) -> None:
    samples = one_site([0.1, 0.2, 0.3, 0.4]).sample(40_000, generator=generator(), **arguments)
    got = samples.flatten().bincount(minlength=4) / len(samples)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), atol=0.013, rtol=0)
    assert bool((got[torch.tensor(expected) == 0] == 0).all())


@pytest.mark.parametrize("arguments", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_sharpening_to_the_end_is_greedy(arguments: dict[str, Any]) -> None:
    for family in (toys.Pixels, toys.Table, toys.Labelled):
        model = toy(family)
        context = model.example_context(1, generator())
        greedy = model.sample(1, context, generator=generator(), **arguments)
        again = model.sample(1, context, generator=generator(1), **arguments)
        assert torch.equal(greedy, again)


def test_temperature_of_real_values() -> None:
    model = toy(toys.Steps)
    near = model.sample(200, temperature=1e-6, generator=generator())
    assert float(near.std(0).max()) < 1e-3
    with pytest.raises(ValueError, match="top_k"):
        model.sample(1, top_k=2)
    with pytest.raises(ValueError, match="temperature cannot be applied"):
        toy(toys.Real).sample(1, temperature=0.5)


@pytest.mark.parametrize("arguments", [{"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_sharpening_refuses(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        toy(toys.Table).sample(1, **arguments)


# ---- length


def test_length_is_the_length() -> None:
    model = toy(toys.Text)
    for length in (1, 2, 4):
        assert model.sample(5, length=length, generator=generator()).shape == (5, length)
    assert model.sample(5, generator=generator()).shape == (5, 4)
    for length in (0, 5):
        with pytest.raises(ValueError, match="length must be 1 to 4"):
            model.sample(5, length=length)
    with pytest.raises(ValueError, match="one length"):
        toy(toys.Table).sample(5, length=2)


def test_where_a_category_ends_events_no_length_is_asked_for() -> None:
    with pytest.raises(ValueError, match="category 0 says where events of this toy_text end"):
        toy(toys.Text, 1).sample(5, length=2)


def test_chords_have_one_likelihood_a_step_and_none_where_they_are_padded() -> None:
    model = toy(toys.Notes)
    x = torch.tensor([[[0, 1], [1, 1], [-1, -1]], [[1, 0], [0, 0], [0, 1]]])
    bits = model.conditionals(x.clamp_min(0)).base_dist.log_prob(x.clamp_min(0))  # (B, T, C)
    truth = bits.sum(2) * torch.tensor([[1, 1, 0], [1, 1, 1]])
    torch.testing.assert_close(model.site_log_prob(x), truth)
    torch.testing.assert_close(model.log_prob(x), truth.sum(1))
    torch.testing.assert_close(model.bits_per_dim(x), -truth.sum(1) / torch.tensor([4, 6]) / math.log(2))


@pytest.mark.parametrize(
    ("family", "index", "x", "message"),
    [
        (toys.Notes, 0, [[0, 1], [1, -1], [-1, -1]], "whole of a step"),
        (toys.Notes, 0, [[0, 1], [-1, -1], [1, 1]], "at the end of an event"),
        (toys.Notes, 0, [[-1, -1], [-1, -1], [-1, -1]], "at least one step"),
        (toys.Text, 0, [-1, -1, -1, -1], "at least one step"),
        (toys.Text, 0, [1, -1, 1, 1], "at the end of an event"),
        (toys.Text, 1, [1, 0, 2, 2], "nothing but padding .* may follow category 0"),
        (toys.Text, 1, [1, 0, 0, -1], "nothing but padding .* may follow category 0"),
        (toys.Text, 1, [1, 2, -1, -1], "shorter than 4 must end with category 0"),
    ],
)
def test_what_is_no_event_of_some_length_is_refused(
    family: type[arzoo.Model], index: int, x: list[Any], message: str
) -> None:
    model, events = toy(family, index), torch.tensor([x])
    with pytest.raises(ValueError, match=message):
        model.log_prob(events)
    with pytest.raises(ValueError, match=message):
        model.complete(events, torch.ones_like(events, dtype=torch.bool))


def test_an_event_of_full_length_need_not_end() -> None:
    model = toy(toys.Text, 1)
    model.log_prob(torch.tensor([[1, 2, 1, 2], [1, 2, 1, 0], [1, 2, 0, -1], [0, -1, -1, -1]]))


def test_bits_count_what_is_there() -> None:
    model = toy(toys.Text)
    x = torch.tensor([[0, 1, -1, -1], [0, 1, 2, 1]])
    torch.testing.assert_close(model.bits_per_dim(x), -model.log_prob(x) / torch.tensor([2, 4]) / math.log(2))


def test_a_sample_that_ended_early_ends_with_padding() -> None:
    x = toy(toys.Text, 1).sample(500, generator=generator())
    lengths = (x >= 0).sum(1)
    assert set(lengths.tolist()) == {1, 2, 3, 4}
    short = x[lengths < 4]
    assert bool((short.gather(1, lengths[lengths < 4, None] - 1) == 0).all())


# ---- context


def test_each_sample_has_its_row_of_context() -> None:
    model = toy(toys.Labelled)
    with torch.no_grad():
        model.embed.weight.copy_(torch.tensor([-1e4, 1e4, -1e4, 1e4])[:, None].expand(4, 6))
    x = model.sample(4, torch.tensor([-1, 0, 1, 2]), generator=generator())
    assert x.flatten(1).float().mean(1).tolist() == [0, 1, 0, 1]
    done = model.complete(x, torch.zeros(2, 3, dtype=torch.bool), torch.tensor([0, 1, 2, -1]), generator=generator())
    assert done.events.flatten(1).float().mean(1).tolist() == [1, 0, 1, 0]


def test_a_single_context_may_be_named() -> None:
    model, label = toy(toys.Labelled), torch.tensor([0, 2])
    x = testing.random_events(model, 2, generator())
    assert torch.equal(model.log_prob(x, label), model.log_prob(x, {"label": label}))


def test_labels_stand_for_their_numbers() -> None:
    model, x = toy(toys.Labelled), torch.zeros(3, 2, 3, dtype=torch.long)
    model.labels = {"label": ("cat", "dog", "frog, green")}
    expected = model.log_prob(x, torch.tensor([2, 0, 1]))
    assert len(set(expected.tolist())) == 3
    assert torch.equal(model.log_prob(x, {"label": ["frog, green", "cat", "dog"]}), expected)
    drawn = model.sample(3, ("frog, green", "cat", "dog"), generator=generator())
    assert torch.equal(drawn, model.sample(3, torch.tensor([2, 0, 1]), generator=generator()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["cat", "dgo", "cat"], "context label cannot be 'dgo'; there are cat, dog, frog"),
        (["cat", "", "cat"], "context label cannot be ''; there are cat, dog, frog"),
        (["cat", "dog"], "context label must be a tensor with 3 rows or a list of 3 labels, got (2,)"),
        ("cat", "context label must be a tensor with 3 rows or a list of 3 labels, got str"),
        ([], "context label must be a tensor with 3 rows or a list of 3 labels, got list"),
        (["cat", 1, 2], "context label must be a tensor with 3 rows or a list of 3 labels, got list"),
    ],
)
def test_what_is_no_list_of_labels_is_refused(given: Any, message: str) -> None:
    model, x = toy(toys.Labelled), torch.zeros(3, 2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="context label has no labels in this model; give integers"):
        model.log_prob(x, {"label": ["cat", "dog", "frog"]})
    model.labels = {"label": ("cat", "dog", "frog")}
    with pytest.raises(ValueError) as caught:
        model.log_prob(x, {"label": given})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "labels must be lists of texts by name, got NoneType"),
        (["cat"], "labels must be lists of texts by name, got list"),
        ({"label": "abc"}, "labels 'label' must be a list of texts"),
        ({"label": [0, 1, 2]}, "labels 'label' must be a list of texts"),
        ({"label": ["cat", "dog"]}, "labels 'label' are 2, but this toy_labelled has 3 classes"),
        (
            {"labl": ["cat", "dog", "frog"]},
            "labels 'labl' are 3, but this toy_labelled has 2 categories; those of its classes are named 'label'",
        ),
    ],
)
def test_labels_that_do_not_fit_are_not_taken(given: Any, message: str) -> None:
    model = toy(toys.Labelled)
    model.labels = {"label": ["cat", "dog", "frog"]}
    with pytest.raises(ValueError) as caught:
        model.labels = given
    assert str(caught.value) == message
    assert model.labels == {"label": ("cat", "dog", "frog")}


def test_labels_become_numbers_where_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arzoo.model.check_labels", lambda name, labels, number: labels)  # meta tensors have no values
    model = toy(toys.Labelled).to("meta")
    model.labels = {"label": ("cat", "dog", "frog")}
    assert model.check_context(2, ["cat", "dog"])["label"].device.type == "meta"


def test_two_contexts_must_be_named() -> None:
    model = toy(toys.Translation)
    x = testing.random_events(model, 2, generator())
    with pytest.raises(ValueError, match="source, style"):
        model.log_prob(x, torch.zeros(2, dtype=torch.long))


def test_padding_of_the_source_changes_nothing() -> None:
    model = toy(toys.Translation)
    x, context = testing.random_events(model, 6, generator()), model.example_context(6, generator())
    longer = {**context, "source": torch.cat([context["source"], torch.full((6, 3), -1)], 1)}
    torch.testing.assert_close(model.log_prob(x, context), model.log_prob(x, longer))


# ---- members


def test_members_are_drawn_evenly_and_mixed() -> None:
    model = toy(toys.Orders)
    events = testing.all_events(model)[0]
    members = torch.stack([model.member_log_prob(events, None, k).sum(1) for k in range(3)]).exp().detach()
    got = frequencies(model.sample(40_000, generator=generator()), events)
    torch.testing.assert_close(got, members.mean(0), atol=0.012, rtol=0)
    assert float((got - members[0]).abs().max()) > 0.03  # no member alone is the density


def test_completion_draws_the_member_from_its_posterior() -> None:
    model = toy(toys.PixelOrders)
    events = testing.all_events(model)[0]
    with torch.no_grad():
        model.gain.copy_(torch.tensor([-4.0, 4.0]))
    known = torch.tensor([True, False, False]).expand(2, 1, 3)
    for x in events[::21]:
        done = model.complete(x.expand(20_000, 2, 1, 3), known, generator=generator())
        assert done.exact and "p(unknown | known)" in done.density
        fits = (events[..., 0] == x[..., 0]).flatten(1).all(1)
        truth = model.log_prob(events[fits]).softmax(0)
        torch.testing.assert_close(frequencies(done.events, events[fits]), truth, atol=0.02, rtol=0)


def test_known_scalars_tell_the_member() -> None:
    model = toys.Coins(toys.ToyConfig(event_shape=(3,)))
    p = torch.tensor([2.0, -2.0]).sigmoid()
    x = torch.tensor([[1, 1, 0]]).expand(40_000, 3)
    done = model.complete(x, torch.tensor([True, True, False]), generator=generator())
    truth = float(p.pow(3).sum() / p.pow(2).sum())
    assert done.exact
    assert abs(float(done.events[:, 2].float().mean()) - truth) < 0.012
    assert abs(truth - float(p.mean())) > 0.3  # what members drawn without regard to the known would give


# ---- completion


def test_half_a_pixel_is_completed_from_its_other_half() -> None:
    model = toy(toys.Pixels)
    events = testing.all_events(model)[0]
    known = torch.zeros(2, 1, 3, dtype=torch.bool)
    known[:, 0, 2] = known[0, 0, 1] = True  # the order runs from the last pixel; of the next one, the first colour
    x = events[345]
    done = model.complete(x.expand(20_000, 2, 1, 3), known, generator=generator())
    assert done.exact
    fits = (events == x).flatten(1)[:, known.flatten()].all(1)
    torch.testing.assert_close(
        frequencies(done.events, events[fits]), model.log_prob(events[fits]).softmax(0), atol=0.02, rtol=0
    )


def test_the_second_colour_alone_is_no_prefix() -> None:
    model = toy(toys.Pixels)
    known = torch.zeros(2, 1, 3, dtype=torch.bool)
    known[1, 0, 2] = True
    x = torch.ones(8, 2, 1, 3, dtype=torch.long)
    done = model.complete(x, known, generator=generator())
    assert not done.exact and "ignored" in done.density
    assert bool((done.events[:, 1, 0, 2] == 1).all())


def test_what_is_known_may_differ_between_rows() -> None:
    model = toy(toys.Table)
    x = torch.tensor([[1, 4, 2, 3], [0, 3, 1, 2]])
    known = torch.tensor([[True, True, False, False], [True, False, False, False]])
    done = model.complete(x, known, generator=generator())
    assert done.exact and torch.equal(done.events[known], x[known])
    alone = [model.complete(x[:1], known[:1], generator=generator()).events for _ in range(2)]
    assert torch.equal(alone[0], alone[1])
    assert not model.complete(x, known.flip(1), generator=generator()).exact


def test_sharpened_completion_is_not_called_exact() -> None:
    model = toy(toys.Table)
    done = model.complete(torch.zeros(2, 4, dtype=torch.long), torch.zeros(4, dtype=torch.bool), temperature=0.5)
    assert not done.exact and "sharpened" in done.density


def test_values_that_are_not_known_do_not_matter() -> None:
    model = toy(toys.Real)
    known = torch.tensor([True, False, False])
    x = torch.tensor([[0.5, math.nan, math.inf]])
    y = torch.tensor([[0.5, 1.0, 2.0]])
    one, other = (model.complete(each, known, generator=generator()).events for each in (x, y))
    assert torch.equal(one, other)


def test_a_completion_ends_where_its_end_is_drawn() -> None:
    model = toy(toys.Text, 1)
    x = torch.tensor([[1, 2, 0, -1]]).expand(300, 4)
    done = model.complete(x, torch.tensor([True, True, False, False]), generator=generator())
    assert done.exact
    model.log_prob(done.events)
    ended = done.events[:, 2] == 0
    assert 0 < int(ended.sum()) < 300
    assert bool((done.events[ended, 3] == -1).all()) and bool((done.events[~ended, 3] >= 0).all())


@pytest.mark.parametrize(
    ("family", "index", "given", "length"),
    [(toys.Text, 0, 4, 4), (toys.Text, 0, 3, 3), (toys.Text, 1, 1, 4), (toys.Notes, 0, 3, 3), (toys.Notes, 0, 2, 2)],
)
def test_a_prompt_is_completed_to_where_the_event_ends(
    family: type[arzoo.Model], index: int, given: int, length: int
) -> None:
    """The end says where that is, or else the length it is given in."""
    model = toy(family, index)
    parts = testing.all_events(model)  # one for each length, or one in all
    events = parts[-1] if len(parts) == 1 else parts[length - 1][:, :length]
    start = events[len(events) // 2]
    x = torch.where(torch.arange(given).view(-1, *[1] * (start.dim() - 1)) < 1, start[:given], 0)
    known = (torch.arange(given) < 1).view(-1, *[1] * (start.dim() - 1)).expand_as(x)
    done = model.complete(x.expand(20_000, *x.shape), known, generator=generator())
    assert done.exact and done.events.shape == (20_000, length, *start.shape[1:])
    fits = events[(events[:, :1] == start[:1]).flatten(1).all(1)]
    truth = model.log_prob(fits).softmax(0)
    torch.testing.assert_close(frequencies(done.events, fits), truth, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("family", "index", "x", "known", "expected"),
    [
        (toys.Text, 1, [1, 0, 2, 2], "ttff", [1, 0, -1, -1]),  # nothing follows the end
        (toys.Text, 1, [1, 2, -1, -1], "tftt", [1, 0, -1, -1]),  # only the end stands before padding
        (toys.Text, 0, [1, 2, -1, 2], "tttf", [1, 2, -1, -1]),
        (toys.Notes, 0, [[0, 1], [-1, 1], [1, 1]], ["tt", "tf", "ff"], [[0, 1], [-1, -1], [-1, -1]]),
    ],
)
def test_what_follows_from_the_known_is_not_drawn(
    family: type[arzoo.Model], index: int, x: list[Any], known: Any, expected: list[Any]
) -> None:
    mask = torch.tensor([[k == "t" for k in row] if len(row) > 1 else row == "t" for row in known])
    done = toy(family, index).complete(torch.tensor([x]), mask, generator=generator())
    assert done.exact and done.events.tolist() == [expected]


@pytest.mark.parametrize("x", [torch.ones(4, dtype=torch.long), torch.ones(2, 5, dtype=torch.long)])
def test_a_prompt_of_another_shape_is_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"events must have shape \(B, at most 4\)"):
        toy(toys.Text).complete(x, torch.ones_like(x, dtype=torch.bool))


class CertainCoins(toys.Coins):
    """Two members; one throws heads alone, the other what it likes."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        return Bernoulli(torch.tensor(0.0 if member else math.inf).expand(x.shape))


def test_a_conditional_of_no_probability_does_not_spoil_a_completion() -> None:
    model = CertainCoins(toys.ToyConfig(event_shape=(3,)))
    known = torch.tensor([True, False, False])
    heads = model.complete(torch.tensor([[1, 0, 0]]).expand(20_000, 3), known, generator=generator())
    assert heads.exact
    assert abs(float(heads.events[:, 1].float().mean()) - (2 / 3 + 1 / 6)) < 0.015
    tails = model.complete(torch.tensor([[0, 0, 0]]).expand(20_000, 3), known, generator=generator())
    assert tails.exact
    assert abs(float(tails.events[:, 1].float().mean()) - 1 / 2) < 0.015


def test_what_no_member_can_have_drawn_is_not_completed() -> None:
    class Heads(CertainCoins):
        def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
            return super().conditionals(x)

    with pytest.raises(ValueError, match="probability zero"):
        Heads(toys.ToyConfig(event_shape=(3,))).complete(
            torch.zeros(2, 3, dtype=torch.long), torch.tensor([True, False, False])
        )


@pytest.mark.parametrize(
    ("known", "message"),
    [(torch.ones(4), "boolean"), (torch.ones(3, dtype=torch.bool), "shape")],
)
def test_complete_refuses(known: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy(toys.Table).complete(torch.zeros(2, 4, dtype=torch.long), known)


# ---- streams and seeds


def test_a_stream_of_every_second_site() -> None:
    model = toy(toys.Pixels)
    steps = list(model.stream(3, generator=generator(), every=2))
    assert [int((step[0] >= 0).sum()) for step in steps] == [4, 6]
    assert torch.equal(steps[-1], model.sample(3, generator=generator()))
    with pytest.raises(ValueError, match="every"):
        next(model.stream(1, every=0))


def test_a_stream_yields_each_state_once() -> None:
    steps = list(toy(toys.Table).stream(2, generator=generator()))
    assert [int((step[0] >= 0).sum()) for step in steps] == [1, 2, 3, 4]


def test_a_stream_of_real_values_grows_from_nan() -> None:
    steps = list(toy(toys.Real).stream(2, generator=generator()))
    assert [int(step[0].isnan().sum()) for step in steps] == [2, 1, 0]


def test_a_stream_of_a_given_length_has_this_length() -> None:
    for step in toy(toys.Text).stream(2, length=2, generator=generator()):
        assert step.shape == (2, 2)


def test_without_a_generator_the_global_seed_decides() -> None:
    model = toy(toys.Orders)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        one = model.sample(20)
        torch.manual_seed(3)
        assert torch.equal(model.sample(20), one)
        assert not torch.equal(model.sample(20), one)


def test_a_sample_needs_no_gradient() -> None:
    for family in (toys.Real, toys.Orders):
        assert not toy(family).sample(2).requires_grad
        assert not next(toy(family).stream(2)).requires_grad


def test_a_model_without_parameters_samples_where_its_buffers_are() -> None:
    class Fair(arzoo.Autoregressive):
        family = "toy_fair"
        config_class = toys.ToyConfig

        @classmethod
        def tiny_configs(cls) -> list[toys.ToyConfig]:
            return [toys.ToyConfig(event_shape=(3,))]

        def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
            return Bernoulli(torch.zeros(x.shape))

    testing.check_family(Fair)
    model = toy(Fair)
    assert model.device == torch.device("cpu")
    model.register_buffer("somewhere", torch.empty(1, device="meta"))
    assert model.device == model.blank_events(2).device == torch.device("meta")


# ---- configs


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_shape": ()}, "event_shape"),
        ({"event_shape": (0,)}, "event_shape"),
        ({"event_shape": (3,), "num_categories": 1}, "at least 2"),
        ({"event_shape": (3,), "num_categories": (2, 2)}, "3 sizes"),
        ({"event_shape": (3,), "num_categories": 2.0}, "num_categories"),
        ({"event_shape": [3]}, "event_shape"),
    ],
)
def test_config_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toys.ToyConfig(**fields)


def test_a_model_refuses_the_config_of_another_family() -> None:
    with pytest.raises(ValueError, match="takes a ToyConfig, got TextConfig"):
        toys.Orders(toys.TextConfig(event_shape=(3,)))


def test_a_category_is_checked_against_its_own_column() -> None:
    model = toy(toys.Table)
    model.log_prob(torch.tensor([[1, 4, 2, 3]]))
    for x, fault in (
        ([2, 0, 0, 0], r"events must be integers 0 to 1 at \(0,\), got 2 in event 1"),
        ([0, 0, 3, 0], r"events must be integers 0 to 2 at \(2,\), got 3 in event 1"),
    ):
        with pytest.raises(ValueError, match=fault):
            model.log_prob(torch.tensor([[0, 0, 0, 0], x]))


def test_small_integers_are_events_too() -> None:
    model = toy(toys.Table)
    x = torch.tensor([[1, 4, 2, 3]])
    assert torch.equal(model.log_prob(x), model.log_prob(x.to(torch.uint8)))
