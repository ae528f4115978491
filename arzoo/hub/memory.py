"""Which commit of the Hub a folder was made from, so that a push replaces nothing that nobody looked at.

A folder remembers it in .arzoo-hub, the JSON {"https://huggingface.co/ORG/NAME": {BRANCH: COMMIT}}.  That stays on
this disk: it is none of the files that are pushed, nor, without a suffix, of those that a package takes along.  A
folder in the Hugging Face cache is named after its commit.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from arzoo.files import replacing
from arzoo.hub.client import is_commit

MEMORY = ".arzoo-hub"


def remembered(folder: Path, url: str) -> set[str]:
    """The commits that a folder was pulled from or last pushed to, one a branch; empty if none is known.

    Arguments:
        url: Of the repository, as the Hub's clients write it: "https://huggingface.co/ORG/NAME".

    Raises:
        ValueError: The folder's file is damaged.
    """
    folder = folder.resolve()
    if _is_cached(folder):
        return {folder.name} if url.endswith(f"/{_cached_repository(folder)}") else set()
    return set(_read(folder / MEMORY).get(url, {}).values())


def remember(folder: Path, url: str, revision: str, commit: str) -> None:
    """Notes the commit that a folder is now, of a branch, a tag or a commit; warns where it cannot."""
    folder = folder.resolve()
    if _is_cached(folder):
        return
    known = _read(folder / MEMORY)
    if known.get(url, {}).get(revision) == commit:
        return
    known.setdefault(url, {})[revision] = commit
    try:
        with replacing(folder / MEMORY) as path:
            path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        warnings.warn(
            f"{folder / MEMORY} cannot be written ({error.strerror}); to push from {folder} again, say that commit"
            f" {commit} of {url} is to be replaced",
            UserWarning,
            stacklevel=2,
        )


def _is_cached(folder: Path) -> bool:
    return folder.parent.name == "snapshots" and is_commit(folder.name)


def _cached_repository(folder: Path) -> str:
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/")


def _read(file: Path) -> dict[str, dict[str, str]]:
    if not file.is_file():
        return {}
    try:
        known = json.loads(file.read_bytes())
        repositories = [*known.values()]
        if not all(is_commit(commit) for branches in repositories for commit in branches.values()):
            raise ValueError("what it names is no commit")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); delete it, and look at what is on the Hub before you push"
        ) from None
    return dict(known)
