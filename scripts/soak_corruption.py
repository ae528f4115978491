"""Damages the files of a cached checkpoint again and again, a byte at a time or cut short; none may ever be taken.

Usage: python scripts/soak_corruption.py [--number 10000] [--seed 0]

A small checkpoint lies in a cache as that of the Hub's client, in a temporary folder.  Each time one of its files is
damaged, it is asked for at its commit without a network, which must be refused; then the file is mended.
"""

import argparse
import hashlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track

import arzoo

REPO = "zoo/toy"
COMMIT = "c" * 40
_FILES = {"config.json": 4, "model.safetensors": 5, "README.md": 1}  # how often each is damaged
_KINDS = {"flip": 60, "cut": 25, "insert": 8, "swap": 7}


class Damage(NamedTuple):
    """What was done to a file, and whether the checkpoint was taken all the same."""

    file: str
    kind: str
    position: int
    accepted: bool


def make_cache(root: Path) -> None:
    """Puts a checkpoint into the cache as commit COMMIT of REPO."""
    folder = root / f"models--{REPO.replace('/', '--')}"
    snapshot, blobs = folder / "snapshots" / COMMIT, folder / "blobs"
    torch.manual_seed(0)
    arzoo.create_model("nade", {"event_shape": (5,), "hidden_size": 3}).save_pretrained(root / "saved")
    snapshot.parent.mkdir(parents=True)
    (root / "saved").rename(snapshot)
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\nA toy.\n")
    blobs.mkdir()
    for name in _FILES:
        data = (snapshot / name).read_bytes()
        is_large = name == "model.safetensors"
        key = hashlib.sha256(data) if is_large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        (snapshot / name).rename(blobs / key.hexdigest())
        (snapshot / name).symlink_to(Path("../../blobs") / key.hexdigest())


def damages(root: Path, repo_id: str, commit: str, number: int, seed: int) -> Iterator[Damage]:
    """Damages a cached checkpoint so many times; it is whole whenever one is given back, and at the end.

    Arguments:
        root: The cache.
        commit: Of the repository, whose config.json, weights and README.md lie in the cache.

    Raises:
        ValueError: It is not whole at the beginning or at the end.
    """
    rng = random.Random(seed)
    take(root, repo_id, commit, "README.md")
    take(root, repo_id, commit, "model.safetensors")
    snapshot = arzoo.pull(repo_id, revision=commit, cache_dir=root, local_files_only=True)
    whole = {name: (snapshot / name).read_bytes() for name in _FILES}
    for _ in range(number):
        [name], [kind] = rng.choices([*_FILES], [*_FILES.values()]), rng.choices([*_KINDS], [*_KINDS.values()])
        position = rng.randrange(len(whole[name]))
        (snapshot / name).write_bytes(damaged(whole[name], kind, position, rng))
        accepted = True
        try:
            take(root, repo_id, commit, name)
        except (ValueError, LookupError, OSError):
            accepted = False
        finally:
            (snapshot / name).write_bytes(whole[name])
        yield Damage(name, kind, position, accepted)
    take(root, repo_id, commit, "README.md")
    take(root, repo_id, commit, "model.safetensors")


def take(root: Path, repo_id: str, commit: str, name: str) -> None:
    """Uses what needs a file of the checkpoint: the model, or for others than its two files the folder."""
    if name in ("config.json", "model.safetensors"):
        arzoo.from_pretrained(repo_id, revision=commit, cache_dir=root, local_files_only=True)
    else:
        arzoo.pull(repo_id, revision=commit, cache_dir=root, local_files_only=True)


def damaged(data: bytes, kind: str, position: int, rng: random.Random) -> bytes:
    """Other bytes than these, at a position or from there on."""
    before, byte, behind = data[:position], data[position], data[position + 1 :]
    if kind == "cut":
        return before
    if kind == "insert":
        return before + bytes([rng.randrange(256), byte]) + behind
    others = [index for index, other in enumerate(data) if other != byte]
    if kind == "swap" and others:
        changed = bytearray(data)
        other = rng.choice(others)
        changed[position], changed[other] = data[other], byte
        return bytes(changed)
    return before + bytes([byte ^ rng.randrange(1, 256)]) + behind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    done: Counter[tuple[str, str]] = Counter()
    accepted = []
    with tempfile.TemporaryDirectory() as folder:
        make_cache(Path(folder))
        found = damages(Path(folder), REPO, COMMIT, arguments.number, arguments.seed)
        for damage in track(found, "damaging", total=arguments.number):
            done[damage.file, damage.kind] += 1
            accepted += [damage] if damage.accepted else []
    for (file, kind), count in sorted(done.items()):
        print(f"{file} {kind}: {count}")
    for damage in accepted:
        print(f"accepted: {damage.kind} of {damage.file} at byte {damage.position}")
    print(f"{len(accepted)} of {arguments.number} were accepted")
    sys.exit(1 if accepted else 0)


if __name__ == "__main__":
    main()
