"""PixelCNN++: a logistic mixture a pixel, from two streams of gated residual layers at several resolutions."""

import arzoo

from .pixelcnnpp import PixelCNNPP, PixelCNNPPConfig

__all__ = ["PixelCNNPP", "PixelCNNPPConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [PixelCNNPP]
