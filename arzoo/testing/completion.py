"""Completions: what is known stays, what is not is drawn from its posterior.

A family of any order (it has a method `with_orders`) completes any sites exactly, under the density of the orders that
visit the known ones first, all alike, and then the others as the model does.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from arzoo.autoregressive import Autoregressive
from arzoo.testing.events import (
    NUM_SAMPLES,
    all_events,
    examples,
    fixed_generator,
    flat_sites,
    repeated,
    some_contexts,
    walk_order,
)
from arzoo.testing.samples import check_frequencies


@torch.no_grad()
def check_completion_keeps_what_is_known(model: Autoregressive) -> None:
    """`complete` changes nothing that is known, and says "exact" only if the known comes first in the order."""
    x, context = examples(model, 12)
    known = torch.rand(model.config.event_shape, generator=fixed_generator(5)) < 0.5
    for mask in (known, ~known, known & False, known | True):
        done = model.complete(x, mask, context, generator=fixed_generator())
        again = model.complete(x, mask, context, generator=fixed_generator())
        kept = done.events[mask.expand_as(x)] == x[mask.expand_as(x)]
        assert bool(kept.all()), "complete changes a scalar that is known"
        assert torch.equal(done.events, again.events), "the same seed gives two completions"
        density = completed_density(model, mask)
        first = [is_prefix(mask.flatten()[walk_order(density, member)]) for member in range(model.num_members)]
        assert all(first) or not done.exact, "complete says exact, but known scalars come after unknown ones"
        if all(first) or not model.variable_length:
            assert bool(density.log_prob(done.events, context).isfinite().all()), (
                "a completed event has no finite log_prob"
            )


@torch.no_grad()
def check_completion_frequencies(model: Autoregressive) -> None:
    """An exact completion is drawn from p(unknown | known)."""
    if not all_events(model):
        return
    events, context = all_events(model)[-1], next(some_contexts(model))
    order, width = walk_order(model, 0), math.prod(model.site_shape)
    whole = events[(events >= 0).flatten(1).all(1)]
    counts = sorted({0, 1, model.config.dims // 3, model.config.dims // 2})
    sets = [order[:count] for count in counts]
    if hasattr(model, "with_orders"):  # the last in the order as well as the first
        sets += [order[-count:] for count in counts if count]
    for places in sets:
        known = torch.zeros(model.config.dims, dtype=torch.bool)
        known[places] = True
        x = whole[:: max(len(whole) // 7, 1)].repeat_interleave(NUM_SAMPLES // 7, 0)[:NUM_SAMPLES]
        done = model.complete(x, known.view(x.shape[1:]), repeated(context, len(x)), generator=fixed_generator())
        density = completed_density(model, known.view(x.shape[1:]))
        exact = all(is_prefix(known[walk_order(density, member)]) for member in range(model.num_members))
        if model.num_members > 1 and len(places) % width:  # the evidence of half a site need not be at hand
            exact = exact and done.exact
        assert done.exact == exact, f"complete says exact={done.exact}, {len(places)} scalars being known"
        if not exact:
            continue
        log_probs = density.log_prob(events, repeated(context, len(events))).double()
        prefixes = torch.cat([x, events]).flatten(1).masked_fill(~known, 0)
        _, group = prefixes.unique(dim=0, return_inverse=True)
        given, group = group[: len(x)].bincount(minlength=int(group.max()) + 1) / len(x), group[len(x) :]
        evidence = torch.zeros(len(given), dtype=torch.float64).index_add(0, group, log_probs.exp())
        probs = given[group] * log_probs.exp() / evidence[group]
        check_frequencies(done.events, events, probs, f"completions of {len(places)} known scalars")


def completed_density(model: Autoregressive, known: Tensor) -> Autoregressive:
    """The density that completions are drawn from, if exactly: the model's own, unless it can take another order.

    Arguments:
        known: Shape E.
    """
    with_orders: Callable[[Tensor], Autoregressive] | None = getattr(model, "with_orders", None)
    if with_orders is None:
        return model
    there = flat_sites(model, known[None])[0].flatten(1).all(1) if model.site_axes else known.flatten()  # (S,)
    orders = [model.order(member) for member in range(model.num_members)]
    first = there.nonzero().flatten()
    return with_orders(torch.stack([torch.cat([first, order[~there[order]]]) for order in orders]))


def is_prefix(known: Tensor) -> bool:
    return not bool((known[1:] & ~known[:-1]).any())
