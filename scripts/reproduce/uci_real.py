"""The table of the RNADE paper on real-valued data: mixtures of Gaussians and of Laplacians, five sets, ten folds.

Usage: ARZOO_DATASETS=FOLDER python scripts/reproduce/uci_real.py RESULTS [--only 'red_wine-*' ...]
    [--jobs 2] [--report]

Every fold's hyper-parameters are chosen on its own validation rows.  The table gives the mean of the test
log-likelihood over the folds, and the standard error of that mean.  No scale of a component falls below a floor: of
the standardised unit 0.01, and 0.1 too for the two sets with columns in which one value is frequent, where a
density may grow without bound as the floor falls, so that figures of different floors cannot be compared.  The same
command goes on where it was stopped.
"""

import math
import statistics

from search import Cell, Results, table

import arzoo
from arzoo.recipe import TrainConfig

FOLDS = 10
# Mean test log-likelihoods of the mixtures of Gaussians and of Laplacians, nats a row; Uria, Murray & Larochelle 2013,
# arXiv:1306.0186, table 1.
PUBLISHED = {
    "red_wine": (-9.36, -9.46),
    "white_wine": (-10.23, -10.38),
    "parkinsons": (-0.90, -2.63),
    "ionosphere": (-2.50, -5.87),
    "boston_housing": (-0.64, -4.04),
}
FLOORS = dict.fromkeys(PUBLISHED, (0.01,)) | {"ionosphere": (0.1, 0.01), "boston_housing": (0.1, 0.01)}
ABOUT = """# Five real-valued data sets

Log-likelihood in nats a row of the test rows, in units of the standardised columns: the mean over ten folds, with the
standard error of that mean; higher is better.  Published: Uria, Murray & Larochelle 2013, arXiv:1306.0186, table 1.
The floor is what no scale of a component falls below.  In ionosphere and boston_housing up to 28 % of a column is one
value, so that a density grows without bound as the floor falls: figures of different floors, and the published ones,
cannot be compared there.  Each fold's candidate was chosen on its own validation rows.  Hidden units are sigmoids since
a first run with ReLUs, which gave a test row of white_wine, fold 0, a density of some e^-8000; that sigmoids mend it
was seen on the validation rows of fold 9.  On both wines a second run, with a learning rate of 2e-3, decays of 0.01 and
0.3 and no noise, measured -9.46 and -10.40 with Gaussians; what they are trained with since was looked at on validation
rows of folds 3, 6 and 9 (of white_wine 9), where it made nothing better on the other sets (of parkinsons 9).
"""
COMPONENTS = ("normal", "laplace")
STEPS = {"red_wine": 3000, "white_wine": 8000, "parkinsons": 20_000, "ionosphere": 1500, "boston_housing": 3000}


# The learning rate, the noise on values and weight decays.  Where one value is frequent, and in parkinsons, where one
# column nearly follows from others, noise hides what makes a density high.
SETTINGS = dict.fromkeys(PUBLISHED, (2e-3, 0.0, (0.01, 0.3)))
SETTINGS |= dict.fromkeys(("red_wine", "white_wine"), (1e-2, 0.1, (0.03, 0.1)))


# Hidden units are sigmoids: what ReLUs make of a row far from all others has no bounds.
def candidates(dataset: str, fold: int, component: str, floor: float) -> dict[str, arzoo.Recipe]:
    steps = STEPS[dataset]
    found = {}
    lr, noise, decays = SETTINGS[dataset]
    for decay in decays:
        train = TrainConfig(
            steps=steps,
            batch_size=100,
            lr=lr,
            warmup_steps=100,
            weight_decay=decay,
            ema=0.99,
            eval_every=max(steps // 60, 25),
            patience=12,
        )
        fields = {"hidden_size": 100, "activation": "sigmoid", "component": component, "min_scale": floor}
        found[f"decay{decay}"] = arzoo.Recipe(
            family="rnade",
            dataset=f"uci_real.{dataset}.{fold}",
            model=fields | ({"noise_scale": noise} if noise else {}),
            train=train,
        )
    return found


def lines(results: Results) -> list[str]:
    """The table, of the folds that there are."""
    rows = [
        "| data set | floor | Gaussians | published | Laplacians | published | folds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for dataset, published in PUBLISHED.items():
        for floor in FLOORS[dataset]:
            cells, numbers = [], []
            for component, figure in zip(COMPONENTS, published, strict=True):
                names = [f"{dataset}-{floor}-{component}-{fold}" for fold in range(FOLDS)]
                found = [-results[name]["value"] for name in names if name in results]
                numbers.append(str(len(found)))
                error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
                cells += [f"{statistics.mean(found):.2f} ± {error:.2f}" if found else "not run", f"{figure:.2f}"]
            rows.append(f"| {dataset} | {floor} | {' | '.join(cells)} | {', '.join(numbers)} |")
    return rows


CELLS = [
    Cell(name=f"{dataset}-{floor}-{component}-{fold}", candidates=candidates(dataset, fold, component, floor))
    for fold in range(FOLDS)
    for component in COMPONENTS
    for dataset in PUBLISHED
    for floor in FLOORS[dataset]
]

if __name__ == "__main__":
    table(__doc__, CELLS, ABOUT, lines)
