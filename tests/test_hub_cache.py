"""What lies in the Hugging Face cache: downloads that others began, several at once, and damage that shows or not."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import toy_zoo
from hub_server import Hub
from huggingface_hub import constants, snapshot_download

import arzoo
from arzoo.hub.cache import Cache

REPO = "ann/toy"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    folder = toy_zoo.write_pushable(tmp_path / "toy")
    return {name: (folder / name).read_bytes() for name in arzoo.hub.FILES[:3]}


@pytest.fixture
def commit(hub: Hub, files: dict[str, bytes]) -> str:
    return hub.create(REPO, files)


def part_of(hub: Hub, name: str = "model.safetensors") -> Path:
    """Where the download of a file of main begins."""
    folder = arzoo.pull(REPO)
    cache, digest = Cache(REPO), (folder / name).readlink().name
    shutil.rmtree(cache.folder)
    hub.requests.clear()
    part = cache.part(digest)
    part.parent.mkdir(parents=True)
    return part


# ---- what a killed process left


@pytest.mark.parametrize(
    ("share", "asked"), [(0.0, [None]), (0.25, ["bytes={}-"]), (1.0, ["bytes={}-"])], ids=["nothing", "some", "all"]
)
def test_a_download_goes_on_from_what_is_left(
    hub: Hub, commit: str, files: dict[str, bytes], share: float, asked: list[str | None]
) -> None:
    data = files["model.safetensors"]
    left = data[: int(len(data) * share)]
    part_of(hub).write_bytes(left)
    assert arzoo.pull(REPO).joinpath("model.safetensors").read_bytes() == data
    found = [request.headers.get("range") for request in hub.asked("*/model.safetensors")]
    assert found == [text and text.format(len(left)) for text in asked]
    assert not list((Cache(REPO).folder / "blobs").glob("*.incomplete"))


@pytest.mark.parametrize("left", [b"x" * 100, b"x" * 10**6], ids=["of another file", "too much"])
def test_what_is_left_and_is_none_of_it_costs_a_second_download(
    hub: Hub, commit: str, files: dict[str, bytes], left: bytes
) -> None:
    part_of(hub).write_bytes(left)
    assert arzoo.pull(REPO).joinpath("model.safetensors").read_bytes() == files["model.safetensors"]
    asked = [request.headers.get("range") for request in hub.asked("*/model.safetensors")]
    assert asked == [f"bytes={len(left)}-", None]


def test_a_process_that_is_killed_leaves_what_it_has(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    arzoo.create_model("nade", {"event_shape": (300,), "hidden_size": 300}).save_pretrained(tmp_path / "large")
    files |= {path.name: path.read_bytes() for path in (tmp_path / "large").iterdir()}
    hub.create(REPO, files)
    part = part_of(hub)
    half = threading.Event()
    hub.fault("drip", "*/model.safetensors", seconds=0.2)
    command = [sys.executable, "-c", f"import arzoo; arzoo.pull({REPO!r})"]
    environment = {**hub.environment("hf_ann", xet=False), "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    with subprocess.Popen(command, env=environment) as process:
        for _ in range(1000):
            if part.exists() and part.stat().st_size:
                half.set()
                break
            threading.Event().wait(0.02)
        process.kill()
    assert half.is_set()
    left = part.stat().st_size
    assert 0 < left < len(files["model.safetensors"])
    hub.requests.clear()
    assert arzoo.pull(REPO).joinpath("model.safetensors").read_bytes() == files["model.safetensors"]
    assert [request.headers["range"] for request in hub.asked("*/model.safetensors")] == [f"bytes={left}-"]


# ---- several at once


def test_processes_that_pull_at_once_fetch_each_file_once(hub: Hub, commit: str, files: dict[str, bytes]) -> None:
    part_of(hub)
    hub.fault("drip", "*/model.safetensors", seconds=0.1, times=None)
    command = [sys.executable, "-c", f"import arzoo; print(arzoo.pull({REPO!r}))"]
    environment = {**hub.environment("hf_ann", xet=False), "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    done = [process.communicate(timeout=60) for process in processes]
    [folder] = {Path(output.strip()) for output, _ in done}
    assert not any(error for _, error in done)
    assert {name: (folder / name).read_bytes() for name in files} == files
    assert [len(hub.asked(f"*/{name}")) for name in files] == [1, 1, 1]


# ---- where there are no links


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)


def test_damage_of_a_copy_is_seen(hub: Hub, no_links: None, commit: str, files: dict[str, bytes]) -> None:
    for name in files:
        copy = arzoo.pull(REPO) / name
        assert not copy.is_symlink()
        text = copy.read_bytes()
        for damaged in (text[:-1], text.replace(b"3", b"4", 1), b""):
            assert damaged != text
            copy.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"{name} of ann/toy at {commit} is damaged in the cache: its"):
                arzoo.pull(REPO, local_files_only=True)
            assert (arzoo.pull(REPO, revision=commit) / name).read_bytes() == text


def test_a_note_that_is_damaged_is_of_no_account(hub: Hub, no_links: None, commit: str) -> None:
    arzoo.pull(REPO)
    note = Cache(REPO).folder / ".arzoo" / f"{commit}.json"
    for text in (b"", b"[]", b'{"config.json": 1}', b"[" * 10**5, b'{"config.json": "../../x"}'):
        note.write_bytes(text)
        assert arzoo.load(REPO, local_files_only=True).family == "nade"


# ---- what other clients put there


@pytest.mark.parametrize("links", [True, False])
def test_what_another_client_fetched_is_used_offline(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    snapshot_download(REPO, endpoint=hub.url, cache_dir=constants.HF_HUB_CACHE)
    hub.requests.clear()
    assert arzoo.load(REPO, local_files_only=True).family == "nade"
    assert arzoo.load(REPO, revision=commit).family == "nade"
    assert not hub.requests


def test_nothing_is_saved_into_the_cache(hub: Hub, commit: str) -> None:
    folder = arzoo.pull(REPO)
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match=f"{commit} is a commit in the Hugging Face cache, .*; save elsewhere"):
        toy_zoo.toy(1).save_pretrained(folder)
    assert sorted(folder.iterdir()) == before and arzoo.load(REPO, local_files_only=True).family == "nade"


def test_a_config_that_a_killed_save_would_leave_is_nothing_in_the_cache(
    hub: Hub, commit: str, files: dict[str, bytes]
) -> None:
    """Else whoever may write to a repository could have one file listed and another one used."""
    other = files["config.json"].replace(b'"nade"', b'"made"')
    hub.commit(REPO, {"config.json.new": other})
    snapshot_download(REPO, endpoint=hub.url, cache_dir=constants.HF_HUB_CACHE)
    assert arzoo.load(REPO).family == "nade"
    assert arzoo.load(arzoo.pull(REPO)).family == "nade"
