"""Where weights come from: the facts of a training, for people and for metrics.json."""

import os
import platform
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from arzoo import metrics
from arzoo.model import Context, Model


def setup(model: Model, accelerator: Accelerator) -> dict[str, Any]:
    """What trains, and how much of it there is."""
    device = accelerator.device
    return {
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def training_flops(model: Model, x: Tensor, context: Context, noise: Tensor | None) -> int:
    """Floating-point operations of a loss and its gradient: matrix products and convolutions that torch computes.

    Zero for what runs in kernels of other libraries.  Gradients are left as they were.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Of attention torch counts nothing but the plain form, of products nothing that is added in place.
    in_place = dict.fromkeys([torch.ops.aten.addmm_, torch.ops.aten.baddbmm_], _product_flops)
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter, sdpa_kernel(SDPBackend.MATH):
        torch.autograd.grad(model(x, context, noise).sum(), weights, allow_unused=True)
    return int(counter.get_total_flops())


def _product_flops(added: torch.Size, a: torch.Size, b: torch.Size, **other: Any) -> int:
    """Of matrices (..., N, K) and (..., K, M), given their shapes and that of what is added to."""
    return 2 * prod(a) * b[-1]


def record(directory: Path, training: dict[str, Any]) -> None:
    """Puts the facts of a training into the metrics.json of its checkpoint; what else it holds stays."""
    known = {name: value for name, value in training.items() if value is not None}
    numbers = {name: value for name, value in known.items() if not isinstance(value, float) or isfinite(value)}
    metrics.record(directory, {"training": numbers})  # JSON knows no infinity


def processor() -> str:
    """The cores and their kind, as "2 cores of NAME"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {models[0]}" if models else platform.machine()
