"""Where compiled loops are: numba makes them, which not everybody has installed."""

import importlib
from functools import lru_cache
from types import ModuleType


@lru_cache
def find_kernels(name: str = "arzoo.kernels") -> ModuleType | None:
    """The module of compiled loops of this name, where numba is installed and has a folder to keep them in."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError):
        return None
