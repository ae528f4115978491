"""Samples: events that occur as often as log_prob says."""

import math

import torch
from torch import Tensor

from arzoo.autoregressive import Autoregressive
from arzoo.decoding import Sharpening, walk
from arzoo.model import Model, NamedContext
from arzoo.testing.events import (
    NUM_SAMPLES,
    all_events,
    cut,
    fixed_generator,
    flat_sites,
    length_of,
    random_context,
    repeated,
    shape_of,
    some_contexts,
)
from arzoo.testing.likelihood import mass_below, scalar_conditionals


@torch.no_grad()
def check_samples_are_events(model: Model) -> None:
    """A sample is what the model can score, from the generator it is given and no other."""
    context = random_context(model, 32, fixed_generator(3))
    before = torch.random.get_rng_state()
    x, again, *others = (model.sample(32, context, generator=fixed_generator(seed)) for seed in (0, 0, 1, 2, 3))
    assert torch.equal(torch.random.get_rng_state(), before), (
        "sample draws from torch's global generator, not from its own"
    )
    assert torch.equal(x, again), "the same seed gives two samples"
    assert not all(torch.equal(x, other) for other in others), "every seed gives the same sample"
    wanted = (32, *model.config.event_shape)
    assert shape_of(x) == wanted, f"32 samples have shape {shape_of(x)}, not {wanted}"
    dtype = torch.float32 if model.config.num_categories is None else torch.int64
    assert x.dtype == dtype, f"samples are {x.dtype}, not {dtype}"
    try:
        log_prob = model.log_prob(x, context)
    except ValueError as error:
        raise AssertionError(f"a sample is no event: {error}") from error
    assert bool(log_prob.isfinite().all()), "a sample has no finite log_prob"
    if model.end is not None:
        assert torch.equal(x, cut(x, model.end)), "a sample goes on after the category that ends it"


@torch.no_grad()
def check_sample_frequencies(model: Model) -> None:
    """Samples occur as often as log_prob says, tested so that a right model fails once in ten million seeds."""
    context = next(some_contexts(model))
    many = repeated(context, NUM_SAMPLES)
    for events in all_events(model):
        length = length_of(events[0]) if model.variable_length and model.end is None else None
        samples = model.sample(NUM_SAMPLES, many, length=length, generator=fixed_generator())
        if length is not None:
            assert samples.shape[1] == length, f"sample(length={length}) has {samples.shape[1]} sites"
            events = events[:, :length]
        probs = model.log_prob(events, repeated(context, len(events))).double().exp()
        check_frequencies(samples, events, probs, "samples", exact=model.likelihood == "exact")
    if model.config.num_categories is None and isinstance(model, Autoregressive):
        _check_real_samples(model, context)


def check_frequencies(samples: Tensor, events: Tensor, probs: Tensor, what: str, *, exact: bool = True) -> None:
    """A chi-squared test; where probabilities are lower bounds, of no event there may be too few."""
    _, index = torch.cat([events, samples]).flatten(1).unique(dim=0, return_inverse=True)
    assert int(index.max()) < len(events), f"{what} hold an event that is none of the model's"
    counts = index[len(events) :].bincount(minlength=len(events)).double()[index[: len(events)]]
    expected = probs * len(samples)
    rare = expected < 10  # counted together: the test is for large numbers
    counts = torch.cat([counts[~rare], counts[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    if not exact:
        worst = float(((counts - expected) / expected.clamp_min(10).sqrt()).min())
        assert worst > -7, f"{what} are rarer than the lower bound says, by {-worst:.1f} standard deviations"
        return
    chi_squared = float(((counts - expected).square() / expected.clamp_min(10)).sum())
    # Wilson and Hilferty 1931: the cube root of chi-squared / degrees is nearly normal.
    degrees = max(len(counts) - 1, 1)
    z = ((chi_squared / degrees) ** (1 / 3) - 1 + 2 / (9 * degrees)) / math.sqrt(2 / (9 * degrees))
    assert z < 5.3, (
        f"{what} do not occur as often as log_prob says: chi-squared is {chi_squared:.0f},"
        f" with {degrees} degrees of freedom"
    )


def _check_real_samples(model: Autoregressive, context: NamedContext) -> None:
    """Every scalar's distribution function at the scalar is uniform (Dvoretzky, Kiefer and Wolfowitz's bound)."""
    num_samples = 2000
    many = repeated(context, num_samples)
    bound = math.sqrt(math.log(2 / 1e-7) / (2 * num_samples)) + 0.01  # the second for the integral
    for member in range(model.num_members):
        if model.num_members == 1:
            x = model.sample(num_samples, many, generator=fixed_generator())
        else:  # a mixture's samples do not tell their member
            x = _member_samples(model, num_samples, many, member)
        flat = x.flatten(1)
        for scalar, part in scalar_conditionals(model, x, many, member):
            u = mass_below(part, flat[:, scalar].double()).sort().values
            gap = float((u - (torch.arange(num_samples) + 0.5) / num_samples).abs().max())
            assert gap < bound, (
                f"samples of scalar {scalar} do not follow its conditional: {gap:.2g} off in probability"
            )


def _member_samples(model: Autoregressive, num_samples: int, context: NamedContext, member: int) -> Tensor:
    """Real events that the decoder of one member draws, shape (B, *E)."""
    x, order = model.blank_events(num_samples), model.order(member)
    shape = (num_samples, len(order), *model.site_shape)
    uniforms = torch.rand(shape, generator=fixed_generator(), dtype=torch.float64)
    drawn = walk(model.decoder(num_samples, context, member), uniforms, Sharpening())
    model.flat_sites(x)[:, order] = torch.stack(list(drawn), 1)
    return x


@torch.no_grad()
def check_sampling_walks_in_order(model: Autoregressive) -> None:
    """A sample grows site by site as the order says, and ends as what `sample` returns."""
    context = next(some_contexts(model))
    sampled = model.sample(1, context, generator=fixed_generator())
    steps = list(model.stream(1, context, generator=fixed_generator()))
    assert torch.equal(steps[-1], sampled), "the last element of stream is not the sample of the same seed"
    drawn: list[int] = []
    for events in steps:
        sites = flat_sites(model, events)[0].flatten(1) if model.site_axes else flat_sites(model, events)[0][:, None]
        there = (~sites.isnan() if events.is_floating_point() else sites >= 0).all(1).nonzero().flatten().tolist()
        drawn += [site for site in there if site not in drawn]
    orders = [model.order(member).tolist()[: len(drawn)] for member in range(model.num_members)]
    assert drawn in orders, f"sampling visits the sites {drawn}, which is not the model's order {orders[0]}"
