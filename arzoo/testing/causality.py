"""Conditionals: what each may depend on, and their form."""

import copy
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from arzoo.autoregressive import Autoregressive
from arzoo.model import Model
from arzoo.testing.events import (
    differs,
    examples,
    fixed_generator,
    likelihoods,
    probe_events,
    random_events,
    rows_of,
    scalar_sizes,
    seeded,
    shape_of,
    walk_order,
)


@torch.no_grad()
def check_order_is_a_permutation(model: Autoregressive) -> None:
    """Every member visits every site once."""
    for member in range(model.num_members):
        order = model.order(member)
        every = torch.arange(math.prod(model.grid_shape))
        assert torch.equal(order.sort().values, every), f"the order of member {member} does not visit every site once"


@torch.no_grad()
def check_causality(model: Autoregressive) -> None:
    """No conditional moves by a bit when its own site or a later one changes, in either mode and precision."""
    generator = fixed_generator()
    num_events = 6 * model.config.dims
    x, context = examples(model, num_events, full=True)
    probes = probe_events(model, num_events)
    width = math.prod(model.site_shape)
    for member in range(model.num_members):
        scalars, order = walk_order(model, member), model.order(member)
        ranks = torch.arange(num_events) % len(scalars)  # row b changes the scalar of this rank
        y = _perturbed(model, x, scalars[ranks], generator)
        must_stay = torch.arange(len(order)) <= ranks[:, None] // width  # (B, S) in the order of the walk
        for mode, copied, mixed in _modes(model):
            with mixed:
                seen = []
                for events in (x, y):
                    with seeded():
                        seen.append(likelihoods(model, copied.conditionals(events, context, member), probes))
            moved = (seen[0] != seen[1]).any(0)[:, order] & must_stay
            if bool(moved.any()):
                row, step = moved.nonzero()[0].tolist()
                raise AssertionError(
                    f"the conditional of site {int(order[step])} sees scalar {int(scalars[ranks[row]])}, which does not"
                    f" come before it in the order (member {member}, {mode})"
                )


@torch.no_grad()
def check_samples_in_a_batch_are_independent(model: Model) -> None:
    """What one event's likelihood and loss are depends on no other event of the batch, evaluated or trained."""
    x, context = examples(model, 8)
    other = random_events(model, 8, fixed_generator(7))
    other[3] = x[3]
    noise = model.noise(8, fixed_generator())
    for mode in ("eval", "train"):
        for what in ("log_prob", "loss"):
            values = []
            for events in (x, other):
                copied = copy.deepcopy(model).train(mode == "train")
                with seeded():
                    values.append(
                        copied.log_prob(events, context) if what == "log_prob" else copied.loss(events, context, noise)
                    )
            same = torch.equal(values[0][3], values[1][3])
            assert same, f"{what} of an event depends on the other events of its batch ({mode} mode)"
    with seeded():
        whole = model.log_prob(x, context)
    for row in (0, 7):
        with seeded():
            alone = model.log_prob(x[row : row + 1], rows_of(context, torch.tensor([row])))
        if model.likelihood == "exact":
            assert not differs(alone, whole[row : row + 1], 1e-4), "log_prob of an event depends on the batch's size"


@torch.no_grad()
def check_conditionals_are_float32(model: Autoregressive) -> None:
    """The distributions cover every site, and their parameters are float32, under mixed precision too."""
    x, context = examples(model, 4, full=True)
    for member in range(model.num_members):
        for mode, copied, mixed in _modes(model):
            with mixed, seeded():
                conditionals = copied.conditionals(x, context, member)
            with seeded():
                first = copied.decoder(4, context, member).conditional()
            shape, site = (4, *model.grid_shape), model.site_shape
            given = shape_of(conditionals.batch_shape), shape_of(conditionals.event_shape)
            assert given == (shape, site), f"conditionals have batch and event shape {given}, not {(shape, site)}"
            for what, distribution in (("conditionals", conditionals), ("the decoder's conditionals", first)):
                low = [t.dtype for t in _tensors(distribution) if t.dtype in (torch.bfloat16, torch.float16)]
                assert not low, f"{what} have parameters in {low[0]}, not in float32 ({mode})"


def _perturbed(model: Model, x: Tensor, scalars: Tensor, generator: torch.Generator) -> Tensor:
    """Events (B, *E) where row b has another valid value at scalar scalars[b]."""
    flat, rows = x.flatten(1).clone(), torch.arange(len(x))
    if model.config.num_categories is None:
        flat[rows, scalars] += 1 + torch.rand(len(x), generator=generator)
        return flat.view(x.shape)
    sizes = torch.tensor(scalar_sizes(model.config))[scalars]
    shift = 1 + (torch.rand(len(x), generator=generator) * (sizes - 1)).long()
    flat[rows, scalars] = (flat[rows, scalars] + shift) % sizes
    return flat.view(x.shape)


def _modes(model: Autoregressive) -> Iterator[tuple[str, Autoregressive, AbstractContextManager[Any]]]:
    """The model as it is evaluated and trained, in both precisions; training may change the copies."""
    for mode in ("eval", "train"):
        for precision in ("float32", "bfloat16"):
            mixed = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()
            copied = copy.deepcopy(model)
            copied.train(mode == "train")
            yield f"{mode} mode, {precision}", copied, mixed


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors that a distribution is made of."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Distribution):
        for part in vars(value).values():
            yield from _tensors(part)
