"""Whatever breaks on the way from or to the Hub: right or refused, and the next call is right.

The tables say what breaks (a fault of `hub_server`, or what `BROKEN` does), at which step, for how many requests
(0: for all of them), and what comes of it: RIGHT, or the error's type and words of its message; EITHER of these.
"""

import importlib.util
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import Hub
from huggingface_hub import constants
from huggingface_hub.utils._xet import abort_xet_session

import arzoo
from arzoo.card import write_card
from arzoo.hub import client, explaining

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

ALWAYS = 0
RIGHT = "right"
EITHER = ""
REPO = "ann/toy"

STEPS = {
    "look": ("GET", "/api/models/ann/toy/revision/*"),
    "config GET": ("GET", "*/config.json"),
    "weights GET": ("GET", "*/model.safetensors"),
    "card GET": ("GET", "*/README.md"),
    "create": ("POST", "/api/repos/create"),
    "branch": ("POST", "*/branch/*"),
    "validate": ("POST", "/api/validate-yaml"),
    "preupload": ("POST", "*/preupload/*"),
    "LFS batch": ("POST", "*/objects/batch"),
    "LFS PUT": ("PUT", "/lfs/*"),
    "Xet token": ("GET", "*/xet-write-token/*"),
    "commit": ("POST", "*/commit/*"),
    "tag": ("POST", "*/tag/*"),
}

DOWN = "ConnectionError: cannot be reached for ann/toy"
LATE = "ConnectionError: does not answer"
DISORDER = "ConnectionError: is out of order for ann/toy"
BUSY = "ConnectionError: has had too many requests"
TOKEN = "PermissionError: does not take the token for ann/toy"
FORBIDDEN = "PermissionError: forbids that for ann/toy"
NOT_WHOLE = "ConnectionError: files of ann/toy did not pass whole"
DAMAGED = "ValueError: of ann/toy at COMMIT comes damaged: its"

PULLS = [
    # what breaks    when            times   what comes of it
    ("die", "look", 1, DOWN),
    ("lost", "look", 1, DOWN),
    ("slow", "look", 1, LATE),
    ("truncate", "look", 1, DOWN),
    ("flip", "look", ALWAYS, EITHER),
    ("stop", "look", 1, DOWN),
    ("status 500", "look", 1, DISORDER),
    ("status 503", "look", 1, DISORDER),
    ("status 429", "look", 1, BUSY),
    ("status 403", "look", 1, FORBIDDEN),
    ("status 401", "look", 1, TOKEN),
    ("die", "config GET", 1, RIGHT),
    ("die", "config GET", ALWAYS, DOWN),
    ("lost", "config GET", 1, RIGHT),
    ("lost", "config GET", ALWAYS, DOWN),
    ("slow", "config GET", 1, LATE),
    ("drip", "config GET", ALWAYS, RIGHT),
    ("truncate", "config GET", 1, RIGHT),
    ("truncate", "config GET", ALWAYS, DOWN),
    ("flip", "config GET", 1, RIGHT),
    ("flip", "config GET", ALWAYS, DAMAGED),
    ("stop", "config GET", 1, DOWN),
    ("status 500", "config GET", 1, RIGHT),
    ("status 500", "config GET", ALWAYS, DISORDER),
    ("status 429", "config GET", 1, RIGHT),
    ("status 429", "config GET", ALWAYS, BUSY),
    ("status 403", "config GET", 1, FORBIDDEN),
    ("status 401", "config GET", 1, TOKEN),
    ("die", "weights GET", 1, RIGHT),
    ("die", "weights GET", ALWAYS, DOWN),
    ("lost", "weights GET", 1, RIGHT),
    ("lost", "weights GET", ALWAYS, DOWN),
    ("slow", "weights GET", 1, LATE),
    ("drip", "weights GET", ALWAYS, RIGHT),
    ("truncate", "weights GET", 1, RIGHT),
    ("truncate", "weights GET", ALWAYS, DOWN),
    ("flip", "weights GET", 1, RIGHT),
    ("flip", "weights GET", ALWAYS, DAMAGED),
    ("stop", "weights GET", 1, DOWN),
    ("status 503", "weights GET", 1, RIGHT),
    ("status 503", "weights GET", ALWAYS, DISORDER),
    ("status 429", "weights GET", 1, RIGHT),
    ("status 429", "weights GET", ALWAYS, BUSY),
    ("status 403", "weights GET", 1, FORBIDDEN),
    ("status 401", "weights GET", 1, TOKEN),
    ("main moves", "config GET", 1, RIGHT),
    ("main moves", "weights GET", 1, RIGHT),
    ("deleted", "weights GET", 1, "LookupError: there is no repository ann/toy"),
]

SAVED = [
    # what is on the Hub                                     what comes of it
    ("the weights of another commit", "ValueError: model.safetensors of ann/toy at main is not that of its config"),
    ("the config of another commit", "ValueError: model.safetensors of ann/toy at main is not that of its config"),
    ("no config.json", "FileNotFoundError: ann/toy at main is no checkpoint of arzoo: it has no config.json"),
    ("no weights", "FileNotFoundError: ann/toy at main is no checkpoint of arzoo: it has no model.safetensors"),
    ("a card without a licence", RIGHT),
    ("no card", RIGHT),
]

CACHES = [
    # what is wrong in the cache                 offline               with the Hub
    ("config.json flipped", "ValueError: config.json of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("config.json cut", "ValueError: config.json of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("config.json empty", "ValueError: config.json of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("config.json gone", "FileNotFoundError: ann/toy at COMMIT is not in the cache", RIGHT),
    ("weights flipped", "ValueError: model.safetensors of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("weights cut", "ValueError: model.safetensors of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("weights empty", "ValueError: model.safetensors of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("weights gone", "FileNotFoundError: ann/toy at COMMIT is not in the cache", RIGHT),
    ("weights of another commit", "ValueError: model.safetensors of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("config of another commit", "ValueError: model.safetensors of ann/toy at COMMIT is damaged in the cache", RIGHT),
    ("snapshot gone", "FileNotFoundError: ann/toy at COMMIT is not in the cache", RIGHT),
    ("half a download", RIGHT, RIGHT),
    ("main names nothing", RIGHT, RIGHT),
]

PUSHES = [
    # what breaks    when            times   what comes of it
    ("die", "look", 1, DOWN),
    ("lost", "look", 1, DOWN),
    ("slow", "look", 1, LATE),
    ("truncate", "look", 1, DOWN),
    ("stop", "look", 1, DOWN),
    ("status 500", "look", 1, DISORDER),
    ("status 503", "look", 1, DISORDER),
    ("status 429", "look", 1, BUSY),
    ("status 403", "look", 1, FORBIDDEN),
    ("status 401", "look", 1, TOKEN),
    ("die", "create", 1, DOWN),
    ("lost", "create", 1, DOWN),
    ("slow", "create", 1, LATE),
    ("truncate", "create", 1, DOWN),
    ("stop", "create", 1, DOWN),
    ("status 500", "create", 1, DISORDER),
    ("status 403", "create", 1, FORBIDDEN),
    ("status 401", "create", 1, TOKEN),
    ("flip", "card GET", 1, RIGHT),
    ("flip", "card GET", ALWAYS, DAMAGED),
    ("die", "card GET", ALWAYS, DOWN),
    ("die", "branch", 1, DOWN),
    ("lost", "branch", 1, DOWN),
    ("status 403", "branch", 1, FORBIDDEN),
    ("status 503", "branch", 1, DISORDER),
    ("die", "validate", 1, DOWN),
    ("status 500", "validate", 1, DISORDER),
    ("die", "preupload", 1, RIGHT),
    ("die", "preupload", ALWAYS, DOWN),
    ("lost", "preupload", 1, RIGHT),
    ("slow", "preupload", 1, RIGHT),
    ("stop", "preupload", 1, DOWN),
    ("status 500", "preupload", 1, RIGHT),
    ("status 500", "preupload", ALWAYS, DISORDER),
    ("status 429", "preupload", ALWAYS, BUSY),
    ("status 403", "preupload", 1, FORBIDDEN),
    ("status 401", "preupload", 1, TOKEN),
    ("rival", "preupload", 1, "ValueError: bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed"),
    ("die", "LFS batch", ALWAYS, DOWN),
    ("lost", "LFS batch", ALWAYS, DOWN),
    ("stop", "LFS batch", 1, DOWN),
    ("status 500", "LFS batch", ALWAYS, DISORDER),
    ("status 403", "LFS batch", 1, FORBIDDEN),
    ("rival", "LFS batch", 1, "ValueError: bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed"),
    ("die", "LFS PUT", 1, RIGHT),
    ("die", "LFS PUT", ALWAYS, NOT_WHOLE),
    ("lost", "LFS PUT", 1, RIGHT),
    ("lost", "LFS PUT", ALWAYS, NOT_WHOLE),
    ("slow", "LFS PUT", 1, RIGHT),
    ("stop", "LFS PUT", 1, NOT_WHOLE),
    ("status 500", "LFS PUT", 1, RIGHT),
    ("status 503", "LFS PUT", ALWAYS, "ConnectionError: ann/toy"),
    ("status 403", "LFS PUT", 1, "ann/toy"),
    ("die", "commit", 1, DOWN),
    ("lost", "commit", 1, RIGHT),
    ("slow", "commit", 1, LATE),
    ("truncate", "commit", 1, RIGHT),
    ("stop", "commit", 1, DOWN),
    ("status 500", "commit", 1, DISORDER),
    ("status 503", "commit", 1, DISORDER),
    ("status 429", "commit", 1, BUSY),
    ("status 403", "commit", 1, FORBIDDEN),
    ("status 401", "commit", 1, TOKEN),
    ("rival", "commit", 1, "ValueError: bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed"),
    ("die", "tag", 1, DOWN),
    ("lost", "tag", 1, DOWN),
    ("status 403", "tag", 1, FORBIDDEN),
    ("status 500", "tag", 1, DISORDER),
]

XET_PUSHES = [
    # what breaks    when            times   what comes of it
    ("die", "Xet token", 1, RIGHT),
    ("lost", "Xet token", 1, RIGHT),
    ("status 503", "Xet token", 1, RIGHT),
    ("status 500", "Xet token", ALWAYS, NOT_WHOLE),
    ("die", "Xet token", ALWAYS, NOT_WHOLE),
    ("status 403", "Xet token", ALWAYS, NOT_WHOLE),
    ("status 401", "Xet token", ALWAYS, NOT_WHOLE),
    ("rival", "Xet token", 1, "ValueError: bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed"),
    ("die", "preupload", ALWAYS, DOWN),
    ("die", "commit", 1, DOWN),
    ("lost", "commit", 1, RIGHT),
    ("stop", "commit", 1, DOWN),
    ("status 503", "commit", 1, DISORDER),
    ("rival", "commit", 1, "ValueError: bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed"),
]


def model(seed: int) -> arzoo.Model:
    torch.manual_seed(seed)
    return arzoo.create_model("nade", {"event_shape": (5,), "hidden_size": 3})


def same(found: arzoo.Model, expected: arzoo.Model) -> bool:
    state, wanted = found.state_dict(), expected.state_dict()
    return state.keys() == wanted.keys() and all(torch.equal(state[key], wanted[key]) for key in state)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two checkpoints that may be pushed."""
    folders = [tmp_path / f"toy{seed}" for seed in range(2)]
    for seed, folder in enumerate(folders):
        model(seed).save_pretrained(folder)
        write_card(folder, "mit", name=REPO)
    return folders


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in arzoo.hub.FILES}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, fault: str) -> list[float]:
    """Seconds that the client would have slept before it tried again; with a slow Hub it loses patience soon."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    if fault == "slow":
        monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.8)
        monkeypatch.setattr(explaining, "_TIMEOUT", 0.8)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.8)
    return slept


def plant(hub: Hub, fault: str, step: str, times: int) -> None:
    method, pattern = STEPS[step]
    kind, _, status = fault.partition(" ")
    broken: dict[str, Callable[[], object]] = {
        "stop": hub.stop,
        "rival": lambda: hub.commit(REPO, {"theirs.txt": b"1"}, message="Mend it", author="bob"),
        "main moves": lambda: hub.commit(REPO, {"config.json": b"{}", "model.safetensors": b"x"}),
        "deleted": lambda: hub.delete(REPO),
    }
    if fault in broken:
        hub.before(pattern, broken[fault], method=method, times=times or None)
    elif kind == "status":
        hub.fault("status", pattern, method=method, times=times or None, status=int(status))
    else:
        seconds = 0.1 if kind == "drip" else 2.0
        hub.fault(kind, pattern, method=method, times=times or None, seconds=seconds)  # type: ignore[arg-type]


def mend(hub: Hub) -> None:
    """The faults are gone, and what was late has been done."""
    hub.faults.clear()
    hub.stop()
    hub.start()


def outcome(call: Callable[[], object]) -> str:
    """RIGHT, or the one line that the user reads."""
    try:
        call()
    except (ValueError, LookupError, OSError) as error:
        assert not isinstance(error, KeyError | IndexError)
        text = str(error)
        assert "\n" not in text and REPO in text, text
        return f"{type(error).__name__}: {text}"
    return RIGHT


def check(found: str, expected: str, commit: str) -> None:
    kind, _, words = re.fullmatch(r"(?:(\w+Error)(: ))?(.*)", expected).groups()  # type: ignore[union-attr]
    assert kind in (None, found.split(":")[0]) and words.replace("COMMIT", commit) in found, found


# ---- from the Hub


def warned(recorder: pytest.WarningsRecorder) -> list[str]:
    return [str(warning.message) for warning in recorder.list if warning.category is UserWarning]


@pytest.mark.parametrize("cached", ["nothing cached", "older cached"])
@pytest.mark.parametrize(("fault", "step", "times", "expected"), PULLS)
def test_pull(
    hub: Hub,
    folders: list[Path],
    waits: list[float],
    fault: str,
    step: str,
    times: int,
    expected: str,
    cached: str,
    recwarn: pytest.WarningsRecorder,
) -> None:
    old, new = map(contents, folders)
    commit = older = hub.create(REPO, old)
    if cached == "older cached":
        arzoo.pull(REPO)
        commit = hub.commit(REPO, new)
    seed = int(cached == "older cached")
    before = hub.history(REPO)
    plant(hub, fault, step, times)
    loaded: list[arzoo.Model] = []
    started = time.perf_counter()
    found = outcome(lambda: loaded.append(arzoo.load(REPO)))
    assert step != "look" or (time.perf_counter() - started < 3 and not waits)
    assert sum(waits) <= 7 or fault == "truncate"  # of which each attempt brings something
    falls_back = expected.startswith("ConnectionError") or (expected == EITHER and warned(recwarn))
    if falls_back and cached == "older cached":
        [warning] = warned(recwarn)
        assert f"commit {older} of ann/toy is used, from the cache" in warning
        check(f"ConnectionError: {warning}", expected, commit)
        assert found == RIGHT and same(loaded[0], model(0))
    else:
        assert not warned(recwarn)
        check(found, expected, commit)
        assert not loaded or same(loaded[0], model(seed))
    recwarn.clear()
    mend(hub)
    if fault == "deleted":
        return
    if fault != "main moves":
        assert hub.history(REPO) == before
        assert same(arzoo.load(REPO), model(seed))
    assert same(arzoo.from_pretrained(REPO, revision=commit), model(seed))
    assert contents(arzoo.pull(REPO, revision=commit)) == [old, new][seed]
    assert same(arzoo.from_pretrained(REPO, revision=commit, local_files_only=True), model(seed))
    assert not warned(recwarn)


@pytest.mark.parametrize(("what", "expected"), SAVED)
def test_pull_of_what_should_not_have_been_pushed(hub: Hub, folders: list[Path], what: str, expected: str) -> None:
    old, new = map(contents, folders)
    changes: dict[str, dict[str, bytes | None]] = {
        "the weights of another commit": {"model.safetensors": new["model.safetensors"]},
        "the config of another commit": {"config.json": new["config.json"]},
        "no config.json": {"config.json": None},
        "no weights": {"model.safetensors": None},
        "a card without a licence": {"README.md": b"# Toy\n"},
        "no card": {"README.md": None},
    }
    good = hub.create(REPO, old)
    bad = hub.commit(REPO, changes[what])
    for call in (lambda: arzoo.load(REPO), lambda: arzoo.pull(REPO), lambda: arzoo.load(REPO)):
        check(outcome(call), expected, bad)
    assert same(arzoo.from_pretrained(REPO, revision=good), model(0))
    hub.commit(REPO, dict(new))
    assert same(arzoo.load(REPO), model(1))
    if expected == RIGHT:
        assert same(arzoo.from_pretrained(REPO, revision=bad, local_files_only=True), model(0))


@pytest.mark.parametrize(("what", "offline", "online"), CACHES)
def test_load_from_a_broken_cache(
    hub: Hub, folders: list[Path], tmp_path: Path, what: str, offline: str, online: str
) -> None:
    commit = hub.create(REPO, contents(folders[0]))
    folder = arzoo.pull(REPO)
    other = arzoo.pull(REPO, revision=hub.commit(REPO, dict(contents(folders[1])), revision="main"))
    hub.commit(REPO, dict(contents(folders[0])))
    repository = folder.parent.parent
    assert repository.is_relative_to(tmp_path)
    name, _, damage = what.partition(" ")
    file = folder / {"config.json": "config.json", "config": "config.json"}.get(name, "model.safetensors")
    blob, data = file.resolve(), file.read_bytes()
    half = len(data) // 2
    if damage in ("flipped", "cut", "empty"):
        flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
        blob.write_bytes({"flipped": flipped, "cut": data[:half], "empty": b""}[damage])
    elif what == "snapshot gone":
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    elif damage == "gone":
        blob.unlink()
    elif damage == "of another commit":
        link = (other / file.name).readlink()
        file.unlink()
        file.symlink_to(link)
    elif what == "half a download":
        blob.with_name(f"{blob.name}.01234567.incomplete").write_bytes(data[:half])
    else:
        (repository / "refs" / "main").write_text("0" * 40)
    before = hub.history(REPO)
    for _ in range(2):
        found = outcome(
            lambda: check_model(arzoo.from_pretrained(REPO, revision=commit, local_files_only=True), model(0))
        )
        check(found, offline, commit)
    check(outcome(lambda: check_model(arzoo.from_pretrained(REPO, revision=commit), model(0))), online, commit)
    check_model(arzoo.load(REPO), model(0))
    check_model(arzoo.from_pretrained(REPO, local_files_only=True), model(0))
    assert hub.history(REPO) == before


def check_model(found: arzoo.Model, expected: arzoo.Model) -> None:
    assert same(found, expected)


# ---- to the Hub


@pytest.fixture
def xet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Uploads by Xet, whose client is quick to lose patience."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2")
    abort_xet_session()  # it has read its environment
    yield
    abort_xet_session()


@pytest.mark.parametrize(("fault", "step", "times", "expected"), PUSHES)
def test_push(
    hub: Hub, folders: list[Path], waits: list[float], fault: str, step: str, times: int, expected: str
) -> None:
    push_through(hub, folders, waits, fault, step, times, expected)


@pytest.mark.parametrize(("fault", "step", "times", "expected"), XET_PUSHES)
def test_push_by_xet(
    hub: Hub, folders: list[Path], waits: list[float], xet: None, fault: str, step: str, times: int, expected: str
) -> None:
    push_through(hub, folders, waits, fault, step, times, expected)
    if expected == RIGHT:
        assert hub.asked("*/xet-write-token/*") and not hub.asked("*/lfs/*")


def push_through(
    hub: Hub, folders: list[Path], waits: list[float], fault: str, step: str, times: int, expected: str
) -> None:
    """Pushes once with the fault and once without; the Hub must have one commit more, with the whole checkpoint."""
    names = ("README.md", "config.json", "model.safetensors")
    revision, tag = ("exp" if step == "branch" else "main"), ("v1" if step == "tag" else None)
    options: dict[str, Any] = {"revision": revision, "tag": tag}
    if step != "create":
        hub.create(REPO, {**contents(folders[0]), "theirs.txt": b"0"})
    before = hub.history(REPO) if hub.exists(REPO) else []
    plant(hub, fault, step, times)
    started = time.perf_counter()

    def push() -> arzoo.hub.Push:
        """On top of whatever the Hub has now."""
        head = hub.head(REPO, revision if revision in hub.refs(REPO) else "main") if before else None
        return arzoo.push(folders[1], REPO, **options, parent_commit=head)

    found = outcome(push)
    assert step != "look" or (time.perf_counter() - started < 3 and not waits)
    assert sum(waits) < 60
    mend(hub)
    check(found, expected, before[0] if before else "")
    rivals = 1 if fault == "rival" else 0

    def commits() -> int:
        """How many of ours there are; each is whole."""
        if not hub.exists(REPO):
            return 0
        head = revision if revision in hub.refs(REPO) else "main"
        there = hub.files(REPO, head)
        count = len(hub.history(REPO, head)) - max(len(before), 1) - rivals
        wanted = contents(folders[1]) if count else contents(folders[0]) if before else {}
        assert {name: there[name] for name in names if name in there} == wanted
        assert hub.history(REPO, head)[len(hub.history(REPO, head)) - len(before) :] == before
        return count

    assert commits() == 1 if found == RIGHT else commits() in (0, 1)
    assert commits() == 0 or (step in ("commit", "tag") or found == RIGHT)
    assert push().commit is not None or commits() == 1
    assert commits() == 1
    assert tag is None or hub.refs(REPO)["refs/tags/v1"] == hub.head(REPO)
    assert not before or hub.file(REPO, "theirs.txt") == (b"1" if rivals else b"0")
    assert same(arzoo.from_pretrained(REPO, revision=revision), model(1))


def test_a_card_without_a_licence_is_not_pushed(hub: Hub, folders: list[Path]) -> None:
    (folders[0] / "README.md").write_text("# Toy\n")
    with pytest.raises(ValueError, match=r"README\.md names no licence; choose one: arzoo card"):
        arzoo.push(folders[0], REPO)
    assert hub.requests == [] and not hub.exists(REPO)


# ---- at random


def test_no_damage_of_a_cached_checkpoint_is_accepted(hub: Hub, folders: list[Path], tmp_path: Path) -> None:
    path = Path(__file__).parent.parent / "scripts" / "soak_corruption.py"
    spec = importlib.util.spec_from_file_location("soak_corruption", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    commit = hub.create(REPO, contents(folders[0]))
    arzoo.pull(REPO)
    found = list(script.damages(tmp_path / "hub", REPO, commit, 300, seed=0))
    assert len({(damage.file, damage.kind) for damage in found}) >= 10
    assert not [damage for damage in found if damage.accepted]
