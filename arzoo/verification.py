"""Whether what a checkpoint says of itself is so: the number on its card against one that was measured again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arzoo.checkpoints import describe_checkpoint

if TYPE_CHECKING:
    from arzoo.metrics import Evaluation

RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""How far two measurements of the same weights may lie apart: machines round differently."""
STANDARD_ERRORS = 4
"""How far one on a part of the examples may lie from that on all: so many of its own."""
LARGEST_SHARE = 0.25
"""And no further than this share of the card's value, for a model can make its likelihoods vary without end."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    Attributes:
        agrees: Whether what was measured is what the card says.
        text: That, in a sentence.
    """

    agrees: bool
    text: str


def check_verifiable(name: str, folder: Path) -> None:
    """Refuses a checkpoint that does not say what to measure, or what came of it.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Nothing was measured on these weights, or a file is not valid.
    """
    missing = [file for file in ("recipe.toml", "metrics.json") if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(f"{name} cannot be verified: it has no {' and no '.join(missing)}")
    info = describe_checkpoint(folder)
    if info.error:
        raise ValueError(info.error)
    if not info.metrics:
        raise ValueError(
            f"{name} cannot be verified: in metrics.json, nothing was measured on these weights;"
            " measure your own: arzoo eval ./FOLDER --record"
        )


def verdict(measured: Evaluation, card: Evaluation, stated: float | None, num_examples: int | None) -> Verdict:
    """Compares what was measured now with what the checkpoint says.

    Arguments:
        measured: On `num_examples` examples of the test split; on all if None.
        card: "test" in metrics.json.
        stated: The value in the front matter of README.md; None if it states none.
    """
    differences = [
        f"the {name} is {ours!r}, on the card {theirs!r}"
        for name in ("dataset", "split", "unit", "likelihood")
        if (ours := getattr(measured, name)) != (theirs := getattr(card, name))
    ]
    if stated is not None and not _close(stated, card.value):
        differences.append(f"README.md says {stated:.8g}, metrics.json {card.value:.8g}")
    count, whole = measured.num_examples, card.num_examples
    if count == num_examples and count < whole:
        # The standard error on the card counts for nothing here: it is a claim as the value is.
        most = LARGEST_SHARE * max(abs(card.value), 1.0)
        allowed = min(STANDARD_ERRORS * measured.standard_error, most) + _rounding(card.value)
        if not abs(measured.value - card.value) <= allowed:
            differences.append(
                f"{count:,} examples give {measured.value:.8g}, the card says {card.value:.8g} of {whole:,}:"
                f" more than {allowed:.2g} apart, which {STANDARD_ERRORS} standard errors of these allow"
            )
        agreement = (
            f"agrees as far as {count:,} of {whole:,} examples can tell: within {allowed:.2g}, which"
            f" {STANDARD_ERRORS} standard errors of these allow"
        )
    else:
        differences += [
            f"the {name.replace('_', ' ')} is {ours:.8g}, on the card {theirs:.8g}"
            for name in ("value", "standard_error")
            if not _close(ours := getattr(measured, name), theirs := getattr(card, name))
        ]
        if count != whole:
            differences.append(f"the split has {count:,} examples, on the card {whole:,}")
        agreement = f"agrees: all {count:,} examples give the number on the card"
    if differences:
        return Verdict(agrees=False, text=f"disagrees: {'; '.join(differences)}")
    return Verdict(agrees=True, text=agreement)


def _close(measured: float, stated: float) -> bool:
    return abs(measured - stated) <= _rounding(stated)


def _rounding(value: float) -> float:
    return RELATIVE * abs(value) + ABSOLUTE
