"""Where compiled loops are: numba makes them, which not everybody has installed."""

import importlib
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor

from arzoo.scalars import Bits, Scalars


@lru_cache
def find_kernels(name: str) -> ModuleType | None:
    """The module of compiled loops of this name, where numba is installed and has a folder to keep them in."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError):
        return None


def find_bit_kernels(name: str, scalars: Scalars, state: Tensor) -> ModuleType | None:
    """Those for a decoder of bits whose state is float32 and on the CPU; None for any other."""
    suited = isinstance(scalars, Bits) and state.device.type == "cpu" and state.dtype == torch.float32
    return find_kernels(name) if suited else None
