"""To the Hub and from it, on the command line."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_zoo
from hub_server import Hub
from toy_zoo import toy
from typer.testing import CliRunner

import arzoo
from arzoo import cli
from arzoo.card import write_card

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return toy_zoo.write_pushable(tmp_path / "toy")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, arguments)


def output(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_push_and_pull_on_the_command_line(hub: Hub, folder: Path, tmp_path: Path) -> None:
    names = ["README.md", "config.json", "model.safetensors"]
    told = output("push", str(folder), "ann/toy", "--dry-run")
    assert re.search(r"^model\.safetensors +\d+\.\d KiB +new *$", told, re.MULTILINE)
    assert "\nlicense: mit\n" in told and told.endswith(
        f"it would make the private repository {hub.url}/ann/toy, branch main\n"
    )
    assert not hub.exists("ann/toy")
    told = output("push", str(folder), "ann/toy", "--tag", "v1", "--message", "First")
    head = hub.head("ann/toy")
    assert (
        told.endswith(f"\npushed to {hub.url}/ann/toy, commit {head} of branch main, tagged v1\n")
        and "license" not in told
    )
    assert (folder / ".arzoo-hub").is_file() and set(hub.files("ann/toy")) == {".gitattributes", *names}
    assert "no commit was needed" in output("push", str(folder), "ann/toy")
    done = json.loads(output("push", str(folder), "ann/toy", "--json"))
    assert (done["commit"], done["dry_run"], done["files"][0]["change"]) == (None, False, "same")
    with open(folder / "README.md", "a") as card:
        card.write("By hand.\n")
    told = output("push", str(folder), "ann/toy", "--dry-run")
    assert "\nBy hand.\n" in told and "\n+By hand.\n" in told and "it would go to" in told
    told = output("push", str(folder), "ann/toy")
    assert "\n+By hand.\n" in told and "license" not in told
    write_card(folder, name="zoo/toy")
    output("push", str(folder), "zoo/toy", "--public", "--revision", "exp")
    assert not hub.is_private("zoo/toy") and "config.json" in hub.files("zoo/toy", "exp")
    write_card(folder, name="ann/toy")
    (folder / "metrics.json").write_text("{}")
    assert output("push", str(folder), "ann/toy", "--pr").splitlines()[-1].startswith(f"proposed in {hub.url}")
    told = output("pull", "ann/toy", "--revision", "v1", "-o", str(tmp_path / "copy"))
    assert told.endswith(f"ann/toy at commit {head} is whole, in {tmp_path / 'copy'}\n")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [".arzoo-hub", *names]
    assert all((tmp_path / "copy" / name).read_bytes() == hub.file("ann/toy", name, "v1") for name in names)
    assert not any(path.is_symlink() for path in (tmp_path / "copy").iterdir())
    facts = json.loads(output("pull", "ann/toy", "--json"))
    assert facts["commit"] == hub.head("ann/toy") and sorted(facts["files"]) == names
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
    head = hub.create("ann/toy", {"README.md": evil})
    hub.commit("ann/toy", {"theirs.txt": b""}, message="\x1b]0;owned\x07", author="\x1b[31meve")
    push = ["push", str(folder), "ann/toy"]
    assert not set(run(*push).output) & {"\x1b", "\x07"} and hub.head("ann/toy") in run(*push).stderr
    for arguments in (["list", "--hub"], [*push, "--dry-run", "--replace", hub.head("ann/toy")]):
        assert not set(output(*arguments)) & {"\x1b", "\x07"}
    assert head in hub.history("ann/toy")


def test_what_somebody_pushed_meanwhile_is_replaced_on_demand(hub: Hub, folder: Path) -> None:
    output("push", str(folder), "ann/toy")
    head = hub.commit("ann/toy", {"README.md": b"Theirs.\n"}, message="Mend it", author="bob")
    with open(folder / "README.md", "a") as card:
        card.write("By hand.\n")
    result = run("push", str(folder), "ann/toy")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        f"error: bob pushed 'Mend it' to ann/toy, commit {head} of main, which {folder} was"
    )
    assert result.stderr.endswith(f"--replace {head} (parent_commit= in Python)\n")
    result = run("push", str(folder), "ann/toy", "--replace", head[:7])
    assert (result.exit_code, result.stderr) == (1, f"error: '{head[:7]}' is no commit; write all of its 40 digits\n")
    assert "\n-Theirs.\n" in output("push", str(folder), "ann/toy", "--replace", head)
    assert hub.history("ann/toy")[1] == head


def test_a_short_name_is_one_of_the_organisation(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toy_zoo.write_pushable(tmp_path / "toy", "zoo/toy")
    assert "'toy' is no repository of the Hub" in run("push", str(folder), "toy").stderr
    monkeypatch.setenv("ARZOO_ORGANISATION", "zoo")
    output("push", str(folder), "toy")
    assert hub.exists("zoo/toy")
    assert json.loads(output("pull", "toy", "--json"))["repository"] == "zoo/toy"


def test_a_dry_run_says_what_the_token_may_not_do(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    result = run("push", str(folder), "ann/toy", "--dry-run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: the token is that of bob, who may not push to {hub.url}/ann; log in")


def test_the_recipe_of_a_repository_trains_under_its_name(hub: Hub, checkpoint: Path) -> None:
    """What the card says: `arzoo train ORGANISATION/NAME` trains it again."""
    write_card(checkpoint)
    arzoo.push(checkpoint, "ann/nade-coins")
    assert arzoo.load_recipe("ann/nade-coins") == arzoo.load_recipe(checkpoint / "recipe.toml")
    output("train", "ann/nade-coins")
    assert arzoo.load("./nade-coins").config == arzoo.load(checkpoint).config
