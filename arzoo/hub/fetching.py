"""One file from the Hub into the cache: named by the hash that it must have, and there only if it has it.

The client's own way names a file by whatever the answer calls it, which a Hub that means harm makes a path elsewhere,
and tries again for more than twenty seconds where a Hub is down.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from arzoo.files import replacing
from arzoo.hub.cache import Cache, damage, is_digest
from arzoo.hub.client import explained, in_time, library

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LARGEST = 2**24
"""Bytes of a file other than the weights, whose size config.json tells."""

_PAUSES = (1.0, 2.0, 4.0)  # seconds before each further attempt; less than the client's bound together
_PASSING = (408, 429, 500, 502, 503, 504)  # the Hub may think better of it


def fetch_file(
    api: HfApi, repo_id: str, commit: str, name: str, cache: Cache, expected: str, largest: int = LARGEST
) -> Path:
    """One file of a commit in the cache, verified; what comes damaged is fetched a second time.

    Bytes that come slowly come, but a Hub that sends none for HF_HUB_DOWNLOAD_TIMEOUT seconds, 10 if it is not set,
    is given up: at once if it says nothing, after four attempts if it breaks off, refuses or says that it is busy.
    What has come of a file by then is not fetched again by the next attempt.

    Arguments:
        expected: The sha256 or git's sha1 of the file.  If the cache has it, nothing is asked.
        largest: Bytes that it may have.

    Raises:
        ValueError: It is damaged on the Hub or comes damaged, or is too large.
        ConnectionError: The Hub does not give it, or does not say what it must be.

    Whatever else is raised: see `explained`.
    """
    if not is_digest(expected):
        raise ConnectionError(f"{api.endpoint} names no hash of {name} of {repo_id}; check HF_ENDPOINT")
    file, blob = cache.snapshot(commit) / name, cache.blob(expected)
    if file.is_file() and not damage(file, expected):
        return file
    if not blob.is_file() or damage(blob, expected):
        with replacing(blob) as path:
            for _ in range(2):
                with open(path, "wb") as stream, explained(api, repo_id, commit):
                    _download(api, repo_id, commit, name, stream, largest)
                fault = damage(path, expected)
                if not fault:
                    break
            else:
                raise ValueError(
                    f"{name} of {repo_id} at {commit} comes damaged: {fault}; try again, or tell its owner"
                )
    cache.link(commit, name, expected)
    return file


def _download(api: HfApi, repo_id: str, commit: str, name: str, stream: BinaryIO, largest: int) -> None:
    """Writes what the Hub has of a file; a connection that breaks is made again, for what is still to come."""
    from huggingface_hub import constants
    from huggingface_hub.utils import tqdm

    url = f"{api.endpoint}/{repo_id}/resolve/{commit}/{name}"
    furthest, heard, pauses = 0, time.monotonic(), iter(_PAUSES)
    with tqdm(unit="B", unit_scale=True, desc=name, disable=None) as bar:  # type: ignore[no-untyped-call]
        while True:
            patience = constants.HF_HUB_DOWNLOAD_TIMEOUT + heard - time.monotonic()
            try:
                with _answer(api, url, commit, stream.tell(), max(patience, 0.1)) as response:
                    if response.status_code != 206:  # it begins at the beginning
                        stream.seek(0)
                        stream.truncate()
                    for chunk in response.iter_bytes():
                        stream.write(chunk)
                        if stream.tell() > largest:
                            raise ValueError(f"{name} has more than the {largest} bytes that it may have")
                        if stream.tell() > furthest:
                            furthest, heard, pauses = stream.tell(), time.monotonic(), iter(_PAUSES)
                        bar.update(stream.tell() - bar.n)
                return
            except Exception as error:
                pause = next(pauses, None)
                if pause is None or not _may_pass(error):
                    raise
                if time.monotonic() - heard + pause >= constants.HF_HUB_DOWNLOAD_TIMEOUT:
                    raise
            time.sleep(pause)


@contextmanager
def _answer(api: HfApi, url: str, commit: str, start: int, seconds: float) -> Iterator[Any]:
    """What the Hub answers when it is asked for a file from a byte on; its body is still to be read."""
    from huggingface_hub.errors import FileMetadataError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = build_hf_headers(token=api.token, **library())
    headers |= {"Accept-Encoding": "identity", "X-HF-Download-Counter": "1"}
    if start:
        headers["Range"] = f"bytes={start}-"
    session = get_session()
    request = session.build_request("GET", url, headers=headers, timeout=seconds)
    response = in_time(seconds, lambda: session.send(request, stream=True), late=lambda response: response.close())
    try:
        hf_raise_for_status(response)
        for each in (*response.history, response):  # a copy on another host need not know of commits
            given = each.headers.get("X-Repo-Commit", commit)
            if given != commit:
                raise FileMetadataError(f"it gives commit {given[:50]!r} for {commit}")
        yield response
    finally:
        response.close()


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may go better."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
    return isinstance(error, TimeoutError | httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError)
