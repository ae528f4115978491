"""What every family must hold to, as checks that know nothing of it but the contract.

A plugin author runs them all in one line, `arzoo.testing.check_family("my_family")`, or one at a time, as a test each:

    @pytest.mark.parametrize("check, model", arzoo.testing.cases(MyFamily))
    def test_conformance(check, model):
        check(model)

The models are the family's `tiny_configs()` with weights of normal noise, so that no layer which starts at zero hides
anything.  Where the events are few enough they are all enumerated and the truth is exact.  Every check leaves the model
and torch's global generator as they were; what it finds wrong is an AssertionError of one sentence.
"""

import copy
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Distribution

from arzoo import distributions, hub, registry
from arzoo.decoding import Decoder, NaiveDecoder
from arzoo.model import Autoregressive, Context, Model, ModelConfig

MOST_EVENTS = 5000
"""Spaces of more events than this are not enumerated."""
NUM_SAMPLES = 20_000
"""Samples whose frequencies are compared with probabilities."""


# ---- what the checks run on


def random_model(family: type[Model], config: ModelConfig, seed: int = 0) -> Model:
    """A model in eval mode, every parameter of it moved by normal noise."""
    with _seeded(seed):
        model = family(config)
    _add_noise(model, seed)
    return model.eval()


@torch.no_grad()
def _add_noise(model: Model, seed: int) -> None:
    generator = _generator(seed)
    for parameter in model.parameters():
        scale = 1 / math.sqrt(parameter[0].numel()) if parameter.dim() > 1 else 0.5
        parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def cases(family: type[Model] | str) -> list[tuple[Callable[[Any], None], Model]]:
    """Every check with every tiny model of a family."""
    family = registry.get_family(family) if isinstance(family, str) else family
    models = [random_model(family, config) for config in family.tiny_configs()]
    return [(check, model) for model in models for check in checks_of(family)]


def checks_of(family: type[Model]) -> tuple[Callable[[Any], None], ...]:
    """The checks that a family must pass: all, if it is autoregressive."""
    return CHECKS if issubclass(family, Autoregressive) else MODEL_CHECKS


def check_family(family: type[Model] | str) -> None:
    """Runs every check on every tiny model of a family.

    Arguments:
        family: A class, or the name of an installed family.

    Raises:
        AssertionError: Says what is wrong, and with which check and config.
    """
    family = registry.get_family(family) if isinstance(family, str) else family
    check_tiny_configs(family)
    for check, model in cases(family):
        try:
            check(model)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error} [{model.config}]") from error


def check_tiny_configs(family: type[Model]) -> None:
    """The smallest configs are the family's own, and of few events."""
    configs = family.tiny_configs()
    assert configs, f"{family.__name__}.tiny_configs() names no config"
    strange = [config for config in configs if type(config) is not family.config_class]
    assert not strange, (
        f"{family.__name__}.tiny_configs() holds {strange[:1]}, which is no {family.config_class.__name__}"
    )
    discrete = [config for config in configs if config.num_categories is not None]
    few = [config for config in discrete if math.prod(_sizes(config)) <= MOST_EVENTS]
    assert few or not discrete, f"no tiny config of {family.__name__} has at most {MOST_EVENTS} events to enumerate"


def random_events(model: Model, num_events: int, generator: torch.Generator, *, full: bool = False) -> Tensor:
    """Events spread evenly over the space; real ones are normal with standard deviation 2.

    Arguments:
        full: Without padding, where the length varies.
    """
    config = model.config
    shape = (num_events, *config.event_shape)
    if config.num_categories is None:
        return 2 * torch.randn(shape, generator=generator)
    x = (torch.rand(shape, generator=generator) * torch.tensor(_sizes(config)).view(config.event_shape)).long()
    if not model.variable_length or full:
        return x
    end = _end(model)
    if end is not None:
        return _cut(x, end)
    lengths = torch.randint(1, shape[1] + 1, (num_events,), generator=generator)
    inside = torch.arange(shape[1]) < lengths[:, None]  # (B, T)
    return torch.where(inside.view(*inside.shape, *(1 for _ in shape[2:])), x, -1)


def all_events(model: Model) -> list[Tensor]:
    """All events, (N, *E), in parts whose probabilities sum to one; [] if they are too many or real.

    There is one part, or one for each length where the length varies and no category ends an event.
    """
    config, shape = model.config, model.config.event_shape
    if config.num_categories is None or math.prod(_sizes(config)) > MOST_EVENTS:
        return []
    events = torch.cartesian_prod(*(torch.arange(size) for size in _sizes(config))).view(-1, *shape)
    if not model.variable_length:
        return [events]
    end = _end(model)
    if end is not None:
        return [_cut(events, end).unique(dim=0)]
    parts = []
    for length in range(1, shape[0] + 1):
        part = events.clone()
        part[:, length:] = -1
        parts.append(part.unique(dim=0))
    return parts


def _sizes(config: ModelConfig) -> tuple[int, ...]:
    """Categories of every scalar."""
    sizes = config.num_categories
    assert sizes is not None
    return sizes if isinstance(sizes, tuple) else (sizes,) * config.dims


def _end(model: Model) -> int | None:
    """The category that ends an event, if one does."""
    return getattr(model.config, "end", None) if model.variable_length else None


def _cut(x: Tensor, end: int) -> Tensor:
    """Events (B, T) with padding after the category that ends them."""
    is_end = (x == end).long()
    return torch.where(is_end.cumsum(1) - is_end > 0, -1, x)


def _length(event: Tensor) -> int:
    """Sites of an event (T, ...) before its padding."""
    return int((event >= 0).view(len(event), -1).all(1).sum())


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _examples(model: Model, num_examples: int, *, full: bool = False) -> tuple[Tensor, Context]:
    generator = _generator(1)
    return random_events(model, num_examples, generator, full=full), _contexts(model, num_examples, generator)


def _contexts(model: Model, num_examples: int, generator: torch.Generator) -> Context:
    context = model.example_context(num_examples, generator)
    names = ", ".join(model.context_names)
    assert context is not None or not names, f"example_context gives nothing, but the model is conditioned on {names}"
    return context


def _some_contexts(model: Model) -> Iterator[Context]:
    """A few contexts of one row; None alone where the model takes none."""
    context = _contexts(model, 3, _generator(2))
    for row in range(3 if context is not None else 1):
        yield _rows(context, torch.tensor([row]))


def _rows(context: Context, rows: Tensor) -> Context:
    if context is None or isinstance(context, Tensor):
        return None if context is None else context[rows]
    return {name: value[rows] for name, value in context.items()}


def _repeat(context: Context, num_examples: int) -> Context:
    return _rows(context, torch.zeros(num_examples, dtype=torch.long))


@contextmanager
def _seeded(seed: int = 0) -> Iterator[None]:
    """Seeds torch's global generator (dropout draws from it) and puts it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _modes(model: Autoregressive) -> Iterator[tuple[str, Autoregressive, AbstractContextManager[Any]]]:
    """The model as it is evaluated and trained, in both precisions; training may change the copies."""
    for mode in ("eval", "train"):
        for precision in ("float32", "bfloat16"):
            mixed = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()
            copied = copy.deepcopy(model)
            copied.train(mode == "train")
            yield f"{mode} mode, {precision}", copied, mixed


def _members(model: Autoregressive) -> range:
    return range(model.num_members)


def _probes(model: Autoregressive, num_events: int) -> Tensor:
    """Events (P, B, *E) whose log-probabilities tell two distributions apart: every category, if sites are scalars."""
    config = model.config
    if config.num_categories is None or model.site_axes or max(_sizes(config)) > 16:
        return torch.stack([random_events(model, num_events, _generator(i), full=True) for i in range(12)])
    sizes = torch.tensor(_sizes(config)).view(config.event_shape)
    constant = [torch.full(config.event_shape, k).minimum(sizes - 1) for k in range(int(sizes.max()))]
    return torch.stack(constant)[:, None].expand(-1, num_events, *config.event_shape)


def _flat_sites(model: Autoregressive, x: Tensor) -> Tensor:
    """Events (B, *E) as (B, S, *site_shape)."""
    return model.sites(x).reshape(x.shape[0], -1, *model.site_shape)


def _likelihoods(model: Autoregressive, distribution: Distribution, probes: Tensor) -> Tensor:
    """Log-probabilities of the probes (P, B, *E) at every site, shape (P, B, S)."""
    return torch.stack([distribution.log_prob(model.sites(probe)).flatten(1) for probe in probes])


def _walk_order(model: Autoregressive, member: int) -> Tensor:
    """The scalars of an event, by their row-major index, in the order they are drawn, shape (D,)."""
    index = torch.arange(model.config.dims).view(1, *model.config.event_shape)
    return _flat_sites(model, index)[0][model.order(member)].flatten()


def _perturbed(model: Model, x: Tensor, scalars: Tensor, generator: torch.Generator) -> Tensor:
    """Events (B, *E) where row b has another valid value at scalar scalars[b]."""
    flat, rows = x.flatten(1).clone(), torch.arange(len(x))
    if model.config.num_categories is None:
        flat[rows, scalars] += 1 + torch.rand(len(x), generator=generator)
        return flat.view(x.shape)
    sizes = torch.tensor(_sizes(model.config))[scalars]
    shift = 1 + (torch.rand(len(x), generator=generator) * (sizes - 1)).long()
    flat[rows, scalars] = (flat[rows, scalars] + shift) % sizes
    return flat.view(x.shape)


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors that a distribution is made of."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Distribution):
        for part in vars(value).values():
            yield from _tensors(part)


def _differs(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return not torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def _shape(tensor: Tensor | torch.Size) -> tuple[int, ...]:
    return tuple(tensor.shape if isinstance(tensor, Tensor) else tensor)


# ---- likelihood


@torch.no_grad()
def check_probabilities_sum_to_one(model: Model) -> None:
    """So they do over all events; a lower bound's sum to one at most."""
    for context in _some_contexts(model):
        for events in all_events(model):
            given = _repeat(context, len(events))
            total = float(model.log_prob(events, given).double().logsumexp(0).exp())
            if model.likelihood == "exact":
                assert abs(total - 1) < 1e-5, f"the probabilities of all events sum to {total:.7g}, not to one"
            else:
                assert total < 1 + 1e-5, f"log_prob is no lower bound: all events together have {total:.7g} above one"
            if not isinstance(model, Autoregressive):
                continue
            for member in _members(model):
                log_probs = model.member_log_prob(events, given, member).flatten(1).double().sum(1)
                total = float(log_probs.logsumexp(0).exp())
                assert abs(total - 1) < 1e-5, f"the probabilities of member {member} sum to {total:.7g}, not to one"


@torch.no_grad()
def check_log_prob_is_one_number_an_event(model: Model) -> None:
    """log_prob and bits_per_dim have shape (B,), are float32 at least, and say the same."""
    x, context = _examples(model, 5)
    log_prob = model.log_prob(x, context)
    assert _shape(log_prob) == (5,), f"log_prob of 5 events has shape {_shape(log_prob)}, not (5,)"
    assert log_prob.dtype in (torch.float32, torch.float64), f"log_prob is {log_prob.dtype}, not float32"
    assert bool(log_prob.isfinite().all()), "log_prob of a valid event is not finite"
    dims = (x >= 0).flatten(1).sum(1) if model.variable_length else torch.tensor(model.config.dims)
    bits = -log_prob / dims / math.log(2)
    assert not _differs(model.bits_per_dim(x, context), bits, 1e-5), "bits_per_dim is not -log_prob / (D log 2)"


@torch.no_grad()
def check_sites_sum_to_log_prob(model: Autoregressive) -> None:
    """log_prob is the sum over sites, and over members the average of probabilities."""
    x, context = _examples(model, 8)
    maps = [model.member_log_prob(x, context, member) for member in _members(model)]
    for each in maps:
        grid = tuple(model.sites(x).shape[1 : 1 + len(model.grid_shape)])
        assert _shape(each) == (8, *grid), f"the likelihood map of 8 events has shape {_shape(each)}, not {(8, *grid)}"
    members = torch.stack([each.flatten(1).sum(1) for each in maps])  # (K, B)
    truth = members.logsumexp(0) - math.log(len(members))
    what = "the sum over sites" if len(members) == 1 else "the average of the members' probabilities"
    assert not _differs(model.log_prob(x, context), truth, 1e-5), f"log_prob is not {what}"
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
    sizes = model.config.num_categories and _sizes(model.config)
    if not sizes or math.prod(sizes) > MOST_EVENTS:
        return _check_densities(model)
    events = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).view(-1, *model.config.event_shape)
    context = _repeat(next(_some_contexts(model)), len(events))
    width = math.prod(model.site_shape)
    for member in _members(model):
        sites = model.member_log_prob(events, context, member).flatten(1).double()  # (N, S)
        scalars = _walk_order(model, member).tolist()

        def axes(values: Tensor, scalars: list[int] = scalars) -> Tensor:
            return values.view(sizes).permute(scalars)  # one axis a scalar, in the order of the walk

        joint = axes(sites.sum(1).exp())
        for step, site in enumerate(model.order(member).tolist()):
            before, after = range(step * width, len(sizes)), range((step + 1) * width, len(sizes))
            upper = joint.sum(tuple(after), keepdim=True) if after else joint
            ratio = upper / joint.sum(tuple(before), keepdim=True)
            error = float((axes(sites[:, site].exp()) - ratio).abs().max())
            assert error < 1e-5, (
                f"the conditional of site {site} is not p(x_i, before) / p(before): {error:.2g} off (member {member})"
            )
    return None


def _check_densities(model: Autoregressive) -> None:
    """Real values: the density of every scalar, given those before it, has integral one."""
    if model.config.num_categories is not None:
        return
    x, context = _examples(model, 4)
    for member in _members(model):
        for scalar, part in _scalar_conditionals(model, x, context, member):
            total = _mass_below(part, torch.full((len(x),), math.inf))
            assert not _differs(total, torch.ones(len(x), dtype=torch.float64), 1e-3), (
                f"the conditional density of scalar {scalar} has the integral {float(total[0]):.6g}, not one"
            )


def _scalar_conditionals(
    model: Autoregressive, x: Tensor, context: Context, member: int
) -> Iterator[tuple[int, Distribution]]:
    """The distribution of every scalar given those before it, batch_shape (B,), in the order of the walk."""
    values = _flat_sites(model, x)
    scalars = _walk_order(model, member).tolist()
    width = math.prod(model.site_shape)
    parallel = model.conditionals(x, context, member)
    for step, site in enumerate(model.order(member).tolist()):
        where = torch.unravel_index(torch.tensor(site), model.grid_shape)
        conditional = distributions.take(parallel, (slice(None), *(int(index) for index in where)))
        for i in range(width):
            part = distributions.component(conditional, values[:, site, :i]) if model.site_axes else conditional
            yield scalars[step * width + i], part


def _mass_below(part: Distribution, values: Tensor, points: int = 2000) -> Tensor:
    """The integral of a density up to given values, shape (B,), by the midpoint rule on v = tan(t)."""
    t = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    v = torch.tan(math.pi * (t - 0.5))
    density = torch.stack([part.log_prob(each.float().expand(len(values))) for each in v]).double().exp()  # (P, B)
    mass = density * (math.pi / points * (1 + v**2))[:, None]
    return torch.where(v[:, None] < values, mass, 0.0).sum(0)


@torch.no_grad()
def check_components_multiply_to_the_site(model: Autoregressive) -> None:
    """The conditionals of a vector site's components, each given those before it, make up that of the site."""
    if not model.site_axes:
        return
    x, context = _examples(model, 6, full=True)
    values, flat = _flat_sites(model, x), x.flatten(1)
    for member in _members(model):
        parts = [part.log_prob(flat[:, i]) for i, part in _scalar_conditionals(model, x, context, member)]
        split = torch.stack(parts, 1).view(*values.shape).sum(2)
        whole = model.conditionals(x, context, member).log_prob(model.sites(x)).flatten(1)[:, model.order(member)]
        assert not _differs(split, whole, 1e-4), (
            "the components' conditionals do not multiply to the site's probability"
        )


@torch.no_grad()
def check_padding_changes_nothing(model: Model) -> None:
    """A shorter event has one probability, padded or not."""
    if not model.variable_length:
        return
    x, context = _examples(model, 6)
    for row in range(6):
        length = _length(x[row])
        one = _rows(context, torch.tensor([row]))
        padded, bare = model.log_prob(x[row : row + 1], one), model.log_prob(x[row : row + 1, :length], one)
        assert not _differs(padded, bare, 1e-5), (
            f"padding changes log_prob from {float(bare):.6g} to {float(padded):.6g}"
        )


# ---- conditionals


@torch.no_grad()
def check_order_is_a_permutation(model: Autoregressive) -> None:
    """Every member visits every site once."""
    for member in _members(model):
        order = model.order(member)
        every = torch.arange(math.prod(model.grid_shape))
        assert torch.equal(order.sort().values, every), f"the order of member {member} does not visit every site once"


@torch.no_grad()
def check_causality(model: Autoregressive) -> None:
    """No conditional moves by a bit when its own site or a later one changes, in either mode and precision."""
    generator = _generator()
    num_events = 6 * model.config.dims
    x, context = _examples(model, num_events, full=True)
    probes = _probes(model, num_events)
    width = math.prod(model.site_shape)
    for member in _members(model):
        scalars, order = _walk_order(model, member), model.order(member)
        ranks = torch.arange(num_events) % len(scalars)  # row b changes the scalar of this rank
        y = _perturbed(model, x, scalars[ranks], generator)
        must_stay = torch.arange(len(order)) <= ranks[:, None] // width  # (B, S) in the order of the walk
        for mode, copied, mixed in _modes(model):
            with mixed:
                seen = []
                for events in (x, y):
                    with _seeded():
                        seen.append(_likelihoods(model, copied.conditionals(events, context, member), probes))
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
    x, context = _examples(model, 8)
    other = random_events(model, 8, _generator(7))
    other[3] = x[3]
    noise = model.noise(8, _generator())
    for mode in ("eval", "train"):
        for what in ("log_prob", "loss"):
            values = []
            for events in (x, other):
                copied = copy.deepcopy(model).train(mode == "train")
                with _seeded():
                    values.append(
                        copied.log_prob(events, context) if what == "log_prob" else copied.loss(events, context, noise)
                    )
            same = torch.equal(values[0][3], values[1][3])
            assert same, f"{what} of an event depends on the other events of its batch ({mode} mode)"
    with _seeded():
        whole = model.log_prob(x, context)
    for row in (0, 7):
        with _seeded():
            alone = model.log_prob(x[row : row + 1], _rows(context, torch.tensor([row])))
        if model.likelihood == "exact":
            assert not _differs(alone, whole[row : row + 1], 1e-4), "log_prob of an event depends on the batch's size"


@torch.no_grad()
def check_conditionals_are_float32(model: Autoregressive) -> None:
    """The distributions cover every site, and their parameters are float32, under mixed precision too."""
    x, context = _examples(model, 4, full=True)
    for member in _members(model):
        for mode, copied, mixed in _modes(model):
            with mixed, _seeded():
                conditionals = copied.conditionals(x, context, member)
            with _seeded():
                first = copied.decoder(4, context, member).conditional()
            shape, site = (4, *model.grid_shape), model.site_shape
            given = _shape(conditionals.batch_shape), _shape(conditionals.event_shape)
            assert given == (shape, site), f"conditionals have batch and event shape {given}, not {(shape, site)}"
            for what, distribution in (("conditionals", conditionals), ("the decoder's conditionals", first)):
                low = [t.dtype for t in _tensors(distribution) if t.dtype in (torch.bfloat16, torch.float16)]
                assert not low, f"{what} have parameters in {low[0]}, not in float32 ({mode})"


# ---- decoder


def _distance(model: Autoregressive, decoder: Decoder, other: Tensor, probes: Tensor, site: int) -> float:
    """How far the decoder's next conditional is from log-probabilities (P, B) of the probes at this site."""
    conditional = decoder.conditional()
    given = _shape(conditional.batch_shape), _shape(conditional.event_shape)
    wanted = (probes.shape[1],), model.site_shape
    assert given == wanted, f"the decoder's conditionals have batch and event shape {given}, not {wanted}"
    mine = torch.stack([conditional.log_prob(_flat_sites(model, probe)[:, site]) for probe in probes])
    # Log-probabilities that no sampler can tell from minus infinity need not agree.
    return float((mine.clamp_min(-40) - other.clamp_min(-40)).abs().max())


@torch.no_grad()
def check_decoder_agrees_with_the_parallel_pass(model: Autoregressive) -> None:
    """Along random events, every conditional of the decoder is that of the parallel pass."""
    x, context = _examples(model, 8, full=True)
    probes, values = _probes(model, 8), _flat_sites(model, x)
    for member in _members(model):
        parallel = _likelihoods(model, model.conditionals(x, context, member), probes)
        decoder = model.decoder(8, context, member)
        for step, site in enumerate(model.order(member).tolist()):
            for call in ("first", "second"):
                error = _distance(model, decoder, parallel[:, :, site], probes, site)
                assert error < 1e-4, (
                    f"the decoder's conditional of step {step} is {error:.2g} nats off that of the parallel pass"
                    f" (member {member}, {call} call of conditional)"
                )
            decoder.append(values[:, site])


@torch.no_grad()
def check_extend_is_repeated_append(model: Autoregressive) -> None:
    """A prompt gives the conditionals that its sites give one by one, wherever it ends."""
    x, context = _examples(model, 5, full=True)
    probes, values = _probes(model, 5), _flat_sites(model, x)
    for member in _members(model):
        order = model.order(member)
        parallel = _likelihoods(model, model.conditionals(x, context, member), probes)
        for first in range(len(order)):
            decoder = model.decoder(5, context, member)
            if first:
                decoder.extend(values[:, order[: first // 2]])
                decoder.extend(values[:, order[first // 2 : first]])
            site = int(order[first])
            error = _distance(model, decoder, parallel[:, :, site], probes, site)
            assert error < 1e-4, (
                f"after extending by {first} sites the conditional is {error:.2g} nats off that of the parallel pass"
                f" (member {member})"
            )


@torch.no_grad()
def check_cached_and_naive_samples_agree(model: Autoregressive) -> None:
    """The same seed gives the same sample whether the decoder caches or makes a full pass a site."""

    def naive(num_samples: int, context: Context = None, member: int = 0) -> Decoder:
        return NaiveDecoder(model, num_samples, context, member)

    context = _contexts(model, 16, _generator(3))
    cached = model.sample(16, context, generator=_generator())
    with mock.patch.object(model, "decoder", naive):
        slow = model.sample(16, context, generator=_generator())
    if cached.is_floating_point():
        assert not _differs(cached, slow, 1e-3), "the same seed gives another sample from the naive decoder"
    assert cached.is_floating_point() or torch.equal(cached, slow), (
        "the same seed gives another sample from the naive decoder"
    )


# ---- samples


@torch.no_grad()
def check_samples_are_events(model: Model) -> None:
    """A sample is what the model can score, from the generator it is given and no other."""
    context = _contexts(model, 32, _generator(3))
    before = torch.random.get_rng_state()
    x, again, *others = (model.sample(32, context, generator=_generator(seed)) for seed in (0, 0, 1, 2, 3))
    assert torch.equal(torch.random.get_rng_state(), before), (
        "sample draws from torch's global generator, not from its own"
    )
    assert torch.equal(x, again), "the same seed gives two samples"
    assert not all(torch.equal(x, other) for other in others), "every seed gives the same sample"
    wanted = (32, *model.config.event_shape)
    assert _shape(x) == wanted, f"32 samples have shape {_shape(x)}, not {wanted}"
    dtype = torch.float32 if model.config.num_categories is None else torch.int64
    assert x.dtype == dtype, f"samples are {x.dtype}, not {dtype}"
    try:
        log_prob = model.log_prob(x, context)
    except ValueError as error:
        raise AssertionError(f"a sample is no event: {error}") from error
    assert bool(log_prob.isfinite().all()), "a sample has no finite log_prob"
    end = _end(model)
    if end is not None:
        assert torch.equal(x, _cut(x, end)), "a sample goes on after the category that ends it"


@torch.no_grad()
def check_sample_frequencies(model: Model) -> None:
    """Samples occur as often as log_prob says, tested so that a right model fails once in ten million seeds."""
    context = next(_some_contexts(model))
    many = _repeat(context, NUM_SAMPLES)
    for events in all_events(model):
        length = _length(events[0]) if model.variable_length and _end(model) is None else None
        samples = model.sample(NUM_SAMPLES, many, length=length, generator=_generator())
        if length is not None:
            assert samples.shape[1] == length, f"sample(length={length}) has {samples.shape[1]} sites"
            events = events[:, :length]
        probs = model.log_prob(events, _repeat(context, len(events))).double().exp()
        _check_frequencies(samples, events, probs, "samples", exact=model.likelihood == "exact")
    if model.config.num_categories is None and isinstance(model, Autoregressive):
        _check_real_samples(model, context)


def _check_frequencies(samples: Tensor, events: Tensor, probs: Tensor, what: str, *, exact: bool = True) -> None:
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


def _check_real_samples(model: Autoregressive, context: Context) -> None:
    """Every scalar's distribution function at the scalar is uniform (Dvoretzky, Kiefer and Wolfowitz's bound)."""
    num_samples = 2000
    many = _repeat(context, num_samples)
    bound = math.sqrt(math.log(2 / 1e-7) / (2 * num_samples)) + 0.01  # the second for the integral
    for member in _members(model):
        # A mixture's samples do not tell their member: make all of one.
        pinned = torch.full((num_samples,), member)
        with mock.patch.object(torch, "randint", lambda *_, pinned=pinned, **__: pinned):
            x = model.sample(num_samples, many, generator=_generator()).flatten(1)
        for scalar, part in _scalar_conditionals(model, x.view(-1, *model.config.event_shape), many, member):
            u = _mass_below(part, x[:, scalar].double()).sort().values
            gap = float((u - (torch.arange(num_samples) + 0.5) / num_samples).abs().max())
            assert gap < bound, (
                f"samples of scalar {scalar} do not follow its conditional: {gap:.2g} off in probability"
            )


@torch.no_grad()
def check_sampling_walks_in_order(model: Autoregressive) -> None:
    """A sample grows site by site as the order says, and ends as what `sample` returns."""
    context = next(_some_contexts(model))
    sampled = model.sample(1, context, generator=_generator())
    steps = list(model.stream(1, context, generator=_generator()))
    assert torch.equal(steps[-1], sampled), "the last element of stream is not the sample of the same seed"
    drawn: list[int] = []
    for events in steps:
        sites = _flat_sites(model, events)[0].flatten(1) if model.site_axes else _flat_sites(model, events)[0][:, None]
        there = (~sites.isnan() if events.is_floating_point() else sites >= 0).all(1).nonzero().flatten().tolist()
        drawn += [site for site in there if site not in drawn]
    orders = [model.order(member).tolist()[: len(drawn)] for member in _members(model)]
    assert drawn in orders, f"sampling visits the sites {drawn}, which is not the model's order {orders[0]}"


# ---- completion


@torch.no_grad()
def check_completion_keeps_what_is_known(model: Autoregressive) -> None:
    """`complete` changes nothing that is known, and says "exact" only if the known comes first in the order."""
    x, context = _examples(model, 12)
    known = torch.rand(model.config.event_shape, generator=_generator(5)) < 0.5
    for mask in (known, ~known, known & False, known | True):
        done = model.complete(x, mask, context, generator=_generator())
        again = model.complete(x, mask, context, generator=_generator())
        kept = done.events[mask.expand_as(x)] == x[mask.expand_as(x)]
        assert bool(kept.all()), "complete changes a scalar that is known"
        assert torch.equal(done.events, again.events), "the same seed gives two completions"
        first = [_is_prefix(mask.flatten()[_walk_order(model, member)]) for member in _members(model)]
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
    events, context = all_events(model)[-1], next(_some_contexts(model))
    log_probs = model.log_prob(events, _repeat(context, len(events))).double()
    orders = [_walk_order(model, member) for member in _members(model)]
    width = math.prod(model.site_shape)
    whole = events[(events >= 0).flatten(1).all(1)]
    for num_known in sorted({0, 1, model.config.dims // 3, model.config.dims // 2}):
        known = torch.zeros(model.config.dims, dtype=torch.bool)
        known[orders[0][:num_known]] = True
        x = whole[:: max(len(whole) // 7, 1)].repeat_interleave(NUM_SAMPLES // 7, 0)[:NUM_SAMPLES]
        done = model.complete(x, known.view(x.shape[1:]), _repeat(context, len(x)), generator=_generator())
        exact = all(_is_prefix(known[order]) for order in orders)
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
        _check_frequencies(done.events, events, probs, f"completions of {num_known} known scalars")


def _is_prefix(known: Tensor) -> bool:
    return not bool((known[1:] & ~known[:-1]).any())


# ---- training


@torch.no_grad()
def check_loss(model: Model) -> None:
    """The loss is in nats an event: -log_prob, or what a family puts in its place, of the same size."""
    x, context = _examples(model, 64)
    noise = model.noise(64, _generator())
    if noise is not None:
        assert len(noise) == 64, f"noise for 64 examples has {len(noise)} rows"
        assert torch.equal(noise, model.noise(64, _generator())), "noise does not follow from its generator"  # type: ignore[arg-type]
    with _seeded():
        loss = model.loss(x, context, noise)
    with _seeded():
        forward = model(x, context, noise)
    assert _shape(loss) == (64,), f"the loss of 64 events has shape {_shape(loss)}, not (64,)"
    assert bool(loss.isfinite().all()), "the loss of a valid event is not finite"
    assert torch.equal(loss, forward), "the model's call is not its loss"
    with _seeded():
        nll = -model.log_prob(x, context)
        if type(model).loss is Model.loss:
            assert torch.equal(loss, nll), "the loss is not -log_prob"
            return
        mean = sum(float(model.loss(x, context).double().mean()) for _ in range(32)) / 32
    truth = float(nll.double().mean())
    # Bounds and masks lie above, orders and smoothed labels on both sides: but none at a fraction, as a mean would.
    assert truth <= 0 or mean > 0.7 * truth, (
        f"the loss is {mean:.4g} on average, -log_prob {truth:.4g} nats: a mean over dimensions instead of a sum?"
    )


def check_every_parameter_is_used(model: Model) -> None:
    """Every parameter has a gradient, under some noise and some weights: a ReLU may be dead for others."""
    x, context = _examples(model, 64)
    used: set[str] = set()
    for seed in range(16):
        copied = copy.deepcopy(model).train()
        _add_noise(copied, seed)
        with _seeded():
            copied(x, context, copied.noise(64, _generator(seed))).mean().backward()
        for name, parameter in copied.named_parameters():
            if parameter.grad is not None:
                assert bool(parameter.grad.isfinite().all()), f"the gradient of {name} is not finite"
                used |= {name} if bool(parameter.grad.any()) else set()
    for name, parameter in model.named_parameters():
        assert name in used or not parameter.requires_grad, (
            f"the loss does not depend on the parameter {name}: a parameter nothing uses"
        )


@torch.no_grad()
def check_splitting_the_batch_changes_nothing(model: Model) -> None:
    """The loss of a part of the batch, with its rows of the noise, is that part of the batch's loss."""
    x, context = _examples(model, 12)
    noise = model.noise(12, _generator())
    with _seeded():
        whole = model.loss(x, context, noise)
    if model.likelihood != "exact":
        return
    for rows in (torch.arange(0, 12, 2), torch.arange(1, 12, 2), torch.arange(5)):
        with _seeded():
            part = model.loss(x[rows], _rows(context, rows), None if noise is None else noise[rows])
        assert not _differs(part, whole[rows], 1e-4), "the loss of a part of the batch is not that part of its loss"


# ---- configs, files, errors


def check_config_survives_json(model: Model) -> None:
    """A config is frozen, comes back equal from JSON, and refuses a field that it does not know."""
    config = model.config
    values = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert type(config).from_dict(values) == config, f"{config} is another after JSON"
    _refused(lambda: setattr(config, "event_shape", (1,)), AttributeError, "a config can be changed: make it frozen")
    _refused(
        lambda: type(config).from_dict({**values, "no_such_field": 1}), ValueError, "a config takes an unknown field"
    )


@torch.no_grad()
def check_saving_and_loading(model: Model) -> None:
    """A model that was saved and loaded gives the same log_prob, bit for bit."""
    x, context = _examples(model, 8)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        if model.family in registry.list_families() and registry.get_family(model.family) is type(model):
            again = type(model).from_pretrained(folder)
        else:
            config = type(model).config_class.from_dict(hub.read_config(folder)["model"])
            with _seeded(99):
                again = type(model)(config).eval()
            again.load_state_dict(load_file(f"{folder}/model.safetensors"), strict=False)
    with _seeded():
        before = model.log_prob(x, context)
    with _seeded():
        after = again.log_prob(x, context)
    assert again.config == model.config, "the config is another after saving and loading"
    assert torch.equal(before, after), "log_prob is another after saving and loading: is all that was drawn saved?"


@torch.no_grad()
def check_refuses_what_is_no_event(model: Model) -> None:
    """Events of another shape, type or range are ValueErrors, in the likelihood as in the loss."""
    x, context = _examples(model, 4)
    bad = {"of another shape": x[..., None], "without a batch": x[0], "with a site too many": torch.cat([x, x], 1)}
    if model.config.num_categories is None:
        bad |= {"with NaN": x.clone().fill_(math.nan), "that is infinite": x.clone().fill_(math.inf)}
        bad |= {"of integers, where they are real": x.long()}
    else:
        bad |= {"of floats, where they are integers": x.float()}
        over = x.clone()
        over.view(4, -1)[2, 0] = _sizes(model.config)[0]
        below = x.clone()
        below.view(4, -1)[2, -1] = -2 if model.variable_length else -1
        bad |= {"with a category above the last": over, "with a negative category": below}
    if model.variable_length:
        gap = random_events(model, 4, _generator(), full=True)
        gap[:, 0] = -1
        bad |= {"with padding before its end": gap}
    for what, events in bad.items():
        _refused(partial(model.log_prob, events, context), ValueError, f"log_prob takes an event {what}")
        _refused(partial(model.loss, events, context), ValueError, f"the loss takes an event {what}")
    _refused(partial(model.sample, 0, context), ValueError, "sample makes no samples without complaint")


@torch.no_grad()
def check_refuses_another_context(model: Model) -> None:
    """A model that is conditioned on nothing refuses a context; one that needs it refuses its absence."""
    x, context = _examples(model, 4)
    label = torch.zeros(4, dtype=torch.long)
    if context is None:
        bad: dict[str, Context] = {"a context, but none is documented": label, "a named context": {"label": label}}
    else:
        bad = {"no context, though it needs one": None, "a context of another name": {"no_such_name": label}}
        bad |= {"3 rows of context for 4 events": _rows(context, torch.arange(3))}
    for what, given in bad.items():
        _refused(partial(model.log_prob, x, given), ValueError, f"log_prob takes {what}")
        _refused(partial(model.loss, x, given), ValueError, f"the loss takes {what}")
        _refused(partial(model.sample, 4, given), ValueError, f"sample takes {what}")


def _refused(call: Callable[[], object], kind: type[Exception], otherwise: str) -> None:
    try:
        with _seeded():
            call()
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{otherwise}, then fails with {type(error).__name__}: {error}") from error
    raise AssertionError(otherwise)


MODEL_CHECKS: tuple[Callable[[Any], None], ...] = (
    check_config_survives_json,
    check_probabilities_sum_to_one,
    check_log_prob_is_one_number_an_event,
    check_padding_changes_nothing,
    check_samples_in_a_batch_are_independent,
    check_samples_are_events,
    check_sample_frequencies,
    check_loss,
    check_every_parameter_is_used,
    check_splitting_the_batch_changes_nothing,
    check_saving_and_loading,
    check_refuses_what_is_no_event,
    check_refuses_another_context,
)
"""What every model must pass, a bound too."""

CHECKS: tuple[Callable[[Any], None], ...] = (
    *MODEL_CHECKS,
    check_order_is_a_permutation,
    check_causality,
    check_conditionals_are_float32,
    check_sites_sum_to_log_prob,
    check_conditionals_are_those_of_log_prob,
    check_components_multiply_to_the_site,
    check_decoder_agrees_with_the_parallel_pass,
    check_extend_is_repeated_append,
    check_cached_and_naive_samples_agree,
    check_sampling_walks_in_order,
    check_completion_keeps_what_is_known,
    check_completion_frequencies,
)
"""What every family that is given by its conditionals must pass."""
