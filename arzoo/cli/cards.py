"""`arzoo card`: what a checkpoint says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arzoo import console
from arzoo.cli.app import app


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="Of a checkpoint.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if anything would change.")] = False,
    license: Annotated[
        str | None,
        typer.Option(help="Of the weights, as the Hub writes it.  [default: as the card says, else as the data need]"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the card loads: ORGANISATION/NAME on the Hub.  [default: as the card says]"),
    ] = None,
) -> None:
    """Brings the card of a checkpoint up to date, and prints what changes.

    What people wrote between and around its sections stays.

    Example: arzoo card runs/nade --license mit --name ORGANISATION/nade
    """
    from arzoo.card import CARD, check_card, write_card

    difference = check_card(folder, license, name=name) if check else write_card(folder, license, name=name)
    if not difference:
        return console.show(f"{folder / CARD} is up to date")
    print(console.plain(difference))
    if check:
        raise typer.Exit(1)
