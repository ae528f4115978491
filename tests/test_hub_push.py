"""To the Hub: one commit with what differs, on top of what was looked at; and on the command line."""

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import toy_zoo
from hub_server import Hub
from typer.testing import CliRunner

import arzoo
from arzoo import cli
from arzoo.card import write_card
from arzoo.hub import Push

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


def toy(seed: int = 0) -> arzoo.Model:
    torch.manual_seed(seed)
    return arzoo.create_model("nade", {"event_shape": (5,), "hidden_size": 3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint that may be pushed, with a file that may not."""
    folder = tmp_path / "toy"
    toy().save_pretrained(folder)
    write_card(folder, "mit", name="ann/toy")
    (folder / "notes.txt").write_text("private")
    return folder


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
    pushed = arzoo.push(folder, "ann/toy")
    assert changes(pushed) == {
        "config.json": "same",
        "model.safetensors": "same",
        "README.md": "changed",
        "metrics.json": "new",
        "curve.png": "removed",
    }
    assert pushed.card_diff.endswith("+\n+By hand.")
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
    toy().push_to_hub("ann/toy", license="mit", dry_run=True)
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
    pushed = arzoo.push(folder, "zoo/toy", create_pr=True, token="hf_bob")
    assert pushed.pull_request is not None and pushed.pull_request.startswith(hub.url)
    assert hub.head("zoo/toy") == head
    assert hub.head("zoo/toy", "refs/pr/1") == pushed.commit
    with pytest.raises(LookupError, match="there is no main of ann/none to make a pull request to"):
        arzoo.push(folder, "ann/none", create_pr=True)
    with pytest.raises(ValueError, match="a pull request cannot be tagged"):
        arzoo.push(folder, "zoo/toy", create_pr=True, tag="v1")


# ---- what goes wrong


@pytest.mark.parametrize("through", ["push", "push_to_hub"])
def test_a_branch_that_went_on_is_refused(hub: Hub, folder: Path, through: str) -> None:
    hub.create("ann/toy", {"README.md": b"---\nlicense: mit\n---\n"})

    def meanwhile() -> None:
        hub.commit("ann/toy", {"theirs.txt": b"1"}, message="Mend it", author="bob")

    if through == "push":
        hub.before("*/preupload/*", meanwhile)
    else:
        hub.before("*/README.md", meanwhile, method="GET")
    with pytest.raises(ValueError, match=r"bob pushed 'Mend it' to ann/toy meanwhile, so nothing was pushed; .* again"):
        arzoo.push(folder, "ann/toy") if through == "push" else toy().push_to_hub("ann/toy")
    assert set(hub.files("ann/toy")) == {".gitattributes", "README.md", "theirs.txt"}
    assert arzoo.push(folder, "ann/toy").commit == hub.head("ann/toy")


@pytest.mark.parametrize(
    ("through", "path", "time"),
    [("push", "/api/repos/create", 1), ("push_to_hub", "/api/repos/create", 1), ("push_to_hub", "/api/models/*", 2)],
)
def test_a_repository_that_somebody_made_meanwhile_is_theirs(
    hub: Hub, folder: Path, through: str, path: str, time: int
) -> None:
    asked: list[str] = []

    def meanwhile() -> None:
        asked.append(path)
        if len(asked) == time:
            hub.create("ann/toy", {"README.md": b"Theirs.\n"})

    hub.before(path, meanwhile, times=time)
    with pytest.raises(ValueError, match=r"pushed .* to ann/toy meanwhile, so nothing was pushed"):
        arzoo.push(folder, "ann/toy") if through == "push" else toy().push_to_hub("ann/toy", license="mit")
    assert hub.file("ann/toy", "README.md") == b"Theirs.\n"


def test_a_push_without_an_answer_is_made_again(hub: Hub, folder: Path) -> None:
    hub.fault("lost", "*/commit/*")
    with pytest.raises(ConnectionError, match="cannot be reached for ann/toy"):
        arzoo.push(folder, "ann/toy")
    assert arzoo.push(folder, "ann/toy").commit is None  # it had arrived
    hub.fault("die", "*/commit/*")
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(ConnectionError, match="cannot be reached for ann/toy"):
        arzoo.push(folder, "ann/toy")
    assert arzoo.push(folder, "ann/toy").commit is not None


def test_who_may_not_push_is_told(hub: Hub, folder: Path) -> None:
    hub.create("ann/toy", private=True)
    for repo_id, token, kind, reason in (
        ("ann/toy", "hf_bob", PermissionError, "forbids that for ann/toy"),
        ("ann/new", "hf_bob", PermissionError, "forbids that for ann/new"),
        ("ann/toy", "hf_no", PermissionError, "does not take the token"),
        ("ann/toy", False, LookupError, "log in: hf auth login"),
    ):
        with pytest.raises(kind, match=reason):
            arzoo.push(folder, repo_id, token=token)
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
    pushed = toy(1).push_to_hub("ann/toy")
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
    gone = {
        name
        for name, change in changes(model.push_to_hub("ann/toy", license="cc-by-sa-3.0")).items()
        if change == "removed"
    }
    assert gone == {"recipe.toml", "metrics.json"}
    assert "recipe.toml" not in hub.file("ann/toy", "README.md").decode()


# ---- the command line


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, arguments)


def output(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_push_and_pull_on_the_command_line(hub: Hub, folder: Path, tmp_path: Path) -> None:
    told = output("push", str(folder), "ann/toy", "--dry-run")
    assert re.search(r"^model\.safetensors +\d+\.\d KiB +new *$", told, re.MULTILINE)
    assert "\nlicense: mit\n" in told and told.endswith(
        f"it would make the private repository {hub.url}/ann/toy, branch main\n"
    )
    assert not hub.exists("ann/toy")
    told = output("push", str(folder), "ann/toy", "--tag", "v1", "--message", "First")
    head = hub.head("ann/toy")
    assert told.endswith(f"\npushed to {hub.url}/ann/toy, commit {head} of main, tagged v1\n") and "license" not in told
    assert "no commit was made" in output("push", str(folder), "ann/toy")
    done = json.loads(output("push", str(folder), "ann/toy", "--json"))
    assert (done["commit"], done["dry_run"], done["files"][0]["change"]) == (None, False, "same")
    with open(folder / "README.md", "a") as card:
        card.write("By hand.\n")
    told = output("push", str(folder), "ann/toy", "--dry-run")
    assert "\nBy hand.\n" in told and "\n+By hand.\n" in told and "it would go to" in told
    output("push", str(folder), "zoo/toy", "--public", "--revision", "exp")
    assert not hub.is_private("zoo/toy") and "config.json" in hub.files("zoo/toy", "exp")
    (folder / "metrics.json").write_text("{}")
    assert output("push", str(folder), "ann/toy", "--pr").splitlines()[-1].startswith(f"proposed in {hub.url}")
    told = output("pull", "ann/toy", "--revision", "v1", "-o", str(tmp_path / "copy"))
    assert told.endswith(f"ann/toy at commit {head} is whole, in {tmp_path / 'copy'}\n")
    names = ["README.md", "config.json", "model.safetensors"]
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == names
    assert all((tmp_path / "copy" / name).read_bytes() == hub.file("ann/toy", name) for name in names)
    assert not any(path.is_symlink() for path in (tmp_path / "copy").iterdir())
    facts = json.loads(output("pull", "ann/toy", "--json"))
    assert facts["commit"] == head and sorted(facts["files"]) == names
    result = run("pull", "ann/toy", "-o", str(tmp_path / "copy"))
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: {tmp_path / 'copy'} is there already; let -o name a new folder\n",
    )


@pytest.mark.filterwarnings("always:.*is used, from the cache")
def test_a_repository_stands_where_a_checkpoint_does(hub: Hub, checkpoint: Path) -> None:
    toy_zoo.measure(checkpoint)
    write_card(checkpoint)
    arzoo.push(checkpoint, "ann/nade-coins", tag="v1")
    output("sample", "ann/nade-coins", "--revision", "v1", "-n", "2", "-o", "a.npy")
    assert np.load("a.npy").shape == (2, 1, 28, 28)
    output("sample", "ann/nade-coins", "-n", "1")
    assert Path("nade-coins.png").is_file()
    details = json.loads(output("info", "ann/nade-coins", "--json"))
    assert (details["checkpoint"]["name"], details["test"]["value"]) == ("ann/nade-coins", 543.43)
    results = json.loads(output("eval", "ann/nade-coins", "--revision", "v1", "--json"))
    assert (results["measured"]["num_examples"], results["card"]["value"]) == (5, 543.43)
    result = run("sample", "ann/nade-coins", "--revision", "v2")
    assert result.exit_code == 1 and "ann/nade-coins has no revision 'v2'; it has main, v1" in result.stderr
    hub.stop()
    result = run("sample", "ann/nade-coins", "-n", "1", "-o", "b.png")
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"warning: http.* cannot be reached .* is used, from the cache\n", result.stderr)


def test_the_hub_is_listed_on_the_command_line(hub: Hub, checkpoint: Path) -> None:
    toy_zoo.measure(checkpoint)
    write_card(checkpoint)
    arzoo.push(checkpoint, "ann/nade-coins")
    toy().push_to_hub("zoo/toy", license="mit")
    text = output("list", "--hub")
    assert re.search(
        r"^ann/nade-coins +nade +binarized_mnist +543\.43 nats +cc-by-sa-3\.0 +\d+ +private ", text, re.MULTILINE
    )
    assert re.search(rf"^zoo/toy +nade .*{hub.head('zoo/toy')}$", text, re.MULTILINE)
    found = json.loads(output("list", "--hub", "--author", "ann", "--json"))
    assert [model["name"] for model in found] == ["ann/nade-coins"]
    assert "no such model" in output("list", "--hub", "--family", "made")
    assert "zoo/toy" not in output("list", "--hub", "--dataset", "binarized_mnist")
    assert run("list", "--author", "ann").exit_code == 2


def test_what_others_wrote_does_nothing_to_a_terminal(hub: Hub, folder: Path) -> None:
    evil = b'---\nlicense: "m\\e[31mit"\nlibrary_name: arzoo\n---\n\x1b]0;owned\x07\n'
    hub.create("ann/toy", {"README.md": evil})
    for arguments in (["list", "--hub"], ["push", str(folder), "ann/toy", "--dry-run"]):
        assert not set(output(*arguments)) & {"\x1b", "\x07"}


# ---- the zoo


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs scripts/publish.py on a folder of checkpoints; returns its exit code."""
    path = Path(__file__).parent.parent / "scripts" / "publish.py"
    spec = importlib.util.spec_from_file_location("publish", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path / "cards")
    for seed in range(3):
        toy(seed).save_pretrained(tmp_path / "cards" / f"nade-toy{seed}")
        write_card(tmp_path / "cards" / f"nade-toy{seed}", "mit", name=f"zoo/nade-toy{seed}")

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["publish.py", *arguments])
        with pytest.raises(SystemExit) as caught:
            module.main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return run


def test_the_zoo_is_published_once(hub: Hub, publish: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert publish("zoo", "--dry-run") == 0
    assert capsys.readouterr().out.endswith("\n3 to be pushed\n") and not hub.exists("zoo/nade-toy0")
    assert publish("zoo", "--public") == 0
    assert capsys.readouterr().out.endswith("\n3 pushed\n")
    assert not hub.is_private("zoo/nade-toy2")
    heads = [hub.history(f"zoo/nade-toy{seed}") for seed in range(3)]
    assert publish("zoo") == 0
    assert capsys.readouterr().out.endswith("\n3 unchanged\n")
    assert [hub.history(f"zoo/nade-toy{seed}") for seed in range(3)] == heads


def test_one_failure_does_not_stop_the_others_and_the_next_run_goes_on(
    hub: Hub, publish: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.fault("status", "*nade-toy1/commit/*", status=500)
    assert publish("zoo") == 1
    out = capsys.readouterr().out
    assert re.search(r"^nade-toy1: failed, .* is out of order for zoo/nade-toy1", out, re.MULTILINE)
    assert out.endswith("\n2 pushed, 1 failed\n")
    assert publish("zoo") == 0
    assert capsys.readouterr().out.endswith("\n2 unchanged, 1 pushed\n")


def test_the_recipe_of_a_repository_trains_under_its_name(hub: Hub, checkpoint: Path) -> None:
    """What the card says: `arzoo train ORGANISATION/NAME` trains it again."""
    write_card(checkpoint)
    arzoo.push(checkpoint, "ann/nade-coins")
    assert arzoo.load_recipe("ann/nade-coins") == arzoo.load_recipe(checkpoint / "recipe.toml")
    output("train", "ann/nade-coins")
    assert arzoo.load("./nade-coins").config == arzoo.load(checkpoint).config
