"""The one way to the Hub: a client whose errors say what to do.

Nothing of it is imported before the first call: what is installed or in the cache needs no client.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from arzoo.registry import did_you_mean, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ANSWER_TIMEOUT = 2.5
"""Seconds that the Hub has to answer the first question, before what the cache holds is used."""
_TIMEOUT = 60.0  # seconds without a byte, after which anything is given up; the client alone would wait for ever

_NAME = r"\w(?:[\w.-]*\w)?"


def connect(token: str | bool | None = None) -> HfApi:
    """A client of the Hub that HF_ENDPOINT names now, whatever it was when the client's library was imported."""
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return HfApi(endpoint=endpoint, token=token, **library())


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
    from huggingface_hub.utils import get_session

    session = get_session()
    before, session.timeout = session.timeout, _TIMEOUT
    try:
        yield
    except Exception as error:
        explanation = _explain(_cause(error), api, repo_id, revision)
        if explanation is error:
            raise
        raise explanation from error
    finally:
        session.timeout = before


def _cause(error: BaseException) -> BaseException:
    """The error that made the client give up, where it raises another one that says less."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    gave_up = isinstance(error, LocalEntryNotFoundError) or str(error).startswith("Force download failed")
    return error.__cause__ if gave_up and error.__cause__ is not None else error


def _explain(error: BaseException, api: HfApi, repo_id: str, revision: str | None) -> BaseException:
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    hub, text = api.endpoint, one_line(error)
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_refusal(error, api, repo_id, revision)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ConnectionError(f"HF_HUB_OFFLINE is set; unset it to reach {hub}")
    if isinstance(error, errors.HFValidationError):
        return ValueError(text)
    if isinstance(error, httpx.TimeoutException):
        return ConnectionError(f"{hub} does not answer; try {repo_id} again later")
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return ValueError(f"{hub!r} is no address of a Hub; check HF_ENDPOINT")
    if isinstance(error, httpx.HTTPError):
        return ConnectionError(f"{hub} cannot be reached for {repo_id} ({text}); check the network and HF_ENDPOINT")
    no_reply = errors.LocalEntryNotFoundError | errors.FileMetadataError | json.JSONDecodeError
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
    try:
        refs = api.list_repo_refs(repo_id)
    except Exception:  # the hint is not worth an error of its own
        return f"its revisions are listed at {api.endpoint}/{repo_id}"
    known = [ref.name for ref in (*refs.branches, *refs.tags)]
    return did_you_mean(str(revision), known).replace("installed are", "it has")


def moved(api: HfApi, repo_id: str, revision: str | None) -> str:
    """What to say to one whose branch went on: who pushed, if the Hub tells."""
    from huggingface_hub.utils import get_session

    session = get_session()
    before, session.timeout = session.timeout, ANSWER_TIMEOUT
    try:
        last = api.list_repo_commits(repo_id, revision=revision)[0]
        whose = f"{' and '.join(last.authors) or 'somebody'} pushed {last.title!r} to {repo_id}"
    except Exception:  # the name is not worth an error of its own
        whose = f"somebody else pushed to {repo_id}"
    finally:
        session.timeout = before
    return f"{whose} meanwhile, so nothing was pushed; look at it, and push again"
