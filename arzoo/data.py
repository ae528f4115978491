"""What a data set is, and its examples as tensors in memory."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What decoding makes of the N rows of one split.

    Attributes:
        x: Events, shape (N, *E), or what `view` makes events of.  Categories are uint8 or int64; a sequence
            that is shorter than the others ends with -1.
        context: What events are conditioned on, each of shape (N, ...); labels are int64.
        labels: For a context of labels, their names; for words and the like, those of the categories.
    """

    x: Tensor
    context: dict[str, Tensor] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What a data set is, where it is, and how its rows become tensors.

    Attributes:
        name: Name in the zoo.
        event_shape: Shape E of one event: (C, H, W) for images, (T,) for sequences.
        num_categories: Number K of values of a site, a tuple where sites differ, None for real values.
        repo: Folder of the data set under the folder that the environment variable ARZOO_DATASETS names.
        hub_id: The data set on the Hub that is taken where there is no such folder.
        homepage: Address at which those who made the data publish or describe them; cards link to it.
        config: Configuration of the source, where it has several.
        splits: The rows of the source that are "train", "validation" and "test", as `datasets` writes it:
            "train[:50000]", "train[:10%]+train[20%:]".
        column: Column that holds the events.
        context: Columns that hold what events are conditioned on, by the name that models give it.
        labels: Files of the source that hold labels, one a line, by what they are labels of: a context, or the
            categories of the sites.
        decode: Makes the examples of each split from its rows.  It gets all splits at once, for vocabularies
            and means come from the training rows.  A function without a closure: the source of its module
            and of `arzoo.data_decoding` is part of what the cache goes by.
        view: Makes of decoded events, shape (B, ...), the events that a model sees, shape (B, *E), at random
            from the generator: a binarisation, a window of a text.  None if they are the same.
        kind: How an event is shown; None if as numbers.
        unit: Unit that results are reported in: nats per event, bits per dimension, perplexity per word.
        licence: Licence of the data.
        protocol: One sentence for cards: which examples, how they were treated.
    """

    name: str
    event_shape: tuple[int, ...]
    num_categories: int | tuple[int, ...] | None
    repo: str
    hub_id: str | None = None
    homepage: str | None = None
    config: str | None = None
    splits: Mapping[str, str]
    column: str
    context: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    decode: Callable[["DatasetSpec", "Mapping[str, Dataset]"], Mapping[str, Examples]]
    view: Callable[[Tensor, torch.Generator], Tensor] | None = None
    kind: Literal["image", "sound", "text"] | None = None
    unit: Literal["nats", "bits/dim", "perplexity"]
    licence: str
    protocol: str

    def __post_init__(self) -> None:
        if not inspect.isfunction(self.decode) or self.decode.__closure__ is not None:
            raise ValueError(
                f"decode of data set {self.name!r} must be a function without a closure, "
                f"since the cache goes by its source; got {self.decode!r}"
            )
        sizes = self.num_categories
        if isinstance(sizes, tuple) and len(sizes) != prod(self.event_shape):
            raise ValueError(
                f"num_categories of data set {self.name!r} must be one number or one for each of the "
                f"{prod(self.event_shape)} sites, got {len(sizes)}"
            )


@dataclass(frozen=True, kw_only=True)
class TensorData:
    """All examples of one split of a data set, in memory.

    Attributes:
        decoded: Events, shape (N, *E), or what `spec.view` makes events of, as counts of words.
        context: What events are conditioned on, each of shape (N, ...); empty if there is nothing.
        labels: For a context of labels, their names; for words and the like, those of the categories.
        spec: What the data set is.
        split: "train", "validation" or "test".
        fingerprint: SHA-256 of these tensors and names, hexadecimal.
    """

    decoded: Tensor = field(repr=False)
    context: dict[str, Tensor] = field(repr=False)
    labels: dict[str, tuple[str, ...]]
    spec: DatasetSpec
    split: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.decoded)

    @property
    def x(self) -> Tensor:
        """All events, shape (N, *E).  Categories may be uint8, whose arithmetic wraps around: `batch` has int64.

        Raises:
            ValueError: Events are random views of what is decoded.
        """
        if self.spec.view is not None:
            raise ValueError(
                f"data set {self.spec.name!r} is seen through a random view: take events by batch(indices, generator)"
            )
        return self.decoded

    def batch(
        self, indices: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The events at some indices and their context, as models take them.

        Arguments:
            indices: Which examples, int64, shape (B,).
            generator: Source of the random view, for data sets that have one.

        Returns:
            Events of shape (B, *E), categories as int64, and context of shape (B, ...) or None.
        """
        x = self.decoded[indices]
        if self.spec.view is not None:
            if generator is None:
                raise ValueError(f"data set {self.spec.name!r} is seen through a random view: pass a generator")
            x = self.spec.view(x, generator)
        context = {name: values[indices] for name, values in self.context.items()}
        return x if x.is_floating_point() else x.long(), context or None


def epoch_order(num_examples: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits the examples, the same in every process.

    Arguments:
        num_examples: Number N of examples.
        seed: Seed of the training run.
        epoch: Number of the epoch, from 0.

    Returns:
        A permutation of 0..N-1, int64, shape (N,).
    """
    digest = hashlib.sha256(f"{seed}/{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randperm(num_examples, generator=generator)
