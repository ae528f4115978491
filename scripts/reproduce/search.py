"""What the tables share: train each candidate of a cell, choose by validation, measure the test split once.

Everything lies in a folder: CELL/CANDIDATE-MARK is a checkpoint, CELL/result.json the figure; page.md the table,
page.json all figures.  What is there is not run again, and a training that was killed goes on where it was, so the same
command goes on with a table at any time; the mark, a digest of the recipe, keeps what other settings made out of it.
A page.json alone, put into a new folder, is enough to go on elsewhere.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

import arzoo
from arzoo.evaluation import evaluate
from arzoo.files import replacing
from arzoo.provenance import processor

Results = dict[str, dict[str, Any]]
"""By the names of cells."""


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

    def marks(self) -> dict[str, str]:
        """By the name of each candidate twelve digits of a digest of all that its figure depends on but the code."""
        marks = {}
        for name, recipe in self.candidates.items():
            facts = asdict(recipe) | {"published": None, "prepared": self.prepare and self.prepare.__name__}
            marks[name] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        return marks


def table(doc: str | None, cells: Sequence[Cell], about: str, lines: Callable[[Results], list[str]]) -> None:
    """The command of a script that makes a table.

    Arguments:
        doc: What --help says of it.
        about: Markdown: a title, and how to read the table.
        lines: Makes the table in Markdown of the results that there are.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the folder where everything lies")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="CELL", help="cells to run, such as 'adult-*'")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, of one thread each")
    parser.add_argument("--report", action="store_true", help="run nothing, show what is there")
    arguments = parser.parse_args()
    chosen = [cell for cell in cells if any(fnmatch(cell.name, pattern) for pattern in arguments.only)]
    if not chosen:
        parser.error(f"no cell is named {' or '.join(arguments.only)}; there are {', '.join(c.name for c in cells)}")
    if not arguments.report:
        measure_all(chosen, arguments.results, arguments.jobs)
    results = measured(cells, arguments.results)
    shown = "\n".join(lines(results)) + "\n"
    write_page(arguments.results, about, shown, results)
    print(shown)


def measured(cells: Sequence[Cell], folder: Path) -> Results:
    """The results that there are of these cells and candidates, by name."""
    found = _kept(folder)
    for cell in cells:
        path = folder / cell.name / "result.json"
        if path.is_file():
            found[cell.name] = json.loads(path.read_text(encoding="utf-8"))
    asked = {cell.name: cell.marks() for cell in cells}
    return {name: result for name, result in found.items() if result["candidates"] == asked.get(name)}


def _kept(folder: Path) -> Results:
    """What page.json has, of any cells."""
    path = folder / "page.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}  # type: ignore[no-any-return]


def measure_all(cells: Sequence[Cell], folder: Path, jobs: int) -> None:
    """Measures the cells that are missing; the reason is shown for those that fail.

    Arguments:
        folder: Where everything lies.
        jobs: Processes at a time, of one thread each.
    """
    screen = Console(stderr=True, highlight=False)
    there = measured(cells, folder)
    missing = {cell.name: (measure, cell, folder / cell.name) for cell in cells if cell.name not in there}
    for name, result in in_parallel(missing, jobs, screen):
        screen.print(f"{name}: {result['value']:.3f} ({result['candidate']})")


def in_parallel(
    work: Mapping[str, tuple[Callable[..., Any], *tuple[Any, ...]]], jobs: int, screen: Console
) -> Iterator[tuple[str, Any]]:
    """Makes calls in processes of one thread each, and gives the results as they come, by name.

    Arguments:
        work: For each name a function and its arguments.
        screen: Shows progress, and the reason of what failed: one failure must not cost the others.
    """
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start) as pool:
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
    """The figure of a cell, which its result.json keeps."""
    path = folder / "result.json"
    folder.mkdir(parents=True, exist_ok=True)
    marks = cell.marks()
    places = {name: folder / f"{name}-{mark}" for name, mark in marks.items()}
    validations = {name: _train(recipe, places[name]) for name, recipe in cell.candidates.items()}
    best = min(validations, key=validations.__getitem__)
    model = arzoo.load(places[best].absolute())
    if cell.prepare is not None:
        model = cell.prepare(model)
    evaluation = evaluate(model, arzoo.load_data(cell.candidates[best].dataset, "test"))
    training = json.loads((places[best] / "metrics.json").read_text(encoding="utf-8"))["training"]
    result: dict[str, Any] = {**asdict(evaluation), "candidate": best, "candidates": marks}
    result["validations"] = validations
    result["parameters"], result["cpu_seconds"] = training["parameters"], training["cpu_seconds"]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def write_page(folder: Path, about: str, table: str, results: Results) -> None:
    """Writes page.md, the table, what it means, and for each cell what was chosen and what it took; and page.json.

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
    # Figures of other cells, or of candidates that there are no longer, may be kept nowhere else.
    figures = json.dumps(_kept(folder) | results, indent=1, sort_keys=True)
    texts = {"page.md": "\n".join(lines), "page.json": figures}
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def environment(hours: float) -> str:
    """A line that says what made a page."""
    program = f"arzoo {version('arzoo')}, torch {torch.__version__}, on {processor()}, one thread a training"
    return f"{program}; {hours:.1f} CPU hours for the models shown.\n"


def _train(recipe: arzoo.Recipe, folder: Path) -> float:
    """Trains a candidate unless it is there; returns its best value on the validation split."""
    metrics = folder / "metrics.json"
    if not metrics.is_file() or not (folder / "model.safetensors").is_file():
        with _output_to(folder.with_name(f"{folder.name}.log")):
            arzoo.train(recipe, folder)
        shutil.rmtree(folder / "state", ignore_errors=True)
    return float(json.loads(metrics.read_text(encoding="utf-8"))["training"]["validation"])


def _start() -> None:
    """What a process does first: it takes one thread, and ends when the one that started it was killed."""
    torch.set_num_threads(1)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


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
