"""A card says what the folder says, keeps what was written by hand, and its snippet runs."""

import io
import json
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import toy_zoo
from huggingface_hub import ModelCard

from arzoo import card, checkpoints

ROOT = Path(__file__).parent.parent


@pytest.fixture
def measured(checkpoint: Path) -> Path:
    toy_zoo.measure(checkpoint)
    return checkpoint


def written(folder: Path) -> str:
    card.write_card(folder)
    return (folder / "README.md").read_text()


def make_card(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["make_card.py", *arguments])
    runpy.run_path(str(ROOT / "scripts" / "make_card.py"), run_name="__main__")


def test_the_front_matter_is_what_the_hub_reads(measured: Path) -> None:
    card.write_card(measured)
    data = ModelCard.load(measured / "README.md").data
    assert (data.model_name, data.license, data.library_name) == (toy_zoo.NAME, "cc-by-sa-3.0", "arzoo")
    assert data.pipeline_tag == "unconditional-image-generation"
    assert data.tags == ["autoregressive", "density-estimation", "nade"]
    (result,) = data.eval_results
    assert (result.metric_value, result.metric_name) == (543.43, "Negative log-likelihood, nats")
    assert (result.dataset_type, result.dataset_config) == ("binarized_mnist", "As | it is.")
    assert (result.dataset_split, result.metric_args["num_examples"]) == ("test", 10000)
    assert checkpoints.describe_checkpoint(measured).license == "cc-by-sa-3.0"


def test_the_card_says_what_the_folder_says(measured: Path) -> None:
    (measured / "samples.png").touch()
    text = written(measured)
    sha256 = json.loads((measured / "config.json").read_text())["weights"]["sha256"]
    for fact in (
        f"# {toy_zoo.NAME}\n",
        "| measured | 543.43 | 0.25 | 10,000 | the test split of binarized_mnist.  As \\| it is. |",
        "| published | 88.33 |  |  | Uria et al. 2016, table 2.  500 units |",
        "hidden_size = 2, steps = 2, batch_size = 4",
        "- hardware: a toy",
        "- CPU time of the main process: 2.0 h",
        "- updates: 2, the best weights after 1",
        f"3,922 numbers in 15.6 KiB (16,016 bytes) of float32; sha256 `{sha256}`",
        "![Samples, not selected](samples.png)",
        "The weights: cc-by-sa-3.0.",
        "https://arxiv.org/abs/1605.02226",
    ):
        assert fact in text, fact
    assert "curve.png" not in text


def test_what_was_written_by_hand_is_kept(measured: Path) -> None:
    first = written(measured)
    assert written(measured) == first
    readme = measured / "README.md"
    by_hand = "\n\n## Notes\n\nMind the -- ---\n---\ngap.\n\n"
    readme.write_text(first.replace(card.BEGIN, f"Above.\n\n{card.BEGIN}\nlost") + by_hand)
    toy_zoo.measure(measured, 1.25)
    text = written(measured)
    assert text.endswith(by_hand) and f"Above.\n\n{card.BEGIN}\n# " in text
    assert "| 1.25 |" in text and "543.43" not in text and "lost" not in text
    assert written(measured) == text


def test_a_card_without_markers_is_kept_below(measured: Path) -> None:
    (measured / "README.md").write_text("---\nlicense: mit\n---\n\n# By hand\n")
    text = written(measured)
    assert text.endswith(f"{card.END}\n\n# By hand\n") and "license: mit" not in text
    assert written(measured) == text


@pytest.mark.parametrize("text", [card.BEGIN, card.END, f"{card.END}{card.BEGIN}", f"{card.BEGIN}{card.END}{card.END}"])
def test_markers_that_do_not_match_are_refused(measured: Path, text: str) -> None:
    (measured / "README.md").write_text(text)
    with pytest.raises(ValueError, match="once each, in this order"):
        card.write_card(measured)
    assert (measured / "README.md").read_text() == text


def test_the_snippet_runs(measured: Path) -> None:
    snippet = re.search(r"```python\n(.*?)```", written(measured), re.DOTALL)
    assert snippet
    with redirect_stdout(io.StringIO()) as printed:
        exec(snippet[1], {})
    assert printed.getvalue().startswith("tensor([-5")


def test_weights_that_were_not_measured_get_no_card(measured: Path) -> None:
    metrics = json.loads((measured / "metrics.json").read_text())
    for change in ({"weights_sha256": "0" * 64}, {"test": None}):
        left = {name: value for name, value in {**metrics, **change}.items() if value is not None}
        (measured / "metrics.json").write_text(json.dumps(left))
        with pytest.raises(ValueError, match=r"was not measured on its test split; run scripts/make_card\.py"):
            card.write_card(measured)


@pytest.mark.parametrize(
    ("data", "weights"),
    [
        ("cc-by-sa-3.0", "cc-by-sa-3.0"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("cc-by-4.0", "apache-2.0"),
        ("mit", "apache-2.0"),
        ("unknown", "apache-2.0"),
    ],
)
def test_weights_are_under_the_licence_of_the_data_where_it_binds(data: str, weights: str) -> None:
    assert card.weights_licence(data) == weights


def test_the_citation_is_that_of_the_repository() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f'title: "{card.TITLE}"' in citation


def test_a_card_is_made_from_measured_weights_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_card(monkeypatch, str(checkpoint))
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    assert {"README.md", "samples.png", "metrics.json"} <= files.keys()
    metrics: dict[str, Any] = json.loads(files["metrics.json"])
    assert metrics["training"] == toy_zoo.TRAINING and metrics["test"]["num_examples"] == 5

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("arzoo.evaluate", refuse)
    make_card(monkeypatch, str(checkpoint))
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == files
    make_card(monkeypatch, str(checkpoint), "--samples", "64")
    assert (checkpoint / "samples.png").read_bytes() != files["samples.png"]
