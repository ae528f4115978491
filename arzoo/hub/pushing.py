"""From a checkpoint folder to the Hub: one commit, on top of what was looked at, or none if nothing differs.

Nothing is seen on the Hub before its last request, so that a push that was killed is simply made again.
"""

from __future__ import annotations

import difflib
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from arzoo import registry
from arzoo.checkpoints import CONFIG, WEIGHTS, read_config, read_weights
from arzoo.hub.client import ANSWER_TIMEOUT, check_repository, check_revision, connect, explained, is_commit, moved
from arzoo.hub.pulling import FILES, fetch_file, files_of, head_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

    from arzoo.model import Model

CARD = "README.md"
ABSENT = "absent"
"""In place of a parent commit: there was no repository."""


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


@dataclass(frozen=True, kw_only=True)
class Push:
    """What a push did, or would do.

    Attributes:
        repo_id: "ORGANISATION/NAME".
        revision: The branch.
        url: Of the repository.
        commit: What was made; None in a dry run, or if nothing differs.
        files: Each file of the folder, and those that are removed from the Hub.
        card_diff: What changes in the card, as a unified diff; empty if nothing does.
        is_new_repository: Whether there was none before.
        pull_request: Its address, if the commit waits in one.
    """

    repo_id: str
    revision: str
    url: str
    commit: str | None
    files: list[FileChange]
    card_diff: str
    is_new_repository: bool
    pull_request: str | None = None


@dataclass(frozen=True)
class _Remote:
    """What the Hub has: the head of the branch, or that of main, where it would begin; None without a repository."""

    head: str | None
    files: Mapping[str, RepoSibling]
    has_branch: bool = False


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    revision: str = "main",
    message: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
    dry_run: bool = False,
    parent_commit: str | None = None,
) -> Push:
    """Brings a repository of the Hub to the state of a checkpoint folder.

    Only the files that a checkpoint may hold are pushed; those of them that the folder lacks are removed from the
    Hub, and whatever else is there stays.  What is the same is not pushed again: the second call does nothing.

    Arguments:
        folder: A whole checkpoint with a card that names a licence.
        repo_id: "ORGANISATION/NAME", made if need be.
        private: Whether a new repository is; one that is there stays as it is.
        revision: A branch, made from main if need be.
        message: Of the commit.
        tag: A name for the commit, as a version.
        create_pr: Propose the commit in a pull request instead.
        token: None for the one that `hf auth login` or HF_TOKEN left; it must be able to write.
        dry_run: Only say what would be done.
        parent_commit: What the folder was made from, or `ABSENT`; a branch that went on is refused.

    Raises:
        FileNotFoundError: The folder is no whole checkpoint, or has no card.
        ValueError: A file is damaged, the card names no licence or speaks of other weights, a name is not valid, or
            somebody else pushed meanwhile.
        LookupError: There is nothing to make a pull request to.
        PermissionError: The token is none, or may not write there.
        FileExistsError: The tag names another commit.
        ConnectionError: The Hub is down, or the connection ended too soon.
    """
    _check_names(repo_id, revision, tag, create_pr)
    contents, api = _read(Path(folder), repo_id), connect(token)
    remote = _look(api, repo_id, revision)
    is_new = remote.head is None
    if parent_commit not in (None, remote.head or ABSENT):
        raise ValueError(moved(api, repo_id, revision))
    if create_pr and not remote.has_branch:
        raise LookupError(f"there is no {revision} of {repo_id} to make a pull request to; push without one")
    if is_new and not dry_run:
        with explained(api, repo_id):
            api.create_repo(repo_id, private=private, exist_ok=True)
        remote = _look(api, repo_id, revision)  # its first commit, which the Hub makes
        if remote.head is None:
            raise PermissionError(f"{repo_id} is on {api.endpoint}, but not for this token; log in: hf auth login")
        if remote.files:  # somebody else made it in between
            raise ValueError(moved(api, repo_id, revision))
    files = _changes(contents, remote.files)
    differs = any(file.change != "same" for file in files)
    wants_tag = tag is not None and (remote.head is None or _is_free(api, repo_id, tag, differs, remote.head))
    card_diff = _card_diff(api, repo_id, contents[CARD], remote)
    commit = pull_request = None
    if remote.head is not None and not dry_run:
        if not remote.has_branch:
            with explained(api, repo_id, revision):
                api.create_branch(repo_id, branch=revision, revision=remote.head, exist_ok=True)
        if differs:
            text = message or f"Push {Path(folder).absolute().name} with arzoo {version('arzoo')}"
            commit, pull_request = _commit(api, repo_id, revision, remote.head, contents, files, text, create_pr)
        if wants_tag:
            with explained(api, repo_id, commit):
                api.create_tag(repo_id, tag=str(tag), revision=commit or remote.head)
    return Push(
        repo_id=repo_id,
        revision=revision,
        url=f"{api.endpoint}/{repo_id}",
        commit=commit,
        files=files,
        card_diff=card_diff,
        is_new_repository=is_new,
        pull_request=pull_request,
    )


def push_model(
    model: Model,
    repo_id: str,
    *,
    license: str | None = None,
    private: bool = True,
    revision: str = "main",
    message: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
    dry_run: bool = False,
) -> Push:
    """Saves a model and pushes it, with a card that keeps what people wrote into the one on the Hub.

    The recipe, the metrics and the pictures that are on the Hub stay if they are of these weights; else they speak
    of others and are removed.

    Arguments:
        license: Of the weights, as the Hub writes it; None takes that of the card on the Hub.

    The other arguments and what is raised: see `push`.
    """
    from arzoo.card import write_card

    _check_names(repo_id, revision, tag, create_pr)
    api = connect(token)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / repo_id.split("/")[1]
        model.save_pretrained(folder)
        remote = _look(api, repo_id, revision)
        weights = remote.files.get(WEIGHTS)
        is_same = weights is not None and _is_same(weights, (folder / WEIGHTS).read_bytes())
        for name in remote.files:
            if name == CARD or (is_same and name not in (CONFIG, WEIGHTS)):
                (folder / name).write_bytes(_fetch(api, repo_id, remote, name))
        try:
            write_card(folder, license, name=repo_id)
        except ValueError as error:
            raise ValueError(f"the card of {repo_id} cannot be written: {error}") from error
        return push(
            folder,
            repo_id,
            private=private,
            revision=revision,
            message=message,
            tag=tag,
            create_pr=create_pr,
            token=token,
            dry_run=dry_run,
            parent_commit=remote.head or ABSENT,
        )


def _check_names(repo_id: str, revision: str, tag: str | None, create_pr: bool) -> None:
    check_repository(repo_id)
    for name in (revision, tag or revision):
        check_revision(name)
        if is_commit(name):
            raise ValueError(f"{name} is a commit; name a branch or a tag")
    if tag is not None and create_pr:
        raise ValueError("a pull request cannot be tagged; tag the commit when it is merged")


def _read(folder: Path, repo_id: str) -> dict[str, bytes]:
    """The files of a checkpoint that may be shown to others, by name."""
    from arzoo.card import check_card, named_in_card
    from arzoo.card_metadata import front_matter

    config = read_config(folder)
    contents = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    contents[WEIGHTS] = read_weights(folder, config)
    if CARD not in contents:
        raise FileNotFoundError(f"{folder} has no {CARD}; write it: arzoo card {folder}")
    try:
        text = contents[CARD].decode("utf-8-sig")
        license = front_matter(text).get("license")
    except ValueError as error:
        raise ValueError(f"{folder / CARD}: {error}") from None
    if not license:
        raise ValueError(f"{folder / CARD} names no licence; choose one: arzoo card {folder} --license LICENCE")
    if "arzoo:begin" in text and config["weights"]["sha256"] not in text:
        raise ValueError(f"{folder / CARD} speaks of other weights; write it anew: arzoo card {folder}")
    loaded = named_in_card(text) or repo_id
    if "/" not in loaded and loaded not in registry.checkpoint_folders():  # those are installed with their names
        raise ValueError(f"{folder / CARD} loads {loaded!r}, which only you have: arzoo card {folder} --name {repo_id}")
    if "arzoo:begin" in text and check_card(folder):
        raise ValueError(f"{folder / CARD} does not say what its files say; bring it up to date: arzoo card {folder}")
    return contents


def _look(api: HfApi, repo_id: str, revision: str) -> _Remote:
    """The state that a push starts from."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    def ask(branch: str) -> ModelInfo:
        return api.model_info(repo_id, revision=branch, files_metadata=True, timeout=ANSWER_TIMEOUT)

    info, has_branch = None, True
    with explained(api, repo_id, revision):
        try:
            info = ask(revision)
        except RevisionNotFoundError:
            if revision == "main":
                raise
            info, has_branch = ask("main"), False
        except RepositoryNotFoundError as error:
            if error.response.status_code != 404:  # it may be there, but not for this token
                raise
    return _Remote(None, {}) if info is None else _Remote(head_of(info, api), files_of(info), has_branch)


def _changes(contents: Mapping[str, bytes], there: Mapping[str, RepoSibling]) -> list[FileChange]:
    changes = []
    for name in FILES:
        if name not in contents and name in there:
            changes.append(FileChange(name=name, size=there[name].size or 0, change="removed"))
        elif name in contents:
            is_same = name in there and _is_same(there[name], contents[name])
            change: Literal["new", "changed", "same"] = "same" if is_same else "changed" if name in there else "new"
            changes.append(FileChange(name=name, size=len(contents[name]), change=change))
    return changes


def _is_same(there: RepoSibling, data: bytes) -> bool:
    """Whether the Hub has these bytes, by the hash that it gives."""
    if there.lfs:
        return there.lfs.sha256 == hashlib.sha256(data).hexdigest()
    return there.blob_id == hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def _is_free(api: HfApi, repo_id: str, tag: str, differs: bool, head: str) -> bool:
    """Whether a tag is still to be made.

    Raises:
        FileExistsError: It names a commit other than the one to be tagged.
    """
    with explained(api, repo_id):
        found = next((ref.target_commit for ref in api.list_repo_refs(repo_id).tags if ref.name == tag), None)
    if found is not None and (differs or found != head):
        raise FileExistsError(f"the tag {tag!r} of {repo_id} names commit {found}; nothing was pushed; choose another")
    return found is None


def _fetch(api: HfApi, repo_id: str, remote: _Remote, name: str) -> bytes:
    """What the Hub has of a file, verified."""
    assert remote.head is not None
    with tempfile.TemporaryDirectory() as cache:
        return fetch_file(api, repo_id, remote.head, name, Path(cache)).read_bytes()


def _card_diff(api: HfApi, repo_id: str, card: bytes, remote: _Remote) -> str:
    there = b""
    if CARD in remote.files:
        if _is_same(remote.files[CARD], card):
            return ""
        there = _fetch(api, repo_id, remote, CARD)
    before, after = (text.decode("utf-8", "replace").splitlines() for text in (there, card))
    return "\n".join(difflib.unified_diff(before, after, CARD, CARD, "on the Hub", "pushed", lineterm=""))


def _commit(
    api: HfApi,
    repo_id: str,
    revision: str,
    head: str,
    contents: Mapping[str, bytes],
    files: list[FileChange],
    message: str,
    create_pr: bool,
) -> tuple[str, str | None]:
    """Makes the commit; returns its id, and the address of its pull request if it waits in one."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for file in files:
        if file.change == "removed":
            operations.append(CommitOperationDelete(file.name))
        elif file.change != "same":
            operations.append(CommitOperationAdd(file.name, contents[file.name]))
    with explained(api, repo_id, revision):
        done = api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            revision=revision,
            parent_commit=head,
            create_pr=create_pr,
        )
    return done.oid, done.pr_url
