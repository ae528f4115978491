"""NADE and RNADE: one hidden layer whose activation is rolled forward by a row of weights a site."""

import arzoo

from .nade import NADE, NADEConfig
from .rnade import RNADE, RNADEConfig

__all__ = ["NADE", "RNADE", "NADEConfig", "RNADEConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [NADE, RNADE]
