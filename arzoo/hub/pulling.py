"""From the Hub into the Hugging Face cache: one commit, the files of a checkpoint and no other, each byte verified.

A file lies in the cache as snapshots/<commit>/<name>, a link to blobs/<hash>: 40 digits are git's sha1 of the file,
64 its sha256.  So damage is seen without a network too.  The weights are held against config.json instead, which
protects them where a file system has no links.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arzoo import registry
from arzoo.checkpoints import CONFIG, WEIGHTS, find_checkpoint, is_path, read_config
from arzoo.files import replacing
from arzoo.hub.client import ANSWER_TIMEOUT, check_repository, check_revision, connect, explained, is_commit
from arzoo.registry import did_you_mean

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

FILES = (CONFIG, WEIGHTS, "README.md", "recipe.toml", "metrics.json", "samples.png", "curve.png")
"""What a checkpoint may hold on the Hub; no other file is ever asked for or pushed."""

MODEL = (CONFIG, WEIGHTS)
"""What it takes to load a model."""

_LARGEST = 2**24  # bytes of a file other than the weights, whose size config.json tells


def pull(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    files: Sequence[str] = FILES,
) -> Path:
    """The folder of a checkpoint on the Hub, as it lies in the Hugging Face cache.

    A commit that lies there whole takes no request at all, any other revision takes one.  If the Hub is down, the
    commit that the revision last stood for is used, with a warning.

    Arguments:
        repo_id: "ORGANISATION/NAME".
        revision: A branch, a tag or a commit; None for main.  Only a commit, 40 digits, is the same for ever.
        token: None for the one that `hf auth login` or HF_TOKEN left.
        cache_dir: The Hugging Face cache; None for the usual one.
        local_files_only: Take what is in the cache, as HF_HUB_OFFLINE=1 does everywhere.
        files: Which of `FILES` are wanted besides config.json.  Those that the repository lacks are left out, but
            for the weights.

    Returns:
        A folder that must not be written to: its files are links into the cache.

    Raises:
        LookupError: There is no such repository or revision, or not for this token.
        PermissionError: The token is none, or the repository is gated.
        FileNotFoundError: It is no checkpoint, or it is not in the cache and nothing else may be used.
        ValueError: A name is not valid, or the files are damaged, too large or do not fit each other.
        ConnectionError: The Hub is down and the cache cannot help.
    """
    wanted = revision or "main"
    check_repository(repo_id)
    check_revision(wanted)
    unknown = set(files) - set(FILES)
    if unknown:
        raise ValueError(f"a checkpoint has no file {', '.join(sorted(unknown))}; its files are {', '.join(FILES)}")
    files = [name for name in FILES if name in files or name == CONFIG]
    from huggingface_hub import is_offline_mode

    cache = _Cache(repo_id, cache_dir)
    commit = cache.commit(wanted)
    if local_files_only or is_offline_mode():
        if commit is None or cache.lacks(commit, files, needed=True):
            raise FileNotFoundError(
                f"{repo_id} at {wanted} is not in the cache {cache.folder}; fetch it once with the network on"
            )
        return _verified(repo_id, cache.snapshot(commit), files)
    if commit == wanted and not cache.lacks(commit, files):
        with contextlib.suppress(ValueError):  # damaged: fetched again below
            return _verified(repo_id, cache.snapshot(commit), files)
    try:
        return _fetch(connect(token), cache, wanted, files)
    except ConnectionError as error:
        if commit is None or cache.lacks(commit, files, needed=True):
            raise
        folder = _verified(repo_id, cache.snapshot(commit), files)
        warnings.warn(f"{error}; commit {commit} of {repo_id} is used, from the cache", UserWarning, stacklevel=2)
        return folder


class _Cache:
    """What the Hugging Face cache holds of one repository."""

    def __init__(self, repo_id: str, cache_dir: str | Path | None) -> None:
        from huggingface_hub import constants

        self.root = Path(cache_dir or constants.HF_HUB_CACHE).expanduser().resolve()
        self.folder = self.root / f"models--{repo_id.replace('/', '--')}"
        self.repo_id = repo_id

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

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


def _fetch(api: HfApi, cache: _Cache, revision: str, files: Collection[str]) -> Path:
    """The snapshot of the commit that the revision stands for now, filled with the files wanted."""
    repo_id = cache.repo_id
    with explained(api, repo_id, revision):
        info = api.model_info(repo_id, revision=revision, files_metadata=True, timeout=ANSWER_TIMEOUT)
    commit, listed = head_of(info, api), files_of(info)
    where = f"{repo_id} at {revision}"
    if is_commit(revision) and revision != commit:
        raise ConnectionError(f"{api.endpoint} gives commit {commit} for {where}; check HF_ENDPOINT")
    for name in (CONFIG, WEIGHTS):
        if name in files and name not in listed:
            raise FileNotFoundError(f"{where} is no checkpoint of arzoo: it has no {name}")
    for name in filter(listed.__contains__, files):  # config.json is the first
        size, lfs = listed[name].size, listed[name].lfs
        expected = (lfs.sha256 if lfs else listed[name].blob_id) or ""
        if name == WEIGHTS:
            expected = _expected_weights(where, read_config_of(where, cache.snapshot(commit)), listed[name])
        elif isinstance(size, int) and size > _LARGEST:
            raise ValueError(f"{name} of {where} has {size} bytes, more than {_LARGEST}; it is none of arzoo's")
        fetch_file(api, repo_id, commit, name, cache.root, expected)
    cache.remember(revision, commit, [name for name in files if name not in listed])
    return cache.snapshot(commit)


def head_of(info: ModelInfo, api: HfApi) -> str:
    """The commit of an answer, which becomes the name of a folder."""
    if not is_commit(info.sha):
        raise ConnectionError(f"{api.endpoint} names no commit of {info.id}; check HF_ENDPOINT")
    return str(info.sha)


def files_of(info: ModelInfo) -> dict[str, RepoSibling]:
    """The files of a checkpoint in an answer, by name; whatever else the repository has is left out."""
    return {file.rfilename: file for file in info.siblings or () if file.rfilename in FILES}


def read_config_of(where: str, folder: Path) -> dict[str, Any]:
    try:
        return read_config(folder)
    except ValueError as error:
        raise ValueError(f"{where} is no checkpoint of arzoo, or a damaged one: {error}") from None


def _expected_weights(where: str, config: dict[str, Any], listed: RepoSibling) -> str:
    """The sha256 that the weights must have; refuses them unseen if the Hub says that they are others."""
    expected = config["weights"]
    size, sha256 = listed.size, listed.lfs.sha256 if listed.lfs else None
    if size not in (None, expected["bytes"]) or sha256 not in (None, expected["sha256"]):
        raise ValueError(
            f"{WEIGHTS} of {where} is not that of its {CONFIG}: it has {size} bytes and sha256 {sha256},"
            f" {expected['bytes']} bytes and {expected['sha256']} were expected; nothing was downloaded"
        )
    return str(expected["sha256"])


def fetch_file(api: HfApi, repo_id: str, commit: str, name: str, root: Path, expected: str = "") -> Path:
    """One file of a commit in the cache, verified; a damaged one is fetched a second time.

    Arguments:
        root: The Hugging Face cache.
        expected: Its hash; "" for the one that the cache knows.

    Raises:
        ValueError: It is damaged on the Hub or comes damaged.
    """

    def download(again: bool) -> Path:
        with explained(api, repo_id, commit):
            path = api.hf_hub_download(
                repo_id, name, revision=commit, cache_dir=root, etag_timeout=ANSWER_TIMEOUT, force_download=again
            )
        return Path(path)

    path = download(False)
    if _damage(path, expected):
        path.unlink()  # whatever it is a link to
        path = download(True)
        if damage := _damage(path, expected):
            path.unlink()
            raise ValueError(f"{name} of {repo_id} at {commit} comes damaged: {damage}; try again, or tell its owner")
    return path


def _verified(repo_id: str, snapshot: Path, files: Collection[str]) -> Path:
    """A snapshot whose files are as they were when they came.

    Raises:
        ValueError: One is damaged.
        FileNotFoundError: It is no checkpoint.
    """
    where = f"{repo_id} at {snapshot.name}"
    for name in (name for name in files if (snapshot / name).is_file()):  # config.json is the first
        expected = read_config_of(where, snapshot)["weights"]["sha256"] if name == WEIGHTS else ""
        if damage := _damage(snapshot / name, expected):
            raise ValueError(f"{name} of {where} is damaged in the cache: {damage}; fetch it again with the network on")
    return snapshot


def _damage(file: Path, expected: str) -> str:
    """What is wrong with a file in the cache; "" if its hash is the expected one, or the one in its link."""
    expected = expected or (os.path.basename(os.readlink(file)) if file.is_symlink() else "")
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", expected):
        return ""
    is_git = len(expected) == 40
    with open(file, "rb") as stream:
        start = f"blob {os.fstat(stream.fileno()).st_size}\0".encode() if is_git else b""
        digest = hashlib.file_digest(stream, lambda: hashlib.sha1(start) if is_git else hashlib.sha256())
    found = digest.hexdigest()
    return "" if found == expected else f"its {'git hash' if is_git else 'sha256'} is {found}, not {expected}"


def organisation() -> str | None:
    """The namespace of the Hub in which short names are looked up that are not installed: ARZOO_ORGANISATION.

    None by default: a name that nobody has taken on a public Hub is somebody else's tomorrow.
    """
    return os.environ.get("ARZOO_ORGANISATION") or None


def short_name(name_or_path: str | Path) -> str:
    """The last part of a name or path: what a file that is made of the checkpoint is called."""
    return Path(name_or_path).expanduser().absolute().name


def locate(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    files: Sequence[str] = FILES,
) -> Path:
    """The folder that a name or a path means, pulled from the Hub if need be; see `arzoo.from_pretrained`.

    Raises:
        LookupError: No checkpoint has this name.
        FileNotFoundError: There is no such folder, or it is no checkpoint.
        ValueError: A revision is given for a folder or an installed checkpoint, which have none; or see `pull`.
        OSError: See `pull`.
    """
    installed = registry.checkpoint_folders()
    name = str(name_or_path)
    if is_path(name_or_path) or name in installed:
        if revision is not None:
            raise ValueError(f"{name} is on this disk and has no revision {revision!r}; write ORGANISATION/NAME")
        return find_checkpoint(name_or_path)
    if "/" in name and Path(name).is_dir():
        raise ValueError(f"{name!r} may be a folder or a repository of the Hub; write './{name}' for the folder here")
    organised = "/" not in name and organisation()
    if "/" not in name and not organised:
        return find_checkpoint(name)  # says what is installed
    repo_id = f"{organised}/{name}" if organised else name
    try:
        return pull(
            repo_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            files=files,
        )
    except (LookupError, FileNotFoundError, ConnectionError) as error:
        if not organised:
            raise
        hint = f"no checkpoint {name!r} is installed; {did_you_mean(name, installed)}; {error}"
        raise type(error)(hint) from None
