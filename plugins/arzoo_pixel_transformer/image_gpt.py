"""ImageGPT: Generative Pretraining from Pixels, Chen et al. 2020,
https://proceedings.mlr.press/v119/chen20s.html.

The trunk of GPT-2 over pixels in raster order, with a vector for every position.  The paper reduces colours to a
palette of 512; here a position is a colour of a pixel and its levels stay what they are, so likelihoods are of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .trunk import PixelTransformer, PixelTransformerConfig


@dataclass(frozen=True, kw_only=True)
class ImageGPTConfig(PixelTransformerConfig):
    """As of every Transformer over pixels."""


class ImageGPT(PixelTransformer):
    """A decoder-only Transformer that attends to all that came before."""

    family = "image_gpt"
    config_class = ImageGPTConfig
    config: ImageGPTConfig

    def __init__(self, config: ImageGPTConfig) -> None:
        super().__init__(config)
        self.positions = nn.Parameter(torch.randn(config.dims, config.hidden_size) * 0.02)

    def places(self) -> Tensor:
        return self.positions

    @classmethod
    def tiny_configs(cls) -> Sequence[ImageGPTConfig]:
        return [
            ImageGPTConfig(event_shape=(1, 5, 2), hidden_size=6, num_layers=2, num_heads=2),
            ImageGPTConfig(event_shape=(3, 1, 2), num_categories=4, hidden_size=4, num_layers=1, num_heads=1),
            ImageGPTConfig(event_shape=(3, 2, 2), hidden_size=4, num_layers=1, num_heads=2, dropout=0.2),
        ]
