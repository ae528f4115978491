"""What stands at the command line: thin, quick where it only lists, and plain about what was wrong."""

import json
import math
import re
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_zoo
import toys
from PIL import Image
from toy_zoo import NAME
from typer.testing import CliRunner

import arzoo
from arzoo import cli, pictures, registry, tables, testing
from arzoo.cli import choices

COMMANDS = ("list", "info", "sample", "complete", "map", "eval", "verify", "card", "train", "pull", "push", "plugins")


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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("value = 88.33", "value = 1" + "0" * 400), "published: value must be a number that is not too large"),
        (("value = 88.33", "value = inf"), "published: value must be a number that is not too large"),
        (("value = 88.33", "value = true"), "published: value must be"),
        (("[published]", "[[published]]"), "published must be dict"),
        (('dataset = "', 'dataset = 1 # "'), "dataset must be str"),
        (("value = 88.33", "value = "), "is no TOML"),
    ],
)
def test_a_recipe_that_is_none_does_not_hide_its_checkpoint(
    checkpoint: Path, change: tuple[str, str], reason: str
) -> None:
    text = (checkpoint / "recipe.toml").read_text()
    assert change[0] in text
    (checkpoint / "recipe.toml").write_text(text.replace(*change))
    facts = {each["name"]: each for each in json.loads(output("list", "--json"))["checkpoints"]}
    assert reason in facts[checkpoint.name]["error"]


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
    assert re.search(r"hidden_size +type: int, default: 500, meaning: Units H of the one", family) and NAME in family
    data = output("info", "binarized_mnist")
    assert "(1, 28, 28)" in data and "cc-by-sa-3.0" in data and "Larochelle" in data


@pytest.mark.parametrize("name", arzoo.list_families())
def test_info_says_what_every_field_of_a_family_means(name: str) -> None:
    fields = tables.family_details(arzoo.get_family(name), "arzoo", [])["config"]
    assert set(fields) >= {"event_shape", "num_categories"}
    assert all(field["meaning"] for field in fields.values()), fields


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


def test_events_of_variable_length_are_as_long_as_asked(checkpoint: Path) -> None:
    model = arzoo.create_model("doc_nade", {"event_shape": (9,), "num_categories": 6, "hidden_size": 2})
    model.save_pretrained("documents")
    output("sample", "./documents", "-n", "3", "--length", "4", "--seed", "5")
    expected = model.eval().sample(3, length=4, generator=torch.Generator().manual_seed(5))
    assert np.array_equal(np.load("documents.npy"), expected.numpy()) and expected.shape == (3, 4)
    assert "length must be 1 to 9, got 10" in refusal("sample", "./documents", "--length", "10")
    assert "has events of one length; leave length at its default" in refusal("sample", NAME, "--length", "4")
    words = " ".join(output("sample", "--help").replace("│", " ").split())
    assert "where the model or its context ends it, else the most it may have" in words


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


# ---- device, context


def test_a_map_says_what_the_image_costs_and_where(checkpoint: Path) -> None:
    event = write_digit(Path("digit.png"))
    text = output("map", NAME, "digit.png")
    model = arzoo.load(NAME)
    assert isinstance(model, arzoo.Autoregressive)
    with torch.no_grad():
        costs = -model.site_log_prob(event[None])[0, 0].numpy()
    nats = float(costs.sum(dtype=float))
    assert text.startswith(f"{nats:.2f} nats, {nats / 784 / math.log(2):.3f} bits/dim: digit-map.png")
    brightness = np.array(Image.open("digit-map.png")).astype(int).sum(2)[::8, ::8]
    assert brightness.shape == (28, 28)
    assert (np.diff(brightness.flatten()[costs.flatten().argsort()]) >= 0).all()


def test_a_receptive_field_is_drawn_and_counted(checkpoint: Path) -> None:
    text = output("info", NAME, "--receptive-field", "field.png")
    assert re.match(r"pixel 14, 14 sees \d+ of the 406 pixels before it", text)
    assert np.array(Image.open("field.png")).shape == (224, 224, 3)
    facts = json.loads(output("info", NAME, "--receptive-field", "field.png", "--json"))
    assert facts["pixels_before"] == 406 and facts["picture"] == "field.png"
    assert "must end in .png" in refusal("info", NAME, "--receptive-field", "field.jpg")
    text = refusal("info", "pixelcnn", "--receptive-field", "field.png")
    assert "no checkpoint 'pixelcnn' is installed; it is a family, and has" in text
    assert "pixelcnn-binarized_mnist" in text and "gated_pixelcnn-binarized_mnist" not in text
    assert "it is a family, and has none" in refusal("sample", "image_transformer")


@pytest.mark.parametrize("command", [["sample"], ["complete"], ["map"], ["eval"], ["verify"]])
def test_a_device_that_is_not_there_is_refused(checkpoint: Path, command: list[str]) -> None:
    toy_zoo.measure(checkpoint)
    write_digit(Path("digit.png"))
    arguments = [*command, NAME, *(["digit.png"] if command in (["complete"], ["map"]) else [])]
    there = "cpu" if not torch.accelerator.is_available() else "cpu, "
    for device in ("tpu", "cuda:99", "cpu:1", ""):
        text = refusal(*arguments, "--device", device)
        assert f"there is no device {device!r}: torch {torch.__version__} finds {there}" in text
    assert sorted(path.name for path in Path().iterdir()) == ["digit.png"]


def test_auto_is_the_accelerator_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert choices.find_device("auto") == choices.find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert (choices.find_device("auto").type, choices.find_device("cpu").type) == ("cuda", "cpu")
    assert choices.find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="finds cpu, cuda, cuda:0, cuda:1 here"):
        choices.find_device("cuda:2")


def test_models_and_events_go_to_the_device(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_digit(Path("digit.png"))
    seen: list[str] = []

    def stop(*given: Any, **_: object) -> None:
        seen.extend(str(each.device) for each in given if isinstance(each, arzoo.Model | torch.Tensor))
        raise ValueError("seen enough")

    monkeypatch.setattr(choices, "find_device", lambda name: torch.device("meta"))
    monkeypatch.setattr(arzoo.Autoregressive, "stream", stop)
    monkeypatch.setattr(arzoo.Autoregressive, "complete", lambda model, x, *_, **__: stop(model, x))
    monkeypatch.setattr(arzoo, "evaluate", stop)
    for arguments in (["sample", NAME], ["complete", NAME, "digit.png"], ["eval", NAME]):
        assert run(*arguments).exit_code == 1
    assert seen == ["meta"] * 4


def test_what_a_device_has_no_memory_for_is_said_on_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(arzoo, "load", fail)
    assert "too little memory; take less at a time, or --device cpu" in refusal("sample", NAME)


@pytest.fixture
def labelled(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> arzoo.Model:
    """A model of small images with labels, in the folder labelled, whose family is installed."""
    info = tmp_path / "site" / "toy_families-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-families\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[arzoo.families]\ntoy_labelled = toy_families\ntoy_translation = toy_families\n"
    )
    plugin = types.ModuleType("toy_families")
    exec(PLUGIN, plugin.__dict__)
    monkeypatch.setitem(sys.modules, "toy_families", plugin)
    registry.installed.cache_clear()
    model = testing.random_model(toys.Labelled, toys.LabelledConfig(event_shape=(1, 4, 4)))
    model.save_pretrained("labelled")
    return model


PLUGIN = """
import arzoo, toys
@arzoo.hookimpl
def arzoo_families():
    return [toys.Labelled, toys.Translation]
"""


@pytest.mark.parametrize(("value", "labels"), [("2", [2, 2, 2]), ("0,2,-1", [0, 2, -1])])
def test_samples_are_conditioned_on_the_context(labelled: arzoo.Model, value: str, labels: list[int]) -> None:
    output("sample", "./labelled", "-n", "3", "-o", "a.npy", "--seed", "5", "--context", f"label={value}")
    expected = labelled.sample(3, torch.tensor(labels), generator=torch.Generator().manual_seed(5))
    assert np.array_equal(np.load("a.npy"), expected.numpy())
    others = labelled.sample(3, torch.tensor([1, 1, 1]), generator=torch.Generator().manual_seed(5))
    assert not torch.equal(expected, others)


def test_a_context_is_given_by_labels_or_by_their_numbers(labelled: arzoo.Model) -> None:
    labelled.labels = {"label": ("cat", "2", "frog, green")}
    labelled.save_pretrained("labelled")
    expected = labelled.sample(3, torch.tensor([0, 1, -1]), generator=torch.Generator().manual_seed(5))
    output("sample", "./labelled", "-n", "3", "-o", "a.npy", "--seed", "5", "--context", "label=cat,2,-1")
    assert np.array_equal(np.load("a.npy"), expected.numpy())
    expected = labelled.sample(3, torch.tensor([2, 2, 2]), generator=torch.Generator().manual_seed(5))
    output("sample", "./labelled", "-n", "3", "-o", "a.npy", "--seed", "5", "--context", "label=frog, green")
    assert np.array_equal(np.load("a.npy"), expected.numpy())
    text = refusal("sample", "./labelled", "-n", "3", "--context", "label=cat,cta")
    assert "context label cannot be 'cta'; there are cat, 2, frog, green" in text
    assert re.search(r"\[labels\] +\n  label +cat, 2, frog, green +\n", output("info", "./labelled"))
    assert json.loads(output("info", "./labelled", "--json"))["labels"] == {"label": ["cat", "2", "frog, green"]}


def test_samples_are_written_as_words(labelled: arzoo.Model) -> None:
    config = arzoo.get_family("doc_nade").config_class.from_dict(
        {"event_shape": [4], "num_categories": 3, "hidden_size": 2, "scale_bias": True}
    )
    model = testing.random_model(arzoo.get_family("doc_nade"), config)
    model.save_pretrained("unnamed-bags")
    words = model.labels = {"word": ("be", "nöt", "to")}
    model.save_pretrained("named-bags")
    lengths = ["--seed", "3", "-n", "3", "--context", "length=1,4,2"]
    output("sample", "./named-bags", *lengths)
    output("sample", "./unnamed-bags", *lengths)
    rows = np.load("unnamed-bags.npy").tolist()
    expected = [" ".join(words["word"][number] for number in row if number >= 0) for row in rows]
    assert [len(line.split()) for line in expected] == [1, 4, 2]
    assert Path("named-bags.txt").read_text(encoding="utf-8").splitlines() == expected
    assert "  word " in output("info", "./named-bags")
    image = testing.random_model(toys.Labelled, toys.LabelledConfig(event_shape=(1, 4, 4)))
    image.labels = {"ink": ("ink", "paper")}
    image.save_pretrained("named-images")
    output("sample", "./named-images", "-n", "3", "--context", "label=0")
    assert Path("named-images.png").is_file() and not Path("named-images.txt").exists()
    text = refusal("sample", "./unnamed-bags", "-o", "a.txt", *lengths)
    assert "./unnamed-bags does not say what its categories are called; let -o name a .npy file" in text


def test_ten_labels_are_shown(labelled: arzoo.Model) -> None:
    model = testing.random_model(toys.Labelled, toys.LabelledConfig(event_shape=(1, 4, 4), num_classes=12))
    model.labels = {"label": tuple(f"kind{number}" for number in range(12))}
    model.save_pretrained("labelled")
    assert re.search("  label +kind0, .*, kind8, kind9 and 2 more", output("info", "./labelled"))
    assert len(json.loads(output("info", "./labelled", "--json"))["labels"]["label"]) == 12
    text = refusal("sample", "./labelled", "--context", "label=kind3,kynd4")
    assert "context label cannot be 'kynd4'; did you mean 'kind4'" in text


def test_completions_are_conditioned_on_the_context(labelled: arzoo.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(labelled, arzoo.Autoregressive)
    event, seen = write_digit(Path("image.png"), (4, 4)), []
    complete = toys.Labelled.complete
    monkeypatch.setattr(
        toys.Labelled, "complete", lambda *given, **options: seen.append(given[3]) or complete(*given, **options)
    )
    text = output("complete", "./labelled", "image.png", "-n", "2", "-o", "a.png", "--context", "label=0,1")
    assert "\nexact: drawn from" in text and event.shape == (1, 4, 4)
    assert [context["label"].tolist() for context in seen] == [[0, 1]]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "this toy_labelled is conditioned on label; give --context label=VALUE"),
        (["class=1"], "this toy_labelled takes label, not 'class'"),
        (["label=dog"], "--context label must be an integer, or integers with commas between, got 'dog'"),
        (["label"], "--context must be NAME=VALUE, as label=label, got 'label'"),
        (["2"], "--context must be NAME=VALUE, as label=2, got '2'"),
        (["label=1.5"], "--context label must be an integer"),
        (["label=1,,2"], "--context label must be an integer"),
        ([f"label={10**30}"], "--context label must be an integer"),
        (["label=1,2"], "--context label has 2 values for 16 events; give one for each, or one"),
        (["label=1", "label=2"], "--context gives label twice"),
    ],
)
def test_a_context_that_is_none_is_refused(labelled: arzoo.Model, given: list[str], reason: str) -> None:
    options = [part for text in given for part in ("--context", text)]
    assert reason in refusal("sample", "./labelled", *options)
    assert not list(Path().glob("*.png"))


def test_a_context_where_none_is_taken_is_refused(labelled: arzoo.Model) -> None:
    assert "this nade takes no context; leave --context out" in refusal("sample", NAME, "--context", "label=1")
    two = testing.random_model(toys.Translation, toys.Translation.tiny_configs()[0])
    two.save_pretrained("two")
    text = refusal("sample", "./two", "--context", "style=1")
    assert "this toy_translation is conditioned on source, style; give --context source=VALUE" in text
    assert "takes source, style, not 'label'" in refusal("sample", "./two", "--context", "label=1")


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


def test_what_was_measured_is_recorded_for_the_card(checkpoint: Path) -> None:
    shutil.copytree(checkpoint, "mine")
    text = output("eval", "./mine", "--record")
    assert text.endswith("\nrecorded in mine/metrics.json; write the card: arzoo card mine\n")
    metrics = json.loads(Path("mine/metrics.json").read_text())
    evaluation = arzoo.evaluate(arzoo.load("./mine"), arzoo.load_data("binarized_mnist", "test"))
    sha256 = json.loads(Path("mine/config.json").read_text())["weights"]["sha256"]
    assert metrics == {
        "training": toy_zoo.TRAINING,
        "test": vars(evaluation),
        "measured_with": {"arzoo": arzoo.__version__, "torch": torch.__version__},
        "weights_sha256": sha256,
    }
    output("sample", "./mine", "-n", "4", "-o", "mine/samples.png")
    output("card", "mine")
    text = Path("mine/README.md").read_text()
    assert f"| measured | {evaluation.value:.2f} |" in text and "](samples.png)" in text
    assert f"with arzoo {arzoo.__version__}, torch {torch.__version__};" in text
    assert "agrees: all 5 examples" in output("verify", "./mine")
    files = {path.name: path.read_bytes() for path in Path("mine").iterdir()}
    json.loads(output("eval", "./mine", "--record", "--json"))
    assert {path.name: path.read_bytes() for path in Path("mine").iterdir()} == files


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ([NAME], 1, f"--record is for a folder of your own, ./FOLDER, and {NAME} is installed or on the Hub"),
        (["mine"], 1, "installed or on the Hub; for the folder of this name, write ./mine"),
        (["ann/made-mine"], 1, "ann/made-mine is installed or on the Hub"),
        (["./mine", "--examples", "3"], 2, "--record is for the whole test split; leave --examples and"),
        (["./mine", "--split", "validation"], 2, "--record is for the whole test split; leave --examples and"),
        (["./hub/models--a--b/snapshots/0123"], 1, "belongs to the cache of the Hub; copy it first: arzoo pull"),
        (["./bare"], 1, "bare has no recipe.toml, which names the data to measure on"),
        (["./nowhere"], 1, "there is no such folder"),
    ],
)
def test_only_the_whole_test_split_is_recorded_and_only_in_a_folder_of_ones_own(
    checkpoint: Path, arguments: list[str], code: int, reason: str
) -> None:
    for folder in ("mine", "bare", "hub/models--a--b/snapshots/0123"):
        shutil.copytree(checkpoint, folder)
    Path("bare/recipe.toml").unlink()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    result = run("eval", *arguments, "--record")
    assert (result.exit_code, result.stdout) == (code, "")
    assert reason in " ".join(result.stderr.replace("│", "").split())
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_measurement_that_fails_is_not_half_recorded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(checkpoint, "mine")
    arzoo.load_data("binarized_mnist", "test")
    metrics, evaluate = Path("mine/metrics.json"), arzoo.evaluate
    before = metrics.read_bytes()

    def diverged(*arguments: Any, **options: Any) -> arzoo.Evaluation:
        return replace(evaluate(*arguments, **options), value=math.nan)

    def retrained(*arguments: Any, **options: Any) -> arzoo.Evaluation:
        torch.manual_seed(1)
        arzoo.create_model("nade", {"event_shape": (1, 28, 28), "hidden_size": 2}).save_pretrained("mine")
        return evaluate(*arguments, **options)

    for broken, reason in (
        (diverged, "test: value must be -1e+15 to 1e+15, got nan"),
        (retrained, "mine changed while they were"),
    ):
        monkeypatch.setattr(arzoo, "evaluate", broken)
        assert reason in refusal("eval", "./mine", "--record")
        assert metrics.read_bytes() == before
    monkeypatch.setattr(arzoo, "evaluate", evaluate)
    metrics.write_text('{"training": 3}')
    assert "metrics.json: training must be a JSON object" in refusal("eval", "./mine", "--record")
    assert metrics.read_text() == '{"training": 3}'


def test_a_bound_is_called_one() -> None:
    from arzoo import tables

    result = {"value": 90.0, "unit": "nats", "likelihood": "lower_bound", "standard_error": 0.5}
    assert tables.value_text(result) == "≤ 90.00 ± 0.50 nats"
    table: Any = tables.comparison_table({"measured": result, "card": None, "published": None})
    assert table.columns[1].header == "value (nats, bound)"


def test_training_leaves_a_whole_checkpoint(checkpoint: Path) -> None:
    Path("toy.toml").write_text(toy_zoo.RECIPE)
    text = output("train", "toy.toml")
    assert text == (
        "the trained model is in toy; measure it, then write its card: arzoo eval ./toy --record && arzoo card toy\n"
    )
    assert Path("toy/recipe.toml").read_text() == toy_zoo.RECIPE
    assert json.loads(output("eval", "./toy", "--json"))["measured"]["num_examples"] == 5
    weights = Path("toy/model.safetensors").read_bytes()
    assert output("train", "toy.toml") == text  # nothing is left to do
    assert Path("toy/model.safetensors").read_bytes() == weights
    Path("toy.toml").write_text(toy_zoo.RECIPE.replace("1e-3", "2e-3"))
    assert "toy/recipe.toml differs from toy.toml in lr of [train]; name another directory with -o" in refusal(
        "train", "toy.toml"
    )
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
        (["map", NAME, "small.png"], "small.png has 14x28 pixels, must have 28x28"),
        (["map", NAME, "digit.png", "-o", "a.npy"], "a.npy must end in .png"),
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
