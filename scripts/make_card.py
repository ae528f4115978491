"""Measures a checkpoint on its test split, draws samples, and writes its card.

Usage: ARZOO_DATASETS=FOLDER python scripts/make_card.py FOLDER [--samples N]

It writes metrics.json ("test", the versions it was measured with, the sha256 of the weights it is of),
samples.png if events are images, and README.md.  Weights that were measured before are not measured again.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

import arzoo
from arzoo import pictures
from arzoo.card import write_card
from arzoo.checkpoints import read_config
from arzoo.files import replacing


def measure(folder: Path, model: arzoo.Model, dataset: str) -> None:
    """Puts the test value into metrics.json, if it is not that of these weights already."""
    file, sha256 = folder / "metrics.json", read_config(folder)["weights"]["sha256"]
    metrics = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if "test" in metrics and metrics.get("weights_sha256") == sha256:
        return
    metrics["test"] = asdict(arzoo.evaluate(model, arzoo.load_data(dataset, "test")))
    metrics["measured_with"] = {"arzoo": arzoo.__version__, "torch": torch.__version__}
    metrics["weights_sha256"] = sha256
    with replacing(file) as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, choices=(16, 64), default=16)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    dataset = arzoo.load_recipe(folder / "recipe.toml").dataset
    model = arzoo.load(folder)
    measure(folder, model, dataset)
    if arzoo.get_dataset(dataset).kind == "image":
        events = model.sample(arguments.samples, generator=torch.Generator().manual_seed(0))
        assert isinstance(model.config.num_categories, int)
        pictures.save_png(pictures.grid(events, model.config.num_categories), folder / "samples.png")
    write_card(folder)


if __name__ == "__main__":
    main()
