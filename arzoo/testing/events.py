"""What the checks run on: random models, their events and contexts, and how to compare distributions."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributions import Distribution

from arzoo.autoregressive import Autoregressive
from arzoo.model import Model, ModelConfig, NamedContext

MOST_EVENTS = 5000
"""Spaces of more events than this are not enumerated."""
NUM_SAMPLES = 20_000
"""Samples whose frequencies are compared with probabilities."""


def random_model(family: type[Model], config: ModelConfig, seed: int = 0) -> Model:
    """A model in eval mode, every parameter of it moved by normal noise."""
    with seeded(seed):
        model = family(config)
    add_noise(model, seed)
    return model.eval()


@torch.no_grad()
def add_noise(model: Model, seed: int) -> None:
    generator = fixed_generator(seed)
    for parameter in model.parameters():
        scale = 1 / math.sqrt(parameter[0].numel()) if parameter.dim() > 1 else 0.5
        parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def random_events(model: Model, num_events: int, generator: torch.Generator, *, full: bool = False) -> Tensor:
    """Events spread evenly over the space; real ones are normal with standard deviation 2.

    Arguments:
        full: Without padding, where the length varies.
    """
    config = model.config
    shape = (num_events, *config.event_shape)
    if config.num_categories is None:
        return 2 * torch.randn(shape, generator=generator)
    x = (torch.rand(shape, generator=generator) * torch.tensor(scalar_sizes(config)).view(config.event_shape)).long()
    if not model.variable_length or full:
        return x
    if model.end is not None:
        return cut(x, model.end)
    lengths = torch.randint(1, shape[1] + 1, (num_events,), generator=generator)
    inside = torch.arange(shape[1]) < lengths[:, None]  # (B, T)
    return torch.where(inside.view(*inside.shape, *(1 for _ in shape[2:])), x, -1)


def all_events(model: Model) -> list[Tensor]:
    """All events, (N, *E), in parts whose probabilities sum to one; [] if they are too many or real.

    There is one part, or one for each length where the length varies and no category ends an event.
    """
    config, shape = model.config, model.config.event_shape
    if config.num_categories is None or math.prod(scalar_sizes(config)) > MOST_EVENTS:
        return []
    events = torch.cartesian_prod(*(torch.arange(size) for size in scalar_sizes(config))).view(-1, *shape)
    if not model.variable_length:
        return [events]
    if model.end is not None:
        return [cut(events, model.end).unique(dim=0)]
    parts = []
    for length in range(1, shape[0] + 1):
        part = events.clone()
        part[:, length:] = -1
        parts.append(part.unique(dim=0))
    return parts


def scalar_sizes(config: ModelConfig) -> tuple[int, ...]:
    """Categories of every scalar."""
    sizes = config.num_categories
    assert sizes is not None
    return sizes if isinstance(sizes, tuple) else (sizes,) * config.dims


def cut(x: Tensor, end: int) -> Tensor:
    """Events (B, T) with padding after the category that ends them."""
    is_end = (x == end).long()
    return torch.where(is_end.cumsum(1) - is_end > 0, -1, x)


def length_of(event: Tensor) -> int:
    """Sites of an event (T, ...) before its padding."""
    return int((event >= 0).view(len(event), -1).all(1).sum())


def fixed_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def examples(model: Model, num_examples: int, *, full: bool = False) -> tuple[Tensor, NamedContext]:
    generator = fixed_generator(1)
    return random_events(model, num_examples, generator, full=full), random_context(model, num_examples, generator)


def random_context(model: Model, num_examples: int, generator: torch.Generator) -> NamedContext:
    context = model.example_context(num_examples, generator)
    names = ", ".join(model.context_names)
    assert context is not None or not names, f"example_context gives nothing, but the model is conditioned on {names}"
    assert context is None or isinstance(context, Mapping), (
        f"example_context gives a {type(context).__name__}, but a context is a dict with {names}"
    )
    return context


def some_contexts(model: Model) -> Iterator[NamedContext]:
    """A few contexts of one row; None alone where the model takes none."""
    context = random_context(model, 3, fixed_generator(2))
    for row in range(3 if context is not None else 1):
        yield rows_of(context, torch.tensor([row]))


def rows_of(context: NamedContext, rows: Tensor) -> NamedContext:
    return None if context is None else {name: value[rows] for name, value in context.items()}


def repeated(context: NamedContext, num_examples: int) -> NamedContext:
    return rows_of(context, torch.zeros(num_examples, dtype=torch.long))


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Seeds torch's global generator (dropout draws from it) and puts it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def probe_events(model: Autoregressive, num_events: int) -> Tensor:
    """Events (P, B, *E) whose log-probabilities tell two distributions apart: every category, if sites are scalars."""
    config = model.config
    if config.num_categories is None or model.site_axes or max(scalar_sizes(config)) > 16:
        return torch.stack([random_events(model, num_events, fixed_generator(i), full=True) for i in range(12)])
    sizes = torch.tensor(scalar_sizes(config)).view(config.event_shape)
    constant = [torch.full(config.event_shape, k).minimum(sizes - 1) for k in range(int(sizes.max()))]
    return torch.stack(constant)[:, None].expand(-1, num_events, *config.event_shape)


def flat_sites(model: Autoregressive, x: Tensor) -> Tensor:
    """Events (B, *E) as (B, S, *site_shape)."""
    return model.sites(x).reshape(x.shape[0], -1, *model.site_shape)


def likelihoods(model: Autoregressive, distribution: Distribution, probes: Tensor) -> Tensor:
    """Log-probabilities of the probes (P, B, *E) at every site, shape (P, B, S)."""
    return torch.stack([distribution.log_prob(model.sites(probe)).flatten(1) for probe in probes])


def walk_order(model: Autoregressive, member: int) -> Tensor:
    """The scalars of an event, by their row-major index, in the order they are drawn, shape (D,)."""
    index = torch.arange(model.config.dims).view(1, *model.config.event_shape)
    return flat_sites(model, index)[0][model.order(member)].flatten()


def differs(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return not torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def shape_of(tensor: Tensor | torch.Size) -> tuple[int, ...]:
    return tuple(tensor.shape if isinstance(tensor, Tensor) else tensor)
