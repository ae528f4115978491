"""Training and exact evaluation, on one thread.

Usage: python scripts/benchmark_training.py [--repeats 5] [--only PATTERN ...]

One run measures everything, so the ratios hold on any machine: matrix products as the yardstick, then for each model
the events a second that a training step takes in (loss, gradient, Adam), in float32 and with bfloat16 autocast, and
that `log_prob` measures in float32, from the median of CPU seconds.  "Full kernels" is the same model in float32 as
masked convolutions are usually written: square kernels multiplied by a mask.
"""

import argparse
import copy
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

import torch
import torch.nn.functional as F
from benchmark_sampling import COLOUR, IMAGE, VECTOR, seconds
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import arzoo
from arzoo.nn import MaskedConv2d, WindowConv2d

# Batch size, family, what its config has beside the defaults.
MODELS: Mapping[str, tuple[int, str, dict[str, Any]]] = {
    "fvsbn 784": (64, "fvsbn", {**VECTOR}),
    "nade 784, 500": (64, "nade", {**VECTOR, "hidden_size": 500}),
    "made 784, 500": (64, "made", {**VECTOR, "hidden_sizes": (500,)}),
    "deep_nade 784, 500": (64, "deep_nade", {**VECTOR, "hidden_sizes": (500,)}),
    "pixelcnn 28x28, 64 x 8": (16, "pixelcnn", {**IMAGE, "hidden_size": 64, "num_blocks": 8, "head_size": 128}),
    "pixelcnn 28x28, 64 x 8, 7x7": (
        16,
        "pixelcnn",
        {**IMAGE, "hidden_size": 64, "num_blocks": 8, "kernel_size": 7, "head_size": 128},
    ),
    "pixelcnn 32x32x3, 96 x 8": (
        8,
        "pixelcnn",
        {**COLOUR, "hidden_size": 96, "num_blocks": 8, "head_size": 192},
    ),
    "gated_pixelcnn 28x28, 128 x 10": (16, "gated_pixelcnn", {**IMAGE}),
    "gated_pixelcnn 32x32x3, 96 x 8": (
        8,
        "gated_pixelcnn",
        {**COLOUR, "hidden_size": 96, "num_layers": 8, "head_size": 96},
    ),
    "row_lstm 28x28, 16 x 7": (64, "row_lstm", {**IMAGE}),
    "diagonal_bilstm 28x28, 16 x 7": (64, "diagonal_bilstm", {**IMAGE}),
    "pixelcnnpp 32x32x3, 28 x 5": (8, "pixelcnnpp", {**COLOUR, "num_filters": 28}),
    "pixelsnail 28x28, 64 x 8": (16, "pixelsnail", {**IMAGE}),
    "image_gpt 28x28, 128 x 4": (16, "image_gpt", {**IMAGE}),
}


class FullKernel(nn.Module):
    """A causal convolution as a square kernel and a mask."""

    def __init__(self, conv: MaskedConv2d | WindowConv2d) -> None:
        super().__init__()
        rows = (-conv.reach, 0) if isinstance(conv, MaskedConv2d) else conv.rows
        high, wide = (max(-begin, end) for begin, end in (rows, conv.columns))
        # What the crop leaves out: columns left and right, rows above and below.
        around = (wide + conv.columns[0], wide - conv.columns[1], high + rows[0], high - rows[1])
        weight = conv.masked_weight().detach()
        self.weight = nn.Parameter(F.pad(weight, around))
        self.mask = F.pad(torch.ones_like(weight) if conv.mask is None else conv.mask, around)
        self.bias, self.padding = conv.bias, (high, wide)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.contiguous(), self.weight * self.mask, self.bias, padding=self.padding)


def with_full_kernels(model: arzoo.Model) -> arzoo.Model | None:
    """The same model, None if it has no causal convolutions of `arzoo.nn`."""
    twin, found = copy.deepcopy(model), False
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, MaskedConv2d | WindowConv2d):
                setattr(module, name, FullKernel(child))
                found = True
    return twin if found else None


def training_rate(model: arzoo.Model, x: Tensor, repeats: int, bfloat16: bool = False) -> float:
    """Events a second."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    noise = model.noise(len(x), torch.Generator().manual_seed(0))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model(x, None, noise).mean()
        loss.backward()
        optimizer.step()

    return len(x) / seconds(step, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="models, such as 'pixelcnn*'")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    repeats = arguments.repeats
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2, 2048, 2048).to(dtype)
        print(f"matrix product, {dtype}: {2 * 2048**3 / seconds(lambda a=a, b=b: a @ b, repeats) / 1e9:.0f} GFLOP/s")

    columns = ("batch", "float32", "bfloat16", "full kernels", "best / full kernels", "measured")
    table = Table("model, events/s", *columns)
    for name, (batch, family, fields) in MODELS.items():
        if not any(fnmatch(name, pattern) for pattern in arguments.only):
            continue
        torch.manual_seed(0)
        model = arzoo.create_model(family, fields)
        x = torch.randint(0, fields.get("num_categories", 2), (batch, *fields["event_shape"]))
        twin = with_full_kernels(model)
        if twin is not None:
            torch.testing.assert_close(twin.log_prob(x), model.log_prob(x), rtol=1e-4, atol=1e-2)
        full = None if twin is None else training_rate(twin, x, repeats)
        rates = [training_rate(model, x, repeats, bfloat16) for bfloat16 in (False, True)]
        with torch.no_grad():
            model.eval()
            measured = batch / seconds(lambda model=model, x=x: model.log_prob(x), repeats)
        row = [*rates, full, None if full is None else max(rates) / full, measured]
        table.add_row(name, str(batch), *("" if value is None else f"{value:,.4g}" for value in row))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
