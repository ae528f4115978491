"""MASDE against MADE on few training rows: what is it worth to know the structure?

Usage: ARZOO_DATASETS=FOLDER python scripts/reproduce/masde.py RESULTS [--datasets NAME ...] [--rows N ...]
    [--seeds 10] [--jobs 2] [--report]

Trains both families with one hidden layer of 100 units, in the same order, on the same rows: the first N of a
permutation of the training split that the seed draws.  Training stops early on 1,000 validation rows, the same
for all.  Measured on the test split is, where the true density is known, the mean of log p - log q, an estimate of the
Kullback-Leibler divergence; on ocr_letters the mean of -log q; in nats.

RESULTS/runs.jsonl gets a line for every run that is finished, and what is there is not run again.  From it are made
RESULTS/page.md and RESULTS/masde.png, at the end or at once with --report.
"""

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

import arzoo_structured
import torch
from arzoo_masde.graphs import read_bif
from rich.console import Console
from search import environment, in_parallel
from torch import Tensor

import arzoo
from arzoo.data import epoch_order
from arzoo.files import replacing

NETWORKS = ("asia", "sachs", "child", "insurance", "alarm")
GRIDS = {"structured_small.ising_grid4x4": (4, 4), "uci_binary.ocr_letters": (16, 8)}
ABOUT = """# What is it worth to know the structure?

MASDE, whose masks follow a known structure, against MADE on few training rows: both with one hidden layer of 100 units,
in the same order, on the same rows, stopped early on the same 1,000 validation rows.  Measured on the test split in
nats: the mean of log p - log q, with p the true density, an estimate of the Kullback-Leibler divergence; for
uci_binary.ocr_letters, whose density nobody knows and for which a grid of neighbours is a guess, the mean of -log q.
Means over the seeds, which draw the rows and the weights, with their standard errors; lower is better, and a positive
difference is in MASDE's favour.
"""

DATASETS = (*(f"structured_small.{name}" for name in NETWORKS), *GRIDS)
ROWS = (50, 100, 200, 500, 1000)
FAMILIES = ("made", "masde")

HIDDEN_SIZE = 100
BATCH_SIZE = 50
LR = 2e-3
MOST_STEPS = 20_000
EVAL_EVERY = 25
PATIENCE = 20
VALIDATION_ROWS = 1000


def structure(dataset: str) -> dict[str, Any]:
    """The fields of a MASDEConfig that say what is known of a data set."""
    if dataset in GRIDS:
        return {"grid": GRIDS[dataset]}
    name = dataset.partition(".")[2]
    folder = Path(os.environ["ARZOO_DATASETS"]) / "structured_small" / "bif"
    columns = json.loads((folder / f"{name}.variables.json").read_text(encoding="utf-8"))["order"]
    return read_bif(folder / f"{name}.bif").model_fields(columns)


def create(family: str, dataset: str) -> arzoo.Model:
    spec = arzoo.get_dataset(dataset)
    fields = {"event_shape": spec.event_shape, "num_categories": spec.num_categories, "hidden_sizes": (HIDDEN_SIZE,)}
    # All these data are in an order that suits their structure; MADE gets the same one.
    known = structure(dataset) if family == "masde" else {"ordering": "natural"}
    return arzoo.create_model(family, {**fields, **known})


def events(dataset: str, split: str) -> Tensor:
    data = arzoo.load_data(dataset, split)
    return data.batch(torch.arange(len(data)))[0]


@torch.no_grad()
def log_prob(model: arzoo.Model, x: Tensor) -> Tensor:
    return torch.cat([model.log_prob(part) for part in x.split(1000)]).double()


def run(family: str, dataset: str, rows: int, seed: int) -> dict[str, Any]:
    """Trains a model and measures it."""
    started = time.process_time()
    train, validation, test = (events(dataset, split) for split in ("train", "validation", "test"))
    train, validation = train[epoch_order(len(train), seed, 0)[:rows]], validation[:VALIDATION_ROWS]
    torch.manual_seed(seed)
    model = create(family, dataset)
    model.initialize(train)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    best, best_step, weights = math.inf, 0, model.state_dict()
    for step in range(MOST_STEPS + 1):
        if step % EVAL_EVERY == 0:
            value = -float(log_prob(model, validation).mean())
            if value < best:
                best, best_step = value, step
                weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif step - best_step >= PATIENCE * EVAL_EVERY:
                break
        optimizer.zero_grad()
        model(train[torch.randint(rows, (min(rows, BATCH_SIZE),))]).mean().backward()
        optimizer.step()
    model.load_state_dict(weights)
    value = -float(log_prob(model, test).mean())
    if dataset.startswith("structured_small."):
        value += float(arzoo_structured.true_log_prob(arzoo.get_dataset(dataset), "test").double().mean())
    return {
        "family": family,
        "dataset": dataset,
        "rows": rows,
        "seed": seed,
        "value": value,
        "validation_nll": best,
        "steps": best_step,
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def finished(path: Path) -> list[dict[str, Any]]:
    """The runs in a file; a line that a kill cut short is removed from it."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def report(runs: list[dict[str, Any]], folder: Path) -> None:
    """Writes page.md and masde.png: means over the seeds with their standard errors."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    def values(dataset: str, rows: int, family: str) -> dict[int, float]:
        wanted = (dataset, rows, family)
        return {run["seed"]: run["value"] for run in runs if (run["dataset"], run["rows"], run["family"]) == wanted}

    def mean(numbers: list[float]) -> tuple[float, float]:
        error = statistics.stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else math.nan
        return statistics.mean(numbers), error

    names = [name for name in DATASETS if any(run["dataset"] == name for run in runs)]
    shape = (-(-len(names) // 4), min(len(names), 4))
    figure, axes = pyplot.subplots(*shape, figsize=(3 * shape[1], 2.8 * shape[0]), squeeze=False, layout="constrained")
    for unused in axes.flat[len(names) :]:
        unused.remove()
    lines = ["| data set | rows | made | masde | made - masde | seeds |", "|---|---:|---:|---:|---:|---:|"]
    for name, axis in zip(names, axes.flat, strict=False):
        curves: dict[str, list[tuple[int, float, float]]] = {family: [] for family in FAMILIES}
        for rows in sorted({run["rows"] for run in runs if run["dataset"] == name}):
            found = {family: values(name, rows, family) for family in FAMILIES}
            seeds = sorted(set.intersection(*map(set, found.values())))
            if not seeds:
                continue
            measured = {family: mean([found[family][seed] for seed in seeds]) for family in FAMILIES}
            gap = mean([found["made"][seed] - found["masde"][seed] for seed in seeds])
            cells = [f"{value:.3f} ± {error:.3f}" for value, error in (*measured.values(), gap)]
            lines.append(f"| {name} | {rows} | {' | '.join(cells)} | {len(seeds)} |")
            for family, (value, error) in measured.items():
                curves[family].append((rows, value, error))
        for family, points in curves.items():
            if points:
                axis.errorbar(*zip(*points, strict=True), label=family, marker="o", capsize=2)
        axis.set(title=name.partition(".")[2], xlabel="training rows", xscale="log")
        ticks = sorted({rows for points in curves.values() for rows, *_ in points})
        axis.set_xticks(ticks, [str(rows) for rows in ticks])
        axis.minorticks_off()
        axis.set_ylabel("-log q, nats" if name == "uci_binary.ocr_letters" else "log p - log q, nats")
        axis.legend()
    figure.savefig(folder / "masde.png", dpi=120)
    table = "\n".join(lines) + "\n"
    hours = sum(run["cpu_seconds"] for run in runs) / 3600
    page = f"{ABOUT}\n{table}\n![Curves](masde.png)\n\n{environment(hours)}"
    with replacing(folder / "page.md") as path:
        path.write_text(page, encoding="utf-8")
    print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--datasets", nargs="+", default=DATASETS, choices=DATASETS)
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / "runs.jsonl"
    runs = finished(path)
    done = {(run["family"], run["dataset"], run["rows"], run["seed"]) for run in runs}
    wanted = [
        (family, dataset, rows, seed)
        for seed in range(arguments.seeds)
        for dataset in arguments.datasets
        for rows in arguments.rows
        for family in FAMILIES
    ]
    todo = {} if arguments.report else {" ".join(map(str, key)): (run, *key) for key in wanted if key not in done}
    for _, result in in_parallel(todo, arguments.jobs, Console(stderr=True)):
        runs.append(result)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
    if not runs:
        parser.error(f"there are no runs in {path} to report")
    report(runs, arguments.results)


if __name__ == "__main__":
    main()
