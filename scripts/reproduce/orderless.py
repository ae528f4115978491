"""EoNADE on binarised MNIST: what each further order is worth, and ConvNADE beside DeepNADE in the same orders.

Usage: ARZOO_DATASETS=FOLDER python scripts/reproduce/orderless.py RESULTS [--orders 128] [--jobs 2] [--report]
    [--checkpoints deep_nade-binarized_mnist conv_nade-binarized_mnist]

Measures log p(x | o_k) of every test image exactly in K orders, drawn once, the same for every image and checkpoint.
RESULTS/CHECKPOINT/order-007.safetensors holds those of one order; what is there for these weights is not run again.
From all that there are is made RESULTS/page.md.
"""

import argparse
import math
from itertools import takewhile
from pathlib import Path

import torch
from arzoo_deep_nade.orderless import Orderless
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file
from search import in_parallel
from torch import Tensor

import arzoo
from arzoo.checkpoints import find_checkpoint, read_config
from arzoo.files import replacing

CHECKPOINTS = ("deep_nade-binarized_mnist", "conv_nade-binarized_mnist")
DATASET = "binarized_mnist"
BATCH_SIZE = 1000

# Nats of DeepNADE with two hidden layers by number of orders; Uria, Murray & Larochelle 2014, arXiv:1310.1757.
PUBLISHED = {1: 89.17, 2: 87.96, 4: 87.10, 8: 86.41, 16: 85.96, 32: 85.60, 64: 85.28, 128: 85.10}

ABOUT = """# Orders of DeepNADE and ConvNADE on binarised MNIST

Negative log-likelihood of the 10,000 test images in nats, with the standard error over them; lower is better.  EoNADE
averages the probabilities of the first K of the same orders, drawn once, for every image.  Published: DeepNADE with
two hidden layers, Uria, Murray & Larochelle 2014, arXiv:1310.1757, in orders of its own.
"""


def order(number: int) -> Tensor:
    """The k-th order of the 784 pixels."""
    draw = torch.Generator().manual_seed(0)
    return [torch.randperm(784, generator=draw) for _ in range(number + 1)][-1]


def weights_of(checkpoint: str) -> str:
    """The digest of a checkpoint's weights."""
    digest: str = read_config(find_checkpoint(checkpoint))["weights"]["sha256"]
    return digest


def read(path: Path, checkpoint: str) -> Tensor | None:
    """log p(x | o) of the test images as a file has them, shape (N,); None if it is not there or of other weights."""
    if not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        return file.get_tensor("log_prob") if file.metadata()["weights"] == weights_of(checkpoint) else None


@torch.no_grad()
def measure(checkpoint: str, number: int, path: Path) -> None:
    """Measures the test images in one order."""
    model = arzoo.load(checkpoint)
    assert isinstance(model, Orderless)
    model = model.with_orders(order(number)[None])
    data = arzoo.load_data(DATASET, "test")
    parts = torch.arange(len(data)).split(BATCH_SIZE)
    log_prob = torch.cat([model.log_prob(data.batch(part)[0]) for part in parts]).double()
    with replacing(path) as temporary:
        save_file({"log_prob": log_prob}, temporary, {"weights": weights_of(checkpoint)})


def nats(log_prob: Tensor) -> tuple[float, float]:
    """Mean of -log p and its standard error."""
    return -float(log_prob.mean()), float(log_prob.std() / math.sqrt(len(log_prob)))


def report(measured: dict[str, list[Tensor]]) -> str:
    """A row a power of two: of each checkpoint the ensemble of so many orders."""
    names = list(measured)
    lines = [f"| orders | {' | '.join(names)} | difference | published |", f"|---:|{'---:|' * (len(names) + 2)}"]
    for number, published in PUBLISHED.items():
        ensembles = [
            torch.stack(orders[:number]).logsumexp(0) - math.log(number) if len(orders) >= number else None
            for orders in measured.values()
        ]
        cells = ["not run" if part is None else "{:.2f} ± {:.2f}".format(*nats(part)) for part in ensembles]
        first, last = ensembles[0], ensembles[-1]
        paired = "" if first is None or last is None or first is last else "{:.2f} ± {:.2f}".format(*nats(last - first))
        lines.append(f"| {number} | {' | '.join(cells)} | {paired} | {published:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--orders", type=int, default=128)
    parser.add_argument("--checkpoints", nargs="+", default=CHECKPOINTS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="run nothing, show what is there")
    arguments = parser.parse_args()

    def place(checkpoint: str, number: int) -> Path:
        return arguments.results / Path(checkpoint).name / f"order-{number:03d}.safetensors"

    work = {
        f"{checkpoint}, order {number}": (measure, checkpoint, number, place(checkpoint, number))
        for number in range(arguments.orders)
        for checkpoint in arguments.checkpoints
        if not arguments.report and read(place(checkpoint, number), checkpoint) is None
    }
    list(in_parallel(work, arguments.jobs, Console(stderr=True)))  # each writes its own file
    measured = {}
    for checkpoint in arguments.checkpoints:
        orders = (read(place(checkpoint, number), checkpoint) for number in range(max(PUBLISHED)))
        measured[checkpoint] = list(takewhile(lambda found: found is not None, orders))
    page = ABOUT + "\n" + report(measured)
    with replacing(arguments.results / "page.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
