"""The client of the Hub, the names that it is given, and how long it may take.

Nothing of it is imported before the first call: what is installed or in the cache needs no client.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Result = TypeVar("Result")

ANSWER_TIMEOUT = 2.5
"""Seconds that the Hub has to answer the first question, before what the cache holds is used."""

_NAME = r"\w(?:[\w.-]*\w)?"


class OddAnswer(Exception):
    """Something answered, but not as a Hub does."""


def connect(token: str | bool | None = None) -> HfApi:
    """A client of the Hub that HF_ENDPOINT names now, whatever it was when the client's library was imported."""
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return HfApi(endpoint=endpoint, token=token.strip() if isinstance(token, str) else token, **library())


def library() -> dict[str, Any]:
    """What requests say of who makes them."""
    return {"library_name": "arzoo", "library_version": version("arzoo")}


def check_repository(repo_id: str) -> None:
    """Refuses what is no "ORG/NAME".

    Raises:
        ValueError: It is none.
    """
    is_name = re.fullmatch(f"{_NAME}/{_NAME}", repo_id, re.ASCII) and len(repo_id) <= 96
    if not is_name or "--" in repo_id or ".." in repo_id or repo_id.endswith(".git"):
        raise ValueError(f"{repo_id!r} is no repository of the Hub; write ORGANISATION/NAME, without the address")


def check_revision(revision: str) -> None:
    """Refuses what git takes for no branch, tag or commit, for it becomes the name of a file.

    Raises:
        ValueError: It is none.
    """
    character = r"[^\s~^:?*\[\\\x00-\x1f\x7f-\x9f]"
    if not re.fullmatch(f"(?![/.-]){character}{{1,200}}", revision) or ".." in revision:
        raise ValueError(f"{revision[:200]!r} is no branch, tag or commit")


def is_commit(revision: object) -> bool:
    return isinstance(revision, str) and re.fullmatch("[0-9a-f]{40}", revision) is not None


def in_time(seconds: float, call: Callable[[], Result], late: Callable[[Result], object] | None = None) -> Result:
    """What a call returns or raises, if it does so in time.

    A client's own timeouts are for each address of a host and for each byte, and the look-up of a name has none.  So
    the call is made in a thread, which is left to itself when the time is over; its own timeouts end it.

    Arguments:
        late: Given what the call returned, if that came too late.

    Raises:
        TimeoutError: The time is over.
        Exception: Whatever the call raises.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # goes to the one who waits
            future.set_exception(error)

    threading.Thread(target=run, name="arzoo-hub", daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError:
        if late is not None:
            future.add_done_callback(lambda done: done.exception() or late(done.result()))
        raise
