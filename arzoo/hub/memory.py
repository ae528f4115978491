"""Which commit of the Hub a folder or a model was made from, so that a push replaces nothing that nobody looked at.

A folder remembers it in .arzoo-hub, the JSON {"https://huggingface.co/ORG/NAME": {BRANCH: COMMIT}}.  That stays on
this disk: it is none of the files that are pushed, nor, without a suffix, of those that a package takes along.  A
folder in the Hugging Face cache is named after its commit.  A model that was loaded remembers what its folder did.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from arzoo.checkpoints import is_snapshot
from arzoo.files import replacing
from arzoo.hub.client import is_commit

MEMORY = ".arzoo-hub"


Parents = dict[str, dict[str, str]]
"""Commits by repository and branch; a repository is "https://huggingface.co/ORG/NAME", or "ORG/NAME" of any Hub."""


def parents_of(folder: Path) -> Parents:
    """The commits that a folder was pulled from or last pushed to.

    Raises:
        ValueError: The folder's file is damaged.
    """
    folder = folder.resolve()
    if is_snapshot(folder):
        repo_id = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
        return {repo_id: {folder.name: folder.name}}
    return _read(folder / MEMORY)


def commits_in(parents: Parents, url: str) -> set[str]:
    """Those of one repository, one a branch; empty if none is known."""
    repo_id = "/".join(url.split("/")[-2:])
    return {*parents.get(url, {}).values(), *parents.get(repo_id, {}).values()}


def remember(folder: Path, url: str, revision: str, commit: str) -> None:
    """Notes the commit that a folder is now, of a branch, a tag or a commit; warns where it cannot."""
    folder = folder.resolve()
    if is_snapshot(folder):
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


def _read(file: Path) -> Parents:
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
