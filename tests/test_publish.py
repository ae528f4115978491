"""scripts/publish.py: all checkpoints to an organisation, each once, none over what somebody pushed there."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import toy_zoo
from hub_server import Hub

# What huggingface_hub itself does wrong when it uploads without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")


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
        toy_zoo.write_pushable(tmp_path / "cards" / f"nade-toy{seed}", f"zoo/nade-toy{seed}", seed)

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["publish.py", *arguments])
        with pytest.raises(SystemExit) as caught:
            module.main()
        assert isinstance(caught.value.code, int), caught.value.code
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


def test_what_went_on_is_left_alone_until_it_may_be_replaced(
    hub: Hub, publish: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    publish("zoo")
    head = hub.commit("zoo/nade-toy1", {"README.md": b"Theirs.\n"}, message="Mend it", author="bob")
    for seed in range(2):
        (tmp_path / "cards" / f"nade-toy{seed}" / "curve.png").write_bytes(b"\x89PNG")
    capsys.readouterr()
    for option in ("--dry-run", "--public"):
        assert publish("zoo", option) == 1
        out = capsys.readouterr().out
        assert f"\nnade-toy1: went on, bob pushed 'Mend it' to zoo/nade-toy1, commit {head} of main, which" in out
        assert re.search(r"\n1 (to be )?pushed, 1 went on, 1 unchanged\n$", out)
    assert hub.head("zoo/nade-toy1") == head
    assert publish("zoo", "--replace", "0" * 40, "--replace", head) == 0
    assert capsys.readouterr().out.endswith("\n2 unchanged, 1 pushed\n")
    assert hub.history("zoo/nade-toy1")[1] == head and "curve.png" in hub.files("zoo/nade-toy1")
    assert publish("zoo", "--replace", head[:7]) == 2
    assert "write all 40 digits" in capsys.readouterr().err


def test_an_interrupted_run_is_gone_on_with(
    hub: Hub, publish: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed before the folder could remember what was pushed."""
    publish("zoo")
    for memory in tmp_path.glob("cards/*/.arzoo-hub"):
        memory.unlink()
    hub.delete("zoo/nade-toy2")
    capsys.readouterr()
    assert publish("zoo") == 0
    assert capsys.readouterr().out.endswith("\n2 unchanged, 1 pushed\n")


def test_a_dry_run_asks_once_what_the_token_may_do(
    hub: Hub, publish: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publish("zoo", "--dry-run") == 0
    assert len(hub.asked("/api/whoami-v2")) == 1
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    with pytest.raises(AssertionError, match=r"may not push to http.*/zoo"):
        publish("zoo", "--dry-run")
    assert not [request for request in hub.requests if request.method not in ("GET", "HEAD")]
