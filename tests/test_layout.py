"""Imports only fall: no core module imports a plugin, a plugin imports the public core and no other plugin."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGINS = {path.stem for path in (ROOT / "plugins").iterdir() if path.stem.startswith("arzoo_")}
PUBLIC = {
    "arzoo",
    "arzoo.attention",
    "arzoo.compiling",
    "arzoo.data",
    "arzoo.data_decoding",
    "arzoo.data_loading",
    "arzoo.decoding",
    "arzoo.degree_decoder",
    "arzoo.distributions",
    "arzoo.gradients",
    "arzoo.kernels",
    "arzoo.labels",
    "arzoo.levels",
    "arzoo.logistic_mixture",
    "arzoo.model",
    "arzoo.nn",
    "arzoo.orders",
    "arzoo.pixel_decoding",
    "arzoo.scalars",
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", sorted((ROOT / "arzoo").rglob("*.py")), ids=lambda path: path.name)
def test_the_core_imports_no_plugin(path: Path) -> None:
    assert not PLUGINS & {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.name)
def test_a_plugin_imports_the_public_core_and_no_other_plugin(path: Path) -> None:
    ours = {name for name in imported(path) if name.split(".")[0] == "arzoo"}
    assert ours <= PUBLIC
    assert not (PLUGINS - {path.stem}) & {name.split(".")[0] for name in imported(path)}
