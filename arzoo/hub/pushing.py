"""From a checkpoint folder to the Hub: one commit, on top of what was looked at, or none if nothing differs.

Nothing is seen on the Hub before its last request, so that a push that was killed is simply made again.  What
somebody else pushed since the folder was made from the Hub (`arzoo.hub.memory`) is not replaced unasked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from arzoo import registry
from arzoo.checkpoints import CONFIG, WEIGHTS, config_file, read_config, read_weights
from arzoo.hub.client import check_repository, check_revision, connect, is_commit
from arzoo.hub.committing import commit_files, is_free
from arzoo.hub.comparing import CARD, FileChange, Remote, card_diff, changes, look
from arzoo.hub.explaining import explained, last_push, moved
from arzoo.hub.memory import commits_in, parents_of, remember
from arzoo.hub.repository import FILES
from arzoo.hub.rights import require_token

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class Moved(ValueError):
    """The branch on the Hub is at another commit than the one that a folder was made from.

    Attributes:
        commit: The head of the branch, which a push would have replaced.
    """

    def __init__(self, message: str, commit: str) -> None:
        super().__init__(message)
        self.commit = commit


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
        is_new_branch: Whether the repository was there without the branch.
        tag: The name that the commit got, or would get.
        pull_request: Its address, if the commit waits in one.
    """

    repo_id: str
    revision: str
    url: str
    commit: str | None
    files: list[FileChange]
    card_diff: str = field(repr=False)
    is_new_repository: bool
    is_new_branch: bool = False
    tag: str | None = None
    pull_request: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Where to and how; the arguments of `push`."""

    repo_id: str
    private: bool
    revision: str
    message: str | None
    tag: str | None
    create_pr: bool
    dry_run: bool
    parent_commit: str | None

    def __post_init__(self) -> None:
        check_repository(self.repo_id)
        for name in (self.revision, self.tag or self.revision):
            check_revision(name)
            if is_commit(name):
                raise ValueError(f"{name} is a commit; name a branch or a tag")
        if self.tag is not None and self.create_pr:
            raise ValueError("a pull request cannot be tagged; tag the commit when it is merged")
        if self.tag in ("main", self.revision):
            raise ValueError(f"{self.tag!r} is a branch of {self.repo_id}; choose another tag")
        if self.parent_commit is not None and not is_commit(self.parent_commit):
            raise ValueError(f"{self.parent_commit!r} is no commit; write all of its 40 digits")


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

    The folder remembers the commit that it was pulled from (`arzoo pull -o`) or last pushed to.  If the branch is at
    another one, or at any where the folder remembers none, somebody's work would be lost: it is refused, unless
    `parent_commit` says what may be replaced.  A new branch or a pull request replaces nothing, so for these only a
    folder that is known to be older is refused.

    Arguments:
        folder: A whole checkpoint with a card that names a licence.
        repo_id: "ORGANISATION/NAME", made if need be.
        private: Whether a new repository is; one that is there stays as it is.
        revision: A branch, made from main if need be.
        message: Of the commit.
        tag: A name for the commit, as a version.
        create_pr: Propose the commit in a pull request instead.
        token: None for the one that `hf auth login` or HF_TOKEN left; it must be able to write.
        dry_run: Only say what would be done; what the token may do, `arzoo.hub.check_rights` tells.
        parent_commit: The head of the branch, which may be replaced whatever it holds: 40 digits.

    Raises:
        FileNotFoundError: The folder is no whole checkpoint, or has no card.
        Moved: The branch is at a commit that the folder was not made from; a ValueError.
        ValueError: A file is damaged, the card names no licence, speaks of other weights or loads another
            repository, a name is not valid, or somebody else pushed meanwhile.
        LookupError: There is nothing to make a pull request to, or no commit that could be replaced.
        PermissionError: The token is none, or may not write there.
        FileExistsError: The tag names another commit.
        ConnectionError: The Hub is down, or the connection ended too soon.
    """
    wish = Wish(
        repo_id=repo_id,
        private=private,
        revision=revision,
        message=message,
        tag=tag,
        create_pr=create_pr,
        dry_run=dry_run,
        parent_commit=parent_commit,
    )
    folder = Path(folder)
    api = connect(token)
    require_token(api, f"{api.endpoint}/{repo_id}")
    known = commits_in(parents_of(folder), f"{api.endpoint}/{repo_id}")  # before the files, which may go on meanwhile
    contents = read_folder(folder, repo_id)
    remote = look(api, repo_id, revision)
    done, head = make_push(api, wish, remote, contents, str(folder), known)
    if head is not None:
        remember(folder, done.url, revision, head)
    return done


def read_folder(folder: Path, repo_id: str) -> dict[str, bytes]:
    """The files of a checkpoint that may be shown to others, by name."""
    from arzoo.card import check_card, named_in_card
    from arzoo.card_metadata import front_matter

    config = read_config(folder)
    contents = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    contents[CONFIG], contents[WEIGHTS] = config_file(folder).read_bytes(), read_weights(folder, config)
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
    rename = f"arzoo card {folder} --name {repo_id}"
    if "/" in loaded and loaded != repo_id:
        raise ValueError(f"{folder / CARD} loads {loaded!r}, not {repo_id!r}; change that: {rename}")
    if "/" not in loaded and loaded not in registry.checkpoint_folders():  # those are installed with their names
        raise ValueError(f"{folder / CARD} loads {loaded!r}, which only you have: {rename}")
    if "arzoo:begin" in text and check_card(folder):
        raise ValueError(f"{folder / CARD} does not say what its files say; bring it up to date: arzoo card {folder}")
    return contents


def _check_parent(api: HfApi, wish: Wish, remote: Remote, pushed: str, known: Collection[str]) -> None:
    """Refuses to replace what the folder or the model was not made from, unless it is named.

    Raises:
        Moved: The head is another commit.
        LookupError: There is no repository, and so nothing to replace.
    """
    repo_id, branch = wish.repo_id, wish.revision if remote.has_branch else "main"
    parent_commit = wish.parent_commit
    if remote.head is None:
        if parent_commit is not None:
            raise LookupError(f"there is no {repo_id}, so nothing to replace; push without a commit to be replaced")
        return
    if remote.head in ({parent_commit} if parent_commit else known):
        return
    if parent_commit is not None:
        why = f"which is not the {parent_commit} that was to be replaced"
    elif not remote.files:
        return
    elif known:
        why = f"which {pushed} was not made from"
    elif remote.has_branch and not wish.create_pr:
        why = f"and {pushed} does not tell whether it was made from that"
    else:
        return
    there = repo_id if branch == "main" else f"{repo_id} --revision {branch}"
    look_at = f"pull it and look (arzoo pull {there} -o FOLDER)"
    if not {CONFIG, WEIGHTS} <= remote.files.keys():
        look_at = f"look at {api.endpoint}/{repo_id}"
    raise Moved(
        f"{last_push(api, repo_id, branch)}, commit {remote.head} of {branch}, {why}; nothing was pushed: {look_at}, or"
        f" say that it be replaced: --replace {remote.head} (parent_commit= in Python)",
        remote.head,
    )


def make_push(
    api: HfApi, wish: Wish, remote: Remote, contents: Mapping[str, bytes], pushed: str, known: Collection[str]
) -> tuple[Push, str | None]:
    """Makes the commit on top of what was looked at.

    Arguments:
        pushed: What to call what is pushed.
        known: The commits that it was made from.

    Returns:
        What was done, and the head of the branch that is now this; None if it is not.
    """
    files = changes(contents, remote.files)
    differs = any(file.change != "same" for file in files)
    if differs:
        _check_parent(api, wish, remote, pushed, known)
    repo_id, revision, url = wish.repo_id, wish.revision, f"{api.endpoint}/{wish.repo_id}"
    is_new = remote.head is None
    if wish.create_pr and not remote.has_branch:
        raise LookupError(f"there is no {revision} of {repo_id} to make a pull request to; push without one")
    if is_new and not wish.dry_run:
        with explained(api, repo_id):
            api.create_repo(repo_id, private=wish.private, exist_ok=True)
        remote = look(api, repo_id, revision)  # its first commit, which the Hub makes
        if remote.head is None:
            raise PermissionError(f"{repo_id} is on {api.endpoint}, but not for this token; log in: hf auth login")
        if remote.files:  # somebody else made it in between
            raise ValueError(moved(api, repo_id, revision))
    wants_tag = wish.tag is not None and (remote.head is None or is_free(api, repo_id, wish.tag, differs, remote.head))
    difference = card_diff(api, repo_id, contents[CARD], remote)
    commit = pull_request = None
    if remote.head is not None and not wish.dry_run:
        if not remote.has_branch:
            with explained(api, repo_id, revision):
                api.create_branch(repo_id, branch=revision, revision=remote.head, exist_ok=True)
        if differs:
            text = wish.message or f"Push {repo_id.split('/')[1]} with arzoo {version('arzoo')}"
            commit, pull_request = commit_files(
                api, repo_id, revision, remote.head, contents, files, message=text, create_pr=wish.create_pr
            )
        if wants_tag:
            with explained(api, repo_id, commit):
                api.create_tag(repo_id, tag=str(wish.tag), revision=commit or remote.head)
    done = Push(
        repo_id=repo_id,
        revision=revision,
        url=url,
        commit=commit,
        files=files,
        card_diff=difference,
        is_new_repository=is_new,
        is_new_branch=not is_new and not remote.has_branch,
        tag=wish.tag,
        pull_request=pull_request,
    )
    return done, None if wish.dry_run or pull_request is not None else commit or remote.head
