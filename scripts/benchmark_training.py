"""Training and exact evaluation of the families of vectors, on one thread.

Usage: python scripts/benchmark_training.py [--batch-size 64] [--repeats 5] [FAMILY ...]

One run measures everything: a matrix product as the yardstick, then for each model of 784 bits the events a second
that a training step takes in (loss, gradient, Adam) and that `log_prob` measures, from the median of CPU seconds.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from benchmark_sampling import seconds
from rich.console import Console
from rich.table import Table

import arzoo

MODELS: Mapping[str, dict[str, Any]] = {
    "fvsbn": {},
    "nade": {"hidden_size": 500},
    "made": {"hidden_sizes": (500,)},
    "deep_nade": {"hidden_sizes": (500,)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    a, b = torch.randn(2, 2048, 2048)
    rate = 2 * 2048**3 / seconds(lambda: a @ b, arguments.repeats) / 1e9
    print(f"matrix product, float32: {rate:.0f} GFLOP/s; batches of {arguments.batch_size}")

    table = Table("model", "trained, events/s", "measured, events/s")
    x = torch.randint(0, 2, (arguments.batch_size, 784))
    for family in arguments.families or MODELS:
        model = arzoo.create_model(family, {"event_shape": (784,), **MODELS[family]})
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        noise = model.noise(len(x), torch.Generator().manual_seed(0))

        def step(model: arzoo.Model = model, optimizer: torch.optim.Optimizer = optimizer, noise: Any = noise) -> None:
            optimizer.zero_grad()
            model(x, None, noise).mean().backward()
            optimizer.step()

        trained = seconds(step, arguments.repeats)
        with torch.no_grad():
            measured = seconds(lambda model=model: model.log_prob(x), arguments.repeats)
        sizes = "-".join(map(str, MODELS[family].get("hidden_sizes", [MODELS[family].get("hidden_size", "")])))
        table.add_row(f"{family} 784 {sizes}", f"{len(x) / trained:,.0f}", f"{len(x) / measured:,.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
