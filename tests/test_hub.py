"""From the Hub: what was pushed is what is loaded, at the commit asked for, with as few requests as can be."""

import hashlib
import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import Hub
from hub_server.messages import Answer, Request
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.utils import get_session
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import nn

import arzoo
from arzoo import checkpoints, testing
from arzoo import hub as library
from arzoo.hub import client, explaining, fetching, listing, repository

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

CARD = b"---\nlicense: mit\n---\nA toy.\n"


def toy(seed: int = 0, **config: Any) -> arzoo.Model:
    torch.manual_seed(seed)
    return arzoo.create_model("nade", {"event_shape": (5,), "hidden_size": 3, **config})


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A whole checkpoint, with a file that is none of arzoo's."""
    toy().save_pretrained(tmp_path / "toy")
    return {**files_of(tmp_path / "toy"), "README.md": CARD, "evil.pkl": b"\x80\x04."}


@pytest.fixture
def commit(hub: Hub, files: dict[str, bytes]) -> str:
    """The head of ann/toy."""
    return hub.create("ann/toy", files)


def same(model: nn.Module, other: nn.Module) -> bool:
    state, expected = model.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)


def edit(files: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """The files with another config."""
    config = json.loads(files["config.json"])
    change(config)
    return {**files, "config.json": json.dumps(config).encode()}


def refusal(kind: type[Exception], *arguments: Any, **options: Any) -> str:
    """What the user reads."""
    with pytest.raises(kind) as caught:
        arzoo.from_pretrained(*arguments, **options)
    assert type(caught.value) is kind
    text = str(caught.value)
    assert "\n" not in text
    return text


# ---- there and back


@pytest.mark.parametrize("family", arzoo.list_families())
def test_every_model_comes_back_bit_for_bit(hub: Hub, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    family_class = arzoo.get_family(family)
    models = [testing.random_model(family_class, config) for config in family_class.tiny_configs()]
    pinned = []
    for index, model in enumerate(models):
        private = index % 2 == 0
        pushed = model.push_to_hub(f"ann/{family}-{index}", license="mit", private=private)
        assert hub.is_private(pushed.repo_id) == private
        hub.commit(pushed.repo_id, {"config.json": b"{}"})  # main goes on
        pinned.append((pushed.repo_id, pushed.commit))
        loaded = family_class.from_pretrained(pushed.repo_id, revision=pushed.commit, token=None if private else False)
        assert same(loaded, model)
        assert (type(loaded), loaded.config, loaded.training) == (type(model), model.config, False)
    hub.requests.clear()
    forbid_network(monkeypatch)
    for model, (repo_id, commit) in zip(models, pinned, strict=True):
        assert same(arzoo.from_pretrained(repo_id, revision=commit), model)
    assert hub.requests == []


def test_a_folder_is_pulled_as_it_is_and_nothing_else_of_the_repository(
    hub: Hub, commit: str, files: dict[str, bytes]
) -> None:
    hub.commit("ann/toy", {"pytorch_model.bin": b"\x80", "modeling.py": b"1/0", "sub/config.json": b"{}"})
    folder = arzoo.pull("ann/toy")
    assert files_of(folder) == {name: files[name] for name in ("config.json", "model.safetensors", "README.md")}
    assert folder.name == hub.head("ann/toy")
    asked = {request.path.split("/")[-1] for request in hub.asked("/ann/toy/resolve/*")}
    assert asked == {"config.json", "model.safetensors", "README.md"}


def test_a_model_takes_two_files(hub: Hub, commit: str) -> None:
    assert same(arzoo.load("ann/toy"), toy())
    assert not hub.asked("*README.md")


def test_a_revision_is_a_branch_a_tag_or_a_commit(
    hub: Hub, commit: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.tag("ann/toy", "v1")
    hub.branch("ann/toy", "exp/one")
    toy(1).save_pretrained(tmp_path / "toy")
    hub.commit("ann/toy", dict(files_of(tmp_path / "toy")), revision="exp/one")
    hub.commit("ann/toy", dict(files_of(tmp_path / "toy")))
    for revision, seed in {"v1": 0, commit: 0, "exp/one": 1, "main": 1, None: 1}.items():
        assert same(arzoo.from_pretrained("ann/toy", revision=revision), toy(seed)), revision


def test_load_and_from_pretrained_take_the_same(hub: Hub, commit: str, files: dict[str, bytes]) -> None:
    hub.commit("ann/toy", {"config.json": b"{}"})
    assert same(arzoo.load("ann/toy", revision=commit), toy())
    assert same(arzoo.load("ann/toy", revision=commit, local_files_only=True), toy())
    assert inspect.signature(arzoo.load) == inspect.signature(arzoo.from_pretrained)


def test_a_hub_that_answers_with_another_commit_than_the_one_asked_for_is_refused(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    newer, ask = hub.commit("ann/toy", {"README.md": b""}), repository.ask
    monkeypatch.setattr(repository, "ask", lambda api, path, *rest: ask(api, path.replace(commit, "main"), *rest))
    text = refusal(ConnectionError, "ann/toy", revision=commit)
    assert f"gives commit {newer} for ann/toy at {commit}" in text
    assert not (tmp_path / "hub").exists()


def test_a_token_is_not_sent_to_another_host(hub: Hub, commit: str, files: dict[str, bytes]) -> None:
    with Hub() as other:
        other.create("ann/toy", files)
        elsewhere = {"Location": f"{other.url}/ann/toy/resolve/main/config.json"}
        hub.fault("status", "*/config.json", status=302, headers=elsewhere)
        assert "gives commit" in refusal(ConnectionError, "ann/toy")
        assert "authorization" in hub.requests[-1].headers
        [request] = other.requests
        assert "authorization" not in request.headers


# ---- requests


def test_a_commit_that_is_there_takes_no_request_and_a_branch_one(hub: Hub, commit: str) -> None:
    arzoo.pull("ann/toy")
    hub.requests.clear()
    folder = arzoo.pull("ann/toy", revision=commit)
    assert hub.requests == []
    assert arzoo.pull("ann/toy") == folder
    assert [request.path for request in hub.requests] == ["/api/models/ann/toy/revision/main"]


def test_what_another_client_fetched_is_not_fetched_again(hub: Hub, commit: str, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download("ann/toy", endpoint=hub.url)
    hub.requests.clear()
    arzoo.load("ann/toy")
    assert [request.path for request in hub.requests] == ["/api/models/ann/toy/revision/main"]


def test_what_is_fetched_is_what_other_clients_look_for(hub: Hub, commit: str) -> None:
    folder = arzoo.pull("ann/toy")
    hub.requests.clear()
    for name in ("config.json", "model.safetensors", "README.md"):
        found = hf_hub_download("ann/toy", name, revision=commit, endpoint=hub.url, local_files_only=True)
        assert found == str(folder / name)
        blob = Path(hf_hub_download("ann/toy", name, endpoint=hub.url)).resolve()  # asks for the name of the blob
        assert blob == (folder / name).resolve()
    assert not hub.asked(method="GET")


def test_a_file_that_another_commit_has_too_is_not_fetched_again(hub: Hub, commit: str) -> None:
    first = arzoo.pull("ann/toy")
    hub.commit("ann/toy", {"README.md": CARD + b"Mended.\n"})
    hub.requests.clear()
    second = arzoo.pull("ann/toy")
    assert [request.path.split("/")[-1] for request in hub.requests] == ["main", "README.md"]
    assert (second / "model.safetensors").samefile(first / "model.safetensors")
    assert same(arzoo.from_pretrained("ann/toy", local_files_only=True), toy())


@pytest.mark.parametrize("reason", ["unwanted", "impossible"])
def test_where_there_can_be_no_links_there_are_copies(
    hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    if reason == "unwanted":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    else:
        monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = arzoo.pull("ann/toy")
    assert not any(path.is_symlink() for path in folder.iterdir())
    assert same(arzoo.from_pretrained("ann/toy", local_files_only=True), toy())
    (folder / "model.safetensors").write_bytes(b"x")
    assert "is damaged in the cache" in refusal(ValueError, "ann/toy", local_files_only=True)
    assert same(arzoo.from_pretrained("ann/toy", revision=commit), toy())


def test_what_lies_in_xet_is_fetched_without_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    toy().push_to_hub("ann/toy", license="mit")
    hub.fault("status", "*/xet-read-token/*", times=None)
    assert same(arzoo.load("ann/toy"), toy())
    assert hub.asked("*/xet-write-token/*") and not hub.asked("*/xet-read-token/*")


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "local_files_only"])
def test_offline_only_the_cache_is_used(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    arzoo.load("ann/toy")
    hub.requests.clear()
    forbid_network(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "HF_HUB_OFFLINE")
    options: Any = {"local_files_only": how == "local_files_only"}
    assert same(arzoo.from_pretrained("ann/toy", **options), toy())
    assert arzoo.pull("ann/toy", **options).name == commit
    for name, revision in (("ann/other", None), ("ann/toy", "v1"), ("ann/toy", "0" * 40)):
        text = refusal(FileNotFoundError, name, revision=revision, **options)
        assert f"{name} at {revision or 'main'} is not in the cache" in text
    assert hub.requests == []


def test_an_unknown_short_name_is_never_asked_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no checkpoint 'toy' is installed" in refusal(LookupError, "toy")
    assert hub.requests == []


def test_an_organisation_is_asked_for_short_names_that_are_not_installed(
    hub: Hub, files: dict[str, bytes], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.create("zoo/nade-toy", files)
    hub.create(f"zoo/{checkpoint.name}", files)
    monkeypatch.setenv("ARZOO_ORGANISATION", "zoo")
    assert same(arzoo.load("nade-toy"), toy())
    assert library.locate(checkpoint.name) == checkpoint
    text = refusal(LookupError, "nade-toyy")
    assert "no checkpoint 'nade-toyy' is installed" in text and "there is no repository zoo/nade-toyy" in text
    assert not hub.asked("*binarized*")


def test_a_name_that_is_a_folder_too_is_refused(
    hub: Hub, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tmp_path / "toy", "ann/toy")
    assert "write './ann/toy' for the folder here" in refusal(ValueError, "ann/toy")
    assert same(arzoo.load("./ann/toy"), toy())
    assert hub.requests == []


def test_what_is_on_this_disk_has_no_revision(hub: Hub, checkpoint: Path) -> None:
    for name in (checkpoint.name, str(checkpoint), checkpoint):
        assert "has no revision 'v1'" in refusal(ValueError, name, revision="v1")


@pytest.mark.parametrize("name", ["a/b/c", "ann/", "-a/b", "a/b.git", "a/b--c", "a/..b", "a b/c", "a/b\n"])
def test_a_name_that_is_none_is_not_asked_for(hub: Hub, name: str) -> None:
    with pytest.raises(ValueError, match="is no repository of the Hub"):
        arzoo.pull(name)
    assert hub.requests == []


@pytest.mark.parametrize("revision", ["../main", "a/../../b", "/etc", "-x", "a b", "a\0b", "a~1", "a:b"])
def test_a_revision_that_is_none_is_not_asked_for(hub: Hub, revision: str) -> None:
    assert "is no branch, tag or commit" in refusal(ValueError, "ann/toy", revision=revision)
    assert hub.requests == []


# ---- what the Hub says


def test_refusals_say_what_to_do(hub: Hub, commit: str, files: dict[str, bytes]) -> None:
    hub.tag("ann/toy", "v1.0")
    hub.create("ann/secret", files, private=True)
    hub.create("ann/gated", files, gated="manual")
    hub.create("ann/empty")
    hub.create("ann/bert", {"config.json": b'{"architectures": ["Bert"]}', "model.safetensors": b"x"})
    hub.create("ann/half", {"config.json": files["config.json"]})
    log_in = "hf auth login"
    for kind, arguments, parts in (
        (LookupError, {"name_or_path": "ann/nothing"}, ["no repository ann/nothing", hub.url, "check the name"]),
        (
            LookupError,
            {"name_or_path": "ann/secret", "token": "hf_bob"},
            ["no repository ann/secret", "may not see it"],
        ),
        (LookupError, {"name_or_path": "ann/secret", "token": False}, ["no repository ann/secret", log_in]),
        (PermissionError, {"name_or_path": "ann/toy", "token": "hf_no"}, ["does not take the token", log_in]),
        (PermissionError, {"name_or_path": "ann/gated", "token": "hf_bob"}, ["ann/gated is gated", "ask for access"]),
        (LookupError, {"name_or_path": "ann/toy", "revision": "v1"}, ["ann/toy has no revision 'v1'", "'v1.0'"]),
        (LookupError, {"name_or_path": "ann/toy", "revision": "0" * 40}, ["no revision", "it has main, v1.0"]),
        (LookupError, {"name_or_path": "ann/toy", "revision": commit[:7]}, ["no revision", "all of its 40 digits"]),
        (LookupError, {"name_or_path": "ann/toy", "revision": commit[:39]}, ["no revision", "all of its 40 digits"]),
        (LookupError, {"name_or_path": "ann/toy", "revision": commit[:6]}, ["no revision", "it has main, v1.0"]),
        (FileNotFoundError, {"name_or_path": "ann/empty"}, ["ann/empty at main", "it has no config.json"]),
        (FileNotFoundError, {"name_or_path": "ann/half"}, ["ann/half at main", "it has no model.safetensors"]),
        (ValueError, {"name_or_path": "ann/bert"}, ["ann/bert at main is no checkpoint of arzoo", "'architectures'"]),
    ):
        text = refusal(kind, **arguments)
        assert all(part in text for part in parts), text


def test_a_hub_that_is_none_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fault("status", "/api/models/*", status=200)
    assert "does not answer for ann/toy as a Hub does" in refusal(ConnectionError, "ann/toy")
    for endpoint in ("ftp://example.invalid", "example.invalid"):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        assert "is no address of a Hub; check HF_ENDPOINT" in refusal(ValueError, "ann/toy")


CALLS: dict[str, Callable[[], object]] = {
    "load": lambda: arzoo.load("ann/toy"),
    "list": library.list_models,
    "push": lambda: toy().push_to_hub("ann/toy", license="mit", dry_run=True),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["stopped", "silent", "dripping", "addresses", "die", "lost", "503", "429"])
def test_a_hub_that_is_down_is_said_within_three_seconds(
    hub: Hub, commit: str, fault: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.create("ann/listed", {"README.md": b"---\nlibrary_name: arzoo\n---\n"})
    client.connect()  # which imports the client: the clock is to see the rest
    if fault == "stopped":
        hub.stop()
    elif fault == "silent":
        hub.fault("slow", "*", seconds=4)
    elif fault == "dripping":
        hub.fault("drip", "*", seconds=0.6)  # no byte is late, but the last one is
    elif fault == "addresses":
        monkeypatch.setattr(socket, "create_connection", dead_addresses)
    elif fault.isdigit():
        hub.fault("status", "*", status=int(fault))
    else:
        hub.fault(fault, "*")  # type: ignore[arg-type]
    started = time.perf_counter()
    with pytest.raises(ConnectionError) as caught:
        CALLS[call]()
    assert time.perf_counter() - started < 3
    assert hub.url in str(caught.value) and ("ann/toy" in str(caught.value) or call == "list")


def dead_addresses(address: object, timeout: float, **_: object) -> socket.socket:
    """What a host name does that stands for four addresses, at none of which anybody answers."""
    for _ in range(4):
        time.sleep(timeout)
    raise TimeoutError("timed out")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("fault", ["slow", "die", "addresses", "503"])
def test_a_hub_that_dies_after_its_first_answer_is_given_up_in_time(
    hub: Hub, commit: str, fault: str, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the bound is: 0.6 seconds without a byte here, and ten by default."""
    assert constants.DEFAULT_DOWNLOAD_TIMEOUT == 10 > sum(fetching._PAUSES)
    if cached:
        arzoo.pull("ann/toy")
        hub.commit("ann/toy", {"README.md": b"", "config.json": b"{}"})
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.6)
    monkeypatch.setattr(fetching, "_PAUSES", (0.1, 0.2, 0.2))
    if fault == "addresses":
        hub.before("/api/*", lambda: monkeypatch.setattr(socket, "create_connection", dead_addresses))
        hub.fault("die", "*/resolve/*")
    elif fault == "503":
        hub.fault("status", "*/resolve/*", status=503, times=None)
    else:
        hub.fault(fault, "*/resolve/*", seconds=3, times=None)  # type: ignore[arg-type]
    started = time.perf_counter()
    if cached:
        with pytest.warns(UserWarning, match=f"commit {commit} of ann/toy is used, from the cache"):
            assert arzoo.pull("ann/toy").name == commit
    else:
        refusal(ConnectionError, "ann/toy")
    assert 0.3 < time.perf_counter() - started < 1.5
    assert len(hub.asked("*/resolve/*")) == {"slow": 1, "addresses": 1}.get(fault, 4) + (3 if cached else 0)


def test_a_download_that_is_only_slow_is_not_cut(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    hub.fault("drip", "*/model.safetensors", seconds=0.2)
    started = time.perf_counter()
    assert same(arzoo.load("ann/toy"), toy())
    assert time.perf_counter() - started > 1
    assert len(hub.asked("*/model.safetensors")) == 1


@pytest.fixture
def deaf(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub takes no notice of a Range, and always begins at the beginning."""
    serve = hub._serve

    def serve_whole(request: Request, target: str, body: bytes) -> Answer:
        headers = {key: value for key, value in request.headers.items() if key != "range"}
        return serve(replace(request, headers=headers), target, body)

    monkeypatch.setattr(hub, "_serve", serve_whole)
    hub.stop()
    hub.start()


def test_a_download_that_breaks_goes_on_where_it_was(
    hub: Hub, commit: str, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PAUSES", (0.01,))
    hub.fault("truncate", "*/model.safetensors", times=2)
    assert same(arzoo.load("ann/toy"), toy())
    half = len(files["model.safetensors"]) // 2
    quarter = (len(files["model.safetensors"]) - half) // 2
    asked = [request.headers.get("range") for request in hub.asked("*/model.safetensors")]
    assert asked == [None, f"bytes={half}-", f"bytes={half + quarter}-"]


def test_a_download_that_breaks_begins_anew_where_it_must(
    hub: Hub, deaf: None, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PAUSES", (0.01, 0.01, 0.01))
    hub.fault("truncate", "*/model.safetensors", times=2)
    assert same(arzoo.load("ann/toy"), toy())
    assert len(hub.asked("*/model.safetensors")) == 3
    hub.commit("ann/toy", {"config.json": None, "model.safetensors": None})
    hub.requests.clear()
    toy(1).push_to_hub("ann/toy", license="mit")
    hub.fault("truncate", "*/model.safetensors", times=None)  # always at the same byte
    refusal(ConnectionError, "ann/toy", revision=hub.head("ann/toy"))
    assert len(hub.asked("*/model.safetensors", "GET")) == 4


def test_what_comes_too_late_is_closed() -> None:
    go_on, closed = threading.Event(), threading.Event()

    def call() -> str:
        go_on.wait()
        return "a connection"

    with pytest.raises(TimeoutError):
        client.in_time(0.01, call, late=lambda result: result == "a connection" and closed.set())
    assert not closed.is_set()
    go_on.set()
    assert closed.wait(5)


def test_threads_that_overlap_leave_the_client_as_it_was(hub: Hub) -> None:
    api, session = client.connect(), get_session()
    before = session.timeout
    first, second = explaining.explained(api, "ann/toy"), explaining.explained(api, "ann/toy")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert session.timeout.read == explaining._TIMEOUT  # the second is still at it
    second.__exit__(None, None, None)
    assert session.timeout == before


@pytest.mark.parametrize("fault", ["stopped", "status 500"])
def test_a_hub_that_is_down_is_replaced_by_the_cache_with_a_warning(hub: Hub, commit: str, fault: str) -> None:
    arzoo.pull("ann/toy")
    hub.stop() if fault == "stopped" else hub.fault("status", "*", times=None)
    with pytest.warns(UserWarning, match=f"commit {commit} of ann/toy is used, from the cache"):
        assert same(arzoo.load("ann/toy"), toy())
    with pytest.warns(UserWarning, match=commit):
        assert arzoo.pull("ann/toy").name == commit
    assert same(arzoo.from_pretrained("ann/toy", revision=commit), toy())  # nothing is uncertain: no warning


def test_a_hub_that_dies_between_two_files_is_replaced_by_the_cache(
    hub: Hub, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arzoo.load("ann/toy")
    toy(1).save_pretrained(tmp_path / "toy")
    newer = hub.commit("ann/toy", dict(files_of(tmp_path / "toy")))
    hub.before("*model.safetensors", hub.stop)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # of the client, between its many attempts
    with pytest.warns(UserWarning, match=f"commit {commit} of ann/toy is used"):
        assert same(arzoo.load("ann/toy"), toy())
    hub.start()
    assert same(arzoo.load("ann/toy"), toy(1))
    assert arzoo.pull("ann/toy").name == newer


# ---- damage


def test_a_branch_in_the_cache_that_names_no_commit_is_none(hub: Hub, commit: str, tmp_path: Path) -> None:
    repository = arzoo.pull("ann/toy").parent.parent
    shutil.copytree(tmp_path / "toy", tmp_path / "elsewhere")
    for text in ("../../../elsewhere", "", commit[:-1], commit + "\n"):
        (repository / "refs" / "main").write_text(text)
        assert "is not in the cache" in refusal(FileNotFoundError, "ann/toy", local_files_only=True)
    hub.stop()
    refusal(ConnectionError, "ann/toy")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_a_damaged_file_in_the_cache_is_fetched_again_or_refused(
    hub: Hub, commit: str, files: dict[str, bytes], name: str, damage: str
) -> None:
    folder = arzoo.pull("ann/toy")
    blob, data = (folder / name).resolve(), bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    blob.unlink()
    if damage != "gone":
        blob.write_bytes({"flipped": data, "cut": data[:-1], "empty": b""}[damage])
    if damage != "gone":
        with pytest.raises(
            ValueError, match=f"{name} of ann/toy at {commit} is damaged in the cache: its .* is .*, not"
        ):
            arzoo.pull("ann/toy", local_files_only=True)
    elif name != "README.md":
        with pytest.raises(FileNotFoundError, match="is not in the cache"):
            arzoo.pull("ann/toy", local_files_only=True)
    hub.requests.clear()
    arzoo.pull("ann/toy", revision=commit)
    assert files_of(folder)[name] == files[name]
    assert len(hub.asked(f"*/{name}", "GET")) == 1
    arzoo.pull("ann/toy", local_files_only=True)


def test_a_file_that_comes_damaged_is_fetched_once_more(hub: Hub, commit: str) -> None:
    hub.fault("flip", "*/model.safetensors", method="GET")
    assert same(arzoo.load("ann/toy"), toy())
    assert len(hub.asked("*/model.safetensors", "GET")) == 2


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_comes_damaged_twice_is_refused(hub: Hub, commit: str, name: str) -> None:
    hub.fault("flip", f"*/{name}", method="GET", times=2)
    text = refusal(ValueError, "ann/toy")
    assert f"{name} of ann/toy at {commit} comes damaged: its " in text
    assert same(arzoo.load("ann/toy"), toy())  # and is not kept


def test_weights_that_are_not_those_of_the_config_are_not_downloaded(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    weights = files["model.safetensors"]
    other = bytearray(weights)
    other[-1] ^= 1
    for index, data in enumerate((weights + b"x", bytes(other), b"")):
        hub.create(f"ann/wrong{index}", {**files, "model.safetensors": data})
        text = refusal(ValueError, f"ann/wrong{index}")
        assert f"model.safetensors of ann/wrong{index} at main is not that of its config.json" in text
    assert not hub.asked("*/resolve/*model.safetensors")


def test_a_file_that_is_far_too_large_is_not_downloaded(hub: Hub, files: dict[str, bytes]) -> None:
    hub.create("ann/large", {**files, "README.md": CARD + b" " * 2**24})
    with pytest.raises(ValueError, match=r"README\.md of ann/large at main has .* bytes, more than 16777216"):
        arzoo.pull("ann/large")
    assert not hub.asked("*README.md")


# ---- checkpoints that nobody should believe


def test_a_family_that_nobody_has_installed_names_its_package(hub: Hub, files: dict[str, bytes]) -> None:
    hub.create("ann/own", edit(files, lambda config: config.update(family="own", package="own-zoo")))
    text = refusal(LookupError, "ann/own")
    assert "no family 'own' is installed" in text and text.endswith("pip install own-zoo")


def test_a_checkpoint_of_a_newer_arzoo_says_so(hub: Hub, files: dict[str, bytes]) -> None:
    advice = f"it was made by arzoo 99.1.dev0, this is {arzoo.__version__}: pip install --upgrade arzoo"
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda config: config["model"].update(unheard_of=1),
        lambda config: config["model"].update(hidden_size=4),
        lambda config: config.update(family="unheard_of", package="arzoo"),
    ]
    for index, change in enumerate(changes):
        hub.create(
            f"ann/new{index}", edit(edit(files, change), lambda config: config.update(arzoo_version="99.1.dev0"))
        )
        hub.create(f"ann/old{index}", edit(edit(files, change), lambda config: config.update(arzoo_version="0.0.9")))
        kind = LookupError if index == 2 else ValueError
        assert refusal(kind, f"ann/new{index}").endswith(advice)
        assert "--upgrade" not in refusal(kind, f"ann/old{index}")
    hub.create("ann/same", edit(files, lambda config: config.update(arzoo_version="99.1.dev0")))
    assert same(arzoo.load("ann/same"), toy())  # what fits is taken


BOMBS = [
    ("nade", {"hidden_size": 10**9}, "does not fit the model of its config"),
    ("nade", {"hidden_size": 10**30}, "cannot be built"),
    ("nade", {"event_shape": [10**9]}, "are refused, more than"),
    ("made", {"num_masks": 10**9}, "it takes far more steps"),
    ("pixelcnn", {"num_blocks": 10**9}, "it takes far more steps"),
    ("pixelcnn", {"hidden_size": 3 * 10**9}, "cannot be built"),
    ("pixelcnn", {"num_categories": 10**6}, "does not fit the model of its config"),
]

DEFUSE = """
import json, resource, sys, time
import arzoo
from arzoo import loading
import torch._dynamo  # what meta tensors need, so that the clock sees the rest
arzoo.load(sys.argv[1])
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
for folder in sys.argv[2:]:
    started = time.perf_counter()
    try:
        arzoo.load(folder)
    except ValueError as error:
        print(json.dumps([str(error), time.perf_counter() - started]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits the memory as Linux does")
def test_configs_that_ask_for_everything_are_refused_quickly_and_without_memory(tmp_path: Path) -> None:
    toy().save_pretrained(tmp_path / "toy")
    folders = []
    for index, (family, changes, _) in enumerate(BOMBS):
        family_class = arzoo.get_family(family)
        folder = tmp_path / f"bomb{index}"
        family_class(family_class.tiny_configs()[-1]).save_pretrained(folder)
        changed = edit(files_of(folder), lambda config, new=changes: config["model"].update(new))  # type: ignore[misc]
        (folder / "config.json").write_bytes(changed["config.json"])
        folders.append(str(folder))
    command = [sys.executable, "-c", DEFUSE, str(tmp_path / "toy"), *folders]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    results = list(map(json.loads, done.stdout.splitlines()))
    for (family, changes, reason), (text, seconds) in zip(BOMBS, results, strict=True):
        assert reason in text, (family, changes, text)
        assert seconds < 10, (family, changes, seconds)


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [2**31], "data_offsets": [0, 2**33]}},
        {"x": {"dtype": "F32", "shape": [2**31], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]}},
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "xy"},
        {"x": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}},
        {"x": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "data_offsets": [0, 4]}},
        {"x": None},
        [],
    ],
)
def test_a_header_that_claims_what_the_file_does_not_hold_is_refused(tmp_path: Path, header: object) -> None:
    toy().save_pretrained(tmp_path)
    text = json.dumps(header).encode()
    put_weights(tmp_path, len(text).to_bytes(8, "little") + text + b"\0" * 4)
    assert refusal(ValueError, tmp_path).endswith("is no safetensors file: its header cannot be read")
    assert "its header cannot be read" in checkpoints.describe_checkpoint(tmp_path).error


@pytest.mark.parametrize("length", [10 * 2**30, 2**64 - 1, 2**63, 5])
def test_a_header_whose_length_is_wrong_is_refused(tmp_path: Path, length: int) -> None:
    toy().save_pretrained(tmp_path)
    put_weights(tmp_path, length.to_bytes(8, "little") + (tmp_path / "model.safetensors").read_bytes()[8:])
    assert refusal(ValueError, tmp_path).endswith("is no safetensors file: its header cannot be read")


def test_weights_that_lack_a_tensor_or_have_one_too_many_are_refused(tmp_path: Path) -> None:
    toy().save_pretrained(tmp_path)
    state = parse((tmp_path / "model.safetensors").read_bytes())
    put_weights(tmp_path, serialize({**state, "more": torch.zeros(1)}))
    assert "unexpected: more" in refusal(ValueError, tmp_path)


def put_weights(folder: Path, data: bytes) -> None:
    """Plants other weights together with their sha256."""
    (folder / "model.safetensors").write_bytes(data)
    weights = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    changed = edit(files_of(folder), lambda config: config["weights"].update(weights))
    (folder / "config.json").write_bytes(changed["config.json"])


# ---- lists


def test_what_is_on_the_hub_is_listed_as_its_cards_say(hub: Hub, files: dict[str, bytes]) -> None:
    result = """\
model-index:
- name: toy
  results:
  - task: {type: other}
    dataset: {name: elsewhere, type: x}
    metrics: [{type: accuracy, value: 1.0}]
  - task: {type: unconditional-image-generation}
    dataset: {name: binarized_mnist, type: x}
    metrics: [{type: negative_log_likelihood, value: 87.5, args: {weights_sha256: abc}}]
"""
    card = f"---\nlicense: mit\nlibrary_name: arzoo\ntags: [cute, nade]\n{result}---\n".encode()
    hub.create("zoo/nade-toy", {**files, "README.md": card}, private=True)
    odd = "---\nlibrary_name: arzoo\nignore_metadata_errors: true\ntags: 3\nmodel-index: [3, {results: {}}]\n---\n"
    hub.create("bob/odd", {"README.md": odd.encode()})
    for name, metric in (("huge", f"bits_per_dim, value: {10**400}"), ("other", "accuracy, value: 0.97")):
        told = f"library_name: arzoo\nmodel-index: [{{name: x, results: [{{metrics: [{{type: {metric}}}]}}]}}]"
        hub.create(f"bob/{name}", {"README.md": f"---\n{told}\n---\n".encode()})
    hub.create("bob/bert", {"README.md": b"---\nlibrary_name: transformers\n---\n"})
    unread = ("bob/huge", "bob/other")  # a number that no float holds, and one in a unit that is none of ours
    found = {model.name: model for model in library.list_models()}
    assert found == {
        "zoo/nade-toy": library.CommunityModel(
            name="zoo/nade-toy",
            family="nade",
            dataset="binarized_mnist",
            value=87.5,
            unit="nats",
            license="mit",
            downloads=0,
            commit=hub.head("zoo/nade-toy"),
            private=True,
        ),
        **{name: library.CommunityModel(name=name, commit=hub.head(name)) for name in ("bob/odd", *unread)},
    }
    assert [model.name for model in library.list_models(author="zoo")] == ["zoo/nade-toy"]
    assert [model.name for model in library.list_models(search="odd")] == ["bob/odd"]
    assert [model.name for model in library.list_models(token=False)] == ["bob/huge", "bob/odd", "bob/other"]


def test_a_list_goes_over_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub(page_size=2) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add_user("ann", "hf_ann")
        for index in range(5):
            hub.create(f"ann/toy{index}", {"README.md": b"---\nlibrary_name: arzoo\n---\n"})
        assert len(library.list_models(token=False)) == 5
        assert len(hub.requests) == 3


def test_a_list_takes_no_truth_for_a_number(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [{"id": "ann/toy", "downloads": value} for value in (True, "7", 7.5, None, 7)]
    monkeypatch.setattr(listing, "_pages", lambda api, wanted: iter(entries))
    found = [model.downloads for model in library.list_models()]
    assert found == [7, 0, 0, 0, 0] and bool not in map(type, found)


def test_a_list_says_that_the_hub_is_down(hub: Hub) -> None:
    hub.stop()
    with pytest.raises(ConnectionError, match="cannot be reached for the list of models"):
        library.list_models()
