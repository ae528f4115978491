"""From the Hub into the Hugging Face cache: one commit, the files of a checkpoint and no other, each byte verified."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arzoo import registry
from arzoo.checkpoints import CONFIG, WEIGHTS, find_checkpoint, is_path, read_config
from arzoo.hub.cache import Cache, damage
from arzoo.hub.client import check_repository, check_revision, connect, is_commit
from arzoo.hub.explaining import explained
from arzoo.hub.fetching import LARGEST, fetch_file
from arzoo.hub.repository import FILES, HubFile, snapshot
from arzoo.wording import did_you_mean

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MODEL = (CONFIG, WEIGHTS)
"""What it takes to load a model."""


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

    A commit that lies there whole takes no request at all, any other revision takes one, and one more for each file
    that is not in the cache.  If the Hub does not answer the first within 3 seconds, or then keeps silent about a file
    for 10 (see `arzoo.hub.fetching`), the commit that the revision last stood for is used, with a warning.

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

    cache = Cache(repo_id, cache_dir)
    commit = cache.commit(wanted)
    if local_files_only or is_offline_mode():
        lacked = cache.lacks(commit, files, needed=True) if commit else []
        if commit is None or lacked:
            what = "".join(f"{name} of " for name in lacked[:1])
            raise FileNotFoundError(
                f"{what}{repo_id} at {wanted} is not in the cache {cache.folder}; fetch it once with the network on"
            )
        return _verified(cache, commit, files)
    if commit == wanted and not cache.lacks(commit, files):
        with contextlib.suppress(ValueError):  # damaged: fetched again below
            return _verified(cache, commit, files)
    try:
        return _fetch(connect(token), cache, wanted, files)
    except ConnectionError as error:
        if commit is None or cache.lacks(commit, files, needed=True):
            raise
        folder = _verified(cache, commit, files)
        warnings.warn(f"{error}; commit {commit} of {repo_id} is used, from the cache", UserWarning, stacklevel=2)
        return folder


def _fetch(api: HfApi, cache: Cache, revision: str, files: Collection[str]) -> Path:
    """The snapshot of the commit that the revision stands for now, filled with the files wanted."""
    repo_id = cache.repo_id
    with explained(api, repo_id, revision):
        there = snapshot(api, repo_id, revision)
    commit, listed = there.commit, there.files
    where = f"{repo_id} at {revision}"
    if is_commit(revision) and revision != commit:
        raise ConnectionError(f"{api.endpoint} gives commit {commit} for {where}; check HF_ENDPOINT")
    for name in (CONFIG, WEIGHTS):
        if name in files and name not in listed:
            raise FileNotFoundError(f"{where} is no checkpoint of arzoo: it has no {name}")
    for name in filter(listed.__contains__, files):  # config.json is the first
        expected, size, largest = listed[name].digest, listed[name].size, LARGEST
        if name == WEIGHTS:
            expected, largest = _expected_weights(where, read_config_of(where, cache.snapshot(commit)), listed[name])
        elif size is not None and size > LARGEST:
            raise ValueError(f"{name} of {where} has {size} bytes, more than {LARGEST}; it is none of arzoo's")
        fetch_file(api, repo_id, commit, name, cache, expected, largest)
    cache.remember(revision, commit, [name for name in files if name not in listed])
    return cache.snapshot(commit)


def read_config_of(where: str, folder: Path) -> dict[str, Any]:
    try:
        return read_config(folder)
    except ValueError as error:
        raise ValueError(f"{where} is no checkpoint of arzoo, or a damaged one: {error}") from None


def _expected_weights(where: str, config: dict[str, Any], listed: HubFile) -> tuple[str, int]:
    """The sha256 and the bytes that the weights must have; refuses them unseen if the Hub says that they are others."""
    expected = config["weights"]
    if listed.size not in (None, expected["bytes"]) or listed.sha256 not in ("", expected["sha256"]):
        raise ValueError(
            f"{WEIGHTS} of {where} is not that of its {CONFIG}: it has {listed.size} bytes and sha256 {listed.sha256},"
            f" {expected['bytes']} bytes and {expected['sha256']} were expected; nothing was downloaded"
        )
    return expected["sha256"], expected["bytes"]


def _verified(cache: Cache, commit: str, files: Collection[str]) -> Path:
    """A snapshot whose files are as they were when they came.

    Raises:
        ValueError: One is damaged.
        FileNotFoundError: It is no checkpoint.
    """
    where, folder = f"{cache.repo_id} at {commit}", cache.snapshot(commit)
    for name in (name for name in files if (folder / name).is_file()):  # config.json is the first
        is_weights = name == WEIGHTS
        expected = read_config_of(where, folder)["weights"]["sha256"] if is_weights else cache.digest(commit, name)
        if fault := damage(folder / name, expected):
            raise ValueError(f"{name} of {where} is damaged in the cache: {fault}; fetch it again with the network on")
    return folder


def organisation() -> str | None:
    """The namespace of the Hub in which short names are looked up that are not installed: ARZOO_ORGANISATION.

    None by default: a name that nobody has taken on a public Hub is somebody else's tomorrow.
    """
    name = os.environ.get("ARZOO_ORGANISATION") or None
    if name is not None and "/" in name:
        raise ValueError(f"ARZOO_ORGANISATION must be the first half of ORGANISATION/NAME, got {name!r}")
    return name


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
