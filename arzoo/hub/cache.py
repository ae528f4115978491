"""The Hugging Face cache, of which other clients are users too: what it holds of a repository, and whether it is whole.

A file lies in it as snapshots/<commit>/<name>, a link to blobs/<hash>: 40 digits are git's sha1 of the file, 64 its
sha256.  So damage is seen without a network too.  Where a file system has no links it is a copy, whose hash stands in
.arzoo/<commit>/<name>; of a file that another client put there nobody knows it, but the weights have theirs in
config.json.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path

from arzoo.checkpoints import CONFIG, WEIGHTS
from arzoo.files import replacing
from arzoo.hub.client import is_commit


class Cache:
    """What the Hugging Face cache holds of one repository.

    Arguments:
        repo_id: "ORGANISATION/NAME", of which `check_repository` thinks well: it becomes the name of a folder.
        root: The cache; None for the usual one.
    """

    def __init__(self, repo_id: str, root: str | Path | None = None) -> None:
        from huggingface_hub import constants

        self.repo_id = repo_id
        self.folder = Path(root or constants.HF_HUB_CACHE).expanduser().resolve() / (
            f"models--{repo_id.replace('/', '--')}"
        )

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest

    def part(self, digest: str) -> Path:
        """Where a blob is written until it is whole."""
        return self.folder / "blobs" / f"{digest}.incomplete"

    def lock(self, digest: str) -> AbstractContextManager[object]:
        """Keeps others, the client's own downloads among them, from writing a blob."""
        from huggingface_hub.utils import WeakFileLock

        file = self.folder.parent / ".locks" / self.folder.name / f"{digest}.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.part(digest).parent.mkdir(parents=True, exist_ok=True)
        return WeakFileLock(file)

    def commit(self, revision: str) -> str | None:
        """The commit that a revision stood for when it was last pulled."""
        if is_commit(revision):
            return revision
        try:
            text = (self.folder / "refs" / revision).read_text(encoding="ascii")
        except (OSError, ValueError):
            return None
        return text if is_commit(text) else None

    def lacks(self, commit: str, files: Collection[str], needed: bool = False) -> list[str]:
        """The files that are not there, though the repository may have them; only those it must have if `needed`."""
        there, absent = self.snapshot(commit), self.folder / ".no_exist" / commit
        lacked = [name for name in files if not (there / name).is_file()]
        return [name for name in lacked if name in (CONFIG, WEIGHTS) or not (needed or (absent / name).is_file())]

    def remember(self, revision: str, commit: str, absent: Collection[str]) -> None:
        """Notes which files a commit does not have, and then what the revision stands for, as the client does."""
        with contextlib.suppress(OSError):  # a cache that can only be read serves all the same
            for name in absent:
                mark = self.folder / ".no_exist" / commit / name
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
            if revision != commit != self.commit(revision):
                with replacing(self.folder / "refs" / revision) as path:
                    path.write_text(commit, encoding="ascii")

    def link(self, commit: str, name: str, digest: str) -> None:
        """Gives a blob its name in a commit; a copy of it where there can be no links."""
        from huggingface_hub import constants

        blob, file = self.blob(digest), self.snapshot(commit) / name
        with replacing(file) as path:
            try:
                if constants.HF_HUB_DISABLE_SYMLINKS:
                    raise OSError("links are not wanted")
                path.symlink_to(os.path.relpath(blob, file.parent))
            except OSError:
                shutil.copyfile(blob, path)
                with replacing(self._note(commit, name)) as note:
                    note.write_text(digest, encoding="ascii")

    def digest(self, commit: str, name: str) -> str:
        """What a file must have, from its link or from what was noted when it came; "" if nobody knows."""
        file, found = self.snapshot(commit) / name, ""
        if file.is_symlink():
            found = os.path.basename(os.readlink(file))
        else:
            with contextlib.suppress(OSError, ValueError):
                found = self._note(commit, name).read_text(encoding="ascii")
        return found if is_digest(found) else ""

    def _note(self, commit: str, name: str) -> Path:
        return self.folder / ".arzoo" / commit / name


def damage(file: Path, expected: str) -> str:
    """What is wrong with a file; "" if it has the hash that is expected, or if none is."""
    if not expected:
        return ""
    is_git = len(expected) == 40
    with open(file, "rb") as stream:
        start = f"blob {os.fstat(stream.fileno()).st_size}\0".encode() if is_git else b""
        digest = hashlib.file_digest(stream, lambda: hashlib.sha1(start) if is_git else hashlib.sha256())
    found = digest.hexdigest()
    return "" if found == expected else f"its {'git hash' if is_git else 'sha256'} is {found}, not {expected}"


def is_digest(text: object) -> bool:
    """Whether it is what the Hub names contents by, and may be the name of a file."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", text) is not None
