"""What is on the Hub, beside what is to be pushed there."""

from __future__ import annotations

import difflib
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from arzoo.hub.cache import Cache
from arzoo.hub.client import ask, explained
from arzoo.hub.fetching import fetch_file
from arzoo.hub.pulling import FILES, files_of, hash_of, head_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling

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
    files: Mapping[str, RepoSibling]
    has_branch: bool = False


def look(api: HfApi, repo_id: str, revision: str) -> Remote:
    """The state that a push starts from, in one request, or two for a branch that is not there."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    info, has_branch = None, True
    with explained(api, repo_id, revision):
        try:
            info = ask(api, repo_id, revision)
        except RevisionNotFoundError:
            if revision == "main":
                raise
            info, has_branch = ask(api, repo_id, "main"), False
        except RepositoryNotFoundError as error:
            if error.response.status_code != 404:  # it may be there, but not for this token
                raise
    return Remote(None, {}) if info is None else Remote(head_of(info, api), files_of(info), has_branch)


def changes(contents: Mapping[str, bytes], there: Mapping[str, RepoSibling]) -> list[FileChange]:
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


def is_same(there: RepoSibling, data: bytes) -> bool:
    """Whether the Hub has these bytes, by the hash that it gives."""
    if there.lfs:
        return there.lfs.sha256 == hashlib.sha256(data).hexdigest()
    return there.blob_id == hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def fetch(api: HfApi, repo_id: str, remote: Remote, name: str) -> bytes:
    """What the Hub has of a file, verified."""
    assert remote.head is not None
    with tempfile.TemporaryDirectory() as root:
        expected = hash_of(remote.files[name])
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
