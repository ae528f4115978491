"""What a model is.  A family says what its conditionals are; likelihood, loss and sampling follow.

A *site* is what one step of the walk fixes: a scalar, or a small vector (the channels of a pixel) if the family
names the event's axes that one site spans in `site_axes`.  The *grid* is what is left of the event: site
distributions have batch_shape (B, *grid).
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from arzoo import schema
from arzoo.decoding import Decoder, NaiveDecoder, Sharpening, walk

NamedContext = Mapping[str, Tensor] | None
"""What events are conditioned on, by name, a row an event; None if on nothing."""
Context = Tensor | NamedContext
"""What callers pass: the tensor itself will do where there is one name."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What it takes to build a model; the data set fixes these two fields.

    Attributes:
        event_shape: Shape E of one event: (C, H, W) for images, (T,) for sequences, (D,) for vectors.
        num_categories: K, if scalars are integers 0 to K - 1; one K a scalar if a tuple; None if they are real.
    """

    event_shape: tuple[int, ...]
    num_categories: int | tuple[int, ...] | None = 2

    def __post_init__(self) -> None:
        schema.check(self)
        if not self.event_shape or min(self.event_shape) < 1:
            raise ValueError(f"event_shape must be one or more positive sizes, got {self.event_shape}")
        sizes = self.num_categories if isinstance(self.num_categories, tuple) else (self.num_categories or 2,)
        if not sizes or min(sizes) < 2:
            raise ValueError(f"num_categories must be at least 2, got {self.num_categories}")
        if isinstance(self.num_categories, tuple) and len(sizes) != self.dims:
            raise ValueError(f"num_categories must name {self.dims} sizes, got {len(sizes)}")

    @property
    def dims(self) -> int:
        """Number D of scalars in an event."""
        return math.prod(self.event_shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object], where: str = "config") -> Self:
        """The config that a JSON or TOML table describes.

        Raises:
            ValueError: A field is unknown, missing, of another type or out of range; the message begins with `where`.
        """
        return schema.build(cls, values, where)


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


class Model(nn.Module, ABC):
    """What the zoo trains, evaluates, publishes and loads."""

    family: ClassVar[str]
    config_class: ClassVar[type[ModelConfig]]
    likelihood: ClassVar[str] = "exact"
    """"exact" if log_prob is the log-likelihood, "lower_bound" if it bounds it from below."""
    variable_length: ClassVar[bool] = False
    """Whether events may be shorter than the event shape: integers padded at the end with -1."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if type(config) is not self.config_class:
            raise ValueError(f"{type(self).__name__} takes a {self.config_class.__name__}, got {type(config).__name__}")
        self.config = config

    @classmethod
    @abstractmethod
    def tiny_configs(cls) -> Sequence[ModelConfig]:
        """The smallest configs that together reach every branch of the family; `arzoo.testing` runs on them."""

    @abstractmethod
    def log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        """Log-likelihoods in nats, or lower bounds where `likelihood` says so.

        Arguments:
            x: Events, shape (B, *E).

        Returns:
            Shape (B,).

        Raises:
            ValueError: Events or context do not fit the model.
        """

    @abstractmethod
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
        """New events, shape (num_samples, *E).

        Arguments:
            context: One row a sample.
            length: Number of sites of a variable-length event; None ends where the model ends it.
            temperature: Above 0; below 1 prefers the likely.
            top_k: Draw among the k likeliest categories only.
            top_p: Draw among the fewest categories that hold this probability.
            generator: The same state gives the same sample.
        """

    def noise(self, num_examples: int, generator: torch.Generator | None = None) -> Tensor | None:
        """What one training step draws at random: a mask, an order, a position.

        It is drawn for the whole batch, before processes share it out, so that their number changes nothing.

        Returns:
            First dimension num_examples, or None if the loss is not random.
        """
        return None

    def loss(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        """What training minimises, shape (B,), in nats; -log_prob unless the family says otherwise.

        Arguments:
            noise: Rows of `noise()`; None draws them here.
        """
        return -self.log_prob(x, context)

    def forward(self, x: Tensor, context: Context = None, noise: Tensor | None = None) -> Tensor:
        """The loss: the only call that distributed wrappers see, so the one that training must make."""
        return self.loss(x, context, noise)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Sets what should start from the data (marginals, scales), once, from one batch before training."""

    def bits_per_dim(self, x: Tensor, context: Context = None) -> Tensor:
        """-log2 p(x) / D over the D scalars of each event, shape (B,).  Lower is better."""
        scalars = (x >= 0).flatten(1).sum(1) if self.variable_length else self.config.dims
        return -self.log_prob(x, context) / (scalars * math.log(2))

    @property
    def context_names(self) -> tuple[str, ...]:
        """What the model is conditioned on, by the names its data set uses; () if on nothing."""
        return ()

    def example_context(self, num_examples: int, generator: torch.Generator) -> NamedContext:
        """A context drawn at random, of the form that the model takes; None if it takes none.

        A family that is conditioned on something says so here: `arzoo.testing` cannot guess what a context looks like.
        """
        return None

    @property
    def end(self) -> int | None:
        """The category that ends an event of variable length, if the config names one."""
        return getattr(self.config, "end", None)

    def check_context(self, num_examples: int, context: Context) -> NamedContext:
        """Refuses a context that is not what the model is conditioned on; a family adds what it knows of the values.

        Arguments:
            context: A tensor whose first dimension is num_examples for every name; the tensor itself if there is one.

        Returns:
            The tensors by name, None if the model is conditioned on nothing.

        Raises:
            ValueError: Says what is expected.
        """
        names = self.context_names
        if context is None and names:
            raise ValueError(f"this {self.family} is conditioned on {', '.join(names)}; pass context")
        if context is None:
            return None
        if not names:
            raise ValueError(f"this {self.family} takes no context; call it without one")
        parts = {names[0]: context} if isinstance(context, Tensor) and len(names) == 1 else context
        if not isinstance(parts, Mapping) or set(parts) != set(names):
            raise ValueError(f"context must be a dict with {', '.join(names)}")
        for name, part in parts.items():
            if not isinstance(part, Tensor) or part.shape[:1] != (num_examples,):
                given = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
                raise ValueError(f"context {name} must be a tensor with {num_examples} rows, got {given}")
        return parts

    def check_events(self, x: Tensor) -> Tensor:
        """Refuses events that are none of this model's; returns them as int64 or float32.

        Raises:
            ValueError: Wrong shape or dtype, a value out of range, NaN.
        """
        self._check_shape(x)
        if self.config.num_categories is None:
            if not x.is_floating_point():
                raise ValueError(f"events must be real numbers, got {x.dtype}; convert them with .float()")
            if not x.isfinite().all():
                raise ValueError("events must be finite, got NaN or infinity")
            return x.float()
        if x.is_floating_point() or x.is_complex():
            raise ValueError(f"events must be integers 0 to K - 1, got {x.dtype}; convert them with .long()")
        x = x.long()
        if isinstance(self.config.num_categories, tuple):
            top = torch.tensor(self.config.num_categories, device=x.device).view(self.config.event_shape)
        else:
            top = torch.tensor(self.config.num_categories, device=x.device)
        low = -1 if self.variable_length else 0
        if x.numel() and bool(((x < low) | (x >= top)).any()):
            raise ValueError(
                f"events must be integers {low} to {int(top.max()) - 1}, got {int(x.min())} to {int(x.max())}"
            )
        if self.variable_length:
            self._check_padding(x)
        return x

    def _check_shape(self, x: Tensor) -> None:
        shape, given = self.config.event_shape, tuple(x.shape[1:])
        shorter = self.variable_length and len(given) == len(shape) and 1 <= given[0] <= shape[0]
        if x.dim() != len(shape) + 1 or (given != shape and not (shorter and given[1:] == shape[1:])):
            raise ValueError(f"events must have shape (B, {', '.join(map(str, shape))}), got {tuple(x.shape)}")

    def _check_padding(self, x: Tensor) -> None:
        padded = (x < 0).flatten(2).any(2) if x.dim() > 2 else x < 0  # (B, T)
        if x.dim() > 2 and bool((padded != (x < 0).flatten(2).all(2)).any()):
            raise ValueError("padding (-1) must fill the whole of a step")
        if bool((~padded[:, 1:] & padded[:, :-1]).any()):
            raise ValueError("padding (-1) must stand at the end of an event")
        if bool(padded[:, 0].any()):
            raise ValueError("an event must have at least one step, got nothing but padding (-1)")
        if self.end is None:
            return
        ends = x == self.end
        if bool((ends[:, :-1] & ~padded[:, 1:]).any()):
            raise ValueError(f"nothing but padding (-1) may follow category {self.end}, which ends an event")
        if bool((padded[:, 1:] & ~padded[:, :-1] & ~ends[:, :-1]).any()):
            raise ValueError(f"an event that is shorter than {x.shape[1]} must end with category {self.end}")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(itertools.chain(self.parameters(), self.buffers()), torch.empty(0)).device

    def save_pretrained(self, directory: str | Path) -> None:
        """Writes config.json and model.safetensors, whole or not at all; see `arzoo.hub.save_model`."""
        from arzoo import hub

        hub.save_model(self, directory)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> Self:
        """A model as `arzoo.load` gives it, if it is of this class.

        Raises:
            ValueError: The checkpoint is of another family.
        """
        from arzoo import hub

        model = hub.load(name_or_path)
        if not isinstance(model, cls):
            raise ValueError(f"{name_or_path} is a {type(model).__name__}, not a {cls.__name__}; use arzoo.load")
        return model


class Autoregressive(Model):
    """A model given by its conditionals: p(x) = prod_i p(x_o(i) | x_o(1), ..., x_o(i-1)) in an order o of the sites.

    With `num_members` K above 1 (orders, masks) it is the mixture p(x) = 1/K sum_k p_k(x): a density too, but one
    without conditionals in one order.
    """

    site_axes: ClassVar[tuple[int, ...]] = ()
    """Axes of the event that one site spans: () for scalars, (0,) for the channels of a pixel."""

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
        num_sites = self._num_sites(length)
        events = self.blank_events(num_samples).fill_(math.nan if self.config.num_categories is None else -1)
        sites = self.flat_sites(events)
        shown = events if length is None else events[:, :num_sites]
        news = True
        uniforms, members = self._draw_uniforms(num_samples, num_sites, generator)
        for member in members.unique().tolist():
            rows = (members == member).nonzero().squeeze(1)
            decoder = self.decoder(len(rows), _rows(named, rows), member)
            ended = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
            order, values = self.order(member).to(rows.device), []
            for value in walk(decoder, uniforms[rows], sharpening):
                if self.end is not None:
                    value = torch.where(ended, -1, value)
                    ended = ended | (value == self.end)
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
            x: Events, shape (B, *E); any valid values where not known.
            known: True where x is to be kept, boolean, shape E or (B, *E).
        """
        sharpening = Sharpening(temperature=temperature, top_k=top_k, top_p=top_p)
        if known.dtype != torch.bool:
            raise ValueError(f"known must be boolean, got {known.dtype}")
        if tuple(known.shape) not in (tuple(x.shape), tuple(x.shape[1:])):
            raise ValueError(
                f"known must have shape {tuple(x.shape)} or {tuple(x.shape[1:])}, got {tuple(known.shape)}"
            )
        self._check_shape(x)
        known = known.to(x.device).expand_as(x)
        x, known = self._fill_unknown(x, known) if self.variable_length else (torch.where(known, x, 0), known)
        x = self.check_events(x)
        named = self.check_context(x.shape[0], context)
        inside = x.clamp_min(0) if self.variable_length else x
        given = self.sites(inside).reshape(x.shape[0], -1, *self.site_shape)
        kept = self.sites(known).reshape(given.shape)
        uniforms, members = self._draw_uniforms(x.shape[0], given.shape[1], generator)
        exact = all(_is_prefix(kept[:, self.order(k)]) for k in range(self.num_members))
        if self.num_members > 1 and kept.dim() > 2:  # the evidence of half a site is not at hand
            exact = exact and bool((kept.flatten(2).all(2) == kept.flatten(2).any(2)).all())
        if exact and self.num_members > 1:
            members = self._posterior_members(x, kept, named, generator)
        events = self.blank_events(x.shape[0])
        sites = self.flat_sites(events)
        with torch.autocast(self.device.type, enabled=False):
            for member in members.unique().tolist():
                rows = (members == member).nonzero().squeeze(1)
                order = self.order(member).to(x.device)
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

    def _fill_unknown(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Events of full length, valid where unknown, and what is known of them: what follows from it too.

        Behind padding or the end there is padding; before padding there is the end, where a category is.
        """
        missing = self.config.event_shape[0] - x.shape[1]  # a prompt is the beginning of an event
        x, known = (torch.cat([each, each.new_zeros(len(x), missing, *x.shape[2:])], 1) for each in (x, known))
        padded = (known & (x < 0)).flatten(2).any(2) if x.dim() > 2 else known & (x < 0)  # (B, T)
        padded = padded.cumsum(1) > 0
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


def _is_prefix(known: Tensor) -> bool:
    """Whether in every row what is known comes before what is not."""
    flat = known.flatten(1)
    return not bool((flat[:, 1:] & ~flat[:, :-1]).any())


def _rows(context: NamedContext, rows: Tensor) -> NamedContext:
    return None if context is None else {name: value[rows] for name, value in context.items()}
