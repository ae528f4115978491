"""Training: one function on accelerate, on any number of processes, that may be killed at any moment.

Everything random in a step follows from the seed and the step's number, for the whole batch, before it is split
between processes.  So there is no random state to keep: N processes train the same model as one, and a run that was
killed and started again ends with the same weights: bit for bit on CPUs, on GPUs as far as their kernels repeat
themselves.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from arzoo import loading, pictures, provenance
from arzoo.data import TensorData, epoch_order
from arzoo.data_loading import load_data
from arzoo.evaluation import evaluate, model_context
from arzoo.files import replacing
from arzoo.fitting import fit
from arzoo.model import Context, Model
from arzoo.optimizers import Optimizer
from arzoo.recipe import Recipe, TrainConfig
from arzoo.reporting import Report

SAVE_SECONDS = 120.0
"""Seconds of training that a kill may cost."""
KEPT_STATES = 2


def train(recipe: Recipe, directory: str | Path) -> Path:
    """Trains a model and writes its checkpoint folder; goes on where an earlier call was stopped.

    A finished run goes on too where the recipe now asks for more steps: the learning rate takes up the longer schedule.
    A recipe with a table `fit` in place of `train` solves for the weights instead; see `arzoo.fitting`.

    Arguments:
        recipe: What to train, on what, how.
        directory: The checkpoint folder; what training goes on from lies in `state` inside.

    Returns:
        The directory, which holds config.json, model.safetensors, metrics.json and, of steps, curve.jsonl, curve.png.

    Raises:
        ValueError: The recipe does not fit the data, the processes, or what the directory was begun with.
        FileExistsError: The directory holds a checkpoint, but nothing that its training could go on from.
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
    run = _Run(recipe, config, model, directory, accelerator)
    if run.step == 0:
        some = epoch_order(len(data), config.seed, 0)[:1000]
        x, context = data.batch(some, _generator(config.seed, "initialize"))
        parts = {name: value.to(accelerator.device) for name, value in (context or {}).items()}
        model.initialize(x.to(accelerator.device), model_context(model, parts))
        run.reset_average()
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


def _generator(seed: int, *what: object) -> torch.Generator:
    digest = hashlib.sha256(repr((seed, *what)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _batch(run: "_Run", data: TensorData) -> tuple[Tensor, Context, Tensor | None]:
    """This process's part of the step's batch."""
    config, accelerator = run.config, run.accelerator
    generator = _generator(config.seed, "batch", run.step)
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


def _step(run: "_Run", wrapped: torch.nn.Module, data: TensorData) -> float:
    """One update; returns the mean loss over the whole batch, in the unit of the data."""
    config, accelerator = run.config, run.accelerator
    wrapped.train()
    x, context, noise = _batch(run, data)
    # For dropout; processes differ in what they drop.
    torch.manual_seed(
        int(torch.randint(2**62, (), generator=_generator(config.seed, run.step, accelerator.process_index)))
    )
    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        loss = wrapped(x, context, noise).mean()
    if not math.isfinite(loss.item()):
        raise ValueError(f"the loss of step {run.step} is {loss.item()}; lower lr or set grad_clip in the recipe")
    accelerator.backward(loss)
    if config.grad_clip is not None:
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.grad_clip)
    run.optimizer.step(learning_rate(config, run.step))
    run.update_average()
    nats = accelerator.reduce(loss.detach().double(), "mean")
    if data.spec.unit == "perplexity":  # of the batch, where all words count the same, whatever the document
        words = accelerator.reduce((x >= 0).flatten(1).sum(1).double().mean(), "mean")
        return float((nats / words).exp())
    return float(nats) / (run.model.config.dims * math.log(2)) if data.spec.unit == "bits/dim" else float(nats)


class _Run:
    """The state of a training run, and where it is kept."""

    def __init__(
        self, recipe: Recipe, config: TrainConfig, model: Model, directory: Path, accelerator: Accelerator
    ) -> None:
        self.recipe, self.config = recipe, config
        self.model, self.directory, self.accelerator = model, directory, accelerator
        self.is_main: bool = accelerator.is_main_process
        model.to(accelerator.device)
        self.optimizer = Optimizer(model, config)
        averaged = model.named_parameters() if config.ema is not None else ()
        self.average = {name: value.detach().clone() for name, value in averaged}
        self.best: dict[str, Tensor] = {}
        self.best_value, self.best_step, self.worse = math.inf, 0, 0
        self.step, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self.curve: list[dict[str, Any]] = []
        self.losses: list[float] = []
        """Of the steps since the curve's last record."""
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))
        self._resume()

    @property
    def exhausted(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.worse >= patience

    def setup(self) -> dict[str, Any]:
        """The effective set-up, for people and for metrics.json."""
        return {**provenance.setup(self.model, self.accelerator), "precision": self.config.precision}

    # ---- weights

    def reset_average(self) -> None:
        for name, value in self.average.items():
            value.copy_(self.model.get_parameter(name).detach())

    @torch.no_grad()
    def update_average(self) -> None:
        """Moves the running average towards the weights; early on it forgets faster (1 + t) / (10 + t)."""
        decay = self.config.ema
        if decay is None:
            return
        rate = 1 - min(decay, (1 + self.step) / (10 + self.step))
        weights: list[Tensor] = [self.model.get_parameter(name) for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), weights, rate)

    def _evaluated_weights(self) -> dict[str, Tensor]:
        weights = loading.distinct(self.model.state_dict()) | self.average
        return {name: value.detach().clone() for name, value in weights.items()}

    def evaluate(self, held_out: TensorData) -> float:
        """Measures the averaged weights on the validation split and keeps them if they are the best so far."""
        training = {name: value.clone() for name, value in self.model.state_dict().items()}
        candidate = self._evaluated_weights()
        self.model.load_state_dict(candidate, strict=False)  # without the second names of tied weights
        value = evaluate(
            self.model, held_out, num_examples=self.config.eval_examples, accelerator=self.accelerator
        ).value
        self.model.load_state_dict(training)
        if value < self.best_value:
            self.best, self.best_value, self.best_step, self.worse = candidate, value, self.step, 0
        else:
            self.worse += 1
        return value

    # ---- files

    def _state_files(self) -> list[Path]:
        return sorted((self.directory / "state").glob("step-*.safetensors"), reverse=True)

    def save(self) -> None:
        """Writes everything that training goes on from, whole or not at all, then drops the oldest."""
        if not self.is_main:
            return
        tensors = {f"model.{name}": value for name, value in loading.distinct(self.model.state_dict()).items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        facts = {
            "recipe": self.recipe.what_must_stay(),
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "best_value": self.best_value,
            "best_step": self.best_step,
            "worse": self.worse,
            "losses": self.losses,
        }
        with replacing(self.directory / "curve.jsonl") as path:
            path.write_text("".join(json.dumps(record) + "\n" for record in self.curve))
        with replacing(self.directory / "state" / f"step-{self.step:09d}.safetensors") as path:
            copies = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            path.write_bytes(serialize(copies, {"facts": json.dumps(facts)}))
        for old in self._state_files()[KEPT_STATES:]:
            old.unlink()

    def _resume(self) -> None:
        """Goes on from the newest whole state."""
        files = self._state_files()
        if self.is_main:
            for orphan in self.directory.glob("state/.*.safetensors"):  # of a kill in the middle of a save
                orphan.unlink(missing_ok=True)
        if not files and (self.directory / "model.safetensors").exists():
            raise FileExistsError(
                f"{self.directory} holds a checkpoint and no state to go on from; name another directory"
            )
        for path in files:
            try:
                with safe_open(path, "pt") as file:
                    facts = json.loads((file.metadata() or {})["facts"])
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            except (SafetensorError, OSError, KeyError, ValueError):
                continue
            if facts.pop("recipe") != self.recipe.what_must_stay():
                raise ValueError(f"{self.directory} was begun with another recipe; name another directory or remove it")
            if facts["step"] > self.config.steps:  # its recipe and card would state fewer than there were
                raise ValueError(
                    f"{self.directory} was trained for {facts['step']} steps already, the recipe asks for "
                    f"{self.config.steps}; ask for at least as many, or name another directory"
                )
            self._restore(facts, tensors)
            return
        if files:
            raise ValueError(f"no state in {files[0].parent} can be read; remove the folder to begin again")

    def _restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(part("model."), strict=False)
        self.average = {name: value.to(self.accelerator.device) for name, value in part("average.").items()}
        self.best = part("best.")
        self.optimizer.restore(part("optimizer."))
        for name, value in facts.items():
            setattr(self, name, value)
        curve = self.directory / "curve.jsonl"
        lines = curve.read_text().splitlines() if curve.is_file() else []
        self.curve = [record for record in map(json.loads, lines) if record["step"] <= self.step]

    def _flops_per_example(self, data: TensorData) -> int:
        generator, device = _generator(self.config.seed, "flops"), self.accelerator.device
        x, context = data.batch(torch.zeros(1, dtype=torch.long), generator)
        noise = self.model.noise(1, generator)
        parts = {name: value.to(device) for name, value in (context or {}).items()}
        return provenance.training_flops(
            self.model, x.to(device), model_context(self.model, parts), None if noise is None else noise.to(device)
        )

    def finish(self, data: TensorData) -> None:
        """Writes the checkpoint folder from the best weights."""
        if not self.is_main:
            return
        self.save()
        if self.best:
            self.model.load_state_dict(self.best, strict=False)
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.config.weights_dtype]
        loading.save_model(self.model, self.directory, dtype)
        pictures.training_curve(self.curve, data.spec.unit, self.directory / "curve.png")
        facts = {
            **self.setup(),
            "data": data.fingerprint,
            "steps": self.step,
            "best_step": self.best_step,
            "validation": self.best_value,
            "examples": self.step * self.config.batch_size,
            "flops": self._flops_per_example(data),
            "seconds": round(self.seconds),
            "cpu_seconds": round(self.cpu_seconds),
        }
        provenance.record(self.directory, facts)
