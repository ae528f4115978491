"""CPU time of the commands that only list; none of them imports torch, so they take at most 0.3 s.

Usage: python scripts/benchmark_start.py [--repeats 10]
"""

import argparse
import resource
import statistics
import subprocess
import sys

COMMANDS = (["--help"], ["list"], ["list", "--json"], ["plugins"])


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of one fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "arzoo", *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    for arguments in COMMANDS:
        times = [cpu_seconds(arguments) for _ in range(repeats + 1)][1:]
        print(f"arzoo {' '.join(arguments):12} {statistics.median(times):.3f} s")


if __name__ == "__main__":
    main()
