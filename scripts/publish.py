"""Pushes every checkpoint of model_cards to an organisation of the Hub.

Usage: python scripts/publish.py ORGANISATION [--public] [--dry-run]

What is the same there already is skipped, so the same command goes on after an interruption.  One failure does not
stop the others; the exit code is 1 if there was any.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import arzoo
from arzoo.console import console, error_message

ROOT = Path(__file__).parent.parent / "model_cards"


def publish(folder: Path, organisation: str, public: bool, dry_run: bool) -> tuple[str, str]:
    """Pushes one checkpoint; returns what became of it, in a word and in a sentence."""
    try:
        done = arzoo.push(folder, f"{organisation}/{folder.name}", private=not public, dry_run=dry_run)
    except (ValueError, LookupError, OSError) as error:
        return "failed", error_message(error)
    differing = [f"{file.name} {file.change}" for file in done.files if file.change != "same"]
    if not differing:
        return "unchanged", done.url
    return "to be pushed" if dry_run else "pushed", f"{done.url}: {', '.join(differing)}"


def publish_all(organisation: str, public: bool, dry_run: bool, screen: Console) -> Counter[str]:
    """Pushes all of them; returns how many had which fate."""
    folders = sorted(path.parent for path in ROOT.glob("*/config.json"))
    fates: Counter[str] = Counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bars:
        task = bars.add_task("publishing", total=len(folders))
        for folder in folders:
            bars.update(task, description=folder.name)
            fate, text = publish(folder, organisation, public, dry_run)
            screen.print(f"{folder.name}: {fate}, {text}")
            fates[fate] += 1
            bars.advance(task)
    return fates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("organisation")
    parser.add_argument("--public", action="store_true", help="let everybody see repositories that are new")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be pushed")
    arguments = parser.parse_args()
    screen = console()
    fates = publish_all(arguments.organisation, arguments.public, arguments.dry_run, screen)
    screen.print(", ".join(f"{number} {fate}" for fate, number in fates.items()) or f"there is nothing in {ROOT}")
    sys.exit(1 if fates["failed"] or not fates else 0)


if __name__ == "__main__":
    main()
