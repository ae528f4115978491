"""`arzoo list`, `arzoo info`, `arzoo plugins`: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arzoo import console
from arzoo.cli.app import Json, Revision, app


@app.command("list")
def list_(
    family: Annotated[str | None, typer.Option(help="Only checkpoints of this family.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only checkpoints on this data set.")] = None,
    on_hub: Annotated[bool, typer.Option("--hub", help="List what is on the Hub instead, as its cards say.")] = False,
    author: Annotated[str | None, typer.Option(help="With --hub: only those of this user or organisation.")] = None,
    as_json: Json = False,
) -> None:
    """Lists the installed checkpoints.

    Example: arzoo list --dataset cifar10

    On the Hub: arzoo list --hub --family made
    """
    from arzoo import checkpoints, registry, tables
    from arzoo.wording import did_you_mean

    if on_hub:
        return _list_hub(family, dataset, author, as_json)
    if author is not None:
        raise typer.BadParameter("--author goes with --hub")
    found = [tables.checkpoint_facts(info) for info in checkpoints.list_checkpoints()]
    families, datasets = registry.list_families(), registry.list_datasets()
    for key, wanted, known in (("family", family, families), ("dataset", dataset, datasets)):
        if wanted is not None and wanted not in known and all(facts[key] != wanted for facts in found):
            raise LookupError(f"there is no {key} {wanted!r}; {did_you_mean(wanted, known)}")
    with_checkpoint = {facts["family"] for facts in found}
    without = [name for name in families if name not in with_checkpoint]
    found = [facts for facts in found if family in (None, facts["family"]) and dataset in (None, facts["dataset"])]
    if as_json:
        return console.show_json({"checkpoints": found, "families_without_checkpoint": without})
    console.show(tables.checkpoint_table(found) if found else "no such checkpoint is installed")
    if without and family is None and dataset is None:
        console.show(f"\nfamilies without checkpoint: {', '.join(without)}")


def _list_hub(family: str | None, dataset: str | None, author: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from arzoo import hub, tables

    found = hub.list_models(author=author)
    found = [model for model in found if family in (None, model.family) and dataset in (None, model.dataset)]
    if as_json:
        return console.show_json([asdict(model) for model in found])
    console.show(tables.hub_table(found) if found else "no such model is on the Hub")


@app.command()
def info(
    name: Annotated[
        str, typer.Argument(help="A checkpoint, its folder, a repository of the Hub, a family, or a data set.")
    ],
    revision: Revision = None,
    receptive_field: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw what the middle pixel of a checkpoint's images depends on."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Describes a checkpoint, a family or a data set.

    Example: arzoo info pixelcnn

    A picture of the blind spot: arzoo info pixelcnn-binarized_mnist --receptive-field field.png
    """
    if receptive_field is not None:
        return _draw_receptive_field(name, revision, receptive_field, as_json)
    from arzoo import checkpoints, hub, registry, tables
    from arzoo.wording import did_you_mean

    folders = registry.checkpoint_folders()
    groups = {plugin.name: plugin.group for plugin in registry.list_plugins()}
    families, datasets = (
        [name for name in groups if groups[name] == group] for group in (registry.FAMILIES, registry.DATASETS)
    )
    if name in folders or "/" in name or name.startswith("~"):
        folder = hub.locate(name, revision=revision)
        described = checkpoints.describe_checkpoint(folder, None if checkpoints.is_path(name) else name)
        details = tables.checkpoint_details(described)
    elif name in families:
        found = registry.get_family(name)
        package = registry.family_distribution(name)
        details = tables.family_details(found, package, checkpoints.list_checkpoints())
    elif name in datasets:
        details = tables.dataset_details(registry.get_dataset(name))
    elif hub.organisation():
        described = checkpoints.describe_checkpoint(hub.locate(name, revision=revision), name)
        details = tables.checkpoint_details(described)
    else:
        hint = did_you_mean(name, [*folders, *families, *datasets])
        raise LookupError(f"no checkpoint, family or data set {name!r} is installed; {hint}")
    if as_json:
        return console.show_json(details)
    console.show(tables.details_table(details))


def _draw_receptive_field(name: str, revision: str | None, output: Path, as_json: bool) -> None:
    from arzoo import hub

    console.check_output(output, ".png")
    folder = hub.locate(name, revision=revision, files=hub.MODEL)

    import arzoo
    from arzoo import pictures

    model = arzoo.load(folder)
    if not isinstance(model, arzoo.Autoregressive):
        raise ValueError(f"{name} has no receptive field: a {model.family} does not go pixel by pixel")
    with console.progress("looking", 1.0) as advance:
        field = arzoo.receptive_field(model, progress=lambda share: advance(completed=share))
    pictures.save_png(pictures.receptive_field(field), output)
    before, seen = int(field.before.sum()), int(field.seen.sum())
    facts = {"pixel": field.pixel, "pixels_before": before, "pixels_seen": seen, "picture": str(output)}
    if as_json:
        return console.show_json(facts)
    row, column = field.pixel
    console.show(f"pixel {row}, {column} sees {seen} of the {before} pixels before it (the others are blue): {output}")


@app.command()
def plugins(as_json: Json = False) -> None:
    """Lists the plugins and how they stand.

    Every entry point of every installed package; none of them is imported.

    Example: arzoo --block-plugin pixelcnn plugins
    """
    from dataclasses import asdict

    from arzoo import registry, tables

    found = registry.list_plugins()
    if as_json:
        return console.show_json([asdict(plugin) for plugin in found])
    console.show(tables.plugin_table(found))
