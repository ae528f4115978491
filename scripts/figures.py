"""Draws the pictures of README.md: completions, a likelihood map, receptive fields.

Usage: ARZOO_DATASETS=FOLDER python scripts/figures.py

Writes scripts/figures/*.png from installed checkpoints and images of the test split; the receptive field of a Gated
PixelCNN is that of new weights.
"""

from pathlib import Path

import torch
from PIL import Image

import arzoo
from arzoo import pictures

FOLDER = Path(__file__).parent / "figures"
NUM_IMAGES = 8
COMPLETIONS = 3


def beside(parts: list[Image.Image]) -> Image.Image:
    """Pictures of one height, with a gap between them."""
    gap = 8
    width = sum(part.width + gap for part in parts) - gap
    canvas = Image.new("RGB", (width, max(part.height for part in parts)), "white")
    left = 0
    for part in parts:
        canvas.paste(part, (left, 0))
        left += part.width + gap
    return canvas


@torch.no_grad()
def main() -> None:
    model = arzoo.load("pixelcnn-binarized_mnist")
    assert isinstance(model, arzoo.Autoregressive)
    x = arzoo.load_data("binarized_mnist", "test").batch(torch.arange(NUM_IMAGES) * 1250)[0]

    upper = (torch.arange(28) < 14)[:, None].expand(1, 28, 28)
    draw = torch.Generator().manual_seed(0)
    rows = [x, x * upper]
    rows += [model.complete(x, upper, generator=draw).events for _ in range(COMPLETIONS)]
    pictures.save_png(pictures.grid(torch.cat(rows), 2, columns=NUM_IMAGES), FOLDER / "completions.png")

    costs = model.site_log_prob(x)[:, 0]
    both = [pictures.grid(x, 2, columns=NUM_IMAGES), pictures.likelihood_map(costs, columns=NUM_IMAGES)]
    stacked = Image.new("RGB", (both[0].width, both[0].height + both[1].height + 4), "white")
    stacked.paste(both[0], (0, 0))
    stacked.paste(both[1], (0, both[0].height + 4))
    pictures.save_png(stacked, FOLDER / "likelihood_map.png")

    torch.manual_seed(0)
    gated = arzoo.create_model(
        "gated_pixelcnn", {"event_shape": (1, 28, 28), "hidden_size": 8, "num_layers": 10, "kernel_size": 5}
    )
    assert isinstance(gated, arzoo.Autoregressive)
    for parameter in gated.parameters():  # new weights are small, and what is far away would not be seen to matter
        parameter.mul_(2)
    fields = [model, gated]
    drawn = [pictures.receptive_field(arzoo.receptive_field(each)) for each in fields]
    pictures.save_png(beside(drawn), FOLDER / "receptive_fields.png")


if __name__ == "__main__":
    main()
