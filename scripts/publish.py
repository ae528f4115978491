"""Pushes every checkpoint of model_cards to an organisation of the Hub.

Usage: python scripts/publish.py ORGANISATION [--public] [--dry-run] [--replace COMMIT ...]

What is the same there already is skipped, so the same command goes on after an interruption.  A repository that
went on since it was pushed from here is left alone: pull it, or have its head replaced with --replace.  One failure
does not stop the others; the exit code is 1 if anything was not pushed.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import arzoo
from arzoo import hub
from arzoo.console import console, error_message

ROOT = Path(__file__).parent.parent / "model_cards"


def publish(folder: Path, organisation: str, public: bool, dry_run: bool, replaced: Collection[str]) -> tuple[str, str]:
    """Pushes one checkpoint; returns what became of it, in a word and in a sentence."""

    def push(parent_commit: str | None) -> hub.Push:
        repo_id = f"{organisation}/{folder.name}"
        return arzoo.push(folder, repo_id, private=not public, dry_run=dry_run, parent_commit=parent_commit)

    try:
        try:
            done = push(None)
        except hub.Moved as error:
            if error.commit not in replaced:
                return "went on", error_message(error)
            done = push(error.commit)
    except (ValueError, LookupError, OSError) as error:
        return "failed", error_message(error)
    differing = [f"{file.name} {file.change}" for file in done.files if file.change != "same"]
    if not differing:
        return "unchanged", done.url
    return "to be pushed" if dry_run else "pushed", f"{done.url}: {', '.join(differing)}"


def publish_all(
    organisation: str, public: bool, dry_run: bool, replaced: Collection[str], screen: Console
) -> Counter[str]:
    """Pushes all of them; returns how many had which fate."""
    folders = sorted(path.parent for path in ROOT.glob("*/config.json"))
    fates: Counter[str] = Counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bars:
        task = bars.add_task("publishing", total=len(folders))
        for folder in folders:
            bars.update(task, description=folder.name)
            fate, text = publish(folder, organisation, public, dry_run, replaced)
            screen.print(f"{folder.name}: {fate}, {text}")
            fates[fate] += 1
            bars.advance(task)
    return fates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("organisation")
    parser.add_argument("--public", action="store_true", help="let everybody see repositories that are new")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be pushed, and whether the token may push it"
    )
    parser.add_argument(
        "--replace", metavar="COMMIT", action="append", default=[], help="a head that may be replaced; repeatable"
    )
    arguments = parser.parse_args()
    if odd := [commit for commit in arguments.replace if not hub.client.is_commit(commit)]:
        parser.error(f"--replace {odd[0]}: write all 40 digits of the commit")
    screen = console()
    if arguments.dry_run:
        try:
            hub.check_rights(arguments.organisation)
        except (ValueError, LookupError, OSError) as error:
            sys.exit(f"error: {error_message(error)}")
    fates = publish_all(arguments.organisation, arguments.public, arguments.dry_run, arguments.replace, screen)
    screen.print(", ".join(f"{number} {fate}" for fate, number in fates.items()) or f"there is nothing in {ROOT}")
    sys.exit(1 if fates["failed"] or fates["went on"] or not fates else 0)


if __name__ == "__main__":
    main()
