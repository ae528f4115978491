"""The state of a training run: saved whole or not at all, and found again."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from arzoo import loading, pictures, provenance
from arzoo.checkpoints import WEIGHTS, is_snapshot
from arzoo.data import TensorData
from arzoo.evaluation import evaluate, model_context
from arzoo.files import replacing
from arzoo.metrics import read_metrics
from arzoo.model import Model
from arzoo.optimizers import Optimizer
from arzoo.recipe import Recipe, TrainConfig, load_recipe

KEPT_STATES = 2


def seeded(seed: int, *what: object) -> torch.Generator:
    """Where everything random comes from: a source that is the same for the same seed and occasion."""
    digest = hashlib.sha256(repr((seed, *what)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Run:
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
        self.restarted_at: int | None = None
        self.precision: str = config.precision
        self.losses: list[float] = []
        """Of the steps since the curve's last record."""
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))
        self._resume()
        if not self.precision.endswith(config.precision):
            self.precision += f", then {config.precision}"
        self._check_processes()

    @property
    def exhausted(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.worse >= patience

    def setup(self) -> dict[str, Any]:
        """The effective set-up, for people and for metrics.json."""
        return {**provenance.setup(self.model, self.accelerator), "precision": self.precision}

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
            "restarted_at": self.restarted_at,
            "precision": self.precision,
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
        """Goes on from the newest whole state, or from the weights of a checkpoint that has none."""
        files = self._state_files()
        if self.is_main:
            for orphan in self.directory.glob("state/.*.safetensors"):  # of a kill in the middle of a save
                orphan.unlink(missing_ok=True)
        if not files and (self.directory / WEIGHTS).exists():
            self._restart()
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

    def _restart(self) -> None:
        """Takes up a checkpoint whose state is gone: its weights, and what metrics.json says of its training."""
        if is_snapshot(self.directory):
            raise ValueError(f"{self.directory} is a commit in the Hugging Face cache, which stays as it is; copy it")
        recipe, told = self.directory / "recipe.toml", read_metrics(self.directory).training
        if told is None or not told.steps or not recipe.is_file():
            raise FileExistsError(
                f"{self.directory} holds a checkpoint and no state to go on from; name another directory"
            )
        if load_recipe(recipe).what_must_stay() != self.recipe.what_must_stay():
            raise ValueError(f"{self.directory} was trained by another recipe; name another directory")
        if told.steps >= self.config.steps:
            raise ValueError(
                f"{self.directory} was trained for {told.steps} steps already, the recipe asks for {self.config.steps};"
                " ask for more, or name another directory"
            )
        found = loading.load(self.directory.resolve())
        if (found.family, found.config) != (self.model.family, self.model.config):
            raise ValueError(f"{self.directory} holds another model than its recipe makes; name another directory")
        self.step = self.best_step = self.restarted_at = told.best_step or told.steps
        self.worse = (told.steps - self.step) // self.config.eval_every
        if self.exhausted:
            raise ValueError(f"{self.directory} stopped early, after {told.steps} steps; ask for more patience")
        self.model.load_state_dict(found.state_dict())
        self.reset_average()
        self.seconds, self.cpu_seconds = told.seconds, told.cpu_seconds
        self.precision = told.precision or self.precision
        self._read_curve()

    def _check_processes(self) -> None:
        """Refuses processes that found different states, lest each train something else."""
        steps = self.accelerator.gather(torch.tensor([self.step], device=self.accelerator.device)).tolist()
        if len(set(steps)) > 1:
            raise ValueError(
                f"processes would go on after different steps, {sorted(set(steps))}: not all of them see the same"
                f" {self.directory}; put it where all do"
            )

    def _restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(part("model."), strict=False)
        self.average = {name: value.to(self.accelerator.device) for name, value in part("average.").items()}
        self.best = part("best.")
        self.optimizer.restore(part("optimizer."))
        for name, value in facts.items():
            setattr(self, name, value)
        self._read_curve()

    def _read_curve(self) -> None:
        curve = self.directory / "curve.jsonl"
        lines = curve.read_text().splitlines() if curve.is_file() else []
        self.curve = [record for record in map(json.loads, lines) if record["step"] <= self.step]

    def _flops_per_example(self, data: TensorData) -> int:
        generator, device = seeded(self.config.seed, "flops"), self.accelerator.device
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
            "restarted_at": self.restarted_at,
        }
        provenance.record(self.directory, facts)
