"""ImageGPT: Generative Pretraining from Pixels, Chen et al. 2020,
https://proceedings.mlr.press/v119/chen20s.html.

The trunk of GPT-2 over pixels in raster order, with a learned vector for every position.  The paper reduces colours
to a palette of 512; here a position is a colour of a pixel and its levels stay what they are: likelihoods are of
images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .trunk import PixelTransformer, PixelTransformerConfig


@dataclass(frozen=True, kw_only=True)
class ImageGPTConfig(PixelTransformerConfig):
    """As of every Transformer over pixels."""


def start_positions(event_shape: tuple[int, ...], hidden_size: int) -> Tensor:
    """What learned positions start as: waves of the row and of the column, so that an offset is a rotation (Vaswani et
    al. 2017, section 3.5), beside noise that tells colours apart.

    From noise alone training first finds out which positions are near each other.

    Returns:
        Shape (D, hidden_size), pixels row by row, colours of a pixel side by side.
    """
    channels, height, width = event_shape
    grid = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()  # (H W, 2)
    number = hidden_size // 4
    rates = 1.5 * 81.0 ** -(torch.arange(number) / max(number, 1))  # wavelengths of 4 to 340 pixels
    angles = (grid[..., None] * rates).flatten(1)  # (H W, 2 number)
    waves = torch.cat([angles.sin(), angles.cos()], 1)
    waves = F.pad(waves, (0, hidden_size - waves.shape[1])).repeat_interleave(channels, 0)
    return 0.03 * waves + 0.005 * torch.randn(waves.shape)


class ImageGPT(PixelTransformer):
    """A decoder-only Transformer that attends to all that came before."""

    family = "image_gpt"
    config_class = ImageGPTConfig
    config: ImageGPTConfig

    def __init__(self, config: ImageGPTConfig) -> None:
        super().__init__(config)
        self.positions = nn.Parameter(start_positions(config.event_shape, config.hidden_size))

    def places(self) -> Tensor:
        return self.positions

    @classmethod
    def tiny_configs(cls) -> Sequence[ImageGPTConfig]:
        return [
            ImageGPTConfig(event_shape=(1, 5, 2), hidden_size=6, num_layers=2, num_heads=2),
            ImageGPTConfig(event_shape=(3, 1, 2), num_categories=4, hidden_size=4, num_layers=1, num_heads=1),
            ImageGPTConfig(event_shape=(3, 2, 2), hidden_size=4, num_layers=1, num_heads=2, dropout=0.2),
        ]
