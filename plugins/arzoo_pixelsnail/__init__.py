"""PixelSNAIL: causal convolutions in turn with attention to every pixel before."""

import arzoo

from .pixelsnail import PixelSNAIL, PixelSNAILConfig

__all__ = ["PixelSNAIL", "PixelSNAILConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [PixelSNAIL]
