"""DocNADE: documents as sequences of words, over which one hidden layer is a running sum."""

import arzoo

from .doc_nade import DocNADE, DocNADEConfig

__all__ = ["DocNADE", "DocNADEConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [DocNADE]
