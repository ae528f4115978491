"""What a push may replace: what the folder was made from, what somebody named, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_zoo
from hub_server import Hub
from toy_zoo import toy
from typer.testing import CliRunner

import arzoo
from arzoo import cli
from arzoo.hub import Moved, memory, pushing

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_zoo.write_pushable(tmp_path / "toy")


@pytest.fixture
def pulled(hub: Hub, folder: Path, tmp_path: Path) -> Path:
    """What `arzoo pull -o` makes of ann/toy."""
    hub.create("ann/toy", {name: (folder / name).read_bytes() for name in arzoo.hub.FILES[:3]})
    output = tmp_path / "pulled"
    result = CliRunner().invoke(cli.app, ["pull", "ann/toy", "-o", str(output)])
    assert result.exit_code == 0, result.output
    hub.requests.clear()
    return output


def write_by_hand(folder: Path, text: str = "Mine.\n") -> None:
    with open(folder / "README.md", "a") as card:
        card.write(text)


def others_push(hub: Hub, revision: str = "main") -> str:
    card = hub.file("ann/toy", "README.md", revision) + b"Theirs.\n"
    return hub.commit("ann/toy", {"README.md": card}, revision, message="Mend it", author="bob")


def others_push_twice(hub: Hub, text: bytes) -> str:
    hub.commit("ann/toy", {"theirs.txt": b"1"}, author="bob")
    return hub.commit("ann/toy", {"README.md": hub.file("ann/toy", "README.md") + text}, author="bob")


def changing(hub: Hub) -> list[Any]:
    return [request for request in hub.requests if request.method not in ("GET", "HEAD")]


# ---- folders that are older than the Hub


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_folder_that_is_older_than_the_hub_replaces_nothing(hub: Hub, pulled: Path, dry_run: bool) -> None:
    head = others_push(hub)
    write_by_hand(pulled)
    with pytest.raises(Moved) as caught:
        arzoo.push(pulled, "ann/toy", dry_run=dry_run)
    assert str(caught.value) == (
        f"bob pushed 'Mend it' to ann/toy, commit {head} of main, which {pulled} was not made from; nothing was pushed:"
        f" pull it and look (arzoo pull ann/toy -o FOLDER), or say that it be replaced: --replace {head}"
        " (parent_commit= in Python)"
    )
    assert caught.value.commit == head
    assert hub.head("ann/toy") == head and not changing(hub)


def test_a_folder_goes_on_from_what_it_was_pulled_from_and_pushed_to(hub: Hub, pulled: Path) -> None:
    start = hub.head("ann/toy")
    for text in ("Once.\n", "Twice.\n"):
        write_by_hand(pulled, text)
        arzoo.push(pulled, "ann/toy")
    assert hub.history("ann/toy")[2] == start and hub.file("ann/toy", "README.md").endswith(b"Once.\nTwice.\n")
    assert set(hub.files("ann/toy")) == {".gitattributes", *arzoo.hub.FILES[:3]}
    assert json.loads((pulled / memory.MEMORY).read_bytes()) == {f"{hub.url}/ann/toy": {"main": hub.head("ann/toy")}}


def test_what_is_named_is_replaced_and_from_then_on_known(hub: Hub, pulled: Path) -> None:
    head = others_push(hub)
    write_by_hand(pulled)
    assert "-Theirs." in arzoo.push(pulled, "ann/toy", dry_run=True, parent_commit=head).card_diff
    arzoo.push(pulled, "ann/toy", parent_commit=head)
    write_by_hand(pulled)
    arzoo.push(pulled, "ann/toy")
    assert hub.history("ann/toy")[2] == head


def test_a_folder_that_knows_nothing_replaces_nothing(hub: Hub, folder: Path, pulled: Path) -> None:
    head = others_push(hub)
    with pytest.raises(Moved, match=f"commit {head} of main, and .*/toy does not tell whether it was made from that"):
        arzoo.push(folder, "ann/toy")
    assert not changing(hub) and not (folder / memory.MEMORY).exists()
    hub.commit("ann/toy", {"README.md": (folder / "README.md").read_bytes()})
    assert arzoo.push(folder, "ann/toy", dry_run=True).commit is None
    assert not (folder / memory.MEMORY).exists()
    assert arzoo.push(folder, "ann/toy").commit is None  # nothing differs, so this is what it is made from
    write_by_hand(folder)
    assert arzoo.push(folder, "ann/toy").commit == hub.head("ann/toy")


def test_an_empty_repository_needs_nothing(hub: Hub, folder: Path) -> None:
    hub.create("ann/toy", {"theirs.txt": b"stays"})
    assert arzoo.push(folder, "ann/toy").commit == hub.head("ann/toy")
    hub.delete("ann/toy")
    assert arzoo.push(folder, "ann/toy").is_new_repository  # whatever it remembers


def test_a_snapshot_of_the_cache_is_named_after_its_commit(hub: Hub, pulled: Path) -> None:
    snapshot = arzoo.pull("ann/toy")
    before = sorted(snapshot.iterdir())
    assert arzoo.push(snapshot, "ann/toy").commit is None
    others_push(hub)
    for options in ({}, {"create_pr": True}):
        with pytest.raises(Moved, match=f"which .*/snapshots/{snapshot.name} was not made from"):
            arzoo.push(snapshot, "ann/toy", **options)  # type: ignore[arg-type]
    assert arzoo.push(arzoo.pull("ann/toy"), "ann/toy").commit is None
    assert sorted(snapshot.iterdir()) == before


def test_a_new_branch_and_a_pull_request_replace_nothing(hub: Hub, folder: Path, pulled: Path) -> None:
    write_by_hand(folder)
    assert arzoo.push(folder, "ann/toy", create_pr=True).pull_request
    with pytest.raises(Moved):
        arzoo.push(folder, "ann/toy")
    assert arzoo.push(folder, "ann/toy", revision="exp").commit == hub.head("ann/toy", "exp")
    others_push(hub)
    write_by_hand(pulled)
    for options in ({"create_pr": True}, {"revision": "new"}):  # these would propose to undo what bob did
        with pytest.raises(Moved, match=r"commit .* of main, which .* was not made from"):
            arzoo.push(pulled, "ann/toy", **options)  # type: ignore[arg-type]


def test_a_folder_remembers_a_commit_for_each_branch(hub: Hub, pulled: Path) -> None:
    main = hub.head("ann/toy")
    write_by_hand(pulled)
    exp = arzoo.push(pulled, "ann/toy", revision="exp").commit
    others_push(hub, "exp")
    write_by_hand(pulled)
    with pytest.raises(Moved, match=r"commit .* of exp, .*arzoo pull ann/toy --revision exp -o FOLDER"):
        arzoo.push(pulled, "ann/toy", revision="exp")
    known = json.loads((pulled / memory.MEMORY).read_bytes())
    assert known == {f"{hub.url}/ann/toy": {"main": main, "exp": exp}}
    assert arzoo.push(pulled, "ann/toy").commit == hub.head("ann/toy")


# ---- what may be replaced


@pytest.mark.parametrize(
    ("commit", "kind", "reason"),
    [
        ("0123456", ValueError, "'0123456' is no commit; write all of its 40 digits"),
        ("main", ValueError, "'main' is no commit"),
        ("0" * 40, Moved, f"commit .* of main, which is not the {'0' * 40} that was to be replaced"),
    ],
)
def test_only_the_head_can_be_replaced(hub: Hub, pulled: Path, commit: str, kind: type[Exception], reason: str) -> None:
    write_by_hand(pulled)
    with pytest.raises(kind, match=reason):
        arzoo.push(pulled, "ann/toy", parent_commit=commit)
    assert not changing(hub)


def test_without_a_repository_there_is_nothing_to_replace(hub: Hub, folder: Path) -> None:
    with pytest.raises(LookupError, match="there is no ann/toy, so nothing to replace; push without"):
        arzoo.push(folder, "ann/toy", parent_commit="0" * 40)
    assert not hub.exists("ann/toy")


# ---- the folder's memory


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b'{"a": 1}', b'{"a": {"main": "0123456"}}', b'{"a": {"main": null}}'],
    ids=range(8),
)
def test_a_damaged_memory_is_refused(hub: Hub, folder: Path, damage: bytes) -> None:
    (folder / memory.MEMORY).write_bytes(damage)
    with pytest.raises(ValueError, match=r"\.arzoo-hub is damaged \(.*\); delete it, and look at what is on the Hub"):
        arzoo.push(folder, "ann/toy")
    assert hub.requests == []


def test_a_folder_that_cannot_be_written_to_is_pushed(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(memory, "replacing", refuse)
    with pytest.warns(UserWarning, match=r"\.arzoo-hub cannot be written \(Read-only file system\); to push .* again"):
        assert arzoo.push(folder, "ann/toy").commit == hub.head("ann/toy")


def test_a_push_that_somebody_made_first_is_theirs(hub: Hub, pulled: Path) -> None:
    """The client says of a commit that has become empty that it was made, and names the head."""
    write_by_hand(pulled)
    card, head = (pulled / "README.md").read_bytes(), hub.head("ann/toy")
    hub.before(
        "*/preupload/*",
        lambda: hub.commit("ann/toy", {"README.md": card, "metrics.json": b"{}"}, message="Mend it", author="bob"),
    )
    with pytest.raises(ValueError, match="bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed"):
        arzoo.push(pulled, "ann/toy", tag="v1")
    assert hub.history("ann/toy")[1] == head and "refs/tags/v1" not in hub.refs("ann/toy")
    with pytest.raises(Moved):
        arzoo.push(pulled, "ann/toy")


@pytest.mark.parametrize("fault", ["die", "status"])
def test_a_commit_that_cannot_be_looked_at_was_made_all_the_same(hub: Hub, pulled: Path, fault: Any) -> None:
    write_by_hand(pulled)
    hub.before("*/commit/*", lambda: hub.fault(fault, "*/revision/*", status=403))
    assert arzoo.push(pulled, "ann/toy", tag="v1").commit == hub.head("ann/toy") == hub.refs("ann/toy")["refs/tags/v1"]
    write_by_hand(pulled)
    assert arzoo.push(pulled, "ann/toy").commit == hub.head("ann/toy")


@pytest.mark.parametrize(("revision", "tag"), [("main", "main"), ("exp", "exp"), ("main", "dev")])
def test_a_tag_is_no_branch(hub: Hub, pulled: Path, revision: str, tag: str) -> None:
    hub.branch("ann/toy", "dev")
    write_by_hand(pulled)
    with pytest.raises((ValueError, FileExistsError), match=f"'{tag}' is a branch of ann/toy; .*choose another tag"):
        arzoo.push(pulled, "ann/toy", revision=revision, tag=tag)
    assert not changing(hub)


def test_a_folder_that_goes_on_while_it_is_pushed_is_older(
    hub: Hub, pulled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_by_hand(pulled)
    read = pushing.read_folder

    def read_and_be_overtaken(folder: Path, repo_id: str) -> dict[str, bytes]:
        contents = read(folder, repo_id)
        monkeypatch.setattr(pushing, "read_folder", read)
        write_by_hand(pulled, "And more.\n")
        arzoo.push(pulled, "ann/toy")
        return contents

    monkeypatch.setattr(pushing, "read_folder", read_and_be_overtaken)
    with pytest.raises(Moved):
        arzoo.push(pulled, "ann/toy")
    assert hub.file("ann/toy", "README.md").endswith(b"And more.\n")


def test_a_repository_with_a_readme_alone_is_to_be_looked_at(hub: Hub, folder: Path) -> None:
    head = hub.create("ann/toy", {"README.md": b"Mine.\n"})
    with pytest.raises(Moved, match=f"look at {hub.url}/ann/toy, or say that it be replaced: --replace {head}"):
        arzoo.push(folder, "ann/toy")


# ---- models


def test_a_model_goes_on_from_what_it_was_loaded_from_and_pushed_to(hub: Hub, pulled: Path) -> None:
    for load in (lambda: arzoo.load("ann/toy"), lambda: arzoo.load(pulled), lambda: toy(1)):
        model = load()
        if not model.hub_parents:
            with pytest.raises(Moved, match="of main, and the model does not tell whether it was made from that"):
                model.push_to_hub("ann/toy")
            model.push_to_hub("ann/toy", parent_commit=hub.head("ann/toy"))
        for _ in range(2):
            change(model)
            assert model.push_to_hub("ann/toy").commit == hub.head("ann/toy")
        hub.commit("ann/toy", {name: (pulled / name).read_bytes() for name in arzoo.hub.FILES[:3]})
        arzoo.push(pulled, "ann/toy")  # nothing differs, so from now on it is made from that


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_model_that_is_older_than_the_hub_replaces_nothing(hub: Hub, pulled: Path, dry_run: bool) -> None:
    models = [arzoo.load("ann/toy"), arzoo.load(pulled)]
    head = others_push(hub)
    arzoo.load("ann/toy")
    for model in models:
        change(model)
        with pytest.raises(Moved, match=f"bob pushed 'Mend it' to ann/toy, commit {head} of main, which the model was"):
            model.push_to_hub("ann/toy", dry_run=dry_run)
    assert hub.head("ann/toy") == head and not changing(hub)
    assert models[0].push_to_hub("ann/toy", parent_commit=head).commit == hub.head("ann/toy")
    assert hub.file("ann/toy", "README.md").endswith(b"Theirs.\n")


def test_a_model_loads_from_a_folder_whose_memory_is_damaged(hub: Hub, pulled: Path) -> None:
    (pulled / memory.MEMORY).write_bytes(b"{")
    model = arzoo.load(pulled)
    change(model)
    with pytest.raises(Moved, match="does not tell"):
        model.push_to_hub("ann/toy")


def change(model: arzoo.Model) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(1)


# ---- answers that are lost


def test_a_commit_whose_answer_is_lost_is_found(hub: Hub, folder: Path) -> None:
    hub.fault("lost", "*/commit/*")
    assert arzoo.push(folder, "ann/toy", tag="v1").commit == hub.refs("ann/toy")["refs/tags/v1"] == hub.head("ann/toy")
    write_by_hand(folder)
    hub.fault("lost", "*/commit/*")
    arzoo.push(folder, "ann/toy")
    write_by_hand(folder)
    arzoo.push(folder, "ann/toy")
    assert len(hub.history("ann/toy")) == 4


@pytest.mark.parametrize(
    ("meanwhile", "revisions"),
    [
        (lambda hub: hub.fault("die", "*/commit/*"), 0),
        (lambda hub: (hub.before("*/commits/*", lambda: others_push(hub)), hub.fault("lost", "*/commit/*")), 2),
        (lambda hub: (hub.before("*/preupload/*", lambda: others_push(hub)), hub.fault("lost", "*/commit/*")), 1),
        (
            lambda hub: hub.fault("lost", "*/commit/*", function=lambda: others_push_twice(hub, b"Mine.\n")),
            2,
        ),
        (lambda hub: (hub.fault("status", "*/commits/*", status=403), hub.fault("lost", "*/commit/*")), 1),
        (lambda hub: hub.before("*/commit/*", hub.stop), 0),
    ],
    ids=["not made", "something on top", "something instead", "the same instead", "not to be seen", "down"],
)
def test_a_commit_that_is_not_surely_there_is_not_reported(
    hub: Hub, pulled: Path, meanwhile: Callable[[Hub], object], revisions: int
) -> None:
    before = hub.history("ann/toy")
    write_by_hand(pulled)
    meanwhile(hub)
    with pytest.raises(ConnectionError, match="cannot be reached for ann/toy"):
        arzoo.push(pulled, "ann/toy")
    assert len(hub.history("ann/toy")) == len(before) + revisions


def test_a_pull_request_whose_answer_is_lost_is_an_error(hub: Hub, pulled: Path) -> None:
    write_by_hand(pulled)
    hub.fault("lost", "*/commit/*")
    with pytest.raises(ConnectionError, match=r"look at .*/ann/toy/discussions first, the pull request may be there"):
        arzoo.push(pulled, "ann/toy", create_pr=True)
