"""Fitting: what takes the place of training where a family can solve for its weights.

There are no steps, so there is no curve and nothing to go on from: a fit that was stopped begins again.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console

from arzoo import console, loading, provenance
from arzoo.data_loading import load_data
from arzoo.evaluation import evaluate, set_labels
from arzoo.recipe import FitConfig, Recipe
from arzoo.reporting import LINE_SECONDS


def fit(recipe: Recipe, config: FitConfig, directory: Path, accelerator: Accelerator) -> None:
    """Fits a model in one process and writes its checkpoint folder: config.json, model.safetensors and metrics.json.

    Raises:
        ValueError: The family cannot be fitted, there are several processes, or a validation example is impossible.
        FileExistsError: The directory holds a checkpoint.
    """
    if (directory / "model.safetensors").exists():
        raise FileExistsError(f"{directory} holds a checkpoint; name another directory")
    if accelerator.num_processes > 1:
        raise ValueError(f"a fit runs in one process, {accelerator.num_processes} were started; start it by itself")
    data, held_out = load_data(recipe.dataset, "train"), load_data(recipe.dataset, "validation")
    torch.manual_seed(config.seed)
    model = recipe.create_model(data.spec).to(accelerator.device)
    set_labels(model, data)
    views = torch.Generator().manual_seed(config.seed)
    x, validation = (each.batch(torch.arange(len(each)), views)[0].to(model.device) for each in (data, held_out))
    facts = provenance.setup(model, accelerator)
    screen = console.console(stderr=True)
    screen.print(", ".join(f"{name} {value}" for name, value in facts.items()))
    started = time.perf_counter(), time.process_time()
    with console.progress("fitting", 1.0) as advance:
        model.fit(x, validation, _shown(screen, advance))
    seconds, cpu_seconds = time.perf_counter() - started[0], time.process_time() - started[1]
    value = evaluate(model, held_out).value
    if not math.isfinite(value):
        raise ValueError(f"a validation example has no probability under the fitted {model.family}; smooth it more")
    screen.print(f"fitted in {seconds:.0f} s, validation {value:.4f} {data.spec.unit}")
    facts |= {"data": data.fingerprint, "validation": value, "examples": len(data)}
    provenance.record(directory, {**facts, "seconds": round(seconds), "cpu_seconds": round(cpu_seconds)})
    loading.save_model(model, directory)  # last, for a folder that holds weights is not fitted again


def _shown(screen: Console, advance: Callable[..., None]) -> Callable[[float], None]:
    """Shows the share that is done: in a bar, or as a line a minute where there is no terminal."""
    told = time.monotonic()

    def show(share: float) -> None:
        nonlocal told
        advance(completed=share)
        if not screen.is_terminal and time.monotonic() - told > LINE_SECONDS:
            told = time.monotonic()
            screen.print(f"fitted {share:.0%}")

    return show
