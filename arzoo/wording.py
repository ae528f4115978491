"""Parts of messages that several modules have."""

import difflib
from collections.abc import Collection, Sequence

SHOWN = 10  # names of what there is
_SEARCHED = 5000  # names among which one like that of the message is looked for


def did_you_mean(name: str, known: Collection[str], there: str = "installed are") -> str:
    """The end of a message about an unknown name: what was probably meant, else the first of what there is."""
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names[:_SEARCHED], n=3)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"{there} {first_few(names)}" if names else "there is none"


def first_few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def one_line(text: object) -> str:
    """The text with its line breaks turned to spaces."""
    return " ".join(str(text).split())
