"""What the tables share: train each candidate of a cell, choose by validation, measure the test split once.

Everything lies in a folder: CELL/CANDIDATE is a checkpoint, CELL/result.json the figure.  What is there is not run
again, and a training that was killed goes on where it was, so the same command goes on with a table at any time.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

import arzoo
from arzoo.evaluation import evaluate
from arzoo.files import replacing
from arzoo.provenance import processor


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of a table.

    Attributes:
        name: Of its folder, unique.
        candidates: Recipes to choose from, by name; all of one data set.
        prepare: Makes the density that is measured from the chosen model, as an ensemble of it.
    """

    name: str
    candidates: Mapping[str, arzoo.Recipe]
    prepare: Callable[[arzoo.Model], arzoo.Model] | None = None


def measured(cells: Sequence[Cell], folder: Path) -> dict[str, dict[str, Any]]:
    """The results that there are, by name."""
    found = {cell.name: _result(cell, folder / cell.name) for cell in cells}
    return {name: result for name, result in found.items() if result is not None}


def _result(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """The figure of a cell, if it was measured with these candidates."""
    path = folder / "result.json"
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result if result["candidates"] == sorted(cell.candidates) else None


def measure_all(cells: Sequence[Cell], folder: Path, jobs: int) -> dict[str, dict[str, Any]]:
    """The results of all cells by name; those that failed are missing, and the reason is shown.

    Arguments:
        folder: Where everything lies.
        jobs: Processes at a time, of one thread each.
    """
    screen = Console(stderr=True, highlight=False)
    results = {}
    for name, result in in_parallel({cell.name: (measure, cell, folder / cell.name) for cell in cells}, jobs, screen):
        results[name] = result
        screen.print(f"{name}: {result['value']:.3f} ({result['candidate']})")
    return results


def in_parallel(
    work: Mapping[str, tuple[Callable[..., Any], *tuple[Any, ...]]], jobs: int, screen: Console
) -> Iterator[tuple[str, Any]]:
    """Makes calls in processes of one thread each, and gives the results as they come, by name.

    Arguments:
        work: For each name a function and its arguments.
        screen: Shows progress, and the reason of what failed: one failure must not cost the others.
    """
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        pending = {pool.submit(*call): name for name, call in work.items()}
        with Progress(console=screen) as bars:
            task = bars.add_task("done", total=len(pending))
            for future in as_completed(pending):
                name = pending[future]
                try:
                    result = future.result()
                except Exception as error:
                    screen.print(f"{name} failed: {error}")
                else:
                    yield name, result
                bars.advance(task)


def measure(cell: Cell, folder: Path) -> dict[str, Any]:
    """The figure of a cell, from its result.json if it was measured with these candidates before."""
    if found := _result(cell, folder):
        return found
    path, names = folder / "result.json", sorted(cell.candidates)
    folder.mkdir(parents=True, exist_ok=True)
    validations = {name: _train(recipe, folder / name) for name, recipe in cell.candidates.items()}
    best = min(validations, key=validations.__getitem__)
    model = arzoo.load(folder.absolute() / best)
    if cell.prepare is not None:
        model = cell.prepare(model)
    evaluation = evaluate(model, arzoo.load_data(cell.candidates[best].dataset, "test"))
    training = json.loads((folder / best / "metrics.json").read_text(encoding="utf-8"))["training"]
    result: dict[str, Any] = {**asdict(evaluation), "candidate": best, "candidates": names, "validations": validations}
    result["parameters"], result["cpu_seconds"] = training["parameters"], training["cpu_seconds"]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def write_page(path: Path, about: str, table: str, results: Mapping[str, dict[str, Any]]) -> None:
    """The table, what it means, and for each cell what was chosen and what it took.

    Arguments:
        about: Markdown: a title, and how to read the table.
        table: Markdown.
    """
    hours = sum(result["cpu_seconds"] for result in results.values()) / 3600
    lines = [about, table, environment(hours), "## What was chosen\n"]
    lines += ["| cell | chosen | of | validation | test | parameters | CPU s |", "|---|---|---:|---:|---:|---:|---:|"]
    for name, result in sorted(results.items()):
        validation = result["validations"][result["candidate"]]
        test = f"{result['value']:.3f} ± {result['standard_error']:.3f}"
        lines.append(
            f"| {name} | {result['candidate']} | {len(result['candidates'])} | {validation:.3f} | {test}"
            f" | {result['parameters']:,} | {result['cpu_seconds']:,} |"
        )
    text = "\n".join(lines) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def environment(hours: float) -> str:
    """A line that says what made a page."""
    program = f"arzoo {version('arzoo')}, torch {torch.__version__}, on {processor()}, one thread a training"
    return f"{program}; {hours:.1f} CPU hours for the models shown.\n"


def _train(recipe: arzoo.Recipe, folder: Path) -> float:
    """Trains a candidate unless it is there; returns its best value on the validation split."""
    metrics = folder / "metrics.json"
    if not metrics.is_file() or not (folder / "model.safetensors").is_file():
        with _output_to(folder.with_suffix(".log")):
            arzoo.train(recipe, folder)
        shutil.rmtree(folder / "state", ignore_errors=True)
    return float(json.loads(metrics.read_text(encoding="utf-8"))["training"]["validation"])


def _one_thread() -> None:
    torch.set_num_threads(1)


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Sends what this process prints to a file: several that train at once would write over one another."""
    kept = os.dup(2)
    with open(path, "ab") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
