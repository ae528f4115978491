"""A checkpoint is whole or refused: what was saved is what is loaded, and damage is met with a reason."""

import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import arzoo
from arzoo import building, checkpoints, files, loading, registry
from arzoo.card import write_card
from arzoo.hub import pushing


@dataclass(frozen=True, kw_only=True)
class ToyConfig(arzoo.ModelConfig):
    hidden_size: int = 3


class Toy(arzoo.Model):
    """No good model, but one with all that a state may hold: tied and normed weights, views, integers, nothing."""

    family = "toy"
    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.layer = nn.Linear(config.hidden_size, config.hidden_size)
        self.tied = self.layer.weight
        self.wide = nn.Parameter(torch.randn(4, 2, 3, 3).to(memory_format=torch.channels_last))
        self.normed = weight_norm(nn.Linear(3, 4))
        self.empty = nn.Parameter(torch.zeros(0))
        self.register_buffer("order", torch.randperm(5))
        self.register_buffer("mask", torch.rand(5) < 0.5)
        self.register_buffer("view", torch.randn(6)[::2])
        self.register_buffer("fixed", torch.ones(2), persistent=False)

    @classmethod
    def tiny_configs(cls) -> Sequence[ToyConfig]:
        return [ToyConfig(event_shape=(3,))]

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        return self.layer(x.float()).sum(1) * 0

    def sample(self, num_samples: int, context: Any = None, **options: Any) -> Tensor:
        return torch.zeros(num_samples, *self.config.event_shape, dtype=torch.int64)


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [Toy]


def toy(seed: int = 0, **options: int) -> Toy:
    torch.manual_seed(seed)
    return Toy(ToyConfig(event_shape=(3,), **options))


def same(model: nn.Module, other: nn.Module) -> bool:
    state, expected = model.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, in which toy-zoo brings this module's family and the checkpoints of toy_cards."""
    info = tmp_path / "toy_zoo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-zoo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[arzoo.families]\ntoy = {__name__}\n[arzoo.checkpoints]\ntoys = toy_cards\n"
    )
    (tmp_path / "toy_cards").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    registry.installed.cache_clear()
    yield tmp_path
    registry.installed.cache_clear()


@pytest.fixture
def folder(zoo: Path) -> Path:
    folder = zoo / "toy_cards" / "toy-coins"
    loading.save_model(toy(), folder)
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def put_weights(folder: Path, data: bytes) -> None:
    """Plants other weights together with their sha256."""
    (folder / "model.safetensors").write_bytes(data)
    sizes = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    edit(folder, lambda config: config["weights"].update(sizes))


def put_state(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    from safetensors.torch import load, save

    state = load((folder / "model.safetensors").read_bytes())
    change(state)
    put_weights(folder, save(state))


def refusal(folder: Path, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        arzoo.load(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


# ---- what is saved


def test_a_model_comes_back_as_it_was(folder: Path) -> None:
    model = arzoo.load(folder)
    assert same(model, toy())
    assert type(model) is Toy
    assert model.config == toy().config
    assert not model.training
    assert model.tied is model.layer.weight
    torch.testing.assert_close(model.normed.weight, toy().normed.weight, rtol=0, atol=0)  # made of its two parts


def test_the_folder_says_what_it_is(folder: Path) -> None:
    config = checkpoints.read_config(folder)
    data = (folder / "model.safetensors").read_bytes()
    assert config == {
        "format": 1,
        "family": "toy",
        "package": "toy-zoo",
        "arzoo_version": arzoo.__version__,
        "weights": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "dtype": "float32"},
        "model": {"event_shape": [3], "num_categories": 2, "hidden_size": 3},
        "labels": {},
    }
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_labels_come_back_with_the_model(folder: Path) -> None:
    model = toy()
    model.labels = {"bit": ("off", "ön")}
    model.save_pretrained(folder)
    assert arzoo.load(folder).labels == {"bit": ("off", "ön")}


def test_saving_is_a_function_of_the_model(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    loading.save_model(toy(), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_weights_stored_in_half_are_widened(zoo: Path) -> None:
    loading.save_model(toy(), zoo / "half", torch.bfloat16)
    model, original = arzoo.load(zoo / "half"), toy()
    assert checkpoints.read_config(zoo / "half")["weights"]["dtype"] == "bfloat16"
    assert model.wide.dtype == torch.float32
    assert torch.equal(model.wide, original.wide.bfloat16().float())
    assert torch.equal(model.order, original.order)
    assert torch.equal(model.mask, original.mask)


def test_a_wrapped_model_or_another_dtype_is_refused(zoo: Path) -> None:
    model = toy()
    with pytest.raises(ValueError, match=r"the model is wrapped \(it has a weight 'module\.tied'\)"):
        loading.save_model(nn.DataParallel(model), zoo / "wrapped")  # type: ignore[arg-type]
    model.layer = torch.compile(model.layer, backend="eager")
    with pytest.raises(ValueError, match="the model is wrapped"):
        loading.save_model(model, zoo / "wrapped")
    with pytest.raises(ValueError, match=r"float32 or torch\.bfloat16, got torch\.float16"):
        loading.save_model(toy(), zoo / "wrapped", torch.float16)
    assert not (zoo / "wrapped").exists()


def test_loading_draws_nothing_from_the_global_generator(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    arzoo.load(folder)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("looks", [False, True])
def test_a_model_that_asks_for_much_is_built_without_memory_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    """Unless its constructor looks at values, which there are none of without memory."""
    built, build = [], Toy.__init__

    def watched(self: Toy, config: ToyConfig) -> None:
        build(self, config)
        built.append(self.wide.device.type)
        if looks:
            torch.ones(2).tolist()

    monkeypatch.setattr(Toy, "__init__", watched)
    assert same(arzoo.load(folder), toy())
    assert built == ["cpu", "cpu"]  # that of toy() is the second
    monkeypatch.setattr(building, "_MOST_NUMBERS", 8)
    assert same(arzoo.load(folder), toy())
    assert built[2:] == ["meta", "cpu", "cpu"]


def test_tied_tensors_are_told_from_equal_ones_on_every_device() -> None:
    for device in ("cpu", "meta"):
        tensor = torch.zeros(4, 2, device=device)
        state = {"a": tensor, "b": tensor.detach(), "c": torch.zeros(4, 2, device=device), "d": tensor[1:3]}
        state |= {"e": tensor[1:3], "f": tensor[2:4]}
        assert list(loading.distinct(state)) == ["a", "c", "d", "f"]


def test_a_family_that_no_package_has_is_saved_all_the_same(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "family", "notebook")
    loading.save_model(toy(), zoo / "mine")
    assert checkpoints.read_config(zoo / "mine")["package"] is None
    assert "no family 'notebook' is installed" in refusal(zoo / "mine", LookupError)


# ---- full disks and kills


def fail(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1, 100))

    def fsync(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_full_disk_leaves_the_old_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    with monkeypatch.context() as patch:
        fail(call, patch)
        with pytest.raises(OSError, match=r"could not be saved \(No space left on device\); a checkpoint") as caught:
            loading.save_model(toy(1), folder)
    assert caught.value.errno == errno.ENOSPC
    assert same(arzoo.load(folder), toy())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_full_disk_leaves_no_half_of_a_first_checkpoint(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fail(3, patch)
        with pytest.raises(OSError, match="No space left"):
            loading.save_model(toy(), zoo / "first")
    assert list((zoo / "first").iterdir()) == []


def test_a_kill_between_the_renames_loses_nothing(folder: Path) -> None:
    old = (folder / "config.json").read_bytes()
    loading.save_model(toy(1, hidden_size=4), folder)
    (folder / "config.json").rename(folder / "config.json.new")
    assert same(arzoo.load(folder), toy(1, hidden_size=4))  # the first save of this folder was killed
    (folder / "config.json").write_bytes(old)
    assert same(arzoo.load(folder), toy(1, hidden_size=4))  # a later one was
    loading.save_model(toy(2), folder)
    assert same(arzoo.load(folder), toy(2))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_after_a_kill_everybody_reads_the_config_of_the_weights(folder: Path) -> None:
    old = (folder / "config.json").read_bytes()
    loading.save_model(toy(1, hidden_size=4), folder, torch.bfloat16)
    new = (folder / "config.json").read_bytes()
    for left in (None, old):
        (folder / "config.json.new").write_bytes(new)
        (folder / "config.json").unlink() if left is None else (folder / "config.json").write_bytes(left)
        assert checkpoints.config_file(folder).name == "config.json.new"
        assert checkpoints.read_config(folder) == checkpoints.read_checkpoint(folder)[0] == json.loads(new)
        info = checkpoints.describe_checkpoint(folder)
        assert (info.error, info.num_bytes) == ("", (folder / "model.safetensors").stat().st_size)
        write_card(folder, "mit", name="ann/toy")
        assert json.loads(new)["weights"]["sha256"] in (folder / "README.md").read_text()
        assert pushing.read_folder(folder, "ann/toy")["config.json"] == new
    (folder / "config.json.new").write_bytes(old)  # of other weights: of no account
    (folder / "config.json").write_bytes(new)
    assert checkpoints.read_config(folder) == json.loads(new)
    assert pushing.read_folder(folder, "ann/toy")["config.json"] == new


def test_a_full_disk_after_a_kill_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = (folder / "config.json").read_bytes()
    loading.save_model(toy(1), folder)
    (folder / "config.json").rename(folder / "config.json.new")
    (folder / "config.json").write_bytes(old)
    with monkeypatch.context() as patch:
        fail(3, patch)
        with pytest.raises(OSError, match="No space left"):
            loading.save_model(toy(2), folder)
    assert same(arzoo.load(folder), toy(1))


def test_a_left_over_config_without_its_weights_is_of_no_account(folder: Path) -> None:
    for text in ('{"format": 1', (folder / "config.json").read_text().replace('"sha256": "', '"sha256": "0')):
        (folder / "config.json.new").write_text(text)
        assert same(arzoo.load(folder), toy())
    put = bytearray((folder / "model.safetensors").read_bytes())
    put[-1] ^= 1
    (folder / "model.safetensors").write_bytes(put)
    assert "is damaged" in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked copy of itself")
def test_a_save_killed_at_any_moment_leaves_the_old_checkpoint_or_the_new(folder: Path) -> None:
    """A child is killed before its first, second, ... change of the file system until one gets through."""
    code = f"""
import os, sys
import arzoo
from arzoo import loading
from {__name__} import same, toy

folder, seed, kills, seen = {str(folder)!r}, 0, 0, set()
while True:
    child = os.fork()
    if child == 0:
        calls = 0
        def hook(event, arguments):
            global calls
            writes = event in ("os.rename", "os.remove") or event == "open" and folder in str(arguments[0])
            calls += writes
            if calls > kills:
                os._exit(9)
        model = toy(seed + 1)
        sys.addaudithook(hook)
        loading.save_model(model, folder)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    kills += 1
    model = arzoo.load(folder)
    assert same(model, toy(seed)) or same(model, toy(seed + 1)), kills
    if same(model, toy(seed + 1)):
        seed += 1  # the kill came after the weights' rename
        seen.add(kills)
assert same(arzoo.load(folder), toy(seed + 1))
assert kills > 5 and seen and min(seen) > 3, (kills, seen)
"""
    path = os.pathsep.join([str(folder.parents[1]), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert not (folder / "config.json.new").exists()


# ---- damage


@pytest.mark.parametrize("position", [0, 9, 200, -1])
def test_an_altered_byte_is_seen(folder: Path, position: int) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[position] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert "is damaged: its sha256 is" in refusal(folder)


def test_a_truncated_file_is_seen(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-5])
    assert f"has {len(data) - 5} bytes, {len(data)} were expected" in refusal(folder)
    (info,) = [info for info in arzoo.list_checkpoints() if info.name == "toy-coins"]
    assert f"has {len(data) - 5} bytes" in info.error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe\xfd", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[1]", "must hold a JSON object, got list"),
        (b'{"format": NaN}', "NaN is no JSON number"),
        (b" " * 2**22 + b"{}", "is larger than 4194304 bytes"),
        (b"{}", "the field 'format' is missing"),
    ],
)
def test_a_config_that_is_none_is_refused(folder: Path, text: bytes, reason: str) -> None:
    (folder / "config.json").write_bytes(text)
    assert reason in refusal(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "a newer one is needed: pip install --upgrade arzoo"),
        ({"format": 2, "more": [], "weights": 3}, "has format 2, but arzoo"),
        ({"format": 0}, "format must be 1, got 0"),
        ({"format": True}, "format must be int, got bool"),
        ({"format": "1"}, "format must be int, got str"),
        ({"famly": "toy"}, "there is no field 'famly'"),
        ({"family": 3}, "family must be str, got int"),
        ({"package": []}, "package must be str | None, got list"),
        ({"model": []}, "model must be dict, got list"),
        ({"labels": []}, "labels must be dict, got list"),
        ({"labels": {"bit": "on"}}, "labels 'bit' must be a list of texts"),
        ({"labels": {"bit": [0, 1]}}, "labels 'bit' must be a list of texts"),
        ({"labels": {"bit": []}}, "labels 'bit' must be 1 to 100000, got 0"),
        ({"labels": {"bit": ["n"] * 100_001}}, "labels 'bit' must be 1 to 100000, got 100001"),
        ({"labels": {"bit": ["off", "on", "?"]}}, "labels 'bit' are 3, but this toy has 2 categories; mend"),
        ({"labels": {"bit": ["on", "on"]}}, "labels 'bit' have 'on' twice"),
        ({"labels": {"bit": ["off", "\ud800"]}}, "must be 1 to 200 printable characters long, got '\\ud800'"),
        ({"labels": {"bit": ["off", "\x1b[2J"]}}, "must be 1 to 200 printable characters long, got '\\x1b[2J'"),
        ({"labels": {"b\nit": ["off", "on"]}}, "must be 1 to 200 printable characters long, got 'b\\nit'"),
        ({"labels": {"bit": ["", "on"]}}, "must be 1 to 200 printable characters long, got ''"),
        ({"labels": {"bit": ["off", "n" * 201]}}, "must be 1 to 200 printable characters long, got 'nnn"),
        ({"labels": {"a": ["0", "1"], "b": ["0", "1"]}}, "labels 'a' and 'b': only one of them can be"),
        ({"labels": {"bit": [f"{n:0199}" for n in range(11_000)]}}, "labels must take at most 2097152 bytes of JSON"),
        ({"weights": None}, "weights must be dict, got NoneType"),
        ({"weights": {"sha256": "", "bytes": 3}}, "weights: the field 'dtype' is missing"),
        ({"weights": {"sha256": "", "bytes": 3.0, "dtype": ""}}, "bytes must be int, got float"),
        ({"model": {"event_shape": [3], "hiden_size": 3}}, "ToyConfig has no field 'hiden_size'"),
        ({"model": {"event_shape": [3], "hidden_size": "3"}}, "hidden_size = '3' is not valid"),
        ({"model": {"event_shape": []}}, "event_shape must be one or more positive sizes"),
        ({"model": {"event_shape": [3], "hidden_size": -1}}, "cannot be built"),
        ({"model": {"event_shape": [3], "hidden_size": 10**9}}, "does not fit the model of its config.json"),
    ],
)
def test_a_wrong_field_is_named(folder: Path, change: dict[str, object], reason: str) -> None:
    edit(folder, lambda config: config.update(change))
    text = refusal(folder)
    assert reason in text
    assert "config.json" in text or "cannot be built" in text


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"it has no {name}" in refusal(folder, FileNotFoundError)


def test_weights_of_another_shape_or_name_are_refused(folder: Path) -> None:
    put_state(folder, lambda state: state.update({f"more.{i}": torch.zeros(1) for i in range(6)}))
    assert "unexpected: more.0, more.1, more.2, more.3 and 2 more" in refusal(folder)
    put_state(folder, lambda state: [state.pop(f"more.{i}") for i in range(6)])
    put_state(folder, lambda state: state.update(wide=torch.zeros(3)))
    assert "different: wide is real (3,) instead of real (4, 2, 3, 3)" in refusal(folder)
    put_state(folder, lambda state: state.update(wide=torch.zeros(4, 2, 3, 3), order=torch.zeros(5)))
    assert "different: order is real (5,) instead of int64 (5,)" in refusal(folder)
    put_state(folder, lambda state: state.pop("order"))
    assert "missing: order" in refusal(folder)


@pytest.mark.parametrize(("told", "stored"), [("bfloat16", "float32"), ("float32", "bfloat16"), ("x" * 999, "float32")])
def test_weights_of_another_type_than_the_config_says_are_refused(folder: Path, told: str, stored: str) -> None:
    loading.save_model(toy(), folder, getattr(torch, stored))
    edit(folder, lambda config: config["weights"].update(dtype=told))
    text = refusal(folder)
    assert f"is {stored}, but the config says {told[:100]!r}" in text and len(text) < 500
    assert checkpoints.describe_checkpoint(folder).error == text


def test_weights_of_two_types_are_refused(folder: Path) -> None:
    put_state(folder, lambda state: state.update(wide=state["wide"].double()))
    assert "'wide' is float64, but the config says 'float32'" in refusal(folder)


def test_nothing_is_unpickled(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return pytest.fail, ("unpickled",)

    put_weights(folder, pickle.dumps(Bomb()))
    assert "is no safetensors file" in refusal(folder)


def test_a_family_that_is_not_installed_is_named_with_its_package(folder: Path) -> None:
    edit(folder, lambda config: config.update(family="toyy", package="other-zoo"))
    text = refusal(folder, LookupError)
    assert "no family 'toyy' is installed; did you mean 'toy'?" in text
    assert text.endswith("it comes with the package other-zoo: pip install other-zoo")
    edit(folder, lambda config: config.update(package="x; rm -rf\n~"))
    assert "pip" not in refusal(folder, LookupError)


def test_a_blocked_family_is_not_to_be_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARZOO_BLOCK_PLUGINS", "toy")
    registry.installed.cache_clear()
    text = refusal(folder, LookupError)
    assert "ARZOO_BLOCK_PLUGINS blocks toy" in text
    assert "pip" not in text


# ---- names, paths, lists


def test_names_and_paths_are_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder.parent)
    for name in (
        "toy-coins",
        "./toy-coins",
        "../toy_cards/toy-coins",
        "~/toy-coins",
        str(folder),
        Path("toy-coins"),
    ):
        assert checkpoints.find_checkpoint(name).resolve() == folder
    with pytest.raises(LookupError, match="no checkpoint 'toy-coin' is installed; did you mean 'toy-coins'"):
        arzoo.load("toy-coin")
    folder.rename(folder.parents[1] / "toy-coins")
    monkeypatch.chdir(folder.parents[1])
    with pytest.raises(LookupError, match=r"for the folder of this name, write '\./toy-coins'"):
        arzoo.load("toy-coins")
    with pytest.raises(FileNotFoundError, match=r"\./gone is no checkpoint: there is no such folder"):
        arzoo.load("./gone")
    monkeypatch.setenv("ARZOO_BLOCK_PLUGINS", "toy-zoo")
    registry.installed.cache_clear()
    with pytest.raises(LookupError, match="the checkpoints of toy-zoo cannot be used: ARZOO_BLOCK_PLUGINS blocks"):
        arzoo.load("toy-coins")


MEASURED: dict[str, Any] = {
    "value": 1.5,
    "unit": "nats",
    "standard_error": 0.5,
    "num_examples": 9,
    "dataset": "coins",
    "split": "test",
    "protocol": "",
    "likelihood": "exact",
}


def test_a_list_says_what_the_folders_say(folder: Path) -> None:
    (folder / "README.md").write_text("---\ntags: [a]\nlicense: apache-2.0\n---\n# Toy\nlicense: none\n")
    sha256 = checkpoints.read_config(folder)["weights"]["sha256"]
    metrics = {"test": MEASURED, "seed": 0, "weights_sha256": sha256}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder.parent / "odd-coins-small").mkdir()
    spoilt = folder.parent / "toy-cards"
    loading.save_model(toy(), spoilt)
    (spoilt / "metrics.json").write_text('{"test": 3}')
    found = {info.name: info for info in arzoo.list_checkpoints() if info.path.parent == folder.parent}
    assert list(found) == ["odd-coins-small", "toy-cards", "toy-coins"]
    assert found["toy-coins"] == checkpoints.CheckpointInfo(
        name="toy-coins",
        path=folder,
        family="toy",
        dataset="coins",
        num_parameters=3 * 3 + 3 + 4 * 2 * 3 * 3 + (4 + 4 * 3 + 4) + 3,
        num_bytes=(folder / "model.safetensors").stat().st_size,
        metrics=MEASURED,
        license="apache-2.0",
    )
    odd = found["odd-coins-small"]
    assert (odd.family, odd.dataset) == ("odd", "coins")
    assert odd.error == f"{odd.path} is no checkpoint: it has no config.json"
    assert found["toy-cards"].error.startswith(f"{spoilt / 'metrics.json'}: test must be a JSON object, got int")


@pytest.mark.parametrize("measured", [{}, {"weights_sha256": "0" * 64}])
def test_a_list_shows_no_figure_that_was_measured_on_other_weights(folder: Path, measured: dict[str, str]) -> None:
    (folder / "metrics.json").write_text(json.dumps({"test": MEASURED, **measured}))
    (info,) = [info for info in arzoo.list_checkpoints() if info.name == "toy-coins"]
    assert (info.metrics, info.error) == ({}, "")


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, b"\x02" + b"\0" * 7 + b"[]", b"\x08" + b"\0" * 7 + b'{"a": {}}'])
def test_a_list_says_so_where_weights_are_none(folder: Path, data: bytes) -> None:
    put_weights(folder, data)
    (info,) = [info for info in arzoo.list_checkpoints() if info.name == "toy-coins"]
    assert info.error == f"{folder / 'model.safetensors'} is no safetensors file: its header cannot be read"
