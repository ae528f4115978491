"""What the Hub and its client raise, as built-in exceptions that say what to do."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from arzoo.hub import repository
from arzoo.hub.client import OddAnswer
from arzoo.wording import did_you_mean, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TIMEOUT = 60.0  # seconds without a byte, after which what has no limit of its own is given up


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

    hub, text = api.endpoint, printable(str(error))
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_refusal(error, api, repo_id, revision)
    if isinstance(error, PermissionError) and error.errno is None:
        return error
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
    no_reply = OddAnswer | errors.FileMetadataError | json.JSONDecodeError
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
    reason = printable(error.server_message or f"status {status}")
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
        seen = "the token may not see it" if has_token else "it is private and needs a token: hf auth login"
        return LookupError(f"there is no repository {repo_id} on {hub}, or {seen}; check the name")
    if isinstance(error, errors.EntryNotFoundError):
        return FileNotFoundError(f"a file of {repo_id} at {revision} is missing on {hub} ({reason})")
    if status == 403:
        instead = "" if reads else ", or propose it in a pull request: --pr, create_pr=True"
        return PermissionError(f"{hub} forbids that for {repo_id} ({reason}); take a token with the right{instead}")
    if status == 409:
        return FileExistsError(f"{repo_id}: it is there already ({reason}); choose another name")
    if status == 412:
        return ValueError(moved(api, repo_id, revision))
    if status == 429:
        return ConnectionError(f"{hub} has had too many requests; try {repo_id} again in some minutes")
    if status >= 500:
        return ConnectionError(f"{hub} is out of order for {repo_id} ({reason}); try again later")
    return ValueError(f"{hub} refuses the request for {repo_id}: {reason}")


def printable(text: str) -> str:
    """What somebody else says, as part of a message."""
    return "".join(sign if sign.isprintable() else "?" for sign in one_line(text)[:300])


def _near_revision(api: HfApi, repo_id: str, revision: str | None) -> str:
    """The end of a message about an unknown revision."""
    if re.fullmatch("[0-9a-f]{7,39}", str(revision)):
        return "a commit is named by all of its 40 digits"
    try:
        known = repository.references(api, repo_id)
    except Exception:  # the hint is not worth an error of its own
        return f"its revisions are listed at {api.endpoint}/{repo_id}"
    return did_you_mean(str(revision), [*known.branches, *known.tags], "it has")


def moved(api: HfApi, repo_id: str, revision: str | None) -> str:
    """What to say to one whose branch went on between two requests."""
    return f"{last_push(api, repo_id, revision)} meanwhile, so nothing was pushed; look at it, and push again"


def last_push(api: HfApi, repo_id: str, revision: str | None) -> str:
    """Who pushed what last, if the Hub tells."""
    try:
        last = repository.log(api, repo_id, revision or "main")[0]
        return f"{printable(' and '.join(last.authors) or 'somebody')} pushed {last.title[:100]!r} to {repo_id}"
    except Exception:  # the name is not worth an error of its own
        return f"somebody else pushed to {repo_id}"
