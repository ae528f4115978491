"""What the Hub keeps: contents by their sha256, commits with whole trees, and names for commits."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Literal

from hub_server.messages import Refusal
from hub_server.xet import XetStore

GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in (
        "*.arrow",
        "*.bin",
        "*.gz",
        "*.npy",
        "*.npz",
        "*.parquet",
        "*.pkl",
        "*.pt",
        "*.safetensors",
        "*.zip",
    )
).encode()
LARGEST_TEXT = 10_000_000  # bytes

Kind = Literal["model", "dataset", "space"]


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str, sample: bytes, size: int) -> bool:
    """Whether a file is stored by its sha256; `sample` is its first 512 bytes."""
    patterns = [line.split()[0] for line in GITATTRIBUTES.decode().splitlines()]
    named = any(fnmatchcase(path.rpartition("/")[2], pattern) for pattern in patterns)
    return size > 0 and (named or b"\0" in sample or size > LARGEST_TEXT)


@dataclass(frozen=True)
class File:
    """What a path holds; `oid` is git's sha1 of the contents, or of the pointer if the file is large."""

    sha256: str
    size: int
    large: bool
    oid: str

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.oid

    @property
    def pointer_size(self) -> int:
        return len(_pointer(self.sha256, self.size))


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class Contents:
    """Bytes by their sha256, whoever brought them."""

    def __init__(self, xet: XetStore | None) -> None:
        self._bytes: dict[str, bytes] = {}
        self._xet = xet

    def add(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self._bytes[sha256] = data
        return sha256

    def size(self, sha256: str) -> int | None:
        """Bytes, or None if the contents are not here."""
        if sha256 in self._bytes:
            return len(self._bytes[sha256])
        found = self._xet.find(sha256) if self._xet else None
        return found.size if found else None

    def get(self, sha256: str) -> bytes:
        if sha256 not in self._bytes:
            assert self._xet is not None
            self._bytes[sha256] = self._xet.read(sha256)
        return self._bytes[sha256]

    def xet_hash(self, sha256: str) -> str | None:
        found = self._xet.find(sha256) if self._xet else None
        return found.hash if found else None

    def small_file(self, data: bytes) -> File:
        return File(self.add(data), len(data), False, git_sha1(data))

    def large_file(self, sha256: str) -> File:
        """A file of contents that were uploaded before.

        Raises:
            Refusal: They were not.
        """
        size = self.size(sha256)
        if size is None:
            raise Refusal(400, f"The LFS object {sha256} was not uploaded")
        return File(sha256, size, True, git_sha1(_pointer(sha256, size)))

    def file(self, path: str, data: bytes) -> File:
        """A file as the Hub would store it at this path."""
        return self.large_file(self.add(data)) if is_large(path, data[:512], len(data)) else self.small_file(data)


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    tree: Mapping[str, File]
    title: str
    description: str
    author: str
    date: datetime


@dataclass
class Repository:
    """A repository; `name` is "namespace/name", `branches` has the short names of branches and "refs/pr/1"."""

    kind: Kind
    name: str
    private: bool = False
    gated: str | bool = False
    allowed: frozenset[str] = frozenset()
    downloads: int = 0
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.name.split("/")[0]

    @property
    def created(self) -> datetime:
        return next(iter(self.commits.values())).date

    def pulls(self) -> list[str]:
        return [name for name in self.branches if name.startswith("refs/pr/")]

    def new_pull(self) -> str:
        return f"refs/pr/{len(self.pulls()) + 1}"

    def commit_of(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a commit id names.

        Raises:
            Refusal: There is no such revision.
        """
        short = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = self.branches.get(short) or self.tags.get(short) or revision
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def log(self, revision: str) -> Iterable[Commit]:
        """Commits, newest first."""
        commit: Commit | None = self.commit_of(revision)
        while commit:
            yield commit
            commit = self.commits[commit.parent] if commit.parent else None

    def commit(
        self, branch: str, tree: Mapping[str, File], title: str, description: str, author: str, base: str | None = None
    ) -> Commit:
        """Moves a branch on to a new commit; a new branch begins at `base`, or at nothing."""
        parent = self.branches.get(branch, base)
        date = datetime.now(UTC)
        facts = (
            parent,
            sorted((path, file.etag) for path, file in tree.items()),
            title,
            author,
            date,
            len(self.commits),
        )
        oid = hashlib.sha1(repr(facts).encode()).hexdigest()
        self.commits[oid] = Commit(oid, parent, dict(tree), title, description, author, date)
        self.branches[branch] = oid
        return self.commits[oid]

    def squash(self, branch: str, title: str, author: str) -> None:
        commit = self.commit_of(branch)
        del self.branches[branch]
        self.commit(branch, commit.tree, title, "", author)

    def file_at(self, revision: str, path: str) -> tuple[Commit, File]:
        """A file, and the commit that it was looked up in.

        Raises:
            Refusal: No such revision or file.
        """
        commit = self.commit_of(revision)
        if path not in commit.tree:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": commit.oid})
        return commit, commit.tree[path]


def folders(tree: Iterable[str]) -> set[str]:
    """All folders that hold one of the paths, at any depth."""
    return {path[: match.start()] for path in tree for match in re.finditer("/", path)}
