"""Events and contexts that are none of the model's are refused in words."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from arzoo.autoregressive import Autoregressive
from arzoo.model import Context, Model
from arzoo.testing.events import examples, fixed_generator, random_events, rows_of, scalar_sizes, seeded


@torch.no_grad()
def check_refuses_what_is_no_event(model: Model) -> None:
    """Events of another shape, type or range are ValueErrors, in the likelihood as in the loss."""
    x, context = examples(model, 4)
    bad: dict[str, Any] = {"of another shape": x[..., None], "without a batch": x[0]}
    bad |= {"with a site too many": torch.cat([x, x], 1)}
    if model.config.num_categories is None:
        bad |= {"with NaN": x.clone().fill_(math.nan), "that is infinite": x.clone().fill_(math.inf)}
        bad |= {"of numbers that float32 cannot square": x.clone().fill_(1e20)}
        bad |= {"of integers, where they are real": x.long()}
    else:
        bad |= {"of floats, where they are integers": x.float()}
        over = x.clone()
        over.view(4, -1)[2, 0] = scalar_sizes(model.config)[0]
        below = x.clone()
        below.view(4, -1)[2, -1] = -2 if model.variable_length else -1
        bad |= {"with a category above the last": over, "with a negative category": below}
    if model.variable_length:
        gap = random_events(model, 4, fixed_generator(), full=True)
        gap[:, 0] = -1
        bad |= {"with padding before its end": gap}
    bad |= {"that is a list": x.tolist(), "that is an array": x.numpy()}
    for what, events in bad.items():
        refused(partial(model.log_prob, events, context), ValueError, f"log_prob takes an event {what}")
        refused(partial(model.loss, events, context), ValueError, f"the loss takes an event {what}")
    none = None if context is None else rows_of(context, torch.arange(0))
    refused(partial(model.log_prob, x[:0], none), ValueError, "log_prob takes no event at all")
    refused(partial(model.sample, 0, context), ValueError, "sample makes no samples without complaint")
    if isinstance(model, Autoregressive):
        for member in (-1, model.num_members):
            call = partial(model.member_log_prob, x, context, member)
            refused(call, ValueError, f"member_log_prob takes member {member} of {model.num_members}")
        known: Any = torch.ones(x.shape, dtype=torch.bool).tolist()
        refused(partial(model.complete, x, known, context), ValueError, "complete takes a list of what is known")


@torch.no_grad()
def check_refuses_another_context(model: Model) -> None:
    """A model refuses a context that it is not conditioned on, or that lacks a name, a row, or is no tensor."""
    x, context = examples(model, 4)
    label = torch.zeros(4, dtype=torch.long)
    bad: dict[str, Any]
    if context is None:
        bad = {"a context, but none is documented": label, "a named context": {"label": label}}
    else:
        bad = {"no context, though it needs one": None, "a context of another name": {"no_such_name": label}}
        bad |= {"3 rows of context for 4 events": rows_of(context, torch.arange(3)), "a list of contexts": [context]}
        if len(context) > 1:
            bad |= {"a tensor for several names": label}
        for name, part in context.items():
            others = {other: value for other, value in context.items() if other != name}
            bad |= {
                f"a context without {name}": others,
                f"a context with a name beside {name}": {**context, "no_such_name": part},
                f"a list for {name}": {**others, name: part.tolist()},
                f"one number for {name}": {**others, name: part.flatten()[0]},
                f"3 rows of {name} for 4 events": {**others, name: part[:3]},
            }
    for what, given in bad.items():
        refused(partial(model.log_prob, x, given), ValueError, f"log_prob takes {what}")
        refused(partial(model.loss, x, given), ValueError, f"the loss takes {what}")
        refused(partial(model.sample, 4, given), ValueError, f"sample takes {what}")
        if isinstance(model, Autoregressive):
            known = torch.zeros(model.config.event_shape, dtype=torch.bool)
            full = random_events(model, 4, fixed_generator(), full=True)
            refused(partial(model.complete, full, known, given), ValueError, f"complete takes {what}")


@torch.no_grad()
def check_context_may_be_the_tensor(model: Model) -> None:
    """Where a model is conditioned on one thing, the tensor itself means what its name with it means."""
    x, context = examples(model, 4)
    if context is None or len(context) != 1:
        return
    (tensor,) = context.values()
    ways: dict[str, Callable[[Context], Tensor]] = {
        "log_prob": lambda given: model.log_prob(x, given),
        "the loss": lambda given: model.loss(x, given, model.noise(4, fixed_generator())),
        "sample": lambda given: model.sample(4, given, generator=fixed_generator()),
    }
    for what, call in ways.items():
        with seeded():
            named = call(context)
        try:
            with seeded():
                bare = call(tensor)
        except Exception as error:
            raise AssertionError(f"{what} takes no bare tensor for the one name of the context: {error}") from error
        assert torch.equal(named, bare), f"{what} of a bare tensor is not that of the same tensor by its name"


def refused(call: Callable[[], object], kind: type[Exception], otherwise: str) -> None:
    try:
        with seeded():
            call()
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{otherwise}, then fails with {type(error).__name__}: {error}") from error
    raise AssertionError(otherwise)
