"""What the commands share: how they print, show progress, and refuse what cannot be written."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def error_message(error: Exception) -> str:
    """What an exception of the library says, on one line."""
    from arzoo.wording import one_line

    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return plain(one_line(f"{error.filename}: {error.strerror}"))
    return plain(one_line(error))


def plain(text: str) -> str:
    """The text without what could make a terminal do something: others may have written it."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text)


def check_output(path: Path, *suffixes: str) -> None:
    """Refuses a file that could not be written, before any work is done.

    Arguments:
        path: What is to be written.
        suffixes: What its name may end in.

    Raises:
        ValueError: The name ends otherwise.
        OSError: The folder is missing or read-only.
    """
    if path.suffix not in suffixes:
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; -o must name a file")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(error.errno, f"no file can be written there ({error.strerror})", str(path.parent)) from None


def console(stderr: bool = False) -> Console:
    """Plain text: no markup, no colours of its own, and no line breaks where there is no terminal."""
    from rich.console import Console

    result = Console(stderr=stderr, highlight=False, markup=False)
    if not result.is_terminal:
        result.width = 500
    return result


@contextmanager
def progress(what: str, total: float) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, nothing elsewhere; gives a function that takes `completed` or `advance`."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bars:
        yield partial(bars.update, bars.add_task(what, total=total))


def show(text: RenderableType) -> None:
    """Prints a text or a table."""
    console().print(text)


def show_json(value: object) -> None:
    """Prints JSON; what JSON lacks, as text."""
    print(json.dumps(value, indent=2, default=str))
