"""A small world for tests: a package with one tiny checkpoint, and a data set of a few images on disk."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import arzoo
from arzoo.card import write_card

NAME = "nade-binarized_mnist-tiny"

RECIPE = """\
family = "nade"
dataset = "binarized_mnist"

[model]
hidden_size = 2

[train]
steps = 2
batch_size = 4
lr = 1e-3

[published]
value = 88.33
source = "Uria et al. 2016, table 2"
note = "500 units"
"""

TRAINING = {
    "hardware": "a toy",
    "processes": 1,
    "threads": 1,
    "precision": "float32",
    "torch": "2",
    "parameters": 3922,
    "steps": 2,
    "best_step": 1,
    "examples": 8,
    "flops": 23_456_789,
    "seconds": 90,
    "cpu_seconds": 7200,
}

_CARD = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: validation
    path: data/validation-*
  - split: test
    path: data/test-*
dataset_info:
  features:
  - name: image
    dtype: image
---
"""


def write_data(root: Path, sizes: tuple[int, int, int] = (8, 4, 5)) -> None:
    """Noise in the form of binarized_mnist, as ARZOO_DATASETS = root would have it."""
    folder = root / "binarized_mnist"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(_CARD)
    generator = np.random.default_rng(0)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split, size in zip(("train", "validation", "test"), sizes, strict=True):
        rows = []
        for pixels in generator.integers(0, 2, (size, 28, 28), dtype=np.uint8) * 255:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            rows.append({"bytes": file.getvalue(), "path": None})
        table = pa.table({"image": pa.array(rows, kind)})
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")


def toy(seed: int = 0) -> arzoo.Model:
    """The smallest model there is."""
    torch.manual_seed(seed)
    return arzoo.create_model("nade", {"event_shape": (5,), "hidden_size": 3})


def write_pushable(folder: Path, name: str = "ann/toy", seed: int = 0) -> Path:
    """A checkpoint that may be pushed under this name, with a file that may not."""
    toy(seed).save_pretrained(folder)
    write_card(folder, "mit", name=name)
    (folder / "notes.txt").write_text("private")
    return folder


def write_checkpoint(folder: Path) -> None:
    """Weights as they are drawn, a recipe, and the facts of a training that never was."""
    torch.manual_seed(0)
    config = {"event_shape": (1, 28, 28), "num_categories": 2, "hidden_size": 2}
    arzoo.create_model("nade", config).save_pretrained(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "metrics.json").write_text(json.dumps({"training": TRAINING}))


def measure(folder: Path, value: float = 543.43) -> None:
    """Puts a test value into metrics.json, as if it had been measured on the weights that are there."""
    test = {
        "value": value,
        "unit": "nats",
        "standard_error": 0.25,
        "num_examples": 10000,
        "dataset": "binarized_mnist",
        "split": "test",
        "protocol": "As | it is.",
        "likelihood": "exact",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    sha256 = json.loads((folder / "config.json").read_text())["weights"]["sha256"]
    (folder / "metrics.json").write_text(json.dumps({**metrics, "test": test, "weights_sha256": sha256}))


def install(site: Path) -> Path:
    """Makes `site` hold an installed package with the checkpoint; returns the checkpoint's folder."""
    info = site / "toy_zoo-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-zoo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[arzoo.checkpoints]\ntoys = toy_cards\n")
    folder = site / "toy_cards" / NAME
    write_checkpoint(folder)
    return folder
