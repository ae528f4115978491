"""`arzoo card`, `arzoo verify`: what a checkpoint says of itself, and whether it is so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arzoo import console
from arzoo.cli.app import Json, Name, Revision, app
from arzoo.cli.using import compare


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

    Example: arzoo card runs/nade --license mit --name me/nade
    """
    from arzoo.card import CARD, check_card, write_card

    difference = check_card(folder, license, name=name) if check else write_card(folder, license, name=name)
    if not difference:
        return console.show(f"{folder / CARD} is up to date")
    print(console.plain(difference))
    if check:
        raise typer.Exit(1)


@app.command()
def verify(
    name: Name,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Only so many, evenly spaced, for a first impression.  [default: all]")
    ] = None,
    revision: Revision = None,
    as_json: Json = False,
) -> None:
    """Measures a checkpoint again and compares with what its card says.

    It fails if the two differ by more than machines round differently, or, with --examples, by more than chance.

    Example: arzoo verify made-binarized_mnist
    """
    from dataclasses import asdict

    from arzoo import hub, tables, verification
    from arzoo.card import stated_value
    from arzoo.checkpoints import read_config

    folder = hub.locate(name, revision=revision)
    verification.check_verifiable(name, folder)
    found = compare(folder, "test", examples=examples)
    assert found.card is not None
    verdict = verification.verdict(found.measured, found.card, stated_value(folder, found.card), examples)
    sha256 = read_config(folder)["weights"]["sha256"]
    if as_json:
        console.show_json(
            {"weights_sha256": sha256, **asdict(found), "agrees": verdict.agrees, "verdict": verdict.text}
        )
    else:
        console.show(tables.comparison_table(asdict(found)))
        console.show(f"\nthe weights have the sha256 that config.json names, {sha256}\n{console.plain(verdict.text)}")
    if not verdict.agrees:
        raise typer.Exit(1)
