"""What stands at the command line: thin, quick where it only lists, and plain about what was wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_zoo
from PIL import Image
from toy_zoo import NAME
from typer.testing import CliRunner

import arzoo
from arzoo import cli, pictures

COMMANDS = ("list", "info", "sample", "complete", "eval", "train", "pull", "push", "plugins")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, arguments)


def output(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def refusal(*arguments: str) -> str:
    """The one line on stderr of a command that failed."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return str(lines[0])


def write_digit(path: Path, size: tuple[int, int] = (28, 28)) -> torch.Tensor:
    """A random black and white image; returns it as an event, shape (1, H, W)."""
    event = torch.randint(2, (1, size[1], size[0]), generator=torch.Generator().manual_seed(7))
    pictures.save_png(pictures.grid(event[None], 2, scale=1), path)
    return event


def tiles(path: Path, number: int) -> torch.Tensor:
    """The events of a picture of 28x28 images, shape (number, 1, 28, 28)."""
    pixels = np.array(Image.open(path))[::2, ::2]  # an event's pixel is two of the picture's; so is a gap's
    step, columns = 29, (pixels.shape[1] + 1) // 29
    found = [pixels[i // columns * step :, i % columns * step :][:28, :28] for i in range(number)]
    return (torch.from_numpy(np.stack(found)) > 127).long()[:, None]


# ---- help, version, plugins


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str) -> None:
    text = output(command, "--help")
    assert re.search(rf"Example: arzoo .*\b{command}\b", text)


def test_the_version_is_that_of_the_package() -> None:
    assert output("--version") == f"arzoo {arzoo.__version__}\n"


WATCHED = """
import sys
from arzoo.cli import main
sys.argv = ["arzoo", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "datasets", "accelerate", "huggingface_hub", "numpy"} & sys.modules.keys()
    print(f"\\n{sorted(heavy)}")
"""


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["plugins"]])
def test_listing_imports_nothing_heavy(checkpoint: Path, arguments: list[str]) -> None:
    toy_zoo.measure(checkpoint)
    command = [sys.executable, "-c", WATCHED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_plugins_are_listed_with_their_trouble(checkpoint: Path) -> None:
    text = output("--block-plugin", "made", "--block-plugin", "toy-zoo", "plugins")
    assert re.search(r"^made +families +arzoo .*blocked +ARZOO_BLOCK_PLUGINS blocks made", text, re.MULTILINE)
    assert re.search(r"^toys +checkpoints +toy-zoo +1.0 +toy_cards +blocked", text, re.MULTILINE)
    found = {plugin["name"]: plugin["status"] for plugin in json.loads(output("plugins", "--json"))}
    assert found["made"] == "blocked"  # the environment keeps it, for launched workers too
    assert found["nade"] != "blocked"


# ---- list, info


def test_a_checkpoint_is_listed_with_what_was_measured_and_published(checkpoint: Path) -> None:
    toy_zoo.measure(checkpoint)
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n")
    line = next(line for line in output("list").splitlines() if line.startswith(NAME))
    for text in (" nade ", " binarized_mnist ", " 3,922 ", " KiB ", "543.43 ± 0.25 nats", " 88.33 ", " mit"):
        assert text in line
    found = json.loads(output("list", "--family", "nade", "--json"))
    facts = next(facts for facts in found["checkpoints"] if facts["name"] == NAME)
    assert (facts["test"]["value"], facts["published"]["value"], facts["error"]) == (543.43, 88.33, "")
    everything = json.loads(output("list", "--json"))
    with_checkpoint = {facts["family"] for facts in everything["checkpoints"]}
    assert "nade" in with_checkpoint
    assert set(everything["families_without_checkpoint"]) == set(arzoo.list_families()) - with_checkpoint


def test_listing_can_be_narrowed(checkpoint: Path) -> None:
    assert NAME in output("list", "--dataset", "binarized_mnist")
    assert NAME not in output("list", "--dataset", "cifar10")
    assert NAME not in output("list", "--family", "pixelcnn")


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("model.safetensors", "x", "has 1 bytes"),
        ("config.json", "{", "is not valid JSON"),
        ("recipe.toml", "family =", "is no TOML"),
        ("metrics.json", '{"test": 3}', "test must be a JSON object"),
    ],
)
def test_a_broken_checkpoint_is_listed_with_its_error(checkpoint: Path, file: str, text: str, reason: str) -> None:
    (checkpoint / file).write_text(text)
    line = next(line for line in output("list").splitlines() if line.startswith(NAME))
    assert "unusable: " in line and reason in line


def test_info_says_all_about_a_checkpoint_a_family_and_a_data_set(checkpoint: Path) -> None:
    toy_zoo.measure(checkpoint)
    details = json.loads(output("info", NAME, "--json"))
    assert details["checkpoint"]["num_parameters"] == 3922
    assert details["model"].items() >= {"event_shape": [1, 28, 28], "num_categories": 2, "hidden_size": 2}.items()
    assert (details["test"]["value"], details["training"]["steps"]) == (543.43, 2)
    assert json.loads(output("info", str(checkpoint), "--json")) == details
    assert re.search(r"hidden_size +2\n", re.sub(" +\n", "\n", output("info", NAME)))
    family = output("info", "nade")
    assert "NADE: The Neural Autoregressive Distribution Estimator" in family
    assert re.search(r"hidden_size +type int, default 500", family) and NAME in family
    data = output("info", "binarized_mnist")
    assert "(1, 28, 28)" in data and "cc-by-sa-3.0" in data and "Larochelle" in data


# ---- sample, complete


def test_the_same_seed_gives_the_same_file(checkpoint: Path) -> None:
    text = output("sample", NAME, "-n", "3", "-o", "a.png", "--seed", "5")
    assert text.startswith("3 samples in a.png, ")
    output("sample", NAME, "-n", "3", "-o", "b.png", "--seed", "5")
    output("sample", NAME, "-n", "3", "-o", "c.png", "--seed", "6")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes() != Path("c.png").read_bytes()
    expected = arzoo.load(NAME).sample(3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(tiles(Path("a.png"), 3), expected)


def test_samples_can_be_written_as_numbers(checkpoint: Path) -> None:
    output("sample", NAME, "-n", "2", "-o", "a.npy", "--temperature", "0.5", "--top-k", "1")
    options: dict[str, Any] = {"temperature": 0.5, "top_k": 1}
    expected = arzoo.load(NAME).sample(2, **options, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(np.load("a.npy"), expected.numpy())


def test_samples_that_are_no_images_are_written_as_numbers(checkpoint: Path) -> None:
    arzoo.create_model("nade", {"event_shape": (5,), "hidden_size": 2}).save_pretrained("nade-bits")
    assert "are no images; let -o name a .npy file" in refusal("sample", "./nade-bits", "-o", "a.png")
    output("sample", "./nade-bits")
    assert np.load("nade-bits.npy").shape == (16, 5)


def test_the_default_file_is_named_after_the_checkpoint(checkpoint: Path) -> None:
    output("sample", str(checkpoint), "-n", "1")
    assert [path.name for path in Path().iterdir()] == [f"{NAME}.png"]


def test_completion_keeps_the_first_rows_and_is_exact(checkpoint: Path) -> None:
    event = write_digit(Path("digit.png"))
    text = output("complete", NAME, "digit.png", "-n", "2", "--seed", "1")
    assert "2 completions in digit-completed.png" in text
    assert "\nexact: drawn from p(unknown | known) of the nade\n" in text
    found = tiles(Path("digit-completed.png"), 2)
    assert torch.equal(found[:, :, :14], event[:, :14].expand(2, -1, -1, -1))
    assert not torch.equal(found[0, :, 14:], found[1, :, 14:])
    output("complete", NAME, "digit.png", "--rows", "28", "-n", "1", "-o", "same.png")
    assert torch.equal(tiles(Path("same.png"), 1)[0], event)


def test_completion_with_a_mask_says_that_it_is_not_exact(checkpoint: Path) -> None:
    event = write_digit(Path("digit.png"))
    mask = torch.zeros(1, 28, 28, dtype=torch.int64)
    mask[:, :, 20:] = 1
    pictures.save_png(pictures.grid(mask[None], 2, scale=1), "mask.png")
    text = output("complete", NAME, "digit.png", "--mask", "mask.png", "-n", "1", "-o", "out.png")
    assert "\nnot exact: " in text
    assert torch.equal(tiles(Path("out.png"), 1)[0, :, :, 20:], event[:, :, 20:])
    assert run("complete", NAME, "digit.png", "--mask", "mask.png", "--rows", "3").exit_code == 2


# ---- eval, train


def test_evaluation_stands_beside_the_card_and_the_paper(checkpoint: Path) -> None:
    results = json.loads(output("eval", NAME, "--json"))
    data = arzoo.load_data("binarized_mnist", "test")
    x, _ = data.batch(torch.arange(5))
    with torch.no_grad():
        expected = -arzoo.load(NAME).log_prob(x).double().mean().item()
    assert results["measured"]["value"] == pytest.approx(expected)
    assert (results["measured"]["num_examples"], results["card"]) == (5, None)
    toy_zoo.measure(checkpoint)
    text = output("eval", NAME, "--split", "validation", "--examples", "3", "--batch-size", "2")
    assert re.search(r"^measured +\d+\.\d\d +\d+\.\d\d +3 +validation +The fixed", text, re.MULTILINE)
    assert re.search(r"^card +543\.43 +0\.25 +10000 +test +As | it is", text, re.MULTILINE)
    assert re.search(r"^published +88\.33 +Uria et al\. 2016, table 2; 500 units", text, re.MULTILINE)


def test_a_bound_is_called_one() -> None:
    from arzoo import tables

    result = {"value": 90.0, "unit": "nats", "likelihood": "lower_bound", "standard_error": 0.5}
    assert tables.value_text(result) == "≤ 90.00 ± 0.50 nats"
    table: Any = tables.comparison_table({"measured": result, "card": None, "published": None})
    assert table.columns[1].header == "value (nats, bound)"


def test_training_leaves_a_whole_checkpoint(checkpoint: Path) -> None:
    Path("toy.toml").write_text(toy_zoo.RECIPE)
    text = output("train", "toy.toml")
    assert text == "the trained model is in toy; measure it with: arzoo eval ./toy\n"
    assert Path("toy/recipe.toml").read_text() == toy_zoo.RECIPE
    assert json.loads(output("eval", "./toy", "--json"))["measured"]["num_examples"] == 5
    weights = Path("toy/model.safetensors").read_bytes()
    assert output("train", "toy.toml") == text  # nothing is left to do
    assert Path("toy/model.safetensors").read_bytes() == weights
    Path("toy.toml").write_text(toy_zoo.RECIPE.replace("1e-3", "2e-3"))
    assert "toy/recipe.toml differs from toy.toml; name another directory with -o" in refusal("train", "toy.toml")
    output("train", NAME)
    assert Path(NAME, "recipe.toml").read_text() == toy_zoo.RECIPE


def test_interrupted_training_says_how_it_goes_on(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(arzoo, "train", interrupt)
    result = run("train", NAME)
    assert result.exit_code == 130
    assert result.stderr.strip() == "interrupted; the same command goes on from the last state that was saved"
    monkeypatch.setenv("RANK", "1")
    result = run("train", NAME, "-o", "other")
    assert (result.exit_code, result.output.strip(), Path("other").exists()) == (130, "", False)
    monkeypatch.setattr(arzoo, "load", interrupt)
    result = run("sample", NAME)
    assert (result.exit_code, result.stderr.strip()) == (130, "interrupted")


# ---- what was wrong


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["sample", "nade-binarised_mnist-tiny"], f"no checkpoint .* did you mean '{NAME}'"),
        (["info", "nad"], "no checkpoint, family or data set 'nad' is installed; did you mean 'nade'"),
        (["list", "--family", "nadd"], "there is no family 'nadd'; did you mean 'nade'"),
        (["list", "--dataset", "mnits"], "there is no dataset 'mnits'; did you mean 'mnist'"),
        (["sample", "./empty"], "empty is no checkpoint: it has no config.json"),
        (["info", "./nowhere"], "nowhere is no checkpoint: there is no such folder"),
        (["sample", NAME, "-o", "nowhere/a.png"], "nowhere: no file can be written there"),
        (["sample", NAME, "-o", "digit.png/a.png"], "digit.png: no file can be written there"),
        (["sample", NAME, "-o", "empty"], "must end in .png or .npy"),
        (["sample", NAME, "-o", "a.jpg"], "must end in .png or .npy"),
        (["sample", NAME, "--temperature", "0"], "temperature"),
        (["sample", NAME, "--top-p", "2"], "top_p"),
        (["complete", NAME, "digit.png", "-o", "a.npy"], "a.npy must end in .png"),
        (["complete", NAME, "nowhere.png"], "nowhere.png: No such file"),
        (["complete", NAME, "small.png"], "small.png has 14x28 pixels, must have 28x28"),
        (["complete", NAME, "text.png"], "text.png is no image"),
        (["complete", NAME, "digit.png", "--mask", "small.png"], "small.png has 14x28 pixels"),
        (["complete", NAME, "digit.png", "--rows", "29"], "--rows must be at most the 28 rows"),
        (["eval", NAME, "--split", "tests"], "has no split 'tests', only train, validation, test"),
        (["eval", "./empty"], "empty"),
        (["train", "nowhere.toml"], "there is no recipe at nowhere.toml"),
        (["train", "text.toml"], "text.toml is no TOML"),
        (["--block-plugin", "nade", "sample", NAME], "ARZOO_BLOCK_PLUGINS blocks nade"),
    ],
)
def test_what_a_user_gets_wrong_is_said_on_one_line(checkpoint: Path, arguments: list[str], reason: str) -> None:
    Path("empty").mkdir()
    write_digit(Path("digit.png"))
    write_digit(Path("small.png"), (14, 28))
    Path("text.png").write_text("no image")
    Path("text.toml").write_text("family")
    before = sorted(Path().rglob("*"))
    assert re.search(reason, refusal(*arguments))
    assert sorted(Path().rglob("*")) == before  # nothing half-written


def test_damaged_weights_are_said_on_one_line(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "were expected" in refusal("sample", NAME)
    assert "were expected" in refusal("eval", NAME)


def test_a_missing_data_set_is_said_on_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARZOO_DATASETS", str(checkpoint))
    assert "data set 'binarized_mnist' is not there" in refusal("eval", NAME)
    assert "data set 'binarized_mnist' is not there" in refusal("train", NAME)
    assert list(Path().iterdir()) == []  # a training that never began leaves nothing


def test_a_bug_keeps_its_traceback(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(arzoo, "load", fail)
    assert isinstance(run("sample", NAME).exception, KeyError)
