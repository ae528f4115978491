"""What README.md says is so: its tables are up to date, its programs run."""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hub_server import Hub

import arzoo
from arzoo import testing

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST, MORE, HUB, FAMILY, DATA = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_installed_checkpoints_and_families() -> None:
    assert script("tables").with_tables(README) == README


def test_every_section_stands_there_once() -> None:
    sections = re.findall(r"^##+ .*", README, re.MULTILINE)
    assert len(sections) == len(set(sections)) > 5


def test_the_first_program_runs() -> None:
    names: dict[str, object] = {}
    exec(compile(FIRST, "README.md", "exec"), names)
    assert names["filled"].exact, "the upper half comes first in the order"  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")  # the client's own
def test_the_program_for_the_hub_runs(hub: Hub) -> None:
    program = HUB.replace("ORGANISATION", "ann")
    arzoo.load("nade-binarized_mnist").push_to_hub("ann/nade-mine", license="cc-by-sa-3.0", tag="v1")
    exec(compile("import arzoo\n" + program, "README.md", "exec"), {})
    assert hub.is_private("ann/nade-yours")
    assert b"\nlicense: mit\n" in hub.file("ann/nade-yours", "README.md")


def test_the_family_of_the_readme_is_a_density(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("coin_plugin")
    monkeypatch.setitem(sys.modules, "coin_plugin", module)
    exec(compile(FAMILY, "README.md", "exec"), module.__dict__)
    assert [family.family for family in module.arzoo_families()] == ["coin"]
    testing.check_family(module.Coin)


@pytest.mark.skipif("ARZOO_DATASETS" not in os.environ, reason="no data sets")
def test_what_single_families_have_more_runs() -> None:
    names: dict[str, Any] = {}
    exec(compile(MORE, "README.md", "exec"), names)
    assert names["eonade"].num_members == 4 and names["field"].family == "masde"
    assert names["longer"][0, :3].tolist() == [7, 1, 12] and names["longer"].shape == (1, 10)
    assert names["vectors"].shape == (1, 200) and len(names["topics"]) == 200


def test_own_data_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("votes_plugin")
    monkeypatch.setitem(sys.modules, "votes_plugin", module)
    exec(compile(DATA, "README.md", "exec"), module.__dict__)
    rows = [json.dumps({"x": [(row >> bit) & 1 for bit in range(16)]}) for row in range(100, 200)]
    (tmp_path / "votes").mkdir()
    (tmp_path / "votes" / "data.jsonl").write_text("\n".join(rows))
    monkeypatch.setenv("ARZOO_DATASETS", str(tmp_path))
    monkeypatch.setenv("ARZOO_CACHE", str(tmp_path / "cache"))
    splits = [arzoo.load_data(module.arzoo_datasets()[0], split) for split in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [80, 10, 10]
    assert splits[2].x[-1].tolist() == [(199 >> bit) & 1 for bit in range(16)]


def test_every_command_of_the_readme_exists() -> None:
    from arzoo.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    used = set(re.findall(r"^arzoo (\w+)", README, re.MULTILINE))
    assert used and used <= known


def test_every_checkpoint_loads_and_is_measured() -> None:
    found = arzoo.list_checkpoints()
    assert {info.name for info in found} >= {
        "nade-binarized_mnist",
        "made-binarized_mnist",
        "pixelcnn-binarized_mnist",
        "pixelcnn-cifar10",
    }
    for info in found:
        assert not info.error
        assert info.metrics["value"] > 0
        assert info.num_bytes <= (16 if info.dataset == "cifar10" else 8) * 2**20
        assert type(arzoo.load(info.name)).family == info.family
