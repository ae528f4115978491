"""From a model to the Hub: saved into a folder that lasts for the push, with the card that is there."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from arzoo.checkpoints import CONFIG, WEIGHTS, read_config
from arzoo.hub.client import connect
from arzoo.hub.comparing import CARD, Remote, fetch, is_same, look
from arzoo.hub.memory import commits_in
from arzoo.hub.pushing import Push, Wish, make_push, read_folder
from arzoo.hub.rights import require_token

if TYPE_CHECKING:
    import torch
    from huggingface_hub import HfApi

    from arzoo.model import Model


def push_model(
    model: Model,
    repo_id: str,
    *,
    license: str | None = None,
    dtype: torch.dtype | None = None,
    private: bool = True,
    revision: str = "main",
    message: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
    dry_run: bool = False,
    parent_commit: str | None = None,
) -> Push:
    """Saves a model and pushes it, with a card that keeps what people wrote into the one on the Hub.

    The recipe, the metrics and the pictures that are on the Hub stay if they are of these weights; else they speak
    of others and are removed.  A model remembers the commit that it was loaded from or last pushed to, as a folder
    does.

    Arguments:
        license: Of the weights, as the Hub writes it; None takes that of the card on the Hub.
        dtype: What floating-point weights are stored as: torch.float32 or torch.bfloat16; None for what they are
            stored as on the Hub if they are the same there, else torch.float32.

    The other arguments and what is raised: see `push`.
    """
    import torch

    from arzoo.card import write_card

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
    api = connect(token)
    require_token(api, f"{api.endpoint}/{repo_id}")
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / repo_id.split("/")[1]
        remote = look(api, repo_id, revision)
        stored, keeps = _stored_dtype(api, repo_id, remote), False
        if stored is not None:
            model.save_pretrained(folder, stored)
            keeps = is_same(remote.files[WEIGHTS], (folder / WEIGHTS).read_bytes())
        wanted = dtype or (stored if keeps else None) or torch.float32
        if wanted != stored:
            model.save_pretrained(folder, wanted)
        for name in remote.files:
            if name == CARD or (keeps and name not in (CONFIG, WEIGHTS)):
                (folder / name).write_bytes(fetch(api, repo_id, remote, name))
        try:
            write_card(folder, license, name=repo_id)
        except ValueError as error:
            text = str(error).replace(f"{folder / CARD}: ", "")
            raise ValueError(f"the card of {repo_id} cannot be written: {text}") from error
        known = commits_in(model.hub_parents, f"{api.endpoint}/{repo_id}")
        if remote.head is not None and remote.files.keys() <= {CARD}:  # all of which is taken along
            known.add(remote.head)
        done, head = make_push(api, wish, remote, read_folder(folder, repo_id), "the model", known)
    if gone := [file.name for file in done.files if file.change == "removed"]:
        verb = "would be" if dry_run or create_pr else "were"
        warnings.warn(
            f"{', '.join(gone)} of {repo_id} {verb} removed, being of other weights; to push new ones along, save the"
            " model into a folder and push that: arzoo.push",
            UserWarning,
            stacklevel=3,
        )
    if head is not None:
        model.hub_parents.setdefault(done.url, {})[revision] = head
    return done


def _stored_dtype(api: HfApi, repo_id: str, remote: Remote) -> torch.dtype | None:
    """What the weights on the Hub are stored as; None if there is no checkpoint."""
    import torch

    if not {CONFIG, WEIGHTS} <= remote.files.keys():
        return None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_bytes(fetch(api, repo_id, remote, CONFIG))
        try:
            name = read_config(folder)["weights"]["dtype"]
        except ValueError:
            return None
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(name)
