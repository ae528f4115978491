"""Sampling with the families' decoders against the naive walk and against one parallel pass, on one thread.

Usage: python scripts/benchmark_sampling.py [--only PATTERN ...] [--batch-size 64] [--repeats 3]

One run measures everything, so the ratios hold on any machine: a matrix product as the yardstick, then for each model
the median CPU seconds of one pass over the batch (all conditionals of given images), of sampling a batch with the
model's decoder, and of the naive walk, which is a pass a site (timed on a few sites and multiplied).  The models are
new ones of every family that has been timed elsewhere, named with their events and sizes, and the installed
checkpoints of PixelCNN; `--only 'made*'` takes some of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import arzoo
from arzoo.decoding import NaiveDecoder, Sharpening, walk

NAIVE_SITES = 3
VECTOR: Mapping[str, Any] = {"event_shape": (784,)}
IMAGE: Mapping[str, Any] = {"event_shape": (1, 28, 28)}
COLOUR: Mapping[str, Any] = {"event_shape": (3, 32, 32), "num_categories": 256}
MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "fvsbn 784": ("fvsbn", {**VECTOR}),
    "nade 784, 500": ("nade", {**VECTOR, "hidden_size": 500}),
    "made 784, 500": ("made", {**VECTOR, "hidden_sizes": (500,)}),
    "made 784, 2 x 500": ("made", {**VECTOR, "hidden_sizes": (500,) * 2}),
    "made 784, 4 x 500": ("made", {**VECTOR, "hidden_sizes": (500,) * 4}),
    "deep_nade 784, 500": ("deep_nade", {**VECTOR, "hidden_sizes": (500,)}),
    "pixelcnn 28x28, 64 x 8": ("pixelcnn", {**IMAGE, "hidden_size": 64, "num_blocks": 8, "head_size": 128}),
    "row_lstm 28x28, 16 x 7": ("row_lstm", {**IMAGE}),
    "diagonal_bilstm 28x28, 16 x 7": ("diagonal_bilstm", {**IMAGE}),
    "gated_pixelcnn 28x28, 128 x 10": ("gated_pixelcnn", {**IMAGE}),
    "gated_pixelcnn 32x32x3, 96 x 8": (
        "gated_pixelcnn",
        {**COLOUR, "hidden_size": 96, "num_layers": 8, "head_size": 96},
    ),
    "pixelcnnpp 32x32x3, 28 x 5": ("pixelcnnpp", {**COLOUR, "num_filters": 28}),
    "pixelsnail 28x28, 64 x 8": ("pixelsnail", {**IMAGE}),
    "image_gpt 28x28, 128 x 4": ("image_gpt", {**IMAGE}),
    "image_transformer 28x28, 128 x 4": ("image_transformer", {**IMAGE}),
}

CHECKPOINTS = ("pixelcnn-binarized_mnist", "pixelcnn-cifar10")


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU time of a call after one that warms up; on one thread what the wall would say on an idle machine."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def models(patterns: list[str]) -> Iterator[tuple[str, arzoo.Autoregressive]]:
    """Those whose names match a pattern."""
    for name in (*MODELS, *CHECKPOINTS):
        if any(fnmatch(name, pattern) for pattern in patterns):
            model = arzoo.create_model(*MODELS[name]).eval() if name in MODELS else arzoo.load(name)
            assert isinstance(model, arzoo.Autoregressive)
            yield name, model


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="models, such as 'pixelcnn*'")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    batch, repeats = arguments.batch_size, arguments.repeats
    a, b = torch.randn(2, 2048, 2048)
    print(f"matrix product, float32: {2 * 2048**3 / seconds(lambda: a @ b, repeats) / 1e9:.0f} GFLOP/s")

    table = Table(
        "model", "batch", "pass, s", "decoder, s", "naive, s", "images/s", "decoder / pass", "naive / decoder"
    )
    for name, model in models(arguments.only):
        events = model.sample(batch)
        parallel = seconds(lambda model=model, events=events: model.conditionals(events), repeats)
        cached = seconds(lambda model=model: model.sample(batch), repeats)
        uniforms = torch.rand(batch, NAIVE_SITES, *model.site_shape)

        def naive(model: arzoo.Autoregressive = model, uniforms: torch.Tensor = uniforms) -> None:
            list(walk(NaiveDecoder(model, batch, None, 0), uniforms, Sharpening()))

        sites = len(model.order())
        whole = seconds(naive, 1) / NAIVE_SITES * sites
        row = [parallel, cached, whole, batch / cached, cached / parallel, whole / cached]
        table.add_row(name, str(batch), *(f"{value:.4g}" for value in row))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
