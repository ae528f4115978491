"""The commit that a push makes, and the tag on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from arzoo.hub.comparing import FileChange, changes, look
from arzoo.hub.explaining import explained, moved
from arzoo.hub.repository import log, references

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def is_free(api: HfApi, repo_id: str, tag: str, differs: bool, head: str) -> bool:
    """Whether a tag is still to be made.

    Raises:
        FileExistsError: It names a commit other than the one to be tagged, or a branch.
    """
    with explained(api, repo_id):
        known = references(api, repo_id)
    found = known.tags.get(tag)
    if tag in known.branches:
        raise FileExistsError(f"{tag!r} is a branch of {repo_id}; nothing was pushed; choose another tag")
    if found is not None and (differs or found != head):
        raise FileExistsError(f"the tag {tag!r} of {repo_id} names commit {found}; nothing was pushed; choose another")
    return found is None


def commit_files(
    api: HfApi,
    repo_id: str,
    revision: str,
    parent: str,
    contents: Mapping[str, bytes],
    files: Sequence[FileChange],
    *,
    message: str,
    create_pr: bool,
) -> tuple[str, str | None]:
    """Makes the commit, or finds it where only the answer was lost.

    Returns:
        Its id, and the address of its pull request if it waits in one.

    Raises:
        ValueError: The branch has another head than the parent, or got one meanwhile.
        ConnectionError: The Hub is down, and it is not known that it made the commit.

    Whatever else is raised: see `explained`.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for file in files:
        if file.change == "removed":
            operations.append(CommitOperationDelete(file.name))
        elif file.change != "same":
            operations.append(CommitOperationAdd(file.name, contents[file.name]))
    try:
        with explained(api, repo_id, revision), _bars_on_terminals():
            done = api.create_commit(
                repo_id,
                operations,
                commit_message=message,
                revision=revision,
                parent_commit=parent,
                create_pr=create_pr,
            )
    except ConnectionError as error:
        if create_pr:
            proposals = f"{api.endpoint}/{repo_id}/discussions"
            raise ConnectionError(f"{error}; look at {proposals} first, the pull request may be there") from error
        arrived = _arrived(api, repo_id, revision, parent, contents)
        if arrived is None:
            raise
        return arrived, None
    if create_pr and done.pr_url is not None:
        return done.oid, done.pr_url
    # Where somebody was faster with the same changes, the client makes no commit and names theirs.
    is_ours = not create_pr
    with suppress(OSError, LookupError, ValueError):  # it was made, as far as anybody says
        is_ours = is_ours and all(
            file.change == "same" for file in changes(contents, look(api, repo_id, done.oid).files)
        )
    if not is_ours:
        raise ValueError(moved(api, repo_id, revision))
    return done.oid, None


def _bars_on_terminals() -> AbstractContextManager[object]:
    """Keeps the client's bars out of logs and pipes, unless HF_HUB_DISABLE_PROGRESS_BARS=0 asks for them."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars

    if (sys.stderr is not None and sys.stderr.isatty()) or constants.HF_HUB_DISABLE_PROGRESS_BARS is False:
        return nullcontext()
    return disable_progress_bars()


def _arrived(api: HfApi, repo_id: str, revision: str, parent: str, contents: Mapping[str, bytes]) -> str | None:
    """The head of the branch, if it is the commit whose answer was lost; None if it is not, or the Hub is down."""
    try:
        remote = look(api, repo_id, revision)
        with explained(api, repo_id, revision):
            latest = [commit.id for commit in log(api, repo_id, revision)[:2]]
    except (OSError, LookupError, ValueError):
        return None
    is_ours = all(file.change == "same" for file in changes(contents, remote.files))
    return remote.head if is_ours and latest == [remote.head, parent] else None
