"""`arzoo sample`, `arzoo complete`, `arzoo map`: what a trained model is for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arzoo import console
from arzoo.cli.app import Contexts, Device, Name, Revision, Seed, app

if TYPE_CHECKING:
    from arzoo.model import ModelConfig


@app.command()
def sample(
    name: Name,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 16,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .png of images, a .txt of words, or a .npy of the events as numbers, shape (N, *E)."
            "  [default: NAME.png of images, NAME.txt of words, else NAME.npy]",
        ),
    ] = None,
    seed: Seed = 0,
    context: Contexts = None,
    length: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps of an event of variable length, as the words of a document."
            "  [default: where the model or its context ends it, else the most it may have]",
        ),
    ] = None,
    device: Device = "auto",
    revision: Revision = None,
    temperature: Annotated[float, typer.Option(help="Below 1 prefers what is likely.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest categories.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the fewest categories that hold this probability.")
    ] = None,
) -> None:
    """Draws samples and writes them to a file.

    The same seed gives the same file; with another -n all samples are others.

    Example: arzoo sample pixelcnn-cifar10 -n 16 -o grid.png --seed 1

    Of classes: arzoo sample gated_pixelcnn-cifar10 -n 3 --context class=frog,ship,horse
    """
    from arzoo import hub

    started, folder = time.perf_counter(), hub.locate(name, revision=revision, files=hub.MODEL)

    import numpy as np
    import torch

    import arzoo
    from arzoo import files, pictures
    from arzoo.cli.choices import find_device, read_context
    from arzoo.label_names import category_name

    where = find_device(device)
    model = arzoo.load(folder).to(where)
    condition = read_context(model, context or (), number)
    named = category_name(model.labels, model.context_names)
    suffix = ".png" if _levels(model.config) is not None else ".npy" if named is None else ".txt"
    output = output or Path(f"{hub.short_name(name)}{suffix}")
    if output.suffix == ".png" and _levels(model.config) is None:
        raise ValueError(f"events of shape {model.config.event_shape} are no images; let -o name a {suffix} file")
    if output.suffix == ".txt" and named is None:
        raise ValueError(f"{name} does not say what its categories are called; let -o name a {suffix} file")
    console.check_output(output, ".png", ".npy", ".txt")
    options: dict[str, Any] = {"length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    generator = torch.Generator().manual_seed(seed)
    if isinstance(model, arzoo.Autoregressive):
        every = max(1, model.config.dims // 200)
        with console.progress("sampling", 1.0) as advance:
            for events in model.stream(number, condition, **options, generator=generator, every=every):
                drawn = ~events.isnan() if events.is_floating_point() else events >= 0
                advance(completed=float(drawn.float().mean()))
    else:
        events = model.sample(number, condition, **options, generator=generator)
    if output.suffix == ".png":
        pictures.save_png(pictures.grid(events, _levels(model.config) or 2), output)
    elif output.suffix == ".txt" and named is not None:
        words = model.labels[named]
        rows = ([words[category] for category in event if category >= 0] for event in events.flatten(1).tolist())
        with files.replacing(output) as path:
            path.write_text("".join(f"{' '.join(row)}\n" for row in rows), encoding="utf-8")
    else:
        with files.replacing(output) as path:
            np.save(path, events.cpu().numpy())
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
    context: Contexts = None,
    device: Device = "auto",
    revision: Revision = None,
) -> None:
    """Keeps a part of an image and fills in the rest.

    It says whether what it draws is exact, and from which density.

    Example: arzoo complete pixelcnn-cifar10 frog.png --rows 16 -o frogs.png
    """
    from arzoo import hub

    if rows is not None and mask is not None:
        raise typer.BadParameter("--rows and --mask exclude each other")
    started, folder = time.perf_counter(), hub.locate(name, revision=revision, files=hub.MODEL)

    import torch

    import arzoo
    from arzoo import pictures
    from arzoo.cli.choices import find_device, read_context

    where = find_device(device)
    model = arzoo.load(folder).to(where)
    condition = read_context(model, context or (), number)
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
        events = event.to(where).expand(number, channels, height, width)
        result = model.complete(events, known, condition, generator=generator)
    pictures.save_png(pictures.grid(result.events, levels), output)
    typer.echo(f"{number} completions in {output}, {time.perf_counter() - started:.1f} s")
    typer.echo(f"{'exact' if result.exact else 'not exact'}: drawn from {result.density}")


@app.command("map")
def map_(
    name: Name,
    image: Annotated[Path, typer.Argument(help="Of the size that the checkpoint is for.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .png.  [default: IMAGE-map.png]")] = None,
    context: Contexts = None,
    device: Device = "auto",
    revision: Revision = None,
) -> None:
    """Shows where the likelihood of an image comes from: bright pixels surprise the model.

    Example: arzoo map pixelcnn-cifar10 frog.png -o map.png
    """
    from arzoo import hub

    folder = hub.locate(name, revision=revision, files=hub.MODEL)

    import math

    import torch

    import arzoo
    from arzoo import pictures
    from arzoo.cli.choices import find_device, read_context

    where = find_device(device)
    model = arzoo.load(folder).to(where)
    condition = read_context(model, context or (), 1)
    levels = _levels(model.config)
    if levels is None or not isinstance(model, arzoo.Autoregressive):
        raise ValueError(f"{name} maps no images: it is a {model.family} of events {model.config.event_shape}")
    output = output or Path(f"{image.stem}-map.png")
    console.check_output(output, ".png")
    _, height, width = shape = model.config.event_shape
    event = pictures.read_image(image, shape, levels)[None].to(where)  # (1, C, H, W)
    with torch.no_grad():
        pixels = model.site_log_prob(event, condition).view(-1, height, width).double().sum(0)  # (H, W)
    pictures.save_png(pictures.likelihood_map(pixels[None], scale=8), output)
    nats = -float(pixels.sum())
    typer.echo(f"{nats:.2f} nats, {nats / model.config.dims / math.log(2):.3f} bits/dim: {output}")


def _levels(config: ModelConfig) -> int | None:
    """Number of levels of a pixel, None if events are no images."""
    categories, shape = config.num_categories, config.event_shape
    images = len(shape) == 3 and shape[0] in (1, 3) and isinstance(categories, int) and categories <= 256
    return categories if images and isinstance(categories, int) else None
