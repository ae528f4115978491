"""What is on the Hub, beside what is to be pushed there."""

from __future__ import annotations

import difflib
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from arzoo.hub.cache import Cache
from arzoo.hub.explaining import explained
from arzoo.hub.fetching import fetch_file
from arzoo.hub.repository import FILES, HubFile, snapshot

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """One file of a checkpoint and what a push does to it.

    Attributes:
        name: Of the file.
        size: In bytes, of what is pushed; of what is on the Hub if it is removed.
        change: Against what is on the Hub.
    """

    name: str
    size: int
    change: Literal["new", "changed", "same", "removed"]


@dataclass(frozen=True)
class Remote:
    """What the Hub has: the head of the branch, or that of main, where it would begin; None without a repository."""

    head: str | None
    files: Mapping[str, HubFile]
    has_branch: bool = False


def look(api: HfApi, repo_id: str, revision: str) -> Remote:
    """The state that a push starts from, in one request, or two for a branch that is not there."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    found, has_branch = None, True
    with explained(api, repo_id, revision):
        try:
            found = snapshot(api, repo_id, revision)
        except RevisionNotFoundError:
            if revision == "main":
                raise
            found, has_branch = snapshot(api, repo_id, "main"), False
        except RepositoryNotFoundError as error:
            if error.response.status_code != 404:  # it may be there, but not for this token
                raise
    return Remote(None, {}) if found is None else Remote(found.commit, found.files, has_branch)


def changes(contents: Mapping[str, bytes], there: Mapping[str, HubFile]) -> list[FileChange]:
    """What becomes of each file of a checkpoint."""
    found = []
    for name in FILES:
        if name not in contents and name in there:
            found.append(FileChange(name=name, size=there[name].size or 0, change="removed"))
        elif name in contents:
            same = name in there and is_same(there[name], contents[name])
            change: Literal["new", "changed", "same"] = "same" if same else "changed" if name in there else "new"
            found.append(FileChange(name=name, size=len(contents[name]), change=change))
    return found


def is_same(there: HubFile, data: bytes) -> bool:
    """Whether the Hub has these bytes, by the hash that it gives."""
    if there.sha256:
        return there.sha256 == hashlib.sha256(data).hexdigest()
    return there.git_hash == hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def fetch(api: HfApi, repo_id: str, remote: Remote, name: str) -> bytes:
    """What the Hub has of a file, verified."""
    assert remote.head is not None
    with tempfile.TemporaryDirectory() as root:
        expected = remote.files[name].digest
        return fetch_file(api, repo_id, remote.head, name, Cache(repo_id, root), expected).read_bytes()


def card_diff(api: HfApi, repo_id: str, card: bytes, remote: Remote) -> str:
    """What changes in the card, as a unified diff; empty if nothing does."""
    there = b""
    if CARD in remote.files:
        if is_same(remote.files[CARD], card):
            return ""
        there = fetch(api, repo_id, remote, CARD)
    before, after = (text.decode("utf-8", "replace").splitlines() for text in (there, card))
    return "\n".join(difflib.unified_diff(before, after, CARD, CARD, "on the Hub", "pushed", lineterm=""))
