"""The one way to the Hub: a client whose errors say what to do.

Nothing of it is imported before the first call: what is installed or in the cache needs no client.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from arzoo.registry import did_you_mean, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

Result = TypeVar("Result")

ANSWER_TIMEOUT = 2.5
"""Seconds that the Hub has to answer the first question, before what the cache holds is used."""
_TIMEOUT = 60.0  # seconds without a byte, after which what has no limit of its own is given up

_NAME = r"\w(?:[\w.-]*\w)?"


def connect(token: str | bool | None = None) -> HfApi:
    """A client of the Hub that HF_ENDPOINT names now, whatever it was when the client's library was imported."""
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return HfApi(endpoint=endpoint, token=token, **library())


def ask(api: HfApi, repo_id: str, revision: str) -> ModelInfo:
    """What the Hub says of a repository and its files: the first question, answered in `ANSWER_TIMEOUT` seconds.

    Raises:
        TimeoutError: It is not.
        Exception: Whatever the client raises; see `explained`.
    """
    return in_time(
        ANSWER_TIMEOUT,
        lambda: api.model_info(repo_id, revision=revision, files_metadata=True, timeout=ANSWER_TIMEOUT),
    )


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
        raise ValueError(f"{repo_id!r} is no repository of the Hub; write ORGANISATION/NAME")


def check_revision(revision: str) -> None:
    """Refuses what git takes for no branch, tag or commit, for it becomes the name of a file.

    Raises:
        ValueError: It is none.
    """
    character = r"[^\s~^:?*\[\\\x00-\x1f\x7f-\x9f]"
    if not re.fullmatch(f"(?![/.-]){character}+", revision) or ".." in revision:
        raise ValueError(f"{revision!r} is no branch, tag or commit")


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


class _Patience:
    """Gives the client a timeout while it is called, where alone it would wait for ever.

    All threads share the client: the first to come sets the timeout, the last to go puts back what was there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers = 0
        self._session: Any = None
        self._before: Any = None

    def __enter__(self) -> None:
        from huggingface_hub.utils import get_session

        with self._lock:
            if self._callers == 0:
                self._session = get_session()
                self._before, self._session.timeout = self._session.timeout, _TIMEOUT
            self._callers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._callers -= 1
            if self._callers == 0:
                self._session.timeout = self._before


_patience = _Patience()


@contextlib.contextmanager
def explained(api: HfApi, repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turns what the client raises into built-in exceptions that name the repository and say what to do.

    It stands around calls of the client alone: what they raise for an answer that makes no sense may be anything.

    Raises:
        LookupError: There is no such repository or revision.
        PermissionError: The token is none, or may not do this.
        FileNotFoundError: The repository has no such file.
        FileExistsError: What was to be made is there.
        ValueError: A name is not valid, or the Hub refuses what was sent.
        ConnectionError: The Hub is down, or what it sent did not arrive whole.
        OSError: Something is wrong with the disk.
    """
    with _patience:
        try:
            yield
        except Exception as error:
            explanation = _explain(error, api, repo_id, revision)
            if explanation is error:
                raise
            raise explanation from error


def _explain(error: Exception, api: HfApi, repo_id: str, revision: str | None) -> Exception:
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    hub, text = api.endpoint, one_line(error)
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_refusal(error, api, repo_id, revision)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ConnectionError(f"HF_HUB_OFFLINE is set; unset it to reach {hub}")
    if isinstance(error, errors.HFValidationError):
        return ValueError(text)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return ConnectionError(f"{hub} does not answer; try {repo_id} again later")
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return ValueError(f"{hub!r} is no address of a Hub; check HF_ENDPOINT")
    if isinstance(error, httpx.HTTPError):
        return ConnectionError(f"{hub} cannot be reached for {repo_id} ({text}); check the network and HF_ENDPOINT")
    no_reply = errors.FileMetadataError | json.JSONDecodeError
    if isinstance(error, no_reply | LookupError | TypeError | AttributeError | AssertionError):
        return ConnectionError(f"{hub} does not answer for {repo_id} as a Hub does ({text}); check HF_ENDPOINT")
    if isinstance(error, ValueError):
        return ValueError(f"{repo_id}: {text}")
    on_disk = isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError)
    if on_disk or isinstance(error, MemoryError):
        return error
    switch = "; a Hub without Xet needs HF_HUB_DISABLE_XET=1" if "xet" in text.lower() else ""
    return ConnectionError(f"files of {repo_id} did not pass whole ({text}); try again{switch}")


def _explain_refusal(error: Any, api: HfApi, repo_id: str, revision: str | None) -> Exception:
    """What a status of 400 or more means."""
    from huggingface_hub import errors

    hub, status, request = api.endpoint, error.response.status_code, error.response.request
    reason = one_line(error.server_message or f"status {status}")
    if isinstance(error, errors.GatedRepoError):
        return PermissionError(f"{repo_id} is gated: ask for access at {hub}/{repo_id}, then log in: hf auth login")
    if isinstance(error, errors.RevisionNotFoundError):
        return LookupError(f"{repo_id} has no revision {revision!r}; {_near_revision(api, repo_id, revision)}")
    has_token, reads = "authorization" in request.headers, request.method in ("GET", "HEAD")
    unknown = isinstance(error, errors.RepositoryNotFoundError)
    if status == 401 and (has_token or not reads) and not (unknown and reads):
        fault = (
            f"{hub} does not take the token for {repo_id} ({reason})"
            if has_token
            else f"{hub} asks for a token for {repo_id}"
        )
        return PermissionError(f"{fault}; log in: hf auth login, or set HF_TOKEN")
    if unknown or status == 401:
        return LookupError(
            f"there is no repository {repo_id} on {hub}, or it is private and needs a token; check the name, or log"
            " in: hf auth login"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return FileNotFoundError(f"a file of {repo_id} at {revision} is missing on {hub} ({reason})")
    if status == 403:
        return PermissionError(f"{hub} forbids that for {repo_id} ({reason}); does the token have the rights?")
    if status == 409:
        return FileExistsError(f"{repo_id}: it is there already ({reason}); choose another name")
    if status == 412:
        return ValueError(moved(api, repo_id, revision))
    if status == 429:
        return ConnectionError(f"{hub} has had too many requests; try {repo_id} again in some minutes")
    if status >= 500:
        return ConnectionError(f"{hub} is out of order for {repo_id} ({reason}); try again later")
    return ValueError(f"{hub} refuses the request for {repo_id}: {reason}")


def _near_revision(api: HfApi, repo_id: str, revision: str | None) -> str:
    """The end of a message about an unknown revision."""
    if re.fullmatch("[0-9a-f]{7,39}", str(revision)):
        return "a commit is named by all of its 40 digits"
    try:
        refs = in_time(ANSWER_TIMEOUT, lambda: api.list_repo_refs(repo_id))
    except Exception:  # the hint is not worth an error of its own
        return f"its revisions are listed at {api.endpoint}/{repo_id}"
    known = [ref.name for ref in (*refs.branches, *refs.tags)]
    return did_you_mean(str(revision), known).replace("installed are", "it has")


def moved(api: HfApi, repo_id: str, revision: str | None) -> str:
    """What to say to one whose branch went on between two requests."""
    return f"{last_push(api, repo_id, revision)} meanwhile, so nothing was pushed; look at it, and push again"


def last_push(api: HfApi, repo_id: str, revision: str | None) -> str:
    """Who pushed what last, if the Hub tells."""
    try:
        with _patience:
            last = in_time(ANSWER_TIMEOUT, lambda: api.list_repo_commits(repo_id, revision=revision)[0])
        return f"{' and '.join(last.authors) or 'somebody'} pushed {last.title!r} to {repo_id}"
    except Exception:  # the name is not worth an error of its own
        return f"somebody else pushed to {repo_id}"
