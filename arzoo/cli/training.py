"""`arzoo train`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from arzoo.cli.app import app


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
    from arzoo import hub
    from arzoo.recipe import recipe_path

    path, given = recipe_path(recipe), Path(recipe)
    if given.suffix == ".toml" and given.name != "recipe.toml":
        name = given.stem
    else:
        name = hub.short_name(given.parent if given.suffix == ".toml" else recipe)
    directory = Path(name) if output is None else output
    is_main = int(os.environ.get("RANK", "0")) == 0  # as torchrun and accelerate number their processes
    loaded = arzoo.load_recipe(path)
    before = _keep_recipe(path, directory, is_main)
    try:
        arzoo.train(loaded, directory)
    except KeyboardInterrupt:
        if not is_main:
            raise typer.Exit(130) from None
        then = "goes on from the last state that was saved" if loaded.train else "begins again"
        raise KeyboardInterrupt(f"; the same command {then}") from None
    except Exception:
        if is_main and before is not None:
            (directory / "recipe.toml").write_bytes(before)
        elif is_main and os.listdir(directory) == ["recipe.toml"]:  # it never began
            (directory / "recipe.toml").unlink()
            with contextlib.suppress(OSError):  # a mount point, for one
                directory.rmdir()
        raise
    if is_main:
        where = directory if directory.is_absolute() else f"./{directory}"
        measure, write = f"arzoo eval {where} --record", f"arzoo card {directory}"
        typer.echo(f"the trained model is in {directory}; measure it, then write its card: {measure} && {write}")


def _keep_recipe(path: Path, directory: Path, is_main: bool) -> bytes | None:
    """Puts the recipe into the folder of its checkpoint; returns the one that was there, if any."""
    import arzoo
    from arzoo.checkpoints import WEIGHTS
    from arzoo.files import replacing

    kept = directory / "recipe.toml"
    before = kept.read_bytes() if kept.is_file() else None
    if before is None and (directory / WEIGHTS).exists() and not (directory / "state").is_dir():
        raise FileExistsError(f"{directory} holds a checkpoint without a recipe; name another directory with -o")
    differing = arzoo.load_recipe(kept).differing(arzoo.load_recipe(path)) if before is not None else []
    if differing:
        raise ValueError(f"{kept} differs from {path} in {', '.join(differing)}; name another directory with -o")
    if is_main and path.resolve() != kept.resolve():
        with replacing(kept) as temporary:
            temporary.write_bytes(path.read_bytes())
    return before
