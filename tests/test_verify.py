"""`arzoo verify` believes no checkpoint: it measures again, and says what agrees, what not, and what is missing."""

import json
import re
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import toy_zoo
from hub_server import Hub
from toy_zoo import NAME
from typer.testing import CliRunner

import arzoo
from arzoo import card, cli
from arzoo.metrics import Evaluation
from arzoo.verification import verdict


@pytest.fixture
def measured(checkpoint: Path) -> Path:
    """With what is really measured on its five test examples, and a card."""
    return record(checkpoint)


def record(checkpoint: Path) -> Path:
    """Measures it, and writes its card."""
    metrics = json.loads((checkpoint / "metrics.json").read_text())
    evaluation = arzoo.evaluate(arzoo.load(checkpoint), arzoo.load_data("binarized_mnist", "test"))
    sha256 = json.loads((checkpoint / "config.json").read_text())["weights"]["sha256"]
    metrics |= {"test": vars(evaluation), "weights_sha256": sha256}
    (checkpoint / "metrics.json").write_text(json.dumps(metrics))
    card.write_card(checkpoint)
    return checkpoint


def change(folder: Path, **changes: Any) -> None:
    """Alters what metrics.json says was measured, and the card with it."""
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test"] |= changes
    (folder / "metrics.json").write_text(json.dumps(metrics))
    card.write_card(folder)


def verify(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["verify", *arguments])


def disagreement(*arguments: str) -> str:
    result = verify(*arguments)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "\nmeasured " in result.stdout and "\ncard " in result.stdout
    line = str(result.stdout.splitlines()[-1])
    assert line.startswith("disagrees: ")
    return line


def refusal(*arguments: str) -> str:
    result = verify(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert re.fullmatch(r"error: .*\n", result.stderr)
    return str(result.stderr)


def test_a_card_that_tells_the_truth_agrees(measured: Path) -> None:
    result = verify(NAME)
    assert result.exit_code == 0
    value = json.loads((measured / "metrics.json").read_text())["test"]["value"]
    for row in (rf"measured +{value:.2f} ", rf"card +{value:.2f} ", r"published +88\.33 "):
        assert re.search(f"^{row}", result.stdout, re.MULTILINE)
    sha256 = json.loads((measured / "config.json").read_text())["weights"]["sha256"]
    assert sha256 in result.stdout
    assert result.stdout.endswith("\nagrees: all 5 examples give the number on the card\n")
    facts = json.loads(verify(str(measured), "--json").stdout)
    assert (facts["agrees"], facts["weights_sha256"]) == (True, sha256)
    assert facts["measured"] == facts["card"] and facts["published"]["value"] == 88.33
    assert facts["verdict"].startswith("agrees: ")


def test_an_altered_number_disagrees(measured: Path) -> None:
    value = json.loads((measured / "metrics.json").read_text())["test"]["value"]
    change(measured, value=value * (1 + 5e-5))
    assert verify(NAME).exit_code == 0
    change(measured, value=value * (1 - 2e-4))
    assert f"the value is {value:.8g}, on the card {value * (1 - 2e-4):.8g}" in disagreement(NAME)
    result = verify(NAME, "--json")
    assert (result.exit_code, json.loads(result.stdout)["agrees"]) == (1, False)
    change(measured, value=value, standard_error=0.001)
    assert "the standard error is " in disagreement(NAME)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_examples": 10000}, "the split has 5 examples, on the card 10,000"),
        ({"dataset": "mnist"}, "the dataset is 'binarized_mnist', on the card 'mnist'"),
        ({"split": "validation"}, "the split is 'test', on the card 'validation'"),
        ({"unit": "bits/dim"}, "the unit is 'nats', on the card 'bits/dim'"),
        ({"likelihood": "lower_bound"}, "the likelihood is 'exact', on the card 'lower_bound'"),
    ],
)
def test_another_measurement_disagrees(measured: Path, changes: dict[str, Any], reason: str) -> None:
    change(measured, **changes)
    assert disagreement(NAME) == f"disagrees: {reason}"


def test_a_readme_that_says_something_else_disagrees(measured: Path) -> None:
    readme = measured / "README.md"
    text = readme.read_text()
    value = json.loads((measured / "metrics.json").read_text())["test"]["value"]
    readme.write_text(text.replace(f"value: {value}", "value: 12.5"))
    assert f"README.md says 12.5, metrics.json {value:.8g}" in disagreement(NAME)
    readme.write_text(text.replace(f"value: {value}", "value: low"))
    assert "README.md says nan" in disagreement(NAME)
    readme.write_text("---\nlicense: mit\n---\n")
    assert verify(NAME).exit_code == 0
    readme.write_text("---\nmodel-index: 3\n---\n")
    assert "README.md: model-index in the front matter must be" in refusal(NAME)


def test_a_part_of_the_examples_tells_less(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_zoo.write_data(tmp_path / "more", (8, 4, 60))
    monkeypatch.setenv("ARZOO_DATASETS", str(tmp_path / "more"))
    measured = record(checkpoint)
    result = verify(NAME, "--examples", "30")
    assert result.exit_code == 0
    told = r"\nagrees as far as 30 of 60 examples can tell: within [\d.]+, which 4 standard errors of these allow\n"
    assert re.search(told, result.stdout)
    assert verify(NAME, "--examples", "29").exit_code == 2  # too few to tell how far they may be off
    value = json.loads((measured / "metrics.json").read_text())["test"]["value"]
    change(measured, value=value * 1.01, standard_error=1e9)
    assert "30 examples give " in disagreement(NAME, "--examples", "30")


def test_what_is_missing_is_said_before_anything_is_measured(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(arzoo, "evaluate", refuse)
    metrics = json.loads((measured / "metrics.json").read_text())
    for changed in ({"weights_sha256": "0" * 64}, {"weights_sha256": None}):
        (measured / "metrics.json").write_text(json.dumps(metrics | changed))
        assert f"{NAME} cannot be verified: in metrics.json, nothing was measured on these weights" in refusal(NAME)
    for changed in ({"value": "low"}, {"value": None}, {"more": 1}):
        (measured / "metrics.json").write_text(json.dumps(metrics | {"test": metrics["test"] | changed}))
        assert "metrics.json: test: " in refusal(NAME)
    (measured / "metrics.json").write_text("{")
    assert "metrics.json is not valid JSON" in refusal(NAME)
    (measured / "metrics.json").unlink()
    assert f"{NAME} cannot be verified: it has no metrics.json" in refusal(NAME)
    (measured / "recipe.toml").unlink()
    assert f"{NAME} cannot be verified: it has no recipe.toml and no metrics.json" in refusal(NAME)
    assert "no checkpoint 'nade-nothing' is installed" in refusal("nade-nothing")


def test_damaged_weights_are_not_measured(measured: Path) -> None:
    weights = measured / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "is damaged: its sha256 is" in refusal(NAME)


def test_evaluation_refuses_a_card_that_is_none_too(measured: Path) -> None:
    metrics = json.loads((measured / "metrics.json").read_text())
    (measured / "metrics.json").write_text(json.dumps(metrics | {"test": {"value": "low"}}))
    result = CliRunner().invoke(cli.app, ["eval", NAME])
    assert (result.exit_code, result.stdout) == (1, "") and "value must be int | float, got str" in result.stderr


def test_a_repository_of_the_hub_is_verified_at_a_revision(hub: Hub, measured: Path) -> None:
    commit = hub.create("ann/nade-coins", {path.name: path.read_bytes() for path in measured.iterdir()})
    change(measured, value=1.5)
    later = ("metrics.json", "README.md")
    hub.commit("ann/nade-coins", {name: (measured / name).read_bytes() for name in later})
    assert "on the card 1.5" in disagreement("ann/nade-coins")
    assert verify("ann/nade-coins", "--revision", commit).exit_code == 0
    hub.create("ann/nade-bare", {name: (measured / name).read_bytes() for name in ("config.json", "model.safetensors")})
    assert "ann/nade-bare cannot be verified: it has no recipe.toml and no metrics.json" in refusal("ann/nade-bare")


CARD = Evaluation(
    value=88.0,
    unit="nats",
    standard_error=0.2,
    num_examples=10000,
    dataset="binarized_mnist",
    split="test",
    protocol="",
    likelihood="exact",
)


def test_four_standard_errors_of_a_part_are_allowed() -> None:
    def part(value: float, standard_error: float, count: int) -> bool:
        found = replace(CARD, value=value, standard_error=standard_error, num_examples=count)
        return verdict(found, CARD, None, count).agrees

    assert part(88.0 + 3.9 * 2.0, 2.0, 100) and not part(88.0 - 4.1 * 2.0, 2.0, 100)
    assert part(88.0 - 3.9 * 5.0, 5.0, 100) and not part(88.0 + 4.1 * 5.0, 5.0, 100)
    assert part(88.0 + 0.24 * 88.0, 1e9, 100) and not part(88.0 + 0.26 * 88.0, 1e9, 100)  # but no more than a quarter


def test_the_standard_error_on_the_card_allows_nothing() -> None:
    found, boast = replace(CARD, num_examples=100, standard_error=2.0), replace(CARD, value=60.0, standard_error=1e9)
    text = verdict(found, boast, None, 100).text
    assert text == (
        "disagrees: 100 examples give 88, the card says 60 of 10,000:"
        " more than 8 apart, which 4 standard errors of these allow"
    )
    assert verdict(replace(found, value=0.3), replace(boast, value=0.1), None, 100).agrees  # densities may be near 0


def test_what_is_no_number_agrees_with_nothing() -> None:
    assert verdict(CARD, CARD, 88.0, None).agrees
    assert not verdict(replace(CARD, value=nan), CARD, None, None).agrees
    assert not verdict(CARD, CARD, nan, None).agrees
    assert not verdict(replace(CARD, value=nan, num_examples=10), CARD, None, 10).agrees


def test_a_split_that_is_smaller_than_the_card_says_is_no_part() -> None:
    found = replace(CARD, num_examples=50)
    assert "the split has 50 examples" in verdict(found, CARD, None, 100).text
