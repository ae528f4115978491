"""CPU time of the commands that only list, and of loading a checkpoint.

The commands do not import torch, so they take at most 0.3 s.  Loading takes at most 0.25 s beyond importing torch.

Usage: python scripts/benchmark_start.py [--repeats 10]
"""

import argparse
import resource
import statistics
import subprocess
import sys

COMMANDS = (["--help"], ["list"], ["list", "--json"], ["plugins"])
CHECKPOINT = "pixelcnn-cifar10"


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of one fresh Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def median(arguments: list[str], repeats: int) -> float:
    return statistics.median([cpu_seconds(arguments) for _ in range(repeats + 1)][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    for arguments in COMMANDS:
        print(f"arzoo {' '.join(arguments):12} {median(['-m', 'arzoo', *arguments], repeats):.3f} s")
    imports, loads = ["-c", "import torch"], ["-c", f"import torch, arzoo; arzoo.load({CHECKPOINT!r})"]
    beyond = [cpu_seconds(loads) - cpu_seconds(imports) for _ in range(repeats)]  # in turn: other work weighs on both
    print(f"arzoo.load({CHECKPOINT!r}): {statistics.median(beyond):.3f} s beyond importing torch")


if __name__ == "__main__":
    main()
