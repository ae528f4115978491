"""Walking through a model's order one site at a time: everything that samples, completes or streams."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Distribution

from arzoo import distributions

if TYPE_CHECKING:
    from arzoo.autoregressive import Autoregressive
    from arzoo.model import NamedContext


class Decoder(ABC):
    """A batch on its way through a model's order; it knows the sites fixed so far.

    A cached decoder must give the conditionals of the parallel pass (`arzoo.testing` holds it to that), only sooner.
    """

    @abstractmethod
    def conditional(self) -> Distribution:
        """The distribution of the next site given those fixed so far: batch_shape (B,), event_shape of a site."""

    @abstractmethod
    def append(self, value: Tensor) -> None:
        """Fixes the next site.

        Arguments:
            value: Shape (B, *site_shape).
        """

    def extend(self, values: Tensor) -> None:
        """Fixes the next n sites: a prompt, half an image.

        Arguments:
            values: Shape (B, n, *site_shape), in the model's order.
        """
        for value in values.unbind(1):
            self.append(value)

    def draw(self, uniforms: Tensor) -> Tensor | None:
        """Draws all sites that are left, each from its conditional, if there is a faster way than one by one.

        Arguments:
            uniforms: One number for every scalar of the n > 0 sites that are left, shape (B, n, *site_shape), in the
                model's order.

        Returns:
            Shape (B, n, *site_shape); None where there is no such way, and nothing was done.
        """
        return None


class NaiveDecoder(Decoder):
    """One full parallel pass a site: right for every family, and the reference for the fast ones."""

    def __init__(self, model: "Autoregressive", num_samples: int, context: "NamedContext", member: int) -> None:
        self._model, self._context, self._member = model, context, member
        self._events = model.blank_events(num_samples)
        self._sites = model.flat_sites(self._events)  # a view: writing here writes the events
        self._order = model.order(member).tolist()
        self._step = 0

    def conditional(self) -> Distribution:
        parallel = self._model.conditionals(self._events, self._context, self._member)
        grid = parallel.batch_shape[1:]
        where = torch.unravel_index(torch.tensor(self._order[self._step]), grid)
        return distributions.take(parallel, (slice(None), *(int(index) for index in where)))

    def append(self, value: Tensor) -> None:
        self._sites[:, self._order[self._step]] = value.to(self._sites.dtype)
        self._step += 1


@dataclass(frozen=True, kw_only=True)
class Sharpening:
    """How a conditional is made less random before it is drawn from; see `distributions.sharpen`."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        distributions.sharpen(distributions.Bernoulli(torch.zeros(1)), self.temperature, self.top_k, self.top_p)

    def __call__(self, distribution: Distribution) -> Distribution:
        return distributions.sharpen(distribution, self.temperature, self.top_k, self.top_p)


def walk(
    decoder: Decoder,
    uniforms: Tensor,
    sharpening: Sharpening,
    given: Tensor | None = None,
    known: Tensor | None = None,
) -> Iterator[Tensor]:
    """Draws site after site, each from its conditional given those before it.

    Arguments:
        decoder: At the start of its walk.
        uniforms: One number for every scalar, shape (B, S, *site_shape), in the model's order.
        given: Values to keep instead of drawing, shape (B, S, *site_shape).
        known: True where a value is kept, shape (B, S, *site_shape).

    Yields:
        The values of the next site, shape (B, *site_shape).
    """
    first = 0
    if given is not None and known is not None:
        whole = known.flatten(2).all(2).all(0) if known.dim() > 2 else known.all(0)  # (S,)
        first = int(whole.long().cumprod(0).sum())
        if first:
            decoder.extend(given[:, :first])
            yield from given[:, :first].unbind(1)
    sharpened = sharpening != Sharpening()
    some_left = first < uniforms.shape[1]
    if some_left and not sharpened and (known is None or not bool(known[:, first:].any())):
        drawn = decoder.draw(uniforms[:, first:])
        if drawn is not None:
            yield from drawn.unbind(1)
            return
    for step, uniform in enumerate(uniforms[:, first:].unbind(1), start=first):
        conditional = decoder.conditional()
        if uniform.dim() == 1 and known is None:
            value = distributions.draw(sharpening(conditional) if sharpened else conditional, uniform)
        else:
            value = _draw_site(
                conditional,
                uniform,
                sharpening,
                None if given is None else given[:, step],
                None if known is None else known[:, step],
            )
        decoder.append(value)
        yield value


def _draw_site(
    conditional: Distribution, uniform: Tensor, sharpening: Sharpening, given: Tensor | None, known: Tensor | None
) -> Tensor:
    """One site, component by component: each is drawn given the components before it, known or drawn."""
    vector = uniform.dim() > 1
    values: list[Tensor] = []
    for index in range(uniform.shape[1] if vector else 1):
        part = distributions.component(conditional, _stack(values, uniform)) if vector else conditional
        value = distributions.draw(sharpening(part), uniform[:, index] if vector else uniform)
        if given is not None and known is not None:
            kept, there = (given[:, index], known[:, index]) if vector else (given, known)
            value = torch.where(there, kept.to(value.dtype), value)
        values.append(value)
    return torch.stack(values, -1) if vector else values[0]


def _stack(values: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(values, -1) if values else like.new_empty((like.shape[0], 0))


def check_order(order: Sequence[int], dims: int, name: str = "ordering") -> None:
    """Refuses an order that does not visit each of 0 to dims - 1 once.

    Arguments:
        name: Of the order, for the message.

    Raises:
        ValueError: Says what is wrong with it.
    """
    if sorted(order) == list(range(dims)):
        return
    times = Counter(order)
    strange = next((site for site in order if times[site] > 1 or not 0 <= site < dims), None)
    fault = f"it has {len(order)} numbers" if strange is None else f"{strange} stands there {times[strange]} times"
    raise ValueError(f"{name} must visit each of 0 to {dims - 1} once, but {fault}")
