"""What the Hub tells of a repository: the files of a checkpoint, its branches and tags, who pushed what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from arzoo.checkpoints import CONFIG, WEIGHTS
from arzoo.hub.asking import ask, dict_in, list_in, text_in
from arzoo.hub.client import OddAnswer, is_commit

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FILES = (CONFIG, WEIGHTS, "README.md", "recipe.toml", "metrics.json", "samples.png", "curve.png")
"""What a checkpoint may hold on the Hub; no other file is ever asked for or pushed."""


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file as the Hub lists it.

    Attributes:
        size: In bytes; None if the Hub does not say.
        git_hash: Git's sha1 of it, or of what stands for it in git if it is large; "" if the Hub does not say.
        sha256: Of a large file; "" for others.
    """

    size: int | None
    git_hash: str
    sha256: str

    @property
    def digest(self) -> str:
        """What its bytes must have: the sha256 or git's sha1."""
        return self.sha256 or self.git_hash


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A commit and the files of a checkpoint in it, by name; whatever else the repository has is left out."""

    commit: str
    files: Mapping[str, HubFile]


@dataclass(frozen=True, kw_only=True)
class Commit:
    id: str
    title: str
    authors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class References:
    """The commits that branches and tags stand for."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]


def snapshot(api: HfApi, repo_id: str, revision: str) -> Snapshot:
    """What a branch, a tag or a commit stands for now; what is raised: see `arzoo.hub.asking.ask`."""
    told = dict_in(ask(api, f"/api/models/{repo_id}/revision/{quote(revision, safe='')}", {"blobs": "true"}))
    commit = told.get("sha")
    if not is_commit(commit):
        raise OddAnswer(f"it names no commit of {repo_id}")
    entries = [dict_in(entry) for entry in list_in(told.get("siblings"))]
    files = {entry["rfilename"]: _file(entry) for entry in entries if entry.get("rfilename") in FILES}
    return Snapshot(commit=str(commit), files=files)


def _file(entry: dict[str, Any]) -> HubFile:
    size, stored = entry.get("size"), dict_in(entry.get("lfs"))
    return HubFile(
        size=size if type(size) is int else None,
        git_hash=text_in(entry.get("blobId")),
        sha256=text_in(stored.get("sha256")),
    )


def references(api: HfApi, repo_id: str) -> References:
    told = dict_in(ask(api, f"/api/models/{repo_id}/refs"))

    def named(kind: str) -> dict[str, str]:
        entries = [dict_in(entry) for entry in list_in(told.get(kind))]
        return {text_in(entry.get("name")): text_in(entry.get("targetCommit")) for entry in entries}

    return References(branches=named("branches"), tags=named("tags"))


def log(api: HfApi, repo_id: str, revision: str) -> list[Commit]:
    """The latest commits, the newest first."""
    found = []
    for entry in map(dict_in, list_in(ask(api, f"/api/models/{repo_id}/commits/{quote(revision, safe='')}"))):
        authors = [text_in(dict_in(author).get("user")) for author in list_in(entry.get("authors"))]
        found.append(
            Commit(
                id=text_in(entry.get("id")),
                title=text_in(entry.get("title")),
                authors=tuple(author for author in authors if author),
            )
        )
    return found
