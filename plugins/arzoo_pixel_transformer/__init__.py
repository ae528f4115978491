"""Transformers over pixels: ImageGPT and Image Transformer."""

import arzoo

from .image_gpt import ImageGPT, ImageGPTConfig
from .image_transformer import ImageTransformer, ImageTransformerConfig

__all__ = ["ImageGPT", "ImageGPTConfig", "ImageTransformer", "ImageTransformerConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [ImageGPT, ImageTransformer]
