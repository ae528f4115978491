"""What numbers are called: the classes of a context, the categories of a site."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from arzoo.wording import SHOWN, did_you_mean, first_few

if TYPE_CHECKING:
    from arzoo.model import Model

LabelNames = Mapping[str, Sequence[str]]
"""Labels from number 0 on: those of the classes of a context under its name, those of the categories under another."""

_LONGEST = 200  # characters of a label
_MOST = 100_000  # labels of one name
_LARGEST = 2**21  # bytes of all as JSON; half of what config.json may have


def check_label_names(labels: LabelNames) -> None:
    """Refuses labels that could not be shown or told apart.

    Raises:
        ValueError: Says what is wrong with which.
    """
    if not isinstance(labels, Mapping):
        raise ValueError(f"labels must be lists of texts by name, got {type(labels).__name__}")
    for name, known in labels.items():
        if not isinstance(known, list | tuple) or not all(isinstance(label, str) for label in known):
            raise ValueError(f"labels {name[:100]!r} must be a list of texts")
        if not 1 <= len(known) <= _MOST:
            raise ValueError(f"labels {name[:100]!r} must be 1 to {_MOST}, got {len(known)}")
        for text in (name, *known):
            if not (0 < len(text) <= _LONGEST and text.isprintable()):
                raise ValueError(f"labels must be 1 to {_LONGEST} printable characters long, got {text[:100]!r}")
        seen: set[str] = set()
        for label in known:
            if label in seen:
                raise ValueError(f"labels {name!r} have {label!r} twice")
            seen.add(label)
    size = len(json.dumps(labels))
    if size > _LARGEST:
        raise ValueError(f"labels must take at most {_LARGEST} bytes of JSON, got {size}")


def check_labels_fit(labels: LabelNames, model: Model) -> None:
    """Refuses labels that could not be shown or told apart, or are not as many as the numbers that they are for.

    Raises:
        ValueError: Says what is wrong with which.
    """
    check_label_names(labels)
    categories, classes = model.config.num_categories, model.num_classes_by_context
    others = [name for name in labels if name not in model.context_names]
    if len(others) > 1:
        raise ValueError(f"labels {' and '.join(map(repr, others))}: only one of them can be the categories' of a site")
    for name, known in labels.items():
        if name in classes and len(known) != classes[name]:
            raise ValueError(f"labels {name!r} are {len(known)}, but this {model.family} has {classes[name]} classes")
        if name in model.context_names and name not in classes:
            raise ValueError(f"labels {name!r}: the context of this {model.family} has no classes")
        if name in others and not isinstance(categories, int):
            raise ValueError(f"labels {name!r}: the sites of this {model.family} have no categories in common")
        if name in others and len(known) != categories:
            hint = f"; those of its classes are named {', '.join(map(repr, classes))}" if classes else ""
            raise ValueError(
                f"labels {name!r} are {len(known)}, but this {model.family} has {categories} categories{hint}"
            )


def category_name(labels: LabelNames, context_names: Collection[str]) -> str | None:
    """The name of the labels of a model's categories, as "word"; None if nothing says what they are called."""
    return next((name for name in labels if name not in context_names), None)


def numbers_of(name: str, wanted: Sequence[str], labels: LabelNames) -> list[int]:
    """The numbers of the classes that are called so.

    Raises:
        ValueError: The context of this name has no labels, or none like this.
    """
    known = labels.get(name)
    if known is None:
        raise ValueError(f"context {name} has no labels in this model; give integers")
    numbers = {label: number for number, label in enumerate(known)}
    for label in wanted:
        if label not in numbers:
            there = f"there are {first_few(known)}"
            hint = there if len(known) <= SHOWN else did_you_mean(label, known, "there are")
            raise ValueError(f"context {name} cannot be {label!r}; {hint}")
    return [numbers[label] for label in wanted]
