"""`arzoo eval`, `arzoo verify`: how good a trained model is, and whether its card tells the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arzoo import console
from arzoo.cli.app import Device, Json, Name, Revision, app

if TYPE_CHECKING:
    from arzoo.metrics import Evaluation


@app.command("eval")
def eval_(
    name: Name,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    examples: Annotated[int | None, typer.Option(min=2, help="Only so many, evenly spaced.  [default: all]")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a pass.")] = 100,
    record: Annotated[
        bool, typer.Option("--record", help="Put what is measured on the test split into the folder's metrics.json.")
    ] = False,
    device: Device = "auto",
    revision: Revision = None,
    as_json: Json = False,
) -> None:
    """Measures the weights on real data.

    Beside it stands what the card says and what was published.

    Example: arzoo eval made-binarized_mnist --examples 1000

    For the card of your own: arzoo eval ./FOLDER --record
    """
    from arzoo import hub, tables
    from arzoo.checkpoints import read_config
    from arzoo.metrics import METRICS, record_test

    if record:
        if examples is not None or split != "test":
            raise typer.BadParameter("--record is for the whole test split; leave --examples and --split out")
        _check_own(name)
    folder = hub.locate(name, revision=revision)
    sha256 = read_config(folder)["weights"]["sha256"]
    found = compare(folder, split, device, examples=examples, batch_size=batch_size)
    if record:
        record_test(folder, found.measured, sha256)
    if as_json:
        return console.show_json(asdict(found))
    console.show(tables.comparison_table(asdict(found)))
    if record:
        console.show(f"\nrecorded in {folder / METRICS}; write the card: arzoo card {folder}")


@app.command()
def verify(
    name: Name,
    examples: Annotated[
        int | None, typer.Option(min=30, help="Only so many, evenly spaced, for a first impression.  [default: all]")
    ] = None,
    device: Device = "auto",
    revision: Revision = None,
    as_json: Json = False,
) -> None:
    """Measures a checkpoint again and compares with what its card says.

    It fails if the two differ by more than machines round differently, or, with --examples, by more than chance.

    Example: arzoo verify made-binarized_mnist
    """
    from arzoo import hub, tables, verification
    from arzoo.card import stated_value
    from arzoo.checkpoints import read_config

    folder = hub.locate(name, revision=revision)
    verification.check_verifiable(name, folder)
    found = compare(folder, "test", device, examples=examples)
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


@dataclass(frozen=True)
class Comparison:
    """What was measured, beside what the checkpoint and what others say."""

    measured: Evaluation
    card: Evaluation | None
    published: dict[str, Any] | None


def compare(folder: Path, split: str, device: str, *, examples: int | None = None, batch_size: int = 100) -> Comparison:
    """Measures a checkpoint on its data, with a progress bar."""
    from arzoo import checkpoints, metrics, tables

    facts = tables.checkpoint_facts(checkpoints.describe_checkpoint(folder))
    if facts["error"]:
        raise ValueError(facts["error"])
    if not (folder / "recipe.toml").is_file():
        raise FileNotFoundError(f"{folder} has no recipe.toml, which names the data to measure on")
    card = metrics.Evaluation(**facts["test"]) if facts["test"] else None

    import arzoo
    from arzoo.cli.choices import find_device

    where = find_device(device)
    recipe = arzoo.load_recipe(folder / "recipe.toml")
    model = arzoo.load(folder).to(where)
    data = arzoo.load_data(recipe.dataset, split)
    with console.progress("evaluating", min(examples or len(data), len(data))) as advance:
        measured = arzoo.evaluate(
            model,
            data,
            batch_size=batch_size,
            num_examples=examples,
            progress=lambda done: advance(advance=done),
        )
    return Comparison(measured, card, facts["published"])


def _check_own(name: str) -> None:
    """Refuses what is not a folder of the user's own: others' files, or links into the cache."""
    from arzoo.checkpoints import find_checkpoint, is_path
    from arzoo.metrics import METRICS

    if not is_path(name):
        hint = f"; for the folder of this name, write ./{name}" if Path(name).is_dir() else ""
        raise ValueError(f"--record is for a folder of your own, ./FOLDER, and {name} is installed or on the Hub{hint}")
    folder = find_checkpoint(name)
    cached = folder.resolve().parent
    if cached.name == "snapshots" and cached.parent.name.startswith("models--"):
        raise ValueError(f"{name} belongs to the cache of the Hub; copy it first: arzoo pull ORG/NAME -o FOLDER")
    console.check_output(folder / METRICS, ".json")
