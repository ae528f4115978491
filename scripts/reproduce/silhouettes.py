"""Small binary images beyond MNIST: FVSBN, NADE, MADE, DeepNADE and ConvNADE on Caltech-101 silhouettes and Omniglot.

Usage: ARZOO_DATASETS=FOLDER python scripts/reproduce/silhouettes.py RESULTS [--only '*-nade' ...]
    [--jobs 2] [--report]

Trains a few candidates for every cell, chooses by the validation split, measures the test split, and writes
RESULTS/page.md.  The same command goes on where it was stopped.
"""

from search import Cell, Results, table

import arzoo
from arzoo.recipe import FitConfig, TrainConfig

DATASETS = ("caltech101_silhouettes", "omniglot_28x28")
TITLES = {
    "fvsbn": "FVSBN",
    "nade": "NADE, 500 units",
    "made": "MADE, 500 units, 1 mask",
    "deep_nade": "DeepNADE, 2 x 500 units, 1 order",
    "conv_nade": "ConvNADE, the same and 16 channels, 1 order",
}
FIELDS: dict[str, dict[str, object]] = {
    "nade": {"hidden_size": 500},
    "made": {"hidden_sizes": (500,)},
    "deep_nade": {"hidden_sizes": (500, 500)},
    "conv_nade": {"hidden_sizes": (500, 500), "num_channels": 16, "kernel_sizes": (7, 5)},
}
# Updates of 100 images; more for the orderless families, whose gradients are noisier.
STEPS = {
    "caltech101_silhouettes": {"nade": 3000, "made": 3000, "deep_nade": 8000, "conv_nade": 6000},
    "omniglot_28x28": {"nade": 8000, "made": 8000, "deep_nade": 25_000, "conv_nade": 10_000},
}
DECAYS = {"caltech101_silhouettes": (0.1, 1.0), "omniglot_28x28": (0.1,)}

ABOUT = """# Caltech-101 silhouettes and Omniglot

Negative log-likelihood in nats an image of 28x28 bits of the test split, with the standard error over its images; lower
is better.  Every figure is the exact likelihood of one density: FVSBN, NADE and MADE in the order of the rows, DeepNADE
and ConvNADE in one random order.  Candidates were chosen by the validation split.  Chen et al. 2017, arXiv:1611.02731,
have 89.26 for a small PixelCNN on Caltech-101 and quote 100.0 for a NADE trained by importance sampling.  The drawings
of Omniglot are not the file that published figures are of, so they can be compared among themselves alone.
"""


def candidates(model: str, dataset: str) -> dict[str, arzoo.Recipe]:
    if model == "fvsbn":
        return {"fit": arzoo.Recipe(family="fvsbn", dataset=dataset, fit=FitConfig())}
    steps = STEPS[dataset][model]
    return {
        f"decay{decay}": arzoo.Recipe(
            family=model,
            dataset=dataset,
            model=dict(FIELDS[model]),
            train=TrainConfig(
                steps=steps,
                batch_size=100,
                lr=1e-3,
                warmup_steps=100,
                weight_decay=decay,
                ema=0.99 if steps < 5000 else 0.999,
                eval_every=steps // 20,
                eval_examples=500,
                patience=6,
            ),
        )
        for decay in DECAYS[dataset]
    }


def lines(results: Results) -> list[str]:
    """The table: ours with its standard error."""
    rows = [f"| model | {' | '.join(DATASETS)} |", f"|---|{'---:|' * len(DATASETS)}"]
    for model, title in TITLES.items():
        found = [results.get(f"{dataset}-{model}") for dataset in DATASETS]
        cells = [f"{part['value']:.2f} ± {part['standard_error']:.2f}" if part else "not run" for part in found]
        rows.append(f"| {title} | {' | '.join(cells)} |")
    return rows


CELLS = [
    Cell(name=f"{dataset}-{model}", candidates=candidates(model, dataset)) for model in TITLES for dataset in DATASETS
]

if __name__ == "__main__":
    table(__doc__, CELLS, ABOUT, lines)
