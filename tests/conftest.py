"""Fixtures that several test files use."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of each of the processes, as many as there are cores; before torch

from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_zoo
from hub_server import Hub
from huggingface_hub import close_session, constants

from arzoo import registry


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that the library talks to in this process, by plain HTTP, as ann, with a cache that is empty."""
    with Hub() as server:
        server.add_user("ann", "hf_ann", orgs=["zoo"])
        server.add_user("bob", "hf_bob")
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_ann")
        monkeypatch.delenv("ARZOO_ORGANISATION", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
    close_session()


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed tiny checkpoint; its data set is on disk, the current folder is empty."""
    folder = toy_zoo.install(tmp_path / "site")
    toy_zoo.write_data(tmp_path / "sets")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))  # for processes that a test starts
    monkeypatch.setenv("ARZOO_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setenv("ARZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARZOO_BLOCK_PLUGINS", "")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    registry.installed.cache_clear()
    yield folder
    registry.installed.cache_clear()
