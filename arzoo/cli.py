"""`arzoo ...`: every command is one call of the library; what was wrong stands on one line.

Nothing is imported before a command needs it: what only lists takes neither torch nor a plugin.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from arzoo import console

if TYPE_CHECKING:
    from arzoo.model import ModelConfig


class _Commands(TyperGroup):
    """Turns what the library raises for its user into one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            typer.echo(f"\ninterrupted{interrupt}", err=True)
            raise typer.Exit(130) from None
        except (BrokenPipeError, KeyError, IndexError):  # no message of the library: a closed pipe, or a bug
            raise
        except (ValueError, LookupError, OSError, ImportError) as error:
            typer.echo(f"error: {console.error_message(error)}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="An installed checkpoint, or a folder: ./FOLDER.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same events.")]


def main() -> None:
    """The console script."""
    app(prog_name="arzoo")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"arzoo {version('arzoo')}")
        raise typer.Exit


@app.callback()
def _options(
    block_plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Do without a plugin or package; may be repeated."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A zoo of autoregressive generative models.

    Example: arzoo list
    """
    if block_plugin:
        # In the environment, where processes that this one starts find it too.
        blocked = [os.environ.get("ARZOO_BLOCK_PLUGINS", ""), *block_plugin]
        os.environ["ARZOO_BLOCK_PLUGINS"] = ",".join(filter(None, blocked))


@app.command("list")
def list_(
    family: Annotated[str | None, typer.Option(help="Only checkpoints of this family.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only checkpoints on this data set.")] = None,
    as_json: Json = False,
) -> None:
    """Lists the installed checkpoints.

    Example: arzoo list --dataset cifar10
    """
    from arzoo import checkpoints, registry, tables

    found = [tables.checkpoint_facts(info) for info in checkpoints.list_checkpoints()]
    families, datasets = registry.list_families(), registry.list_datasets()
    for key, wanted, known in (("family", family, families), ("dataset", dataset, datasets)):
        if wanted is not None and wanted not in known and all(facts[key] != wanted for facts in found):
            raise LookupError(f"there is no {key} {wanted!r}; {registry.did_you_mean(wanted, known)}")
    with_checkpoint = {facts["family"] for facts in found}
    without = [name for name in families if name not in with_checkpoint]
    found = [facts for facts in found if family in (None, facts["family"]) and dataset in (None, facts["dataset"])]
    if as_json:
        return console.show_json({"checkpoints": found, "families_without_checkpoint": without})
    console.show(tables.checkpoint_table(found) if found else "no such checkpoint is installed")
    if without and family is None and dataset is None:
        console.show(f"\nfamilies without checkpoint: {', '.join(without)}")


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A checkpoint or its folder, a family, or a data set.")],
    as_json: Json = False,
) -> None:
    """Describes a checkpoint, a family or a data set.

    Example: arzoo info pixelcnn
    """
    from arzoo import checkpoints, registry, tables

    folders = registry.checkpoint_folders()
    groups = {plugin.name: plugin.group for plugin in registry.list_plugins()}
    families, datasets = (
        [name for name in groups if groups[name] == group] for group in (registry.FAMILIES, registry.DATASETS)
    )
    if name in folders or name.startswith(("./", "../", "/", "~")):
        described = checkpoints.describe_checkpoint(checkpoints.find_checkpoint(name))
        details = tables.checkpoint_details(described)
    elif name in families:
        found = registry.get_family(name)
        package = registry.family_distribution(name)
        details = tables.family_details(found, package, checkpoints.list_checkpoints())
    elif name in datasets:
        details = tables.dataset_details(registry.get_dataset(name))
    else:
        hint = registry.did_you_mean(name, [*folders, *families, *datasets])
        raise LookupError(f"no checkpoint, family or data set {name!r} is installed; {hint}")
    if as_json:
        return console.show_json(details)
    console.show(tables.details_table(details))


@app.command()
def sample(
    name: Name,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 16,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .png of images, or a .npy of the events as numbers, shape (N, *E)."
            "  [default: NAME.png, or NAME.npy if the events are no images]",
        ),
    ] = None,
    seed: Seed = 0,
    temperature: Annotated[float, typer.Option(help="Below 1 prefers what is likely.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest categories.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the fewest categories that hold this probability.")
    ] = None,
) -> None:
    """Draws samples and writes them to a file.

    The same seed gives the same file; with another -n all samples are others.

    Example: arzoo sample pixelcnn-cifar10 -n 16 -o grid.png --seed 1
    """
    from arzoo.checkpoints import find_checkpoint

    started, folder = time.perf_counter(), find_checkpoint(name)

    import numpy as np
    import torch

    import arzoo
    from arzoo import files, pictures

    model = arzoo.load(folder)
    if output is None:
        output = Path(f"{folder.absolute().name}{'.npy' if _levels(model.config) is None else '.png'}")
    if output.suffix == ".png" and _levels(model.config) is None:
        raise ValueError(f"events of shape {model.config.event_shape} are no images; let -o name a .npy file")
    console.check_output(output, ".png", ".npy")
    sharpening: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    generator = torch.Generator().manual_seed(seed)
    if isinstance(model, arzoo.Autoregressive):
        every = max(1, model.config.dims // 200)
        with console.progress("sampling", 1.0) as advance:
            for events in model.stream(number, **sharpening, generator=generator, every=every):
                drawn = ~events.isnan() if events.is_floating_point() else events >= 0
                advance(completed=float(drawn.float().mean()))
    else:
        events = model.sample(number, **sharpening, generator=generator)
    if output.suffix == ".png":
        pictures.save_png(pictures.grid(events, _levels(model.config) or 2), output)
    else:
        with files.replacing(output) as path:
            np.save(path, events.numpy())
    typer.echo(f"{number} samples in {output}, {time.perf_counter() - started:.1f} s")


@app.command()
def complete(
    name: Name,
    image: Annotated[Path, typer.Argument(help="Of the size that the checkpoint is for.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .png.  [default: IMAGE-completed.png]")
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=0, help="Keep the first so many rows.  [default: half of them]")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Keep what is white in this image.")] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many completions.")] = 4,
    seed: Seed = 0,
) -> None:
    """Keeps a part of an image and fills in the rest.

    It says whether what it draws is exact, and from which density.

    Example: arzoo complete pixelcnn-cifar10 frog.png --rows 16 -o frogs.png
    """
    from arzoo.checkpoints import find_checkpoint

    if rows is not None and mask is not None:
        raise typer.BadParameter("--rows and --mask exclude each other")
    started, folder = time.perf_counter(), find_checkpoint(name)

    import torch

    import arzoo
    from arzoo import pictures

    model = arzoo.load(folder)
    levels = _levels(model.config)
    if levels is None or not isinstance(model, arzoo.Autoregressive):
        raise ValueError(f"{name} cannot complete images: it is a {model.family} of events {model.config.event_shape}")
    output = output or Path(f"{image.stem}-completed.png")
    console.check_output(output, ".png")
    channels, height, width = shape = model.config.event_shape
    event = pictures.read_image(image, shape, levels)  # (C, H, W)
    if mask is None:
        kept = height // 2 if rows is None else rows
        if kept > height:
            raise ValueError(f"--rows must be at most the {height} rows of an image, got {kept}")
        known = torch.zeros(shape, dtype=torch.bool)
        known[:, :kept] = True
    else:
        known = pictures.read_image(mask, (1, height, width), 2).bool().expand(shape)
    generator = torch.Generator().manual_seed(seed)
    with console.console(stderr=True).status("completing"):
        result = model.complete(event.expand(number, channels, height, width), known, generator=generator)
    pictures.save_png(pictures.grid(result.events, levels), output)
    typer.echo(f"{number} completions in {output}, {time.perf_counter() - started:.1f} s")
    typer.echo(f"{'exact' if result.exact else 'not exact'}: drawn from {result.density}")


@app.command("eval")
def eval_(
    name: Name,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    examples: Annotated[int | None, typer.Option(min=1, help="Only so many, evenly spaced.  [default: all]")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a pass.")] = 100,
    as_json: Json = False,
) -> None:
    """Measures the weights on real data.

    Beside it stands what the card says and what was published.

    Example: arzoo eval made-binarized_mnist --examples 1000
    """
    from dataclasses import asdict

    import arzoo
    from arzoo import checkpoints, tables

    folder = checkpoints.find_checkpoint(name)
    facts = tables.checkpoint_facts(checkpoints.describe_checkpoint(folder))
    recipe = arzoo.load_recipe(folder / "recipe.toml")
    model = arzoo.load(folder)
    data = arzoo.load_data(recipe.dataset, split)
    total = min(examples or len(data), len(data))
    with console.progress("evaluating", total) as advance:
        measured = arzoo.evaluate(
            model,
            data,
            batch_size=batch_size,
            num_examples=examples,
            progress=lambda done: advance(advance=done),
        )
    results = {"measured": asdict(measured), "card": facts["test"] or None, "published": facts["published"]}
    if as_json:
        return console.show_json(results)
    console.show(tables.comparison_table(results))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A .toml file, or a checkpoint whose recipe is taken.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIRECTORY", help="[default: ./ and the recipe's name]"),
    ] = None,
) -> None:
    """Trains a model from a recipe.

    The same command goes on where an earlier one was stopped.

    Example: arzoo train made-binarized_mnist -o runs/made

    On several GPUs: accelerate launch -m arzoo train RECIPE

    On two CPUs: ACCELERATE_USE_CPU=1 torchrun --nproc-per-node 2 -m arzoo train RECIPE
    """
    import arzoo
    from arzoo.recipe import recipe_path

    path = recipe_path(recipe)
    stem = path.resolve().parent.name if path.name == "recipe.toml" else path.stem
    directory = Path(stem) if output is None else output
    is_main = int(os.environ.get("RANK", "0")) == 0  # as torchrun and accelerate number their processes
    loaded = arzoo.load_recipe(path)
    is_new = _keep_recipe(path, directory, is_main)
    try:
        arzoo.train(loaded, directory)
    except KeyboardInterrupt:
        if not is_main:
            raise typer.Exit(130) from None
        raise KeyboardInterrupt("; the same command goes on from the last state that was saved") from None
    except Exception:
        if is_new and os.listdir(directory) == ["recipe.toml"]:  # it never began
            (directory / "recipe.toml").unlink()
            with contextlib.suppress(OSError):  # a mount point, for one
                directory.rmdir()
        raise
    if is_main:
        where = directory if directory.is_absolute() else f"./{directory}"
        typer.echo(f"the trained model is in {directory}; measure it with: arzoo eval {where}")


def _keep_recipe(path: Path, directory: Path, is_main: bool) -> bool:
    """Puts the recipe into the folder of its checkpoint; returns whether there was none before."""
    import arzoo
    from arzoo.files import replacing

    kept = directory / "recipe.toml"
    is_new = not kept.is_file()
    if not is_new and arzoo.load_recipe(kept).what_must_stay() != arzoo.load_recipe(path).what_must_stay():
        raise ValueError(f"{kept} differs from {path}; name another directory with -o")
    if is_main and path.resolve() != kept.resolve():
        with replacing(kept) as temporary:
            temporary.write_bytes(path.read_bytes())
    return is_new and is_main


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


def _levels(config: ModelConfig) -> int | None:
    """Number of levels of a pixel, None if events are no images."""
    categories, shape = config.num_categories, config.event_shape
    images = len(shape) == 3 and shape[0] in (1, 3) and isinstance(categories, int) and categories <= 256
    return categories if images and isinstance(categories, int) else None
