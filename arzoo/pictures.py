"""Events, likelihoods and training runs as pictures."""

import os
import warnings
from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from arzoo.data_decoding import quantize
from arzoo.files import replacing

if TYPE_CHECKING:
    from arzoo.receptive_fields import ReceptiveField

_GAP = 2  # pixels between images
_GROUND = 128  # grey level of the gaps: neither ink nor paper


def grid(events: Tensor, num_categories: int, columns: int | None = None, scale: int = 2) -> Image.Image:
    """Events side by side, row by row, as one picture.

    Categories are spread over black to white such that `read_image` gives them back.

    Arguments:
        events: 0..K-1, shape (N, C, H, W) with C = 1 for grey and 3 for RGB.
        num_categories: K, 2 to 256.
        columns: Images in a row; about as many as there are rows if None.
        scale: Pixels of the picture for one of an event, each way.

    Returns:
        The picture, in mode L or RGB.
    """
    if events.dim() != 4 or events.shape[1] not in (1, 3):
        raise ValueError(f"events must be of shape (N, 1 or 3, H, W) to be shown, got {tuple(events.shape)}")
    if not 2 <= num_categories <= 256:
        raise ValueError(f"images have 2 to 256 categories, got {num_categories}")
    low, high = int(events.min()), int(events.max())
    if low < 0 or high >= num_categories:
        raise ValueError(f"events must be in 0..{num_categories - 1} to be shown, got {low} to {high}")
    levels = -(-events.cpu().long() * 255 // (num_categories - 1))  # rounded up: quantize() undoes it
    return _tile(levels.to(torch.uint8).movedim(1, 3).numpy(), columns, scale)


def likelihood_map(site_log_prob: Tensor, columns: int | None = None, scale: int = 2) -> Image.Image:
    """What each pixel costs, from dark (expected) to bright (a surprise), on one scale for all images.

    Arguments:
        site_log_prob: Log-likelihood of each pixel in nats, shape (N, H, W).
        columns: Images in a row; about as many as there are rows if None.
        scale: Pixels of the picture for one of an event, each way.

    Returns:
        The picture, in mode RGB: black is 0 nats, the brightest colour what one pixel in 200 exceeds.
    """
    from matplotlib import colormaps

    if site_log_prob.dim() != 3:
        raise ValueError(f"site_log_prob must be of shape (N, H, W), got {tuple(site_log_prob.shape)}")
    cost = -site_log_prob.detach().double().cpu().numpy()  # (N, H, W)
    finite = cost[np.isfinite(cost)]
    top = max(float(np.quantile(finite, 0.995)), 1e-6) if finite.size else 1.0
    colours = colormaps["magma"](np.clip(cost / top, 0, 1), bytes=True)  # (N, H, W, 4)
    return _tile(colours[..., :3], columns, scale)


def receptive_field(field: "ReceptiveField", scale: int = 8) -> Image.Image:
    """What a pixel sees: dark red to bright yellow by influence, on a scale of logarithms.

    Arguments:
        scale: Pixels of the picture for one of the image, each way.

    Returns:
        The picture, in mode RGB: the pixel itself is green, what comes after it grey, and blue what comes before it and
        is not seen.
    """
    from matplotlib import colormaps

    seen, before = field.seen.numpy(), field.before.numpy()
    colours = np.full((*before.shape, 3), _GROUND, dtype=np.uint8)
    colours[before] = (40, 80, 220)
    influence = np.log(field.influence.numpy()[seen])
    if influence.size:
        low, high = influence.min(), max(influence.max(), influence.min() + 1e-6)
        shade = 0.25 + 0.75 * (influence - low) / (high - low)
        colours[seen] = colormaps["inferno"](shade, bytes=True)[:, :3]
    colours[field.pixel] = (0, 200, 80)
    return _tile(colours[None], 1, scale)


def read_image(path: str | os.PathLike[str], event_shape: tuple[int, ...], num_categories: int) -> Tensor:
    """An image file as an event; warns where that loses colours or levels.

    Arguments:
        path: The file, of W times H pixels.
        event_shape: (C, H, W) with C = 1 for grey and 3 for RGB.
        num_categories: K, 2 to 256; the 256 levels of the file become K of equal width.

    Returns:
        0..K-1, int64, shape (C, H, W).
    """
    if len(event_shape) != 3 or event_shape[0] not in (1, 3):
        raise ValueError(f"an image is no event of shape {event_shape}")
    channels, height, width = event_shape
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise ValueError(
                    f"{os.fspath(path)} has {image.width}x{image.height} pixels, must have {width}x{height}"
                )
            if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                raise ValueError(f"{os.fspath(path)} has pixels of mode {image.mode}; save it with 8 bits a channel")
            colours = np.array(image.convert("RGB"))
            pixels = colours if channels == 3 else np.array(image.convert("L"))[..., None]
    except UnidentifiedImageError as error:
        raise ValueError(f"{os.fspath(path)} is no image, or of an unknown format") from error
    if channels == 1 and (colours != colours[..., :1]).any():
        warnings.warn(f"{os.fspath(path)} is in colour, and is taken as grey", stacklevel=2)
    levels = np.unique(pixels).size
    if levels > num_categories:
        warnings.warn(f"the {levels} levels of {os.fspath(path)} are rounded to {num_categories}", stacklevel=2)
    return quantize(torch.from_numpy(pixels).movedim(2, 0), num_categories).long()


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Writes a picture as PNG, whole or not at all.

    Arguments:
        image: The picture.
        path: The file; missing folders are made.
    """
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def training_curve(records: Sequence[Mapping[str, float]], unit: str, path: str | os.PathLike[str]) -> None:
    """Draws the loss of a training run over its steps, and writes it as PNG.

    The scale leaves out the first twentieth of the run, where losses are far off.

    Arguments:
        records: For a step its "loss", and where it was measured "validation".
        unit: Unit of both.
        path: The file; missing folders are made.
    """
    from matplotlib.figure import Figure

    if not records:
        raise ValueError("there is no training curve to draw: no step was recorded")
    last = max(record["step"] for record in records)
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    shown = []
    for key, label, style, alpha in (("loss", "training", "-", 0.5), ("validation", "validation", "o-", 1.0)):
        points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), style, markersize=3, linewidth=1, alpha=alpha, label=label)
        shown += [value for step, value in points if step >= last / 20 and np.isfinite(value)]
    if shown:
        margin = 0.05 * (max(shown) - min(shown)) or 1.0
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _tile(images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", columns: int | None, scale: int) -> Image.Image:
    """Images of shape (N, H, W, 1 or 3) enlarged, side by side."""
    if len(images) == 0:
        raise ValueError("there are no images to show")
    columns = min(columns or ceil(sqrt(len(images))), len(images))
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    _, height, width, channels = images.shape
    rows = ceil(len(images) / columns)
    size = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels)
    canvas = np.full(size, _GROUND, dtype=np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        canvas[top : top + height, left : left + width] = image
    return Image.fromarray(canvas if channels == 3 else canvas[..., 0])
