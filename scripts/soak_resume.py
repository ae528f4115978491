"""Kills a training again and again at random moments; it must end with the weights of one that was left alone.

Usage: ARZOO_DATASETS=FOLDER python scripts/soak_resume.py [--recipe RECIPE] [--kills 200]

Trains the recipe twice in temporary folders.  The second training saves its state all the time and is killed with
SIGKILL at random moments until the wanted number of kills is reached, then left to finish.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.progress import track

RECIPE = """\
family = "made"
dataset = "binarized_mnist"
[model]
hidden_sizes = [32]
num_masks = 4
[train]
steps = 20_000
batch_size = 32
lr = 1e-3
ema = 0.99
muon = ["layers.*.weight"]
eval_every = 1000
eval_examples = 100
"""


def start(recipe: Path, directory: Path, save_seconds: float) -> subprocess.Popen[bytes]:
    code = (
        "import arzoo, arzoo.training\n"
        f"arzoo.training.SAVE_SECONDS = {save_seconds}\n"
        f"arzoo.train(arzoo.load_recipe({str(recipe)!r}), {str(directory)!r})\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        recipe = arguments.recipe or Path(folder) / "recipe.toml"
        if arguments.recipe is None:
            recipe.write_text(RECIPE)
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        if start(recipe, whole, 3600).wait() != 0:
            sys.exit("the training that was left alone failed")
        done = 0
        for _ in track(range(arguments.kills), "killing"):
            process = start(recipe, killed, 0.02)
            time.sleep(rng.uniform(2.0, 5.0))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
        if start(recipe, killed, 3600).wait() != 0:
            sys.exit(f"training did not go on after {done} kills")
        if (whole / "model.safetensors").read_bytes() != (killed / "model.safetensors").read_bytes():
            sys.exit(f"the weights differ after {done} kills")
        print(f"the weights are the same, bit for bit, after {done} kills")


if __name__ == "__main__":
    main()
