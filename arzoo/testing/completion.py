"""Completions: what is known stays, what is not is drawn from its posterior."""

import math

import torch
from torch import Tensor

from arzoo.autoregressive import Autoregressive
from arzoo.testing.events import NUM_SAMPLES, all_events, examples, fixed_generator, repeated, some_contexts, walk_order
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
        first = [is_prefix(mask.flatten()[walk_order(model, member)]) for member in range(model.num_members)]
        assert all(first) or not done.exact, "complete says exact, but known scalars come after unknown ones"
        if all(first) or not model.variable_length:
            assert bool(model.log_prob(done.events, context).isfinite().all()), (
                "a completed event has no finite log_prob"
            )


@torch.no_grad()
def check_completion_frequencies(model: Autoregressive) -> None:
    """An exact completion is drawn from p(unknown | known)."""
    if not all_events(model):
        return
    events, context = all_events(model)[-1], next(some_contexts(model))
    log_probs = model.log_prob(events, repeated(context, len(events))).double()
    orders = [walk_order(model, member) for member in range(model.num_members)]
    width = math.prod(model.site_shape)
    whole = events[(events >= 0).flatten(1).all(1)]
    for num_known in sorted({0, 1, model.config.dims // 3, model.config.dims // 2}):
        known = torch.zeros(model.config.dims, dtype=torch.bool)
        known[orders[0][:num_known]] = True
        x = whole[:: max(len(whole) // 7, 1)].repeat_interleave(NUM_SAMPLES // 7, 0)[:NUM_SAMPLES]
        done = model.complete(x, known.view(x.shape[1:]), repeated(context, len(x)), generator=fixed_generator())
        exact = all(is_prefix(known[order]) for order in orders)
        if model.num_members > 1 and num_known % width:  # the evidence of half a site need not be at hand
            exact = exact and done.exact
        assert done.exact == exact, f"complete says exact={done.exact}, the first {num_known} scalars being known"
        if not exact:
            continue
        prefixes = torch.cat([x, events]).flatten(1).masked_fill(~known, 0)
        _, group = prefixes.unique(dim=0, return_inverse=True)
        given, group = group[: len(x)].bincount(minlength=int(group.max()) + 1) / len(x), group[len(x) :]
        evidence = torch.zeros(len(given), dtype=torch.float64).index_add(0, group, log_probs.exp())
        probs = given[group] * log_probs.exp() / evidence[group]
        check_frequencies(done.events, events, probs, f"completions of {num_known} known scalars")


def is_prefix(known: Tensor) -> bool:
    return not bool((known[1:] & ~known[:-1]).any())
