"""The one idea: a family says what its conditionals are; likelihood, sampling and completion follow.

A *site* is what one step of the walk fixes: a scalar, or a small vector (the channels of a pixel) if the family
names the event's axes that one site spans in `site_axes`.  The *grid* is what is left of the event: site
distributions have batch_shape (B, *grid).
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from arzoo.decoding import Decoder, NaiveDecoder, Sharpening, check_order, walk
from arzoo.model import Context, Model, NamedContext


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Events whose unknown scalars have been filled in.

    Attributes:
        events: Shape (B, *E).
        exact: Whether they were drawn from p(unknown | known).
        density: The density p that `exact` speaks of, or what was done instead.
    """

    events: Tensor
    exact: bool
    density: str


class Autoregressive(Model):
    """A model given by its conditionals: p(x) = prod_i p(x_o(i) | x_o(1), ..., x_o(i-1)) in an order o of the sites.

    With `num_members` K above 1 (orders, masks) it is the mixture p(x) = 1/K sum_k p_k(x): a density too, but one
    without conditionals in one order.
    """

    site_axes: tuple[int, ...] = ()
    """Axes of the event that one site spans: () for scalars, (0,) for the channels of a pixel.

    A family sets them, or a model when it is built.
    """

    @property
    def num_members(self) -> int:
        """Number K of densities that the model averages."""
        return 1

    @abstractmethod
    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        """The distributions of all sites at once, each given the true values of those before it.

        Arguments:
            x: Checked events, shape (B, *E), int64 or float32; padding may hold any category.
            member: Which of the K densities.

        Returns:
            batch_shape (B, *grid), event_shape the shape of a site, parameters in float32.
        """

    def order(self, member: int = 0) -> Tensor:
        """The sites as the walk visits them: a permutation of the grid's row-major indices, shape (S,)."""
        return torch.arange(math.prod(self.grid_shape))

    def check_state(self) -> None:
        super().check_state()
        for member in range(self.num_members):
            check_order(self.order(member).tolist(), math.prod(self.grid_shape), f"order {member}")

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> Decoder:
        """A walk through the order; a family overrides it where it can do less than a full pass a site."""
        return NaiveDecoder(self, num_samples, context, member)

    # ---- sites

    @property
    def site_shape(self) -> tuple[int, ...]:
        """Shape of what one step fixes: () for a scalar."""
        return tuple(self.config.event_shape[axis] for axis in self.site_axes)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """The event's shape without the axes that a site spans."""
        return tuple(size for axis, size in enumerate(self.config.event_shape) if axis not in self.site_axes)

    def sites(self, x: Tensor) -> Tensor:
        """A view of events (B, *E) as (B, *grid, *site_shape)."""
        last = range(-len(self.site_axes), 0)
        return x.movedim([axis + 1 for axis in self.site_axes], list(last)) if self.site_axes else x

    def flat_sites(self, x: Tensor) -> Tensor:
        """A view of events made by `blank_events` as (B, S, *site_shape)."""
        return self.sites(x).view(x.shape[0], -1, *self.site_shape)

    def blank_events(self, num_events: int) -> Tensor:
        """Zeros of shape (B, *E) whose sites lie one behind the other in memory, on the model's device."""
        dtype = torch.float32 if self.config.num_categories is None else torch.int64
        sites = torch.zeros((num_events, *self.grid_shape, *self.site_shape), dtype=dtype, device=self.device)
        last = range(-len(self.site_axes), 0)
        return sites.movedim(list(last), [axis + 1 for axis in self.site_axes]) if self.site_axes else sites

    # ---- likelihood

    def member_log_prob(self, x: Tensor, context: Context = None, member: int = 0) -> Tensor:
        """Log-probability of every site under one member, in nats, shape (B, *grid): the likelihood map.

        Sites of padding carry none: zero.
        """
        if not 0 <= member < self.num_members:
            raise ValueError(f"member must be 0 to {self.num_members - 1}, got {member}")
        x = self.check_events(x)
        return self._site_log_prob(x, self.check_context(x.shape[0], context), member)

    def _site_log_prob(self, x: Tensor, context: NamedContext, member: int) -> Tensor:
        if not self.variable_length:
            return self.conditionals(x, context, member).log_prob(self.sites(x))
        inside = x.clamp_min(0)
        log_prob = self.conditionals(inside, context, member).log_prob(self.sites(inside))
        there = (self.sites(x) >= 0).reshape(*log_prob.shape, -1).all(-1)
        return torch.where(there, log_prob, 0.0)

    def site_log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        """Log-probability of every site given those before it, in nats, shape (B, *grid); it sums to log_prob.

        Raises:
            ValueError: The model averages several orders or masks: such a mixture has no conditionals in one order.
        """
        if self.num_members > 1:
            raise ValueError(
                f"this {self.family} averages {self.num_members} densities and has no conditionals in one order;"
                " use member_log_prob(x, context, member)"
            )
        return self.member_log_prob(x, context)

    def log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        x = self.check_events(x)
        named = self.check_context(x.shape[0], context)
        members = [self._site_log_prob(x, named, k).flatten(1).sum(1) for k in range(self.num_members)]
        return members[0] if len(members) == 1 else torch.stack(members).logsumexp(0) - math.log(len(members))

    # ---- walks

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        context: Context = None,
        *,
        length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        sharpening = Sharpening(temperature=temperature, top_k=top_k, top_p=top_p)
        with torch.autocast(self.device.type, enabled=False):
            *_, events = self._walk(num_samples, context, length, sharpening, generator, every=None)
        return events

    def stream(
        self,
        num_samples: int,
        context: Context = None,
        *,
        length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
        every: int = 1,
    ) -> Iterator[Tensor]:
        """A sample while it grows: events (B, *E) after every so many sites, the last of them what `sample` returns.

        What is not drawn yet is -1, or NaN where events are real.
        """
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        sharpening = Sharpening(temperature=temperature, top_k=top_k, top_p=top_p)
        walk = self._walk(num_samples, context, length, sharpening, generator, every)
        while True:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                events = next(walk, None)
            if events is None:
                return
            yield events

    def _walk(
        self,
        num_samples: int,
        context: Context,
        length: int | None,
        sharpening: Sharpening,
        generator: torch.Generator | None,
        every: int | None,
    ) -> Iterator[Tensor]:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        named = self.check_context(num_samples, context)
        lengths = self.context_lengths(named)
        num_sites = self._num_sites(length)
        if lengths is not None:
            num_sites = min(num_sites, int(lengths.max()))
        events = self.blank_events(num_samples).fill_(math.nan if self.config.num_categories is None else -1)
        sites = self.flat_sites(events)
        shown = events if length is None else events[:, :num_sites]
        news = True
        uniforms, members = self._draw_uniforms(num_samples, num_sites, generator)
        for member in members.unique().tolist():
            rows = (members == member).nonzero().squeeze(1)
            decoder = self.decoder(len(rows), _rows(named, rows), member)
            ended = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
            order = self.order(member).to(rows.device)
            values: list[Tensor] = []
            for value in walk(decoder, uniforms[rows], sharpening):
                if self.end is not None:
                    value = torch.where(ended, -1, value)
                    ended = ended | (value == self.end)
                if lengths is not None:
                    value = torch.where(lengths[rows] > len(values), value, -1)
                values.append(value)
                news = every is None or len(values) % every > 0
                if not news:
                    sites[rows[:, None], order[: len(values)]] = torch.stack(values, 1)
                    yield shown.clone()
                if self.end is not None and bool(ended.all()):
                    break
            sites[rows[:, None], order[: len(values)]] = torch.stack(values, 1)
        if news:
            yield shown

    def _num_sites(self, length: int | None) -> int:
        total = math.prod(self.grid_shape)
        if length is None:
            return total
        if not self.variable_length:
            raise ValueError(f"{self.family} has events of one length; leave length at its default")
        if self.end is not None:
            raise ValueError(
                f"category {self.end} says where events of this {self.family} end; leave length at its default"
            )
        if not 1 <= length <= total:
            raise ValueError(f"length must be 1 to {total}, got {length}")
        return length

    def _draw_uniforms(
        self, num_samples: int, num_sites: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """What a sample is a function of: uniforms (B, S, *site_shape) in the order of the walk; members (B,)."""
        source = generator.device if generator is not None else self.device
        # Real values invert a CDF and need its tails; categories need no more than float32.
        dtype = torch.float64 if self.config.num_categories is None else torch.float32
        members = torch.randint(self.num_members, (num_samples,), generator=generator, device=source)
        shape = (num_samples, num_sites, *self.site_shape)
        uniforms = torch.rand(shape, generator=generator, device=source, dtype=dtype)
        return uniforms.to(self.device), members.to(self.device)

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        context: Context = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Completion:
        """Fills in what is not known (in-painting).

        The draw is exact where the known scalars come first in the order.  Elsewhere each unknown scalar is drawn
        given what comes before it only, whatever is known behind it: an approximation, and called one.

        Arguments:
            x: Events, shape (B, *E); any valid values where not known.  Events of variable length are completed to
                the length they are given in, or to where the model or its context ends them.
            known: True where x is to be kept, boolean, shape E or (B, *E).
        """
        sharpening = Sharpening(temperature=temperature, top_k=top_k, top_p=top_p)
        known = self.check_known(x, known)
        named = self.check_context(x.shape[0], context)
        lengths = self.context_lengths(named)
        x, known = self._fill_unknown(x, known, lengths) if self.variable_length else (torch.where(known, x, 0), known)
        x = self.check_events(x)
        inside = x.clamp_min(0) if self.variable_length else x
        given = self.sites(inside).reshape(x.shape[0], -1, *self.site_shape)
        orders = [self.order(k)[: given.shape[1]].to(x.device) for k in range(self.num_members)]
        kept = self.sites(known).reshape(given.shape)
        uniforms, members = self._draw_uniforms(x.shape[0], given.shape[1], generator)
        told = kept & (self.sites(x).reshape(kept.shape) >= 0) if self.variable_length else kept  # padding says nothing
        exact = all(_is_prefix(told[:, order]) for order in orders)
        if self.num_members > 1 and kept.dim() > 2:  # the evidence of half a site is not at hand
            exact = exact and bool((kept.flatten(2).all(2) == kept.flatten(2).any(2)).all())
        if exact and self.num_members > 1:
            members = self._posterior_members(x, kept, named, generator)
        events = self.blank_events(x.shape[0])[:, : x.shape[1]]
        sites = self.flat_sites(events)
        with torch.autocast(self.device.type, enabled=False):
            for member in members.unique().tolist():
                rows, order = (members == member).nonzero().squeeze(1), orders[member]
                decoder = self.decoder(len(rows), _rows(named, rows), member)
                values = walk(decoder, uniforms[rows], sharpening, given[rows][:, order], kept[rows][:, order])
                sites[rows[:, None], order] = torch.stack(list(values), 1).to(sites.dtype)
        if self.variable_length:
            events = torch.where(known, x, events)  # with its padding
        if self.end is not None:  # nothing is drawn behind the end
            ends = (events == self.end).long()
            events = torch.where((ends.cumsum(1) - ends > 0) & ~known, -1, events)
        plain = sharpening == Sharpening()
        if exact and plain:
            density = f"p(unknown | known) of the {self.family}"
        elif exact:
            density = f"the conditionals of the {self.family}, sharpened"
        else:
            density = "each unknown scalar given what comes before it in the order; known scalars behind it are ignored"
        return Completion(events=events, exact=exact and plain, density=density)

    def check_known(self, x: Tensor, known: Tensor) -> Tensor:
        """Refuses what does not say which scalars of the events (B, *E) are known; returns it with their shape.

        Raises:
            ValueError: Says what is expected.
        """
        self._check_shape(x)
        if not isinstance(known, Tensor) or known.dtype != torch.bool:
            given = known.dtype if isinstance(known, Tensor) else type(known).__name__
            raise ValueError(f"known must be a boolean tensor, got {given}; torch.as_tensor(known).bool() makes one")
        if tuple(known.shape) not in (tuple(x.shape), tuple(x.shape[1:])):
            raise ValueError(
                f"known must have shape {tuple(x.shape)} or {tuple(x.shape[1:])}, got {tuple(known.shape)}"
            )
        return known.to(x.device).expand_as(x)

    def _fill_unknown(self, x: Tensor, known: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Events of full length, valid where unknown, and what is known of them: what follows from it too.

        Full is the length they are given in where neither a category nor the context says where they end.  Behind
        padding or the end there is padding; before padding there is the end, where a category is.  Behind the length
        of an event, where the context says it, there is padding too.
        """
        ends_itself = self.end is not None or lengths is not None  # so that a prompt is but its beginning
        missing = self.config.event_shape[0] - x.shape[1] if ends_itself else 0
        x, known = (torch.cat([each, each.new_zeros(len(x), missing, *x.shape[2:])], 1) for each in (x, known))
        padded = _steps(known & (x < 0)).cumsum(1) > 0  # (B, T)
        if lengths is not None:
            behind = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
            if bool((behind & _steps(known & (x >= 0))).any()):
                raise ValueError("what is known is longer than the context says the event is; give a longer length")
            padded |= behind
        fill, implied = torch.zeros_like(x), padded
        if self.end is not None:
            ends = (known & (x == self.end)).long()
            padded |= ends.cumsum(1) - ends > 0
            last = torch.zeros_like(padded)
            last[:, :-1] = padded[:, 1:] & ~padded[:, :-1]
            fill, implied = torch.where(last, self.end, int(self.end == 0)), padded | last
        inside = tuple(range(2, x.dim()))
        padded, implied = (each.view(*each.shape, *(1 for _ in inside)) for each in (padded, implied))
        return torch.where(known, x, torch.where(padded, -1, fill)), known | implied

    def _posterior_members(
        self, x: Tensor, kept: Tensor, context: NamedContext, generator: torch.Generator | None
    ) -> Tensor:
        """A member a row, drawn from p(k | known) where whole sites are known."""
        whole = kept.flatten(2).all(2) if kept.dim() > 2 else kept
        evidence = torch.stack(
            [
                torch.where(whole, self._site_log_prob(x, context, k).flatten(1), 0.0).sum(1)
                for k in range(self.num_members)
            ],
            1,
        )  # (B, K)
        if bool((evidence.amax(1) == -math.inf).any()):
            raise ValueError("what is known has probability zero, so there is nothing to complete it by")
        source = generator.device if generator is not None else x.device
        return torch.multinomial(evidence.softmax(1).to(source), 1, generator=generator).squeeze(1).to(x.device)


def _steps(marked: Tensor) -> Tensor:
    """The steps of events (B, T, ...) in which something is marked, (B, T)."""
    return marked.flatten(2).any(2) if marked.dim() > 2 else marked


def _is_prefix(known: Tensor) -> bool:
    """Whether in every row what is known comes before what is not."""
    flat = known.flatten(1)
    return not bool((flat[:, 1:] & ~flat[:, :-1]).any())


def _rows(context: NamedContext, rows: Tensor) -> NamedContext:
    return None if context is None else {name: value[rows] for name, value in context.items()}
