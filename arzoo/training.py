"""Training: one function on accelerate, on any number of processes, that may be killed at any moment.

Everything random in a step follows from the seed and the step's number, for the whole batch, before it is split
between processes.  So there is no random state to keep: N processes train the same model as one, but for what dropout
drops, and a run that was killed and started again ends with the same weights: bit for bit on CPUs, on GPUs as far as
their kernels repeat themselves.
"""

import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor

from arzoo.data import TensorData, epoch_order
from arzoo.data_loading import load_data
from arzoo.evaluation import model_context, set_labels
from arzoo.fitting import fit
from arzoo.model import Context
from arzoo.recipe import Recipe, TrainConfig
from arzoo.reporting import Report
from arzoo.run import Run, seeded

SAVE_SECONDS = 120.0
"""Seconds of training that a kill may cost."""


def train(recipe: Recipe, directory: str | Path) -> Path:
    """Trains a model and writes its checkpoint folder; goes on where an earlier call was stopped.

    A finished run goes on too where the recipe now asks for more steps: the learning rate takes up the longer schedule.
    The precision may change with the machine as well.
    So does a checkpoint without the state of its training, as those that are published: from its weights, with new
    moments of the optimiser; metrics.json then names the update behind them, `restarted_at`.
    A recipe with a table `fit` in place of `train` solves for the weights instead; see `arzoo.fitting`.

    Arguments:
        recipe: What to train, on what, how.
        directory: The checkpoint folder; what training goes on from lies in `state` inside.

    Returns:
        The directory, which holds config.json, model.safetensors, metrics.json and, of steps, curve.jsonl, curve.png.

    Raises:
        ValueError: The recipe does not fit the data, the processes, or what the directory was begun with.
        FileExistsError: The directory holds a checkpoint that says nothing of its training by this recipe.
    """
    directory = Path(directory)
    config = recipe.train
    # The precision of accelerate is fixed by the first training of a process; ours is the recipe's.
    accelerator = Accelerator(mixed_precision="no")
    world = accelerator.num_processes
    _check_launch(accelerator)
    if config is None:
        assert recipe.fit is not None
        fit(recipe, recipe.fit, directory, accelerator)
        return directory
    if config.batch_size % world:
        raise ValueError(f"batch_size {config.batch_size} must be divisible by the {world} processes")
    data, held_out = load_data(recipe.dataset, "train"), load_data(recipe.dataset, "validation")
    if len(data) < config.batch_size:
        raise ValueError(f"batch_size {config.batch_size} is larger than the {len(data)} training examples")

    torch.manual_seed(config.seed)
    model = recipe.create_model(data.spec)
    set_labels(model, data)
    run = Run(recipe, config, model, directory, accelerator)
    if run.step == 0:
        some = epoch_order(len(data), config.seed, 0)[:1000]
        x, context = data.batch(some, seeded(config.seed, "initialize"))
        parts = {name: value.to(accelerator.device) for name, value in (context or {}).items()}
        model.initialize(x.to(accelerator.device), model_context(model, parts))
        run.reset_average()
    elif run.step == run.restarted_at:  # the weights are what others must be better than
        run.evaluate(held_out)
    if config.precision == "bfloat16" and run.is_main:
        _warn_of_emulation(accelerator.device)
    wrapped = accelerator.prepare(model)

    with Report(run.setup(), run.step, config.steps, data.spec.unit, run.is_main) as report:
        started = time.perf_counter() - run.seconds, time.process_time() - run.cpu_seconds
        saved = time.perf_counter()
        while run.step < config.steps and not run.exhausted:
            run.losses.append(_step(run, wrapped, data))
            run.step += 1
            run.seconds, run.cpu_seconds = time.perf_counter() - started[0], time.process_time() - started[1]
            last = run.step == config.steps
            record: dict[str, Any] = {"step": run.step, "loss": run.losses[-1], "seconds": run.seconds}
            if run.step % config.eval_every == 0 or last:
                record["validation"] = run.evaluate(held_out)
            report.update(record)
            if run.step % _steps_a_record(config) == 0 or "validation" in record:
                run.curve.append({**record, "loss": sum(run.losses) / len(run.losses)})
                run.losses.clear()
            if "validation" in record or time.perf_counter() - saved > SAVE_SECONDS:
                run.save()
                saved = time.perf_counter()
        run.finish(data)
    accelerator.wait_for_everyone()
    return directory


def _check_launch(accelerator: Accelerator) -> None:
    """Refuses launches that would train something else than was asked for, or the same thing alone."""
    kind = accelerator.distributed_type
    if kind not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise ValueError(f"arzoo trains with plain data parallelism, but accelerate is set up for {kind.value}")
    asked = os.environ.get("WORLD_SIZE", "several" if "MASTER_ADDR" in os.environ else "1")
    if kind == DistributedType.NO and asked != "1":
        raise ValueError(
            f"{asked} processes were asked for, but accelerate started one; on CPUs launch with"
            " ACCELERATE_USE_CPU=true torchrun --nproc-per-node N -m arzoo train RECIPE (or unset MASTER_ADDR)"
        )


def bfloat16_slowdown(device: torch.device) -> float:
    """How many times as long a product of matrices takes in bfloat16 as in float32; below 1 where it is faster."""

    def seconds(dtype: torch.dtype) -> float:
        matrix, times = torch.ones(256, 256, dtype=dtype, device=device), []
        for _ in range(3):
            started = time.perf_counter()
            (matrix @ matrix).sum().item()  # waits for the device
            times.append(time.perf_counter() - started)
        return min(times)

    return seconds(torch.bfloat16) / seconds(torch.float32)


def _warn_of_emulation(device: torch.device) -> None:
    slowdown = bfloat16_slowdown(device)
    if slowdown > 2:
        warnings.warn(
            f"a product of matrices takes {slowdown:.0f} times as long in bfloat16 as in float32 on this machine;"
            ' precision = "float32" in the recipe, in the middle of a run too, trains faster',
            stacklevel=3,
        )


def _steps_a_record(config: TrainConfig) -> int:
    """The training curve has some two thousand records, each the mean loss of the steps since the one before."""
    return max(1, config.steps // 2000)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of update `step`, counted from 0."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    falls = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
    return config.lr * falls[config.schedule]


def _batch(run: Run, data: TensorData) -> tuple[Tensor, Context, Tensor | None]:
    """This process's part of the step's batch."""
    config, accelerator = run.config, run.accelerator
    generator = seeded(config.seed, "batch", run.step)
    per_epoch = len(data) // config.batch_size
    epoch, place = divmod(run.step, per_epoch)
    if run.order[0] != epoch:
        run.order = epoch, epoch_order(len(data), config.seed, epoch)
    indices = run.order[1][place * config.batch_size :][: config.batch_size]
    x, context = data.batch(indices, generator)
    noise = run.model.noise(len(x), generator)
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    parts = {name: value[mine].to(accelerator.device) for name, value in (context or {}).items()}
    return (
        x[mine].to(accelerator.device),
        model_context(run.model, parts),
        None if noise is None else noise[mine].to(accelerator.device),
    )


def _step(run: Run, wrapped: torch.nn.Module, data: TensorData) -> float:
    """One update; returns the mean loss over the whole batch, in the unit of the data."""
    config, accelerator = run.config, run.accelerator
    wrapped.train()
    x, context, noise = _batch(run, data)
    # For dropout; processes differ in what they drop.
    torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(config.seed, run.step, accelerator.process_index))))
    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        loss = wrapped(x, context, noise).mean()
    nats = accelerator.reduce(loss.detach().double(), "mean")
    if not math.isfinite(nats):  # in all processes, of which none waits for another that is gone
        raise ValueError(f"the loss of step {run.step} is {float(nats)}; lower lr or set grad_clip in the recipe")
    accelerator.backward(loss)
    if config.grad_clip is not None:
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.grad_clip)
    run.optimizer.step(learning_rate(config, run.step))
    run.update_average()
    if data.spec.unit == "perplexity":  # of the batch, where all words count the same, whatever the document
        words = accelerator.reduce((x >= 0).flatten(1).sum(1).double().mean(), "mean")
        return float((nats / words).exp())
    return float(nats) / (run.model.config.dims * math.log(2)) if data.spec.unit == "bits/dim" else float(nats)
