"""Likelihoods: densities that are normalised, and what they are made of."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import Distribution

from arzoo import distributions
from arzoo.autoregressive import Autoregressive
from arzoo.model import Model, NamedContext
from arzoo.testing.events import (
    MOST_EVENTS,
    all_events,
    cut,
    differs,
    examples,
    flat_sites,
    length_of,
    repeated,
    rows_of,
    scalar_sizes,
    shape_of,
    some_contexts,
    walk_order,
)


@torch.no_grad()
def check_probabilities_sum_to_one(model: Model) -> None:
    """So they do over all events; a lower bound's sum to one at most."""
    for context in some_contexts(model):
        for events in all_events(model):
            given = repeated(context, len(events))
            total = float(model.log_prob(events, given).double().logsumexp(0).exp())
            if model.likelihood == "exact":
                assert abs(total - 1) < 1e-5, f"the probabilities of all events sum to {total:.7g}, not to one"
            else:
                assert total < 1 + 1e-5, f"log_prob is no lower bound: all events together have {total:.7g} above one"
            if not isinstance(model, Autoregressive):
                continue
            for member in range(model.num_members):
                log_probs = model.member_log_prob(events, given, member).flatten(1).double().sum(1)
                total = float(log_probs.logsumexp(0).exp())
                assert abs(total - 1) < 1e-5, f"the probabilities of member {member} sum to {total:.7g}, not to one"


@torch.no_grad()
def check_log_prob_is_one_number_an_event(model: Model) -> None:
    """log_prob and bits_per_dim have shape (B,), are float32 at least, and say the same."""
    x, context = examples(model, 5)
    log_prob = model.log_prob(x, context)
    assert shape_of(log_prob) == (5,), f"log_prob of 5 events has shape {shape_of(log_prob)}, not (5,)"
    assert log_prob.dtype in (torch.float32, torch.float64), f"log_prob is {log_prob.dtype}, not float32"
    assert bool(log_prob.isfinite().all()), "log_prob of a valid event is not finite"
    dims = (x >= 0).flatten(1).sum(1) if model.variable_length else torch.tensor(model.config.dims)
    bits = -log_prob / dims / math.log(2)
    assert not differs(model.bits_per_dim(x, context), bits, 1e-5), "bits_per_dim is not -log_prob / (D log 2)"


@torch.no_grad()
def check_sites_sum_to_log_prob(model: Autoregressive) -> None:
    """log_prob is the sum over sites, and over members the average of probabilities."""
    x, context = examples(model, 8)
    maps = [model.member_log_prob(x, context, member) for member in range(model.num_members)]
    for each in maps:
        grid = tuple(model.sites(x).shape[1 : 1 + len(model.grid_shape)])
        given = shape_of(each)
        assert given == (8, *grid), f"the likelihood map of 8 events has shape {given}, not {(8, *grid)}"
    members = torch.stack([each.flatten(1).sum(1) for each in maps])  # (K, B)
    truth = members.logsumexp(0) - math.log(len(members))
    what = "the sum over sites" if len(members) == 1 else "the average of the members' probabilities"
    assert not differs(model.log_prob(x, context), truth, 1e-5), f"log_prob is not {what}"
    if len(members) == 1:
        assert torch.equal(model.site_log_prob(x, context), maps[0]), "site_log_prob is not the one member's"
        return
    try:
        model.site_log_prob(x, context)
    except ValueError:
        return
    raise AssertionError("site_log_prob answers, but a mixture of orders has no conditionals in one order")


@torch.no_grad()
def check_conditionals_are_those_of_log_prob(model: Autoregressive) -> None:
    """Each is the ratio of two marginals of the joint distribution, summed over all events."""
    sizes = model.config.num_categories and scalar_sizes(model.config)
    if not sizes or math.prod(sizes) > MOST_EVENTS:
        return _check_densities(model)
    events = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).view(-1, *model.config.event_shape)
    padded = events if model.end is None else cut(events, model.end)
    counted = (padded.clamp_min(0) == events).flatten(1).all(1)  # one of those that differ behind the end alone
    context = repeated(next(some_contexts(model)), len(events))
    width = math.prod(model.site_shape)
    for member in range(model.num_members):
        sites = model.member_log_prob(padded, context, member).flatten(1).double()  # (N, S)
        scalars = walk_order(model, member).tolist()

        def axes(values: Tensor, scalars: list[int] = scalars) -> Tensor:
            return values.view(sizes).permute(scalars)  # one axis a scalar, in the order of the walk

        joint = axes(sites.sum(1).exp() * counted)
        for step, site in enumerate(model.order(member).tolist()):
            before, after = range(step * width, len(sizes)), range((step + 1) * width, len(sizes))
            upper = joint.sum(tuple(after), keepdim=True) if after else joint
            ratio = upper / joint.sum(tuple(before), keepdim=True)
            error = float((axes(sites[:, site].exp()) - ratio)[axes(counted)].abs().max())
            assert error < 1e-5, (
                f"the conditional of site {site} is not p(x_i, before) / p(before): {error:.2g} off (member {member})"
            )
    return None


def _check_densities(model: Autoregressive) -> None:
    """Real values: the density of every scalar, given those before it, has integral one."""
    if model.config.num_categories is not None:
        return
    x, context = examples(model, 4)
    for member in range(model.num_members):
        for scalar, part in scalar_conditionals(model, x, context, member):
            total = mass_below(part, torch.full((len(x),), math.inf))
            assert not differs(total, torch.ones(len(x), dtype=torch.float64), 1e-3), (
                f"the conditional density of scalar {scalar} has the integral {float(total[0]):.6g}, not one"
            )


@torch.no_grad()
def check_components_multiply_to_the_site(model: Autoregressive) -> None:
    """The conditionals of a vector site's components, each given those before it, make up that of the site."""
    if not model.site_axes:
        return
    x, context = examples(model, 6, full=True)
    values, flat = flat_sites(model, x), x.flatten(1)
    for member in range(model.num_members):
        parts = [part.log_prob(flat[:, i]) for i, part in scalar_conditionals(model, x, context, member)]
        split = torch.stack(parts, 1).view(*values.shape).sum(2)
        whole = model.conditionals(x, context, member).log_prob(model.sites(x)).flatten(1)[:, model.order(member)]
        assert not differs(split, whole, 1e-4), "the components' conditionals do not multiply to the site's probability"


@torch.no_grad()
def check_padding_changes_nothing(model: Model) -> None:
    """A shorter event has one probability, padded or not."""
    if not model.variable_length:
        return
    x, context = examples(model, 6)
    for row in range(6):
        length = length_of(x[row])
        one = rows_of(context, torch.tensor([row]))
        padded, bare = model.log_prob(x[row : row + 1], one), model.log_prob(x[row : row + 1, :length], one)
        assert not differs(padded, bare, 1e-5), (
            f"padding changes log_prob from {float(bare):.6g} to {float(padded):.6g}"
        )


def scalar_conditionals(
    model: Autoregressive, x: Tensor, context: NamedContext, member: int
) -> Iterator[tuple[int, Distribution]]:
    """The distribution of every scalar given those before it, batch_shape (B,), in the order of the walk."""
    values = flat_sites(model, x)
    scalars = walk_order(model, member).tolist()
    width = math.prod(model.site_shape)
    parallel = model.conditionals(x, context, member)
    for step, site in enumerate(model.order(member).tolist()):
        where = torch.unravel_index(torch.tensor(site), model.grid_shape)
        conditional = distributions.take(parallel, (slice(None), *(int(index) for index in where)))
        for i in range(width):
            part = distributions.component(conditional, values[:, site, :i]) if model.site_axes else conditional
            yield scalars[step * width + i], part


def mass_below(part: Distribution, values: Tensor, points: int = 2000) -> Tensor:
    """The integral of a density up to given values, shape (B,), by the midpoint rule on v = tan(t)."""
    t = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    v = torch.tan(math.pi * (t - 0.5))
    density = torch.stack([part.log_prob(each.float().expand(len(values))) for each in v]).double().exp()  # (P, B)
    mass = density * (math.pi / points * (1 + v**2))[:, None]
    return torch.where(v[:, None] < values, mass, 0.0).sum(0)
