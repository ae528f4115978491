"""Sampling with the families' decoders against the naive walk and against one parallel pass, on one thread.

Usage: python scripts/benchmark_sampling.py [--batch-size 64] [--repeats 3] [CHECKPOINT ...]

One run measures everything, so the ratios hold on any machine: a matrix product as the yardstick, then for each model
the median CPU seconds of one pass over the batch (all conditionals of given images), of sampling a batch with the
model's decoder, and of the naive walk, which is a pass a site (timed on a few sites and multiplied).  Without
checkpoints the models are FVSBN, NADE, MADE of one, two and four layers and DeepNADE of 784 sites with layers of 500
hidden units, a PixelCNN on 28x28 bits, and the installed `pixelcnn-*` checkpoints.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from rich.console import Console
from rich.table import Table

import arzoo
from arzoo.decoding import NaiveDecoder, Sharpening, walk

NAIVE_SITES = 3


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median CPU time of a call after one that warms up; on one thread what the wall would say on an idle machine."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def models(names: list[str]) -> Iterator[tuple[str, arzoo.Autoregressive]]:
    if not names:
        binary = {"event_shape": (784,)}
        yield "fvsbn 784", arzoo.create_model("fvsbn", binary)
        yield "nade 784, 500", arzoo.create_model("nade", {**binary, "hidden_size": 500})
        for depth in (1, 2, 4):
            sizes = (500,) * depth
            yield (
                f"made 784, {'-'.join(map(str, sizes))}",
                arzoo.create_model("made", {**binary, "hidden_sizes": sizes}),
            )
        yield "deep_nade 784, 500", arzoo.create_model("deep_nade", {**binary, "hidden_sizes": (500,)})
        image = {"event_shape": (1, 28, 28), "hidden_size": 64, "num_blocks": 8, "head_size": 128}
        yield "pixelcnn 28x28, 64 x 8", arzoo.create_model("pixelcnn", image)
        names = [info.name for info in arzoo.list_checkpoints() if info.family == "pixelcnn"]
    for name in names:
        yield name, arzoo.load(name)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*")
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
    for name, model in models(arguments.checkpoints):
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
