"""Gated PixelCNN: two stacks of gated convolutions that together see every pixel before, given a class or a map."""

import arzoo

from .gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig

__all__ = ["GatedPixelCNN", "GatedPixelCNNConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [GatedPixelCNN]
