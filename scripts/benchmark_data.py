"""Measures how many images a second reach a training loop: shuffled, in batches, made floating point.

Usage: ARZOO_DATASETS=FOLDER python scripts/benchmark_data.py [NAME]

NAME is a data set, mnist if it is left out.
"""

import sys
import time

from arzoo.data import TensorData, epoch_order
from arzoo.data_loading import load_data

BATCH_SIZE = 128
EPOCHS = 5


def images_per_second(data: TensorData, epoch: int) -> float:
    """Speed of one epoch, its shuffling included."""
    start = time.perf_counter()
    for indices in epoch_order(len(data), seed=0, epoch=epoch).split(BATCH_SIZE):
        data.batch(indices)[0].float().div_(255)
    return len(data) / (time.perf_counter() - start)


def main() -> None:
    start = time.perf_counter()
    data = load_data(sys.argv[1] if len(sys.argv) > 1 else "mnist", "train")
    seconds = time.perf_counter() - start
    print(f"{data.spec.name}: {len(data):,} images loaded in {seconds:.2f} s")
    speeds = sorted(images_per_second(data, epoch) for epoch in range(EPOCHS))
    print(f"images/s in batches of {BATCH_SIZE}, {EPOCHS} epochs: median {speeds[EPOCHS // 2]:,.0f}, ", end="")
    print(f"slowest {speeds[0]:,.0f}, fastest {speeds[-1]:,.0f}")


if __name__ == "__main__":
    main()
