"""One file from the Hub into the cache: named by the hash that it must have, and there only if it has it.

The client's own way names a file by whatever the answer calls it, which a Hub that means harm makes a path elsewhere,
and tries again for more than twenty seconds where a Hub is down.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from arzoo.files import settle
from arzoo.hub.asking import opened
from arzoo.hub.cache import Cache, damage, is_digest
from arzoo.hub.client import OddAnswer
from arzoo.hub.explaining import explained

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LARGEST = 2**24
"""Bytes of a file other than the weights, whose size config.json tells."""

_PAUSES = (1.0, 2.0, 4.0)  # seconds before each further attempt; less than the client's bound together
_PASSING = (408, 429, 500, 502, 503, 504)  # the Hub may think better of it
_NOTHING_MORE = 416


def fetch_file(
    api: HfApi, repo_id: str, commit: str, name: str, cache: Cache, expected: str, largest: int = LARGEST
) -> Path:
    """One file of a commit in the cache, verified; what comes damaged is fetched a second time.

    Bytes that come slowly come, but a Hub that sends none for HF_HUB_DOWNLOAD_TIMEOUT seconds, 10 if it is not set,
    is given up: at once if it says nothing, after four attempts if it breaks off, refuses or says that it is busy.
    What has come of a file by then is not fetched again, by the next attempt or by another process.

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
    file = cache.snapshot(commit) / name
    if file.is_file() and not damage(file, expected):
        return file
    if not _is_whole(cache, expected):
        with cache.lock(expected):
            if not _is_whole(cache, expected):  # nobody fetched it meanwhile
                _fetch_blob(api, repo_id, commit, name, cache, expected, largest)
    cache.link(commit, name, expected)
    return file


def _is_whole(cache: Cache, digest: str) -> bool:
    blob = cache.blob(digest)
    return blob.is_file() and not damage(blob, digest)


def _fetch_blob(api: HfApi, repo_id: str, commit: str, name: str, cache: Cache, expected: str, largest: int) -> None:
    """Goes on with what an earlier download left of the file, or begins."""
    part = cache.part(expected)
    for _ in range(2):
        part.touch()
        with open(part, "r+b") as stream, explained(api, repo_id, commit):
            stream.seek(0, os.SEEK_END)
            _download(api, repo_id, commit, name, stream, largest)
        fault = damage(part, expected)
        if not fault:
            return settle(part, cache.blob(expected))
        part.unlink()
    raise ValueError(f"{name} of {repo_id} at {commit} comes damaged: {fault}; try again, or tell its owner")


def _download(api: HfApi, repo_id: str, commit: str, name: str, stream: BinaryIO, largest: int) -> None:
    """Writes what the Hub has of a file after what is there; a connection that breaks is made again."""
    from huggingface_hub import constants
    from huggingface_hub.utils import tqdm

    url = f"{api.endpoint}/{repo_id}/resolve/{commit}/{name}"
    furthest, heard, pauses = stream.tell(), time.monotonic(), iter(_PAUSES)
    with tqdm(unit="B", unit_scale=True, desc=name, initial=furthest, disable=None) as bar:  # type: ignore[no-untyped-call]
        while True:
            patience = constants.HF_HUB_DOWNLOAD_TIMEOUT + heard - time.monotonic()
            try:
                for size in _write(api, url, commit, stream, max(patience, 0.1)):
                    if size > largest:
                        stream.truncate(0)
                        raise ValueError(f"{name} has more than the {largest} bytes that it may have")
                    if size > furthest:
                        furthest, heard, pauses = size, time.monotonic(), iter(_PAUSES)
                    bar.update(size - bar.n)
                return
            except Exception as error:
                if stream.tell() and _status(error) == _NOTHING_MORE:
                    return  # it is all there, or its hash will say that it is not
                pause = next(pauses, None)
                if pause is None or not _may_pass(error):
                    raise
                if time.monotonic() - heard + pause >= constants.HF_HUB_DOWNLOAD_TIMEOUT:
                    raise
            time.sleep(pause)


def _write(api: HfApi, url: str, commit: str, stream: BinaryIO, seconds: float) -> Iterator[int]:
    """Writes what follows what is there, and says after each part how many bytes there are."""
    with opened(api, url, seconds, stream.tell()) as response:
        given = response.headers.get("X-Repo-Commit", commit)  # a copy on another host need not know of commits
        if given != commit:
            raise OddAnswer(f"it gives commit {given[:50]!r} for {commit}")
        if response.status_code != 206:  # it begins at the beginning
            stream.seek(0)
            stream.truncate()
        for chunk in response.iter_raw():
            stream.write(chunk)
            yield stream.tell()


def _status(error: Exception) -> int | None:
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may go better."""
    from huggingface_hub.utils import httpx

    passing = TimeoutError | httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError
    return _status(error) in _PASSING or isinstance(error, passing)
