"""Image Transformer: Parmar et al. 2018, https://arxiv.org/abs/1802.05751.

Attention is local, in one dimension (section 3.3): pixels in raster order form blocks, and every one of a block attends
to those before it there and to the same memory before the block.  So a pass costs what the image's size does, not its
square, and layers reach one memory further back each.  A position is told its row, its column and its colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arzoo.attention import Local

from .trunk import PixelTransformer, PixelTransformerConfig


@dataclass(frozen=True, kw_only=True)
class ImageTransformerConfig(PixelTransformerConfig):
    """
    Attributes:
        block_size: Positions of a block, the paper's l_q.
        memory_size: Positions before a block that all of it attends to.
    """

    block_size: int = 128
    memory_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, got {self.block_size}")
        if self.memory_size < 0:
            raise ValueError(f"memory_size must not be negative, got {self.memory_size}")


class ImageTransformer(PixelTransformer):
    """A decoder-only Transformer with local attention."""

    family = "image_transformer"
    config_class = ImageTransformerConfig
    config: ImageTransformerConfig

    def __init__(self, config: ImageTransformerConfig) -> None:
        super().__init__(config)
        channels, height, width = config.event_shape
        self.rows = nn.Parameter(torch.randn(height, 1, 1, config.hidden_size) * 0.02)
        self.columns = nn.Parameter(torch.randn(1, width, 1, config.hidden_size) * 0.02)
        self.colours = nn.Parameter(torch.randn(1, 1, channels, config.hidden_size) * 0.02)

    def local(self) -> Local:
        return Local(self.config.block_size, self.config.memory_size)

    def places(self) -> Tensor:
        return (self.rows + self.columns + self.colours).flatten(0, 2)

    @classmethod
    def tiny_configs(cls) -> Sequence[ImageTransformerConfig]:
        small = {"hidden_size": 6, "num_heads": 2, "block_size": 3, "memory_size": 2}
        return [
            ImageTransformerConfig(event_shape=(1, 5, 2), num_layers=2, **small),
            ImageTransformerConfig(event_shape=(3, 1, 2), num_categories=4, num_layers=1, **small),
            ImageTransformerConfig(event_shape=(3, 2, 2), num_layers=1, dropout=0.2, **small),
        ]
