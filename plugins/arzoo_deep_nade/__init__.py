"""DeepNADE and ConvNADE: networks trained to predict any part of an event from any other, so in every order."""

import arzoo

from .conv_nade import ConvNADE, ConvNADEConfig
from .deep_nade import DeepNADE, DeepNADEConfig

__all__ = ["ConvNADE", "ConvNADEConfig", "DeepNADE", "DeepNADEConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [DeepNADE, ConvNADE]
