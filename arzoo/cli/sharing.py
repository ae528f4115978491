"""`arzoo pull`, `arzoo push`: between a folder and the Hub."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arzoo import console
from arzoo.cli.app import Json, Revision, app

if TYPE_CHECKING:
    from arzoo.hub import Push


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A repository of the Hub: ORGANISATION/NAME.")],
    revision: Revision = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIRECTORY", help="Copy the files there, into a new folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetches a checkpoint from the Hub and checks every byte of it.

    It stays in the Hugging Face cache, so that sample, eval and arzoo.load need no network afterwards.

    Example: arzoo pull ORGANISATION/made-binarized_mnist --revision v1 -o made
    """
    from arzoo import hub, tables

    if output is not None:
        _check_new(output)
    repo_id = _repository(name)
    folder = hub.pull(repo_id, revision=revision)
    files = [file for file in hub.FILES if (folder / file).is_file()]
    if output is not None:
        url = f"{hub.client.connect().endpoint}/{repo_id}"
        _copy(folder, files, output, lambda copy: hub.remember(copy, url, revision or "main", folder.name))
    facts = {
        "repository": repo_id,
        "commit": folder.name,
        "path": str(output or folder),
        "files": {file: (folder / file).stat().st_size for file in files},
    }
    if as_json:
        return console.show_json(facts)
    for file in files:
        console.show(f"{file}  {tables.size_text((folder / file).stat().st_size)}")
    console.show(f"{repo_id} at commit {folder.name} is whole, in {output or folder}")


def _check_new(output: Path) -> None:
    if output.exists() and not (output.is_dir() and not os.listdir(output)):
        raise FileExistsError(f"{output} is there already; let -o name a new folder")


def _repository(name: str) -> str:
    """A short name is one of the organisation that ARZOO_ORGANISATION names, if any."""
    from arzoo import hub

    return name if "/" in name or not hub.organisation() else f"{hub.organisation()}/{name}"


def _copy(folder: Path, files: list[str], output: Path, finish: Callable[[Path], None]) -> None:
    """Puts copies into a new folder and has it finished, all of it or nothing."""
    output = output.expanduser().absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{secrets.token_hex(8)}.{output.name}")
    try:
        temporary.mkdir()
        for file in files:
            shutil.copyfile(folder / file, temporary / file)
        finish(temporary)
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Of a checkpoint, with a card.")],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="ORGANISATION/NAME on the Hub.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it, if it is new.")] = False,
    revision: Annotated[str, typer.Option(help="A branch, made from main if need be.")] = "main",
    tag: Annotated[str | None, typer.Option(help="A name for this version, as v1.")] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    pull_request: Annotated[bool, typer.Option("--pr", help="Propose it in a pull request.")] = False,
    replace: Annotated[
        str | None,
        typer.Option(metavar="COMMIT", help="Replace this head of the branch, whatever somebody pushed there."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    as_json: Json = False,
) -> None:
    """Brings a repository of the Hub to the state of a checkpoint folder, in one commit.

    A new repository is private.  What is the same is not sent again, so the same command goes on after a failure.
    The folder remembers the commit that it was pulled from or pushed to; what came after that is not replaced.

    Example: arzoo push runs/made-binarized_mnist ORGANISATION/made-binarized_mnist --dry-run
    """
    from dataclasses import asdict

    from arzoo import hub, tables

    repo_id = _repository(repository)
    done = hub.push(
        folder,
        repo_id,
        private=not public,
        revision=revision,
        message=message,
        tag=tag,
        create_pr=pull_request,
        dry_run=dry_run,
        parent_commit=replace,
    )
    if dry_run and not pull_request:
        hub.check_rights(repo_id.split("/")[0])
    if as_json:
        return console.show_json({**asdict(done), "dry_run": dry_run})
    console.show(tables.push_table(done))
    card = next(file for file in done.files if file.name == "README.md")
    if dry_run and card.change != "same":
        print(console.plain(f"\n{(folder / 'README.md').read_text(encoding='utf-8')}"))
    if done.card_diff and not done.is_new_repository:
        print(console.plain(f"\n{done.card_diff}"))
    console.show(f"\n{_outcome(done, dry_run, pull_request, public)}")


def _outcome(done: Push, dry_run: bool, pull_request: bool, public: bool) -> str:
    """What a push did, or would do, in a sentence."""
    branch = f"{'a new ' if done.is_new_branch else ''}branch {done.revision}"
    differs = any(file.change != "same" for file in done.files)
    if dry_run:
        what = f"make the {'public' if public else 'private'} repository" if done.is_new_repository else "go to"
        what = "open a pull request at" if pull_request else what
        what += f" {done.url}, {branch}{f', and tag it {done.tag}' if done.tag else ''}"
        if differs or done.is_new_branch or done.tag:
            return f"nothing was changed; it would {what}{'' if differs else ', where nothing differs'}"
        return f"nothing differs from {done.url}, {branch}: no commit is needed"
    named = f", tagged {done.tag}" if done.tag else ""
    if not differs:
        return f"nothing differs from {done.url}, {branch}: no commit was needed{named}"
    if done.pull_request is not None:
        number = done.pull_request.rpartition("/")[2]
        return f"proposed in {done.pull_request}, which is the revision refs/pr/{number} until it is merged"
    return f"pushed to {done.url}, commit {done.commit} of {branch}{named}"
