"""Classes that events are conditioned on, integers (B,) from 0 or -1 for no class; and what numbers are called."""

import difflib
import json
from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def check_labels(name: str, labels: Tensor, num_classes: int) -> Tensor:
    """The labels as int64.

    Arguments:
        name: What the context calls them.
        labels: Shape (B,).

    Raises:
        ValueError: They are no integers of this shape, or out of range.
    """
    if labels.dim() != 1 or labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"context {name} must be integers of shape (B,), got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    labels = labels.long()
    wrong = labels[(labels < -1) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(f"context {name} must be 0 to {num_classes - 1}, or -1 for none, got {int(wrong[0])}")
    return labels


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Checked labels as ones and zeros, shape (B, num_classes); zeros alone for no class."""
    return F.one_hot(labels + 1, num_classes + 1)[:, 1:]


Labels = Mapping[str, tuple[str, ...]]
"""What numbers from 0 are called: the classes of a context under its name, the categories of a site under another."""

_LARGEST_LABELS = 2**21  # bytes, as config.json has them


def check_label_names(
    labels: Labels, context_names: Collection[str], num_categories: int | tuple[int, ...] | None
) -> None:
    """Refuses labels that do not fit a model: of no use, too many or too few, or twice the same.

    Arguments:
        context_names: What the model is conditioned on.
        num_categories: Of its config.

    Raises:
        ValueError: Says what is wrong with which.
    """
    size = len(json.dumps(labels, indent=2))
    if size > _LARGEST_LABELS:
        raise ValueError(f"labels must take at most {_LARGEST_LABELS} bytes of JSON, got {size}")
    others = [name for name in labels if name not in context_names]
    if len(others) > 1:
        raise ValueError(f"labels {' and '.join(map(repr, others))}: only one of them can be the categories' of a site")
    for name in others:
        if len(labels[name]) != num_categories:
            raise ValueError(f"labels {name!r} must be the {num_categories} categories, got {len(labels[name])}")
    for name, known in labels.items():
        if not known:
            raise ValueError(f"labels {name!r} must be at least one, got none")
        odd = next((label for label in known if label.encode(errors="replace").decode() != label), None)
        if odd is not None:
            raise ValueError(f"labels {name!r} have {odd!r}, which is no text")
        if len(set(known)) < len(known):
            twice = next(label for label in known if known.count(label) > 1)
            raise ValueError(f"labels {name!r} have {twice!r} twice")


def category_labels(labels: Labels, context_names: Collection[str]) -> tuple[str, ...] | None:
    """What the categories of a site are called, as words are; None if nothing says it."""
    return next((known for name, known in labels.items() if name not in context_names), None)


def numbers_of(name: str, wanted: Sequence[str], labels: Labels) -> list[int]:
    """The numbers of what is called so.

    Raises:
        ValueError: The labels of this name are not known, or this is none of them.
    """
    known = labels.get(name)
    if known is None:
        raise ValueError(f"context {name} has no labels in this model; give integers")
    for label in wanted:
        if label not in known:
            close = difflib.get_close_matches(label, known, n=3)
            there = f"{', '.join(map(repr, known[:10]))}{f' and {len(known) - 10} more' if len(known) > 10 else ''}"
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are {there}"
            raise ValueError(f"context {name} cannot be {label!r}; {hint}")
    return [known.index(label) for label in wanted]
