"""What a model is: the contract of all families, those with exact likelihoods and those with bounds."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from arzoo import schema
from arzoo.label_names import LabelNames, check_labels_fit, numbers_of
from arzoo.labels import check_labels

if TYPE_CHECKING:
    from arzoo.hub import Push

NamedContext = Mapping[str, Tensor] | None
"""What events are conditioned on, by name, a row an event; None if on nothing."""
Context = Tensor | Sequence[str] | Mapping[str, Tensor | Sequence[str]] | None
"""What callers pass: a list of labels will do for classes that have them, and what there is one name for without it."""


_LARGEST = 1e15
"""Of real values: float32 ends at 3e38, and densities square them, divided by what may be small."""


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
        self._labels: LabelNames = {}
        self.hub_parents: dict[str, dict[str, str]] = {}
        """The commits of the Hub that it was loaded from or pushed to; see `arzoo.hub.memory`."""

    @property
    def labels(self) -> LabelNames:
        """What classes and categories are called, if the training data or whoever sets it say so; saved with the model.

        Raises:
            ValueError: What it is set to does not fit the model.
        """
        return self._labels

    @labels.setter
    def labels(self, labels: LabelNames) -> None:
        check_labels_fit(labels, self)
        self._labels = {name: tuple(known) for name, known in labels.items()}

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

    def fit(self, x: Tensor, validation: Tensor, progress: Callable[[float], None] | None = None) -> None:
        """Solves for the weights instead of training them, where a family can: by counting, or as a convex problem.

        Arguments:
            x: Training events, shape (N, *E).
            validation: Events that choose between solutions, such as how strongly to regularise, shape (M, *E).
            progress: Called with the share that is done, up to 1.

        Raises:
            ValueError: The family has no such solution.
        """
        raise ValueError(f"{self.family} cannot be fitted; give its recipe a table [train] instead of [fit]")

    def bits_per_dim(self, x: Tensor, context: Context = None) -> Tensor:
        """-log2 p(x) / D over the D scalars of each event, shape (B,).  Lower is better."""
        scalars = (x >= 0).flatten(1).sum(1) if self.variable_length else self.config.dims
        return -self.log_prob(x, context) / (scalars * math.log(2))

    @property
    def context_names(self) -> tuple[str, ...]:
        """What the model is conditioned on, by the names its data set uses; () if on nothing."""
        return ()

    @property
    def num_classes_by_context(self) -> Mapping[str, int]:
        """The contexts that are classes, and how many each has; what they hold is checked, and they may have labels."""
        return {}

    def example_context(self, num_examples: int, generator: torch.Generator) -> NamedContext:
        """A context drawn at random, of the form that the model takes; None if it takes none.

        A family that is conditioned on something says so here: `arzoo.testing` cannot guess what a context looks like.
        """
        return None

    def context_lengths(self, context: NamedContext) -> Tensor | None:
        """How many steps each event of variable length has, int64 (B,), if a checked context says it."""
        return None

    @property
    def end(self) -> int | None:
        """The category that ends an event of variable length, if the config names one."""
        return getattr(self.config, "end", None)

    def check_context(self, num_examples: int, context: Context) -> NamedContext:
        """Refuses a context that is not what the model is conditioned on; a family adds what it knows of other values.

        Arguments:
            context: A tensor whose first dimension is num_examples for every name, or a list of as many labels; these
                themselves if there is one name.

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
        parts = {names[0]: context} if isinstance(context, Tensor | list | tuple) and len(names) == 1 else context
        if not isinstance(parts, Mapping) or set(parts) != set(names):
            raise ValueError(f"context must be a dict with {', '.join(names)}")
        named = {}
        for name, part in parts.items():
            if isinstance(part, list | tuple) and part and all(isinstance(label, str) for label in part):
                part = torch.tensor(numbers_of(name, part, self.labels), device=self.device)
            if not isinstance(part, Tensor) or part.shape[:1] != (num_examples,):
                given = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
                labels = f" or a list of {num_examples} labels" if name in self.labels else ""
                raise ValueError(f"context {name} must be a tensor with {num_examples} rows{labels}, got {given}")
            named[name] = part
        for name, number in self.num_classes_by_context.items():
            named[name] = check_labels(name, named[name], number)
        return named

    def check_events(self, x: Tensor) -> Tensor:
        """Refuses events that are none of this model's; returns them as int64 or float32.

        Raises:
            ValueError: No event, wrong shape or dtype, a value out of range, NaN.
        """
        self._check_shape(x)
        if self.config.num_categories is None:
            if not x.is_floating_point():
                raise ValueError(f"events must be real numbers, got {x.dtype}; convert them with .float()")
            if not bool((x.abs() < _LARGEST).all()):
                raise ValueError(f"events must be numbers below {_LARGEST:g} in size, got others, infinity or NaN")
            return x.float()
        if x.is_floating_point() or x.is_complex():
            raise ValueError(f"events must be integers 0 to K - 1, got {x.dtype}; convert them with .long()")
        x = x.long()
        if isinstance(self.config.num_categories, tuple):
            top = torch.tensor(self.config.num_categories, device=x.device).view(self.config.event_shape)
        else:
            top = torch.tensor(self.config.num_categories, device=x.device)
        low = -1 if self.variable_length else 0
        wrong = (x < low) | (x >= top)
        if bool(wrong.any()):
            event, *index = wrong.nonzero()[0].tolist()
            most, found = int(top.expand(x.shape[1:])[*index]) - 1, int(x[event, *index])
            raise ValueError(self.out_of_range(event, tuple(index), found, low, most))
        if self.variable_length:
            self._check_padding(x)
        return x

    def out_of_range(self, event: int, index: tuple[int, ...], value: int, low: int, high: int) -> str:
        """What is said of a value outside low to high at this place of an event; a family may have words of its own."""
        return f"events must be integers {low} to {high} at {index}, got {value} in event {event}"

    def _check_shape(self, x: Tensor) -> None:
        if not isinstance(x, Tensor):
            raise ValueError(f"events must be a tensor, got {type(x).__name__}; convert them with torch.as_tensor")
        shape, given = self.config.event_shape, tuple(x.shape[1:])
        shorter = self.variable_length and len(given) == len(shape) and 1 <= given[0] <= shape[0]
        if x.dim() != len(shape) + 1 or (given != shape and not (shorter and given[1:] == shape[1:])):
            sizes = f"{'at most ' if self.variable_length else ''}{', '.join(map(str, shape))}"
            raise ValueError(f"events must have shape (B, {sizes}), got {tuple(x.shape)}")
        if not len(x):
            raise ValueError("there must be at least one event, got none")

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

    def check_state(self) -> None:
        """Refuses weights and buffers that are no density's: NaN, an order that visits a site twice; loading asks.

        Raises:
            ValueError: Says what is wrong with which.
        """
        for name, value in self.state_dict().items():
            if bool(value.isnan().any()):
                raise ValueError(f"{name} has numbers that are none (NaN)")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(itertools.chain(self.parameters(), self.buffers()), torch.empty(0)).device

    def save_pretrained(self, directory: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes config.json and model.safetensors, whole or not at all; see `arzoo.loading.save_model`.

        Arguments:
            dtype: What floating-point weights are stored as: torch.float32 or torch.bfloat16.
        """
        from arzoo import loading

        loading.save_model(self, directory, dtype)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """A model as `arzoo.from_pretrained` gives it, if it is of this class.

        Raises:
            ValueError: The checkpoint is of another family.
        """
        from arzoo import loading

        model = loading.from_pretrained(
            name_or_path, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        if not isinstance(model, cls):
            raise ValueError(f"{name_or_path} is a {type(model).__name__}, not a {cls.__name__}; use arzoo.load")
        return model

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str | None = None,
        dtype: torch.dtype | None = None,
        private: bool = True,
        revision: str = "main",
        message: str | None = None,
        tag: str | None = None,
        create_pr: bool = False,
        token: str | bool | None = None,
        dry_run: bool = False,
        parent_commit: str | None = None,
    ) -> "Push":
        """Puts the model and a card onto the Hub in one commit, or says what that would change; see `arzoo.push`.

        What the folder that it was loaded from holds besides (a recipe, metrics, pictures, a card) does not go along.
        To publish a checkpoint folder with its card, use `arzoo.push`.  What the Hub has of these stays if the weights
        are those that it has.

        Arguments:
            repo_id: "ORGANISATION/NAME", made if need be.
            license: Of the weights, as the Hub writes it; None takes that of the card on the Hub.
            dtype: What floating-point weights are stored as: torch.float32 or torch.bfloat16; None for what they
                are stored as on the Hub if they are the same there, else torch.float32.
        """
        from arzoo import hub

        return hub.push_model(
            self,
            repo_id,
            license=license,
            dtype=dtype,
            private=private,
            revision=revision,
            message=message,
            tag=tag,
            create_pr=create_pr,
            token=token,
            dry_run=dry_run,
            parent_commit=parent_commit,
        )
