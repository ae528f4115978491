"""To the Hub: one commit with what differs, on top of what was looked at."""

import importlib
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_zoo
from hub_server import Hub
from huggingface_hub import close_session, constants
from toy_zoo import toy

import arzoo
from arzoo.card import write_card
from arzoo.hub import Push

tqdm = importlib.import_module("huggingface_hub.utils.tqdm")  # the package has a class of this name

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint that may be pushed, with a file that may not."""
    return toy_zoo.write_pushable(tmp_path / "toy")


def state(hub: Hub) -> dict[str, Any]:
    """All that the Hub has of ann/toy, and what was asked of it that changes something."""
    changing = [request for request in hub.requests if request.method not in ("GET", "HEAD")]
    if not hub.exists("ann/toy"):
        return {"requests": changing}
    refs = hub.refs("ann/toy")
    return {"requests": changing, "refs": refs, "files": {ref: hub.files("ann/toy", ref) for ref in refs.values()}}


def changes(pushed: Push) -> dict[str, str]:
    return {file.name: file.change for file in pushed.files}


# ---- one commit


def test_a_push_is_one_commit_and_the_next_is_none(hub: Hub, folder: Path) -> None:
    pushed = arzoo.push(folder, "ann/toy", message="Say so")
    names = ["config.json", "model.safetensors", "README.md"]
    assert changes(pushed) == dict.fromkeys(names, "new")
    assert (pushed.is_new_repository, pushed.url, pushed.pull_request) == (True, f"{hub.url}/ann/toy", None)
    first, *_ = history = hub.history("ann/toy")
    assert (pushed.commit, len(history)) == (first, 2)  # the Hub itself makes the first
    there = hub.files("ann/toy")
    assert {name: there[name] for name in names} == {name: (folder / name).read_bytes() for name in names}
    assert set(there) == {*names, ".gitattributes"}
    again = arzoo.push(folder, "ann/toy")
    assert (again.commit, changes(again), again.card_diff) == (None, dict.fromkeys(names, "same"), "")
    assert not again.is_new_repository
    assert hub.history("ann/toy") == history


def test_only_what_differs_is_sent_and_what_is_gone_is_removed(hub: Hub, folder: Path) -> None:
    (folder / "curve.png").write_bytes(b"\x89PNG\0")
    arzoo.push(folder, "ann/toy")
    hub.commit("ann/toy", {"theirs.txt": b"stays"})
    head, count = hub.head("ann/toy"), len(hub.history("ann/toy"))
    (folder / "curve.png").unlink()
    (folder / "metrics.json").write_text("{}")
    with open(folder / "README.md", "a") as card:
        card.write("\nBy hand.\n")
    hub.requests.clear()
    pushed = arzoo.push(folder, "ann/toy", parent_commit=head)
    assert changes(pushed) == {
        "config.json": "same",
        "model.safetensors": "same",
        "README.md": "changed",
        "metrics.json": "new",
        "curve.png": "removed",
    }
    assert pushed.card_diff.endswith("+\n+By hand.") and "By hand" not in repr(pushed)
    assert hub.history("ann/toy")[1] == head and len(hub.history("ann/toy")) == count + 1
    there = hub.files("ann/toy")
    assert there["theirs.txt"] == b"stays" and there["metrics.json"] == b"{}" and "curve.png" not in there
    assert not hub.asked("*/lfs/*")


@pytest.mark.parametrize("is_new", [True, False])
def test_a_dry_run_changes_nothing(hub: Hub, folder: Path, is_new: bool) -> None:
    if not is_new:
        hub.create("ann/toy", {"README.md": b"Old.\n", "curve.png": b"x"})
    before = state(hub)
    told = arzoo.push(folder, "ann/toy", dry_run=True, tag="v1", revision="exp")
    with nullcontext() if is_new else pytest.warns(UserWarning, match=r"curve\.png of ann/toy would be removed"):
        toy().push_to_hub("ann/toy", license="mit", dry_run=True, parent_commit=None if is_new else hub.head("ann/toy"))
    assert state(hub) == before
    assert (told.commit, told.is_new_repository) == (None, is_new)
    assert changes(told)["config.json"] == "new"
    assert ("-Old." in told.card_diff, "+license: mit" in told.card_diff) == (not is_new, True)
    assert changes(told).get("curve.png") == (None if is_new else "removed")


def test_a_new_repository_is_private_and_an_old_one_stays_as_it_is(hub: Hub, folder: Path) -> None:
    arzoo.push(folder, "ann/toy")
    assert hub.is_private("ann/toy")
    arzoo.push(folder, "ann/toy", private=False, message="Again")
    assert hub.is_private("ann/toy")
    write_card(folder, name="zoo/open")
    arzoo.push(folder, "zoo/open", private=False)
    assert not hub.is_private("zoo/open")
    (folder / "metrics.json").write_text("{}")
    arzoo.push(folder, "zoo/open")
    assert not hub.is_private("zoo/open")


# ---- branches, tags, pull requests


def test_a_branch_begins_at_main(hub: Hub, folder: Path) -> None:
    arzoo.push(folder, "ann/toy")
    main = hub.head("ann/toy")
    assert arzoo.push(folder, "ann/toy", revision="exp/one").commit is None
    assert hub.head("ann/toy", "exp/one") == main
    (folder / "metrics.json").write_text("{}")
    pushed = arzoo.push(folder, "ann/toy", revision="exp/one")
    assert changes(pushed)["metrics.json"] == "new"
    assert hub.history("ann/toy", "exp/one")[:2] == [pushed.commit, main]
    assert hub.head("ann/toy") == main
    assert arzoo.push(folder, "ann/toy", revision="exp/two").commit == hub.head("ann/toy", "exp/two")
    write_card(folder, name="ann/fresh")
    assert arzoo.push(folder, "ann/fresh", revision="exp").commit == hub.head("ann/fresh", "exp")


def test_a_tag_names_the_commit_and_is_never_moved(hub: Hub, folder: Path) -> None:
    first = arzoo.push(folder, "ann/toy", tag="v1").commit
    assert hub.refs("ann/toy")["refs/tags/v1"] == first
    arzoo.push(folder, "ann/toy", tag="v1")
    arzoo.push(folder, "ann/toy", tag="v1.0")
    assert hub.refs("ann/toy")["refs/tags/v1.0"] == first
    (folder / "metrics.json").write_text("{}")
    before = hub.history("ann/toy")
    with pytest.raises(FileExistsError, match=f"the tag 'v1' of ann/toy names commit {first}; nothing was pushed"):
        arzoo.push(folder, "ann/toy", tag="v1")
    assert hub.history("ann/toy") == before
    second = arzoo.push(folder, "ann/toy", tag="v2").commit
    assert hub.refs("ann/toy")["refs/tags/v2"] == second != first


def test_a_pull_request_leaves_the_branch(hub: Hub, folder: Path) -> None:
    head = hub.create("zoo/toy", {"README.md": b"Old.\n"})
    write_card(folder, name="zoo/toy")
    pushed = arzoo.push(folder, "zoo/toy", create_pr=True, token="hf_bob")
    assert pushed.pull_request is not None and pushed.pull_request.startswith(hub.url)
    assert hub.head("zoo/toy") == head
    assert hub.head("zoo/toy", "refs/pr/1") == pushed.commit
    with pytest.raises(ValueError, match="a pull request cannot be tagged"):
        arzoo.push(folder, "zoo/toy", create_pr=True, tag="v1")
    write_card(folder, name="ann/none")
    with pytest.raises(LookupError, match="there is no main of ann/none to make a pull request to"):
        arzoo.push(folder, "ann/none", create_pr=True)


# ---- what goes wrong


@pytest.mark.parametrize("through", ["push", "push_to_hub"])
def test_a_branch_that_went_on_is_refused(hub: Hub, folder: Path, through: str) -> None:
    head = hub.create("ann/toy", {"README.md": b"---\nlicense: mit\n---\n"})

    def meanwhile() -> None:
        hub.commit("ann/toy", {"theirs.txt": b"1"}, message="Mend it", author="bob")

    if through == "push":
        hub.before("*/preupload/*", meanwhile)
    else:
        hub.before("*/README.md", meanwhile, method="GET")
    with pytest.raises(ValueError, match=r"bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed; .* again"):
        arzoo.push(folder, "ann/toy", parent_commit=head) if through == "push" else toy().push_to_hub("ann/toy")
    assert set(hub.files("ann/toy")) == {".gitattributes", "README.md", "theirs.txt"}
    assert toy().push_to_hub("ann/toy").commit == hub.head("ann/toy")


@pytest.mark.parametrize("through", ["push", "push_to_hub"])
def test_a_repository_that_somebody_made_meanwhile_is_theirs(hub: Hub, folder: Path, through: str) -> None:
    hub.before("/api/repos/create", lambda: hub.create("ann/toy", {"README.md": b"Theirs.\n"}))
    with pytest.raises(ValueError, match=r"pushed .* to ann/toy meanwhile, so nothing was pushed"):
        arzoo.push(folder, "ann/toy") if through == "push" else toy().push_to_hub("ann/toy", license="mit")
    assert hub.file("ann/toy", "README.md") == b"Theirs.\n"


def test_a_repository_that_is_made_but_not_seen_is_told(hub: Hub, folder: Path) -> None:
    hub.fault("status", "/api/models/ann/toy*", method="GET", times=2, status=404, code="RepoNotFound")
    with pytest.raises(PermissionError, match=r"ann/toy is on http.*, but not for this token; log in: hf auth login"):
        arzoo.push(folder, "ann/toy")
    assert hub.exists("ann/toy") and not hub.asked("*/commit/*")


def test_a_hub_without_xet_needs_a_switch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub(xet=False) as hub:
        hub.add_user("ann", "hf_ann")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
        with pytest.raises(ConnectionError, match=r"files of ann/toy did not pass whole .*; .* HF_HUB_DISABLE_XET=1$"):
            arzoo.push(folder, "ann/toy", token="hf_ann")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        assert arzoo.push(folder, "ann/toy", token="hf_ann").commit == hub.head("ann/toy")
    close_session()


@pytest.mark.parametrize("xet", [False, True])
def test_no_bars_are_printed_into_a_log(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], xet: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not xet)
    for module in (constants, tqdm):
        monkeypatch.setattr(module, "HF_HUB_DISABLE_PROGRESS_BARS", None)
    arzoo.push(folder, "ann/toy")
    assert bool(hub.asked("*/xet-write-token/*")) == xet
    assert capfd.readouterr() == ("", "")
    assert not tqdm.are_progress_bars_disabled()  # for others


def test_who_may_not_push_is_told(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.create("ann/toy", private=True)
    other = toy_zoo.write_pushable(tmp_path / "other", "ann/new")
    for pushed, repo_id, token, kind, reason in (
        (folder, "ann/toy", "hf_bob", PermissionError, "forbids that for ann/toy"),
        (other, "ann/new", "hf_bob", PermissionError, "forbids that for ann/new"),
        (folder, "ann/toy", "hf_no", PermissionError, "does not take the token"),
        (folder, "ann/toy", False, PermissionError, "there is no token for http.*/ann/toy; log in: hf auth login"),
    ):
        with pytest.raises(kind, match=reason):
            arzoo.push(pushed, repo_id, token=token)
    assert not hub.exists("ann/new")


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        (lambda folder: (folder / "README.md").unlink(), FileNotFoundError, r"has no README\.md; write it: arzoo card"),
        (lambda folder: (folder / "README.md").write_text("# Toy\n"), ValueError, "names no licence; choose one"),
        (lambda folder: (folder / "README.md").write_text("---\na: [\n---\n"), ValueError, "is no YAML"),
        (lambda folder: toy(1).save_pretrained(folder), ValueError, r"README\.md speaks of other weights"),
        (
            lambda folder: (folder / "README.md").write_text(
                (folder / "README.md").read_text().replace("\ntags:\n", "\ntags:\n- best\n").replace("- nade\n", "")
            ),
            ValueError,
            r"README\.md does not say what its files say; bring it up to date: arzoo card",
        ),
        (
            lambda folder: write_card(folder.rename(folder.with_name("t")), "mit", name="t") and folder.symlink_to("t"),
            ValueError,
            r"README\.md loads 't', which only you have: arzoo card .* --name ann/toy",
        ),
        (
            lambda folder: write_card(folder, name="zoo/toy"),
            ValueError,
            r"README\.md loads 'zoo/toy', not 'ann/toy'; change that: arzoo card .* --name ann/toy",
        ),
        (lambda folder: (folder / "config.json").unlink(), FileNotFoundError, r"it has no config\.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), FileNotFoundError, r"it has no model\.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), ValueError, "has 1 bytes"),
        (shutil.rmtree, FileNotFoundError, "is no checkpoint"),
    ],
)
def test_a_folder_that_is_not_whole_is_not_pushed(
    hub: Hub, folder: Path, change: Callable[[Path], object], kind: type[Exception], reason: str
) -> None:
    change(folder)
    with pytest.raises(kind, match=reason):
        arzoo.push(folder, "ann/toy")
    assert hub.requests == []


def test_what_people_write_names_no_repository(hub: Hub, folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(
        card.read_text().replace(
            "<!-- arzoo:begin intro", '```\nmodel = arzoo.load("zoo/other")\n```\n\n<!-- arzoo:begin intro', 1
        )
    )
    assert arzoo.push(folder, "ann/toy").commit == hub.head("ann/toy")


@pytest.mark.parametrize(
    "options", [{"repo_id": "toy"}, {"revision": "a..b"}, {"revision": "0" * 40}, {"tag": "a b"}, {"tag": "f" * 40}]
)
def test_a_name_that_is_none_is_not_pushed(hub: Hub, folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no repository of the Hub|is no branch, tag or commit|is a commit"):
        arzoo.push(folder, **{"repo_id": "ann/toy", **options})
    assert hub.requests == []


# ---- models


def test_a_model_is_pushed_with_a_card_that_keeps_what_people_wrote(hub: Hub) -> None:
    toy().push_to_hub("ann/toy", license="mit")
    card = hub.file("ann/toy", "README.md").decode()
    assert 'arzoo.load("ann/toy")' in card
    hub.commit(
        "ann/toy", {"README.md": card.replace("license: mit", "license: mit\nlanguage: tlh").encode() + b"By hand.\n"}
    )
    pushed = toy(1).push_to_hub("ann/toy", parent_commit=hub.head("ann/toy"))
    after = hub.file("ann/toy", "README.md").decode()
    assert "language: tlh" in after and after.endswith("By hand.\n")
    sha256 = json.loads(hub.file("ann/toy", "config.json"))["weights"]["sha256"]
    assert sha256 in after and sha256 not in card
    assert changes(pushed) == {name: "changed" for name in ("config.json", "model.safetensors", "README.md")}
    with pytest.raises(ValueError, match=r"the card of ann/new cannot be written: .*no licence is known"):
        toy().push_to_hub("ann/new")
    assert not hub.exists("ann/new")


def test_what_speaks_of_the_weights_stays_or_goes_with_them(hub: Hub, checkpoint: Path) -> None:
    toy_zoo.measure(checkpoint)
    write_card(checkpoint, name="ann/toy")
    arzoo.push(checkpoint, "ann/toy")
    model = arzoo.load("ann/toy")
    assert model.push_to_hub("ann/toy").commit is None
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.warns(UserWarning, match=r"recipe\.toml, metrics\.json of ann/toy were removed, being of"):
        pushed = model.push_to_hub("ann/toy", license="cc-by-sa-3.0")
    gone = {name for name, change in changes(pushed).items() if change == "removed"}
    assert gone == {"recipe.toml", "metrics.json"}
    assert "recipe.toml" not in hub.file("ann/toy", "README.md").decode()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_was_loaded_is_pushed_as_it_is(hub: Hub, checkpoint: Path, dtype: torch.dtype) -> None:
    arzoo.load(checkpoint).save_pretrained(checkpoint, dtype)
    toy_zoo.measure(checkpoint)
    (checkpoint / "curve.png").write_bytes(b"\x89PNG")
    write_card(checkpoint, name="ann/toy")
    arzoo.push(checkpoint, "ann/toy")
    model = arzoo.load("ann/toy")
    assert set(changes(model.push_to_hub("ann/toy")).values()) == {"same"}
    assert len(changes(model.push_to_hub("ann/toy", dtype=dtype, dry_run=True))) == 6
    other = torch.float32 if dtype == torch.bfloat16 else torch.bfloat16
    pushed = model.push_to_hub("ann/toy", dtype=other)
    assert {name: change for name, change in changes(pushed).items() if change != "same"} == {
        name: "changed" for name in ("config.json", "model.safetensors", "README.md")
    }
    assert json.loads(hub.file("ann/toy", "config.json"))["weights"]["dtype"] == str(other).split(".")[1]


def test_a_model_is_stored_in_the_dtype_that_is_asked_for(hub: Hub, tmp_path: Path) -> None:
    def dtype_of(config: bytes) -> str:
        return str(json.loads(config)["weights"]["dtype"])

    toy().save_pretrained(tmp_path / "toy", torch.bfloat16)
    assert dtype_of((tmp_path / "toy" / "config.json").read_bytes()) == "bfloat16"
    toy().push_to_hub("ann/toy", license="mit", dtype=torch.bfloat16)
    assert dtype_of(hub.file("ann/toy", "config.json")) == "bfloat16"
    toy(1).push_to_hub("ann/toy", parent_commit=hub.head("ann/toy"))  # other weights
    assert dtype_of(hub.file("ann/toy", "config.json")) == "float32"
    with pytest.raises(ValueError, match=r"stored as torch\.float32 or torch\.bfloat16, got torch\.float16"):
        toy().push_to_hub("ann/toy", dtype=torch.float16)
