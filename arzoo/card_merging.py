"""How a text that people edit holds sections that are written anew.

A section stands between two comments, which nobody sees on the Hub:

    <!-- arzoo:begin NAME HASH -->
    ## Heading

    Text.
    <!-- arzoo:end NAME -->

HASH is the beginning of the sha256 of what stands between them as it was generated.  It tells a text that
somebody edited, which is theirs, from one that may be replaced.  Everything outside is theirs too, and so are
the order of the sections, their headings and the ends of the lines.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

_MARKER = re.compile(r"<!--\s*arzoo:(begin|end)\s+([a-z]+)(?:\s+([0-9a-f]{12}))?\s*-->")
_MENTION = re.compile(r"arzoo:(?:begin|end)", re.IGNORECASE)


class _Part(NamedTuple):
    """A piece of the text; that of a section stands without its markers."""

    text: str
    name: str | None = None
    digest: str = ""
    line: int = 0


def merge(text: str, sections: Mapping[str, str], start: int = 0) -> str:
    """The text with these sections instead of those that it has.

    A section stays where it stands; one that is missing comes behind its predecessor, or first of all; one that
    is in the text alone is taken out.

    Arguments:
        text: What people made of an earlier result; may be empty.
        sections: The sections by name, in their order; each begins with its heading.
        start: Index of the first character that is looked at.

    Raises:
        ValueError: A section was edited, or a marker is broken; names the line.
    """
    newline = line_end(text)
    sections = {name: _plain(section) for name, section in sections.items()}
    parts: list[_Part] = []
    for part in _split(text, start):
        if part.name is None:
            parts.append(part)
            continue
        heading = _heading(part, sections.get(part.name, ""))
        if heading is None:
            raise ValueError(
                f"line {part.line}: the section {part.name!r} was edited by hand; move your text outside of its"
                " markers, or delete the section to have it written anew"
            )
        if part.name in sections:
            block = _marked(part.name, sections[part.name], heading, part.text, newline)
            parts.append(_Part(block, part.name))
        else:  # with the blank line before it
            parts[-1] = _Part(re.sub(r"(\r?\n){1,2}\Z", "", parts[-1].text), parts[-1].name)
    predecessor = None
    for name, section in sections.items():
        names = [part.name for part in parts]
        if name not in names:
            new = _Part(_marked(name, section, "", "", newline), name)
            if predecessor is None:
                parts[:0] = [_Part(newline), new, _Part(newline)]
            else:
                place = names.index(predecessor) + 1
                parts[place:place] = [_Part(newline * 2), new]
        predecessor = name
    return text[:start] + "".join(part.text for part in parts)


def line_end(text: str) -> str:
    """How most lines of a text end."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def _split(text: str, start: int) -> list[_Part]:
    """The text's parts in their order; before and behind every section stands one that is none."""
    markers = list(_MARKER.finditer(text, start))
    for mention in _MENTION.finditer(text, start):
        if not any(marker.start() < mention.start() < marker.end() for marker in markers):
            raise _broken(text, mention.start(), "a marker is damaged")
    parts: list[_Part] = []
    begun: re.Match[str] | None = None
    for marker in markers:
        kind, name, digest = marker.groups()
        if (kind == "begin") != (digest is not None):
            raise _broken(text, marker.start(), "a marker is damaged")
        if kind == "begin":
            if begun is not None:
                raise _broken(text, begun.start(), f"the section {begun[2]!r} has no end")
            if any(part.name == name for part in parts):
                raise _broken(text, marker.start(), f"the section {name!r} stands there twice")
            parts.append(_Part(text[start : marker.start()]))
            begun = marker
        else:
            if begun is None or begun[2] != name:
                raise _broken(text, marker.start(), f"the end of the section {name!r} has no beginning")
            line = _line(text, begun.start())
            parts.append(_Part(text[begun.end() : marker.start()], name, begun[3], line))
            begun = None
        start = marker.end()
    if begun is not None:
        raise _broken(text, begun.start(), f"the section {begun[2]!r} has no end")
    return [*parts, _Part(text[start:])]


def _broken(text: str, position: int, what: str) -> ValueError:
    return ValueError(
        f"line {_line(text, position)}: {what}; a section stands between <!-- arzoo:begin NAME HASH --> and"
        " <!-- arzoo:end NAME -->: mend or delete these, and keep your own text outside"
    )


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _plain(text: str) -> str:
    """Without what editors do to the ends of lines and of texts."""
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def _digest(section: str) -> str:
    return hashlib.sha256(section.encode()).hexdigest()[:12]


def _heading(part: _Part, section: str) -> str | None:
    """The heading that people gave a section, "" if none; None if they edited more than that.

    Arguments:
        part: What stands there, with the hash of what was written there.
        section: What is to be there, "" if nothing.
    """
    found = _plain(part.text)
    if found in ("", section) or _digest(found) == part.digest:
        return ""
    heading, _, rest = found.partition("\n")
    own = section.partition("\n")[0] + f"\n{rest}"
    return heading if heading.startswith("#") and (own == section or _digest(own) == part.digest) else None


def _marked(name: str, section: str, heading: str, found: str, newline: str) -> str:
    """A section between its markers, under the heading that people gave it; untouched if it says the same."""
    own, _, rest = section.partition("\n")
    text = f"{heading or own}\n{rest}"
    if _plain(found) != text:
        found = f"\n{text}\n".replace("\n", newline)
    return f"<!-- arzoo:begin {name} {_digest(section)} -->{found}<!-- arzoo:end {name} -->"
