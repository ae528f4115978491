"""What is measured depends on the model and the data alone: not on batches, processes or the order of a split."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from torch import Tensor

import arzoo
from arzoo import testing
from arzoo.data import DatasetSpec, TensorData

WORKER = """
import dataclasses, json, sys
from accelerate import Accelerator
import arzoo, test_evaluation
accelerator = Accelerator()
for view in (False, True):
    data = test_evaluation.data(2001, view=view)
    got = arzoo.evaluate(test_evaluation.model(), data, batch_size=7, accelerator=accelerator)
    if accelerator.is_main_process:
        print(json.dumps(dataclasses.asdict(got) | {"processes": accelerator.num_processes}))
accelerator.end_training()
"""


def nothing(spec: DatasetSpec, rows: Any) -> Any:
    raise AssertionError("these data are made, not decoded")


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Every bit turned with probability 0.3."""
    return x ^ (torch.rand(x.shape, generator=generator) < 0.3).long()


def data(num_examples: int = 2345, *, view: bool = False, unit: Any = "nats") -> TensorData:
    """Bits of which the later examples have more: a split in some order."""
    p = torch.linspace(0.05, 0.95, num_examples)[:, None]
    x = (torch.rand(num_examples, 5, generator=torch.Generator().manual_seed(3)) < p).long()
    spec = DatasetSpec(
        name="bits", event_shape=(5,), num_categories=2, repo="bits", splits={"test": "test"}, column="bits",
        decode=nothing, view=flip if view else None, unit=unit, licence="mit", protocol="Made up.",
    )  # fmt: skip
    return TensorData(decoded=x, context={}, labels={}, spec=spec, split="test", fingerprint="")


def model() -> arzoo.Model:
    return testing.random_model(toys.Orders, toys.ToyConfig(event_shape=(5,)))


@pytest.mark.parametrize("view", [False, True])
def test_the_value_does_not_depend_on_the_batch_size(view: bool) -> None:
    values = [arzoo.evaluate(model(), data(view=view), batch_size=size).value for size in (1, 7, 100, 1000, 5000)]
    assert values == pytest.approx([values[0]] * 5, rel=1e-7)


def test_a_random_view_is_another_for_every_block_and_the_same_for_every_call() -> None:
    still, seen = arzoo.evaluate(model(), data()), arzoo.evaluate(model(), data(view=True))
    assert abs(still.value - seen.value) > 0.01
    assert arzoo.evaluate(model(), data(view=True)) == seen


def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(worker)]
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [each["processes"] for each in found] == [2, 2]
    for each, view in zip(found, (False, True), strict=True):
        alone = arzoo.evaluate(model(), data(2001, view=view))
        assert each["num_examples"] == alone.num_examples == 2001  # the last block has nothing for the second process
        assert each["value"] == pytest.approx(alone.value, rel=1e-7)
        assert each["standard_error"] == pytest.approx(alone.standard_error, rel=1e-6)


def test_a_part_of_a_sorted_split_is_evenly_spaced() -> None:
    split = data(1000)
    nll = -model().log_prob(split.x).detach().double()
    part = arzoo.evaluate(model(), split, num_examples=50)
    assert part.num_examples == 50
    assert part.value == pytest.approx(float(nll[::20].mean()), rel=1e-7)
    first, whole = float(nll[:50].mean()), float(nll.mean())
    assert abs(part.value - whole) < abs(first - whole) / 3  # what comes first is not what the split is like
    assert arzoo.evaluate(model(), split, num_examples=2000).num_examples == 1000


def test_the_standard_error_is_that_of_the_mean() -> None:
    split = data(300)
    nll = -model().log_prob(split.x).detach().double().numpy()
    got = arzoo.evaluate(model(), split)
    assert got.value == pytest.approx(nll.mean(), rel=1e-9)
    assert got.standard_error == pytest.approx(nll.std(ddof=1) / np.sqrt(len(nll)), rel=1e-9)
    assert arzoo.evaluate(model(), split, num_examples=1).standard_error == 0


@pytest.mark.parametrize("split", [data(300, unit="bits/dim"), None])
def test_bits_are_the_mean_of_the_models_bits(split: TensorData | None) -> None:
    measured = model()
    if split is None:  # of events that differ in length
        measured = testing.random_model(toys.Text, toys.TextConfig(event_shape=(5,), num_categories=2))
        x = testing.random_events(measured, 300, torch.Generator().manual_seed(0))
        whole = data(300, unit="bits/dim")
        split = TensorData(decoded=x, context={}, labels={}, spec=whole.spec, split="test", fingerprint="")
        assert len(set((x >= 0).sum(1).tolist())) == 5
    bits = measured.bits_per_dim(split.x).detach().double().numpy()
    got = arzoo.evaluate(measured, split, batch_size=64)
    assert got.unit == "bits/dim"
    assert got.value == pytest.approx(bits.mean(), rel=1e-9)
    assert got.standard_error == pytest.approx(bits.std(ddof=1) / math.sqrt(300), rel=1e-9)


def test_evaluation_leaves_the_mode_and_the_random_state_alone() -> None:
    training, before = model().train(), torch.random.get_rng_state()
    arzoo.evaluate(training, data(20, view=True))
    assert training.training
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_measured_is_measured_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn: Any = torch.backends.cudnn
    parts = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    before, seen = [part.fp32_precision for part in parts], []
    conditionals = toys.Orders.conditionals

    def watched(self: toys.Orders, *arguments: Any) -> Any:
        seen.append((torch.is_autocast_enabled("cpu"), *(part.fp32_precision for part in parts)))
        return conditionals(self, *arguments)

    expected = arzoo.evaluate(model(), data(20))
    monkeypatch.setattr(toys.Orders, "conditionals", watched)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert arzoo.evaluate(model(), data(20)) == expected
    assert set(seen) == {(False, "ieee", "ieee", "ieee")}
    assert [part.fp32_precision for part in parts] == before != ["ieee"] * 3


def test_data_of_another_kind_are_refused() -> None:
    other = testing.random_model(toys.Orders, toys.ToyConfig(event_shape=(6,)))
    with pytest.raises(ValueError, match=r"the model is for events \(6,\) with 2 categories, the data set bits has"):
        arzoo.evaluate(other, data(20))
    labelled = testing.random_model(toys.Labelled, toys.LabelledConfig(event_shape=(5,)))
    with pytest.raises(ValueError, match="conditioned on label, which the data set lacks; it has no context"):
        arzoo.evaluate(labelled, data(20))
