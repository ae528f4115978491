"""Training may be killed at any moment and run on any number of processes: the model that comes out is the same."""

import dataclasses
import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

import arzoo
from arzoo import cli, fitting, registry, training
from arzoo.recipe import FitConfig, Published, Recipe, TrainConfig, load_recipe

PLUGIN = """
import torch
from torch import nn

import arzoo
from arzoo import DatasetSpec, hookimpl
from arzoo.data_decoding import decode_images
from arzoo.distributions import Bernoulli


class Tied(arzoo.Autoregressive):
    \"\"\"What a site adds to those behind it and what it is predicted by are one matrix.\"\"\"

    family = "tied"
    config_class = arzoo.ModelConfig

    def __init__(self, config):
        super().__init__(config)
        self.inputs = nn.Embedding(config.dims, 5)
        self.outputs = nn.Linear(5, config.dims)
        self.outputs.weight = self.inputs.weight

    @classmethod
    def tiny_configs(cls):
        return [arzoo.ModelConfig(event_shape=(4,))]

    def conditionals(self, x, context=None, member=0):
        seen = x.flatten(1)[..., None] * self.inputs.weight  # (B, D, 5)
        hidden = (seen.cumsum(1) - seen).tanh()
        return Bernoulli(((hidden * self.outputs.weight).sum(2) + self.outputs.bias).float().view(x.shape))


@hookimpl
def arzoo_families():
    return [Tied]

@hookimpl
def arzoo_datasets():
    return [DatasetSpec(name="dots", event_shape=(1, 3, 4), num_categories=2, repo="dots",
        splits={"train": "train[:56]", "validation": "train[56:]", "test": "test"}, column="image",
        decode=decode_images, kind="image", unit="nats", licence="mit", protocol="Made up.")]
"""
CARD = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
---
"""
MADE = """\
family = "made"
dataset = "dots"
[model]
hidden_sizes = [7]
num_masks = 3
[train]
steps = 40
batch_size = 8
lr = 1e-2
warmup_steps = 5
ema = 0.9
muon = ["layers.*.weight"]
eval_every = 15
"""
FVSBN = """\
family = "fvsbn"
dataset = "dots"
[model]
ordering = "random"
[fit]
seed = 3
"""
TIED = """\
family = "tied"
dataset = "dots"
[train]
steps = 30
batch_size = 8
lr = 3e-2
ema = 0.9
eval_every = 10
"""


def write_dots(path: Path, num_images: int, seed: int) -> None:
    """Images of 3x4 bits, each the one before it with a few bits flipped."""
    rng = np.random.default_rng(seed)
    rows = []
    for bits in rng.random((num_images, 3, 4)) < [0.9, 0.2, 0.7, 0.4]:
        file = io.BytesIO()
        Image.fromarray(bits.astype(np.uint8) * 255).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), path)


@pytest.fixture
def dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, and an installed plugin with the data set it names; child processes see it too."""
    site, repo = tmp_path / "site", tmp_path / "sets" / "dots"
    (site / "dots-1.0.dist-info").mkdir(parents=True)
    (site / "dots_plugin.py").write_text(PLUGIN)
    (site / "dots-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dots\nVersion: 1.0\n")
    entry_points = "[arzoo.datasets]\ndots = dots_plugin\n[arzoo.families]\ntied = dots_plugin\n"
    (site / "dots-1.0.dist-info" / "entry_points.txt").write_text(entry_points)
    (repo / "data").mkdir(parents=True)
    (repo / "README.md").write_text(CARD)
    write_dots(repo / "data" / "train-0.parquet", 73, seed=0)
    write_dots(repo / "data" / "test-0.parquet", 5, seed=1)
    monkeypatch.setenv("ARZOO_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setenv("ARZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.syspath_prepend(str(site))
    registry.installed.cache_clear()
    (tmp_path / "made.toml").write_text(MADE)
    (tmp_path / "tied.toml").write_text(TIED)
    (tmp_path / "fvsbn.toml").write_text(FVSBN)
    arzoo.load_data("dots", "train")  # decoded once, before children race for it
    yield tmp_path
    registry.installed.cache_clear()


def recipe(folder: Path, name: str = "made.toml", **train: Any) -> Recipe:
    base = load_recipe(folder / name)
    return dataclasses.replace(base, train=dataclasses.replace(base.train, **train))


def curve(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "curve.jsonl").read_text().splitlines()]


def losses(directory: Path) -> list[tuple[Any, ...]]:
    return [(record["step"], record["loss"], record.get("validation")) for record in curve(directory)]


def test_training_writes_a_checkpoint_that_is_as_good_as_the_curve_says(dots: Path) -> None:
    run = training.train(recipe(dots), dots / "run")
    model = arzoo.load(run)
    measured = arzoo.evaluate(model, arzoo.load_data("dots", "validation"))
    best = min(record["validation"] for record in curve(run) if "validation" in record)
    assert measured.value == pytest.approx(best, rel=1e-6)
    assert best < 12 * 0.6931, "it learnt nothing: worse than fair coins"
    assert [record["step"] for record in curve(run)] == list(range(1, 41))
    facts = json.loads((run / "metrics.json").read_text())["training"]
    assert facts["steps"] == 40 and facts["processes"] == 1 and facts["examples"] == 320
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")


def with_labels(monkeypatch: pytest.MonkeyPatch, module: Any, **labels: tuple[str, ...]) -> None:
    """Gives the module that loads data a context of three kinds, and these labels."""

    def labelled(name: str, split: str) -> arzoo.TensorData:
        data = arzoo.load_data(name, split)
        spec = dataclasses.replace(data.spec, context={"kind": "kind"})
        context = {"kind": torch.arange(len(data)) % 3}
        return dataclasses.replace(data, spec=spec, context=context, labels=labels)

    monkeypatch.setattr(module, "load_data", labelled)


GATED = """\
family = "gated_pixelcnn"
dataset = "dots"
[model]
hidden_size = 2
num_layers = 1
head_size = 2
num_classes = 3
context_name = "kind"
[train]
steps = 1
batch_size = 8
lr = 1e-2
"""


def test_a_checkpoint_knows_what_its_classes_and_categories_are_called(
    dots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dots / "gated.toml").write_text(GATED)
    kinds, inks = ("one", "two", "three"), ("ink", "paper")
    with_labels(monkeypatch, training, kind=kinds, ink=inks)
    gated = training.train(load_recipe(dots / "gated.toml"), dots / "gated")
    assert arzoo.load(gated).labels == {"kind": kinds, "ink": inks}
    shutil.rmtree(gated / "state")
    (gated / "recipe.toml").write_text(GATED)
    (dots / "gated.toml").write_text(GATED.replace("steps = 1", "steps = 2"))
    training.train(load_recipe(dots / "gated.toml"), gated)  # goes on from the weights
    assert arzoo.load(gated).labels == {"kind": kinds, "ink": inks}
    made = training.train(recipe(dots, steps=1), dots / "made")
    assert arzoo.load(made).labels == {"ink": inks}  # it is conditioned on nothing
    with_labels(monkeypatch, fitting, kind=kinds, ink=inks)
    assert arzoo.load(training.train(load_recipe(dots / "fvsbn.toml"), dots / "fvsbn")).labels == {"ink": inks}


def test_labels_that_do_not_fit_are_refused_before_training(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_labels(monkeypatch, training, ink=("ink", "ink"))
    with pytest.raises(ValueError, match="data set 'dots': labels 'ink' have 'ink' twice; change the recipe, or"):
        training.train(recipe(dots), dots / "run")
    assert not (dots / "run").exists()


def test_the_same_recipe_gives_the_same_weights(dots: Path) -> None:
    torch.manual_seed(5)
    first = training.train(recipe(dots), dots / "first")
    torch.manual_seed(6)
    second = training.train(recipe(dots), dots / "second")
    other = training.train(recipe(dots, seed=1), dots / "other")
    weights = [(run / "model.safetensors").read_bytes() for run in (first, second, other)]
    assert weights[0] == weights[1] != weights[2]


def child(folder: Path, directory: Path, save_seconds: float) -> subprocess.Popen[bytes]:
    code = (
        "import sys, arzoo, arzoo.training as t\n"
        f"t.SAVE_SECONDS = {save_seconds}\n"
        f"arzoo.train(arzoo.load_recipe({str(folder / 'made.toml')!r}), {str(directory)!r})\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(dots: Path) -> None:
    (dots / "made.toml").write_text(MADE.replace("steps = 40", "steps = 400").replace("= 15", "= 50"))
    whole = training.train(recipe(dots), dots / "whole")
    killed, rng, deaths = dots / "killed", random.Random(0), 0
    while deaths < 20:
        process = child(dots, killed, save_seconds=0.01)
        begun = time.monotonic()
        while not list(killed.glob("state/step-*")) and process.poll() is None and time.monotonic() < begun + 60:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.4)
        if deaths < 3 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        deaths += 1
    assert deaths >= 1, "the run was too short to be killed"
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert losses(killed) == losses(whole)


class Stopped(Exception):
    pass


def train_until(stop: int, what: Recipe, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves after every step and dies before this one."""

    def step(run: Any, *rest: Any, step: Any = training._step) -> float:
        if run.step == stop:
            raise Stopped
        return step(run, *rest)  # type: ignore[no-any-return]

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(training, "SAVE_SECONDS", 0.0)
        patch.setattr(training, "_step", step)
        training.train(what, directory)


def test_a_run_says_where_it_goes_on(
    dots: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_until(25, recipe(dots), dots / "run", monkeypatch)
    assert "goes on" not in capsys.readouterr().err
    training.train(recipe(dots), dots / "run")
    assert "goes on after step 25/40" in capsys.readouterr().err


def test_a_truncated_state_is_passed_over_for_the_one_before(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = training.train(recipe(dots), dots / "whole")
    train_until(25, recipe(dots), dots / "run", monkeypatch)
    newest, older = sorted((dots / "run" / "state").iterdir(), reverse=True)
    assert (newest.name, older.name) == ("step-000000025.safetensors", "step-000000024.safetensors")
    newest.write_bytes(newest.read_bytes()[:-7])
    training.train(recipe(dots), dots / "run")
    assert (dots / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_where_no_state_can_be_read_training_does_not_begin_again(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_until(5, recipe(dots), dots / "run", monkeypatch)
    states = sorted((dots / "run" / "state").iterdir())
    for path in states:
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"no state in .*state can be read; remove the folder to begin again"):
        training.train(recipe(dots), dots / "run")
    assert sorted((dots / "run" / "state").iterdir()) == states


def test_what_a_kill_left_of_a_state_is_removed(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_until(3, recipe(dots), dots / "run", monkeypatch)
    (dots / "run" / "state" / ".0123456789abcdef.step-000000004.safetensors").write_bytes(b"half")
    training.train(recipe(dots, steps=4), dots / "run")
    names = sorted(path.name for path in (dots / "run" / "state").iterdir())
    assert names == ["step-000000003.safetensors", "step-000000004.safetensors"]


def test_a_full_disk_ends_training_and_spoils_nothing(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = training.train(recipe(dots), dots / "whole")
    train_until(20, recipe(dots), dots / "run", monkeypatch)
    before = {path.name: path.read_bytes() for path in (dots / "run" / "state").iterdir()}

    def full(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left on device"):
        patch.setattr(Path, "write_bytes", full)
        training.train(recipe(dots), dots / "run")
    assert {path.name: path.read_bytes() for path in (dots / "run" / "state").iterdir()} == before
    training.train(recipe(dots), dots / "run")
    assert (dots / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert losses(dots / "run") == losses(whole)


def test_tied_weights_are_averaged_saved_and_resumed_as_one(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = recipe(dots, "tied.toml")
    seen = []

    def spy(model: Any, *rest: Any, measure: Any = arzoo.evaluate, **options: Any) -> Any:
        seen.append((model.inputs.weight.detach().clone(), model.outputs.weight.detach().clone()))
        return measure(model, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr("arzoo.run.evaluate", spy)
        whole = training.train(tied, dots / "whole")
    newest = sorted((whole / "state").iterdir())[-1]
    state = load_file(newest)
    assert [name for name in state if name.endswith("puts.weight")].count("model.inputs.weight") == 1
    assert not [name for name in state if "outputs.weight" in name]
    assert len(seen) == 3 and all(torch.equal(one, other) for one, other in seen)
    assert torch.equal(seen[-1][0], state["average.inputs.weight"])
    assert not torch.equal(seen[-1][0], state["model.inputs.weight"])

    train_until(17, tied, dots / "stopped", monkeypatch)
    training.train(tied, dots / "stopped")
    assert load_file(sorted((dots / "stopped" / "state").iterdir())[-1]).keys() == state.keys()
    for name, value in load_file(sorted((dots / "stopped" / "state").iterdir())[-1]).items():
        assert torch.equal(value, state[name]), name
    assert (dots / "stopped" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert losses(dots / "stopped") == losses(whole)
    model = arzoo.load(whole)
    assert model.inputs.weight is model.outputs.weight
    best = min(record["validation"] for record in curve(whole) if "validation" in record)
    measured = arzoo.evaluate(model, arzoo.load_data("dots", "validation"))
    assert measured.value == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(("world", "asked"), [(None, "several"), ("2", "2")])
def test_a_launcher_of_several_processes_that_train_alone_is_refused(
    dots: Path, monkeypatch: pytest.MonkeyPatch, world: str | None, asked: str
) -> None:
    """`accelerate launch --cpu` starts one process; those of torchrun stay alone unless ACCELERATE_USE_CPU is set."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world is not None:
        monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(ValueError, match=rf"{asked} processes were asked for, but .* torchrun --nproc-per-node"):
        training.train(recipe(dots), dots / "run")
    assert not (dots / "run").exists()


@pytest.mark.parametrize("pattern", ["layer.*.weight", "layers.*.bias"])
def test_muon_that_names_no_matrix_is_refused(dots: Path, pattern: str) -> None:
    known = "direct.weight, layers.*.weight, output.weight"
    with pytest.raises(
        ValueError, match=re.escape(f"muon names '{pattern}', which matches no matrix of made; it has {known}")
    ):
        training.train(recipe(dots, muon=("layers.*.weight", pattern)), dots / "run")


def torchrun(folder: Path, *worker: str) -> subprocess.CompletedProcess[str]:
    """Two processes, started in the folder."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *worker]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_processes_that_see_different_states_are_refused(dots: Path) -> None:
    training.train(recipe(dots, steps=20), dots / "run0")
    train = "import os; from arzoo.recipe import load_recipe; from arzoo.training import train; "
    (dots / "worker.py").write_text(train + "train(load_recipe('made.toml'), 'run' + os.environ['RANK'])")
    done = torchrun(dots, "worker.py")
    assert done.returncode != 0
    assert "ValueError: processes would go on after different steps, [0, 20]: not all of them see the" in done.stderr
    assert not (dots / "run1").exists()


@pytest.mark.parametrize("masks", [1, 3])
def test_two_processes_train_the_same_model_as_one(dots: Path, masks: int) -> None:
    (dots / "made.toml").write_text(MADE.replace("num_masks = 3", f"num_masks = {masks}"))
    training.train(recipe(dots), dots / "one")
    done = torchrun(dots, "-m", "arzoo", "train", "made.toml", "-o", "two")
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = losses(dots / "one"), losses(dots / "two")
    assert len(one) == len(two) == 40
    for (step, loss, validation), (other_step, other_loss, other_validation) in zip(one, two, strict=True):
        assert step == other_step
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert validation is None or other_validation == pytest.approx(validation, rel=1e-5)
    assert json.loads((dots / "two" / "metrics.json").read_text())["training"]["processes"] == 2


def test_the_learning_rate_rises_and_falls_as_the_recipe_says() -> None:
    config = TrainConfig(steps=110, batch_size=1, lr=2.0, warmup_steps=10)
    assert training.learning_rate(config, 0) == pytest.approx(0.2)
    assert training.learning_rate(config, 9) == pytest.approx(2.0)
    assert training.learning_rate(config, 60) == pytest.approx(1.0)
    linear = dataclasses.replace(config, schedule="linear")
    assert training.learning_rate(linear, 85) == pytest.approx(0.5)
    constant = dataclasses.replace(config, schedule="constant")
    assert training.learning_rate(constant, 109) == pytest.approx(2.0)


def test_training_stops_when_validation_no_longer_falls(dots: Path) -> None:
    run = training.train(recipe(dots, lr=1e-9, ema=None, eval_every=2, patience=3, steps=400), dots / "run")
    measured = [record["validation"] for record in curve(run) if "validation" in record]
    assert len(measured) < 200
    assert min(measured[:-3]) <= min(measured[-3:])


def test_a_finished_run_goes_on_where_the_recipe_asks_for_more_steps(dots: Path) -> None:
    training.train(recipe(dots, steps=20), dots / "run")
    training.train(recipe(dots, steps=50), dots / "run")
    assert [record["step"] for record in curve(dots / "run")] == list(range(1, 51))


def test_where_bfloat16_is_slow_training_says_so_and_goes_on_in_float32(
    dots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "bfloat16_slowdown", lambda device: 31.4)
    with pytest.warns(UserWarning, match='takes 31 times as long in bfloat16 .* precision = "float32" in the recipe'):
        training.train(recipe(dots, steps=20, precision="bfloat16"), dots / "run")
    training.train(recipe(dots, steps=30), dots / "run")
    assert [record["step"] for record in curve(dots / "run")] == list(range(1, 31))
    assert facts_of(dots / "run")["precision"] == "bfloat16, then float32"


def test_where_bfloat16_is_fast_training_says_nothing(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "bfloat16_slowdown", lambda device: 0.5)
    training.train(recipe(dots, steps=2, precision="bfloat16"), dots / "run")


def test_the_slowdown_is_that_of_the_best_times(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0, 4, 0, 3, 0, 5, 0, 1, 0, 2, 0, 1])  # of three products in bfloat16, then in float32
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    assert training.bfloat16_slowdown(torch.device("cpu")) == 3


def without_state(dots: Path) -> Path:
    """The folder of a finished training as it is published: with its recipe, without its state."""
    directory = training.train(recipe(dots), dots / "run")
    shutil.copy(dots / "made.toml", directory / "recipe.toml")
    shutil.rmtree(directory / "state")
    return directory


def facts_of(directory: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((directory / "metrics.json").read_text())["training"]
    return facts


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_checkpoint_without_a_state_goes_on_from_its_weights(
    dots: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_data = arzoo.load_data  # validated on what it trains on, so that it gets better all the time
    monkeypatch.setattr(training, "load_data", lambda name, split: load_data(name, "train"))
    directory = without_state(dots)
    before, weights = facts_of(directory), arzoo.load(directory).state_dict()
    assert before["best_step"] == 40
    training.train(recipe(dots, steps=60), directory)
    assert "goes on after step 40/60" in capsys.readouterr().err
    assert [record["step"] for record in curve(directory)] == list(range(1, 61))
    after = facts_of(directory)
    assert (after["steps"], after["examples"], after["restarted_at"], after["best_step"]) == (60, 60 * 8, 40, 60)
    assert after["validation"] < before["validation"] and after["cpu_seconds"] >= before["cpu_seconds"]
    changes = [(value - weights[name]).abs().max() for name, value in arzoo.load(directory).named_parameters()]
    assert 0 < max(changes) < 20 * 2e-2  # of 20 updates of 1e-2
    measured = arzoo.evaluate(arzoo.load(directory), load_data("dots", "train"))
    assert measured.value == pytest.approx(after["validation"], rel=1e-6)


def test_a_restart_that_finds_nothing_better_keeps_the_weights(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever metrics.json says they measure; and it counts from the update behind them, not from the last."""
    directory = without_state(dots)
    weights, before = (directory / "model.safetensors").read_bytes(), facts_of(directory)
    metrics = (directory / "metrics.json").read_text().replace('"best_step": 40', '"best_step": 30')
    (directory / "metrics.json").write_text(metrics.replace(str(before["validation"]), "1000.0"))
    values: list[float] = []

    def worse(*args: Any, measure: Any = arzoo.evaluate, **options: Any) -> Any:
        measured = measure(*args, **options)
        values.append(measured.value + len(values))
        return dataclasses.replace(measured, value=values[-1])

    monkeypatch.setattr("arzoo.run.evaluate", worse)
    training.train(recipe(dots, steps=60), directory)
    assert len(values) == 1 + 2  # of the weights, and after 45 and 60 updates
    assert (directory / "model.safetensors").read_bytes() == weights
    after = facts_of(directory)
    assert (after["restarted_at"], after["best_step"], after["steps"]) == (30, 30, 60)
    assert after["validation"] == pytest.approx(before["validation"], rel=1e-6)


def test_a_restart_of_what_stopped_early_asks_for_more_patience(dots: Path) -> None:
    directory = without_state(dots)
    text = (directory / "metrics.json").read_text()
    best = facts_of(directory)["best_step"]
    (directory / "metrics.json").write_text(text.replace(f'"best_step": {best}', '"best_step": 5'))
    before = contents(directory)
    with pytest.raises(ValueError, match="stopped early, after 40 steps; ask for more patience"):
        training.train(recipe(dots, steps=60, patience=2), directory)
    assert contents(directory) == before
    training.train(recipe(dots, steps=60, patience=3), directory)


def test_a_restart_that_is_killed_ends_with_the_same_weights(dots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = without_state(dots)
    shutil.copytree(directory, dots / "killed")
    training.train(recipe(dots, steps=60), directory)
    train_until(52, recipe(dots, steps=60), dots / "killed", monkeypatch)
    training.train(recipe(dots, steps=60), dots / "killed")
    assert (dots / "killed" / "model.safetensors").read_bytes() == (directory / "model.safetensors").read_bytes()
    assert json.loads((dots / "killed" / "metrics.json").read_text())["training"]["restarted_at"] == 40


def test_a_checkpoint_that_was_not_trained_by_this_recipe_is_not_trained_over(dots: Path) -> None:
    directory = without_state(dots)
    before = contents(directory)
    for what, message in (
        (recipe(dots, steps=60, lr=0.5), "was trained by another recipe; name another directory"),
        (recipe(dots, steps=20), "was trained for 40 steps already, the recipe asks for 20; ask for more"),
        (recipe(dots, steps=40), "was trained for 40 steps already, the recipe asks for 40; ask for more"),
    ):
        with pytest.raises(ValueError, match=message):
            training.train(what, directory)
    for file in ("recipe.toml", "metrics.json"):
        (directory / file).unlink()
        with pytest.raises(FileExistsError, match="holds a checkpoint and no state to go on from; name another"):
            training.train(recipe(dots, steps=60), directory)
        (directory / file).write_bytes(before[file])
    (directory / "metrics.json").write_bytes(before["metrics.json"].replace(b'"steps": 40', b'"steps": 0'))
    with pytest.raises(FileExistsError, match="holds a checkpoint and no state to go on from; name another"):
        training.train(recipe(dots, steps=60), directory)
    (directory / "metrics.json").write_bytes(before["metrics.json"])
    assert contents(directory) == before
    snapshot = dots / "models--a--b" / "snapshots" / ("0" * 40)
    shutil.copytree(directory, snapshot)
    with pytest.raises(ValueError, match="is a commit in the Hugging Face cache, which stays as it is; copy it"):
        training.train(recipe(dots, steps=60), snapshot)
    assert contents(snapshot) == before
    arzoo.create_model("made", {"event_shape": (1, 3, 4), "hidden_sizes": (5,)}).save_pretrained(directory)
    with pytest.raises(ValueError, match="holds another model than its recipe makes; name another directory"):
        training.train(recipe(dots, steps=60), directory)


def test_what_the_command_refuses_it_leaves_as_it_was(dots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = without_state(dots)
    before = contents(directory)
    for change, message in (
        (("steps = 40", "steps = 20"), "was trained for 40 steps already"),
        (("steps = 40", "steps = 40\nseed = 1"), "in seed of [train]; name another"),
    ):
        (dots / "other.toml").write_text(MADE.replace(*change))
        result = CliRunner().invoke(cli.app, ["train", str(dots / "other.toml"), "-o", str(directory)])
        assert result.exit_code == 1 and message in result.output
        assert contents(directory) == before
    (directory / "recipe.toml").unlink()
    result = CliRunner().invoke(cli.app, ["train", str(dots / "made.toml"), "-o", str(directory)])
    assert result.exit_code == 1 and "holds a checkpoint without a recipe; name another directory" in result.output
    del before["recipe.toml"]
    assert contents(directory) == before


def test_fewer_steps_than_there_were_are_refused_and_change_nothing(dots: Path) -> None:
    """The recipe and the card would state 20 steps of weights that had 40."""
    training.train(recipe(dots, steps=40), dots / "run")
    before = {path.name: path.read_bytes() for path in (dots / "run").iterdir() if path.is_file()}
    with pytest.raises(ValueError, match="was trained for 40 steps already, the recipe asks for 20; ask for at least"):
        training.train(recipe(dots, steps=20), dots / "run")
    assert {path.name: path.read_bytes() for path in (dots / "run").iterdir() if path.is_file()} == before


def test_another_recipe_does_not_go_on_in_the_same_directory(dots: Path) -> None:
    training.train(recipe(dots, steps=2), dots / "run")
    with pytest.raises(ValueError, match="another recipe"):
        training.train(recipe(dots, steps=2, lr=0.5), dots / "run")
    again = dataclasses.replace(recipe(dots, steps=2), published=Published(value=1.0, source="a paper"))
    training.train(again, dots / "run")


def test_a_loss_that_is_no_number_ends_training_in_words(dots: Path) -> None:
    with pytest.raises(ValueError, match=r"the loss of step \d+ is (nan|inf); lower lr"):
        training.train(recipe(dots, lr=1e30, warmup_steps=0), dots / "run")


def test_a_batch_larger_than_the_data_is_refused(dots: Path) -> None:
    with pytest.raises(ValueError, match="larger than the 56 training examples"):
        training.train(recipe(dots, batch_size=100), dots / "run")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stps = 3", r"TrainConfig has no field 'stps'; did you mean 'steps'"),
        ('lr = "high"', "lr = 'high' is not valid"),
        ("ema = 1.5", "ema must be between 0 and 1"),
        ("batch_size = 0", "batch_size must be at least 1"),
        ("steps = 0", "steps must be at least 1, got 0"),
        ("eval_every = 0", "eval_every must be at least 1, got 0"),
        ("eval_examples = 0", "eval_examples must be at least 1, got 0"),
        ("patience = 0", "patience must be at least 1, got 0"),
        ("warmup_steps = -1", "warmup_steps must not be negative, got -1"),
        ("weight_decay = -0.1", "weight_decay must not be negative, got -0.1"),
        ("lr = 0.0", "lr must be above 0, got 0.0"),
        ("lr = nan", "lr = nan is not valid"),
        ("grad_clip = 0.0", "grad_clip must be above 0, got 0.0"),
        ("ema = 1.0", "ema must be between 0 and 1, got 1.0"),
        ("ema = 0.0", "ema must be between 0 and 1, got 0.0"),
        ("betas = [0.9, 1.0]", r"betas must be at least 0 and below 1, got \(0.9, 1.0\)"),
        ("betas = [0.9]", "betas"),
        ('schedule = "step"', "schedule = 'step' is not valid"),
        ("= 3", "is no TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    kept = [old for old in MADE.splitlines() if old.split(" =")[0] != line.split(" =")[0]]
    path.write_text("\n".join([*kept, line]) + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert "wrong.toml" in str(caught.value)


def test_a_recipe_does_not_repeat_what_the_data_set_fixes(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(MADE.replace("[model]", "[model]\nevent_shape = [1, 3, 4]"))
    with pytest.raises(ValueError, match="the data set fixes"):
        load_recipe(path)


def test_a_training_counts_its_operations(dots: Path) -> None:
    """A product costs 2 n m forward, and as much for either gradient; that of the events is not needed."""
    facts = json.loads((training.train(load_recipe(dots / "made.toml"), dots / "run") / "metrics.json").read_text())
    dims, hidden = 12, 7
    assert facts["training"]["flops"] == 2 * (2 * dims * hidden + 3 * hidden * dims + 2 * dims * dims)


# ---- fits


def test_a_recipe_may_fit_instead_of_training(dots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = training.train(load_recipe(dots / "fvsbn.toml"), dots / "run")
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "metrics.json", "model.safetensors"]
    facts = json.loads((run / "metrics.json").read_text())["training"]
    model, held_out = arzoo.load(run), arzoo.load_data("dots", "validation")
    data = arzoo.load_data("dots", "train")
    assert facts["validation"] == pytest.approx(arzoo.evaluate(model, held_out).value, rel=1e-6)
    assert (facts["examples"], facts["data"], facts["processes"]) == (56, data.fingerprint, 1)
    assert facts["seconds"] >= 0 and facts["cpu_seconds"] >= 0 and facts["parameters"] == 12 * 11 // 2 + 12
    assert "steps" not in facts
    assert re.search(r"fitted in \d+ s, validation \d+\.\d{4} nats", capsys.readouterr().err)
    bits = data.batch(torch.arange(len(data)))[0]
    marginals = type(model)(model.config)
    marginals.initialize(bits)
    assert float(model.log_prob(bits).mean().detach()) > float(marginals.log_prob(bits).mean().detach())


def test_the_same_fit_gives_the_same_weights(dots: Path) -> None:
    what = load_recipe(dots / "fvsbn.toml")
    other = dataclasses.replace(what, fit=FitConfig(seed=4))
    folders = [training.train(each, dots / name) for each, name in ((what, "first"), (what, "again"), (other, "other"))]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]


def test_a_checkpoint_is_not_fitted_over(dots: Path) -> None:
    arzoo.create_model("nade", {"event_shape": (12,), "hidden_size": 2}).save_pretrained(dots / "run")
    before = (dots / "run" / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="holds a checkpoint; name another directory"):
        training.train(load_recipe(dots / "fvsbn.toml"), dots / "run")
    assert (dots / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("fvsbn", "made"), r"made cannot be fitted; give its recipe a table \[train\] instead of \[fit\]"),
        (('ordering = "random"', 'orderings = "random"'), "has no field 'orderings'"),
        (('"dots"', '"dotz"'), "no data set 'dotz'"),
    ],
)
def test_a_fit_that_cannot_be_leaves_nothing(dots: Path, change: tuple[str, str], message: str) -> None:
    text = FVSBN.replace(*change)
    (dots / "wrong.toml").write_text(text)
    with pytest.raises((ValueError, LookupError), match=message):
        training.train(load_recipe(dots / "wrong.toml"), dots / "run")
    assert not (dots / "run").exists()


def test_a_fit_under_which_a_validation_example_is_impossible_is_refused(dots: Path) -> None:
    (dots / "tables.toml").write_text('family = "tabular"\ndataset = "dots"\n[model]\nsmoothing = 0.0\n[fit]\n')
    with pytest.raises(ValueError, match="a validation example has no probability under the fitted tabular; smooth it"):
        training.train(load_recipe(dots / "tables.toml"), dots / "run")
    assert not (dots / "run").exists()


def test_a_fit_of_several_processes_is_refused(dots: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "arzoo", "train", str(dots / "fvsbn.toml"), "-o", str(dots / "run")]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "a fit runs in one process, 2 were started; start it by itself" in done.stderr


def test_a_long_fit_tells_how_far_it_is(dots: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(fitting, "LINE_SECONDS", 0.0)
    training.train(load_recipe(dots / "fvsbn.toml"), dots / "run")
    shares = re.findall(r"fitted (\d+)%", capsys.readouterr().err)
    assert shares == sorted(shares, key=int) and shares[-1] == "100"


@pytest.mark.parametrize("tables", ["", "[train]\nsteps = 1\nbatch_size = 1\nlr = 1e-3\n[fit]\n"])
def test_a_recipe_either_trains_or_fits(tmp_path: Path, tables: str) -> None:
    (tmp_path / "wrong.toml").write_text(f'family = "fvsbn"\ndataset = "dots"\n{tables}')
    with pytest.raises(ValueError, match=r"wrong.toml: a recipe has one of the tables \[train\] and \[fit\]"):
        load_recipe(tmp_path / "wrong.toml")


def test_what_must_stay_between_two_calls(dots: Path) -> None:
    fits, trains = load_recipe(dots / "fvsbn.toml"), recipe(dots)
    assert fits.what_must_stay() == {
        "family": "fvsbn",
        "dataset": "dots",
        "model": {"ordering": "random"},
        "fit": {"seed": 3},
    }
    assert trains.what_must_stay().keys() == {"family", "dataset", "model", "train"}
    assert not {"steps", "patience", "precision"} & trains.what_must_stay()["train"].keys()
