"""A card says what the folder says and no more, its snippet runs, and the cards that we ship are up to date."""

import io
import json
import math
import random
import re
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_zoo
import yaml
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import arzoo
from arzoo import card, checkpoints, cli, registry, tables

ROOT = Path(__file__).parent.parent


@pytest.fixture
def measured(checkpoint: Path) -> Path:
    toy_zoo.measure(checkpoint)
    return checkpoint


@pytest.fixture
def bare(checkpoint: Path) -> Path:
    """Config and weights alone."""
    for name in ("recipe.toml", "metrics.json"):
        (checkpoint / name).unlink()
    return checkpoint


def written(folder: Path, license: str | None = None, name: str | None = None) -> str:
    card.write_card(folder, license, name=name)
    return (folder / "README.md").read_text()


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.*)", text, re.MULTILINE)


def change_metrics(folder: Path, **changes: Any) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**metrics, **changes}))


# ---- what it says


def test_the_front_matter_is_what_the_hub_reads(measured: Path) -> None:
    card.write_card(measured)
    data = ModelCard.load(measured / "README.md").data
    assert (data.model_name, data.license, data.library_name) == (toy_zoo.NAME, "cc-by-sa-3.0", "arzoo")
    assert data.pipeline_tag == "unconditional-image-generation"
    assert data.tags == ["autoregressive", "density-estimation", "nade"]
    (result,) = data.eval_results
    assert (result.metric_value, result.metric_name) == (543.43, "Negative log-likelihood, nats")
    assert result.metric_type == "negative_log_likelihood"
    assert (result.dataset_type, result.dataset_config) == ("binarized_mnist", "As | it is.")
    assert (result.dataset_split, result.metric_args["num_examples"]) == ("test", 10000)
    sha256 = json.loads((measured / "config.json").read_text())["weights"]["sha256"]
    assert (result.metric_args["standard_error"], result.metric_args["weights_sha256"]) == (0.25, sha256)
    assert checkpoints.describe_checkpoint(measured).license == "cc-by-sa-3.0"


def test_the_hub_writes_the_front_matter_as_we_do(measured: Path) -> None:
    text = written(measured)
    ours = yaml.safe_load(text.split("---\n")[1])
    theirs = yaml.safe_load(ModelCard(text).data.to_yaml())
    assert ours == theirs


def test_the_card_says_what_the_folder_says(measured: Path) -> None:
    (measured / "samples.png").touch()
    change_metrics(measured, measured_with={"arzoo": "0.9", "torch": "2.99"})
    text = written(measured)
    config = json.loads((measured / "config.json").read_text())
    for fact in (
        f"# {toy_zoo.NAME}\n\nA NADE on binarized_mnist.  NADE: The Neural",
        "| measured | 543.43 | 0.25 | 10,000 | the test split of binarized_mnist. As \\| it is. |",
        "| published | 88.33 |  |  | Uria et al. 2016, table 2. 500 units |",
        "Measured in float32 with arzoo 0.9, torch 2.99; `arzoo verify nade-binarized_mnist-tiny` measures",
        "hidden_size = 2, steps = 2, batch_size = 4",
        "- hardware: a toy",
        "- CPU time of the main process: 2.0 h",
        "- updates: 2, the best weights after 1",
        "- compute: 2.3e+07 FLOP an example, forward and backward, 1.9e+08 in all (matrix products and convolutions)",
        f"- software: arzoo {config['arzoo_version']}, torch 2\n",
        f"3,922 numbers in 15.6 KiB (16,016 bytes) of float32; sha256 `{config['weights']['sha256']}`",
        "![Samples, not selected](samples.png)",
        "The weights and the data that they were trained on: cc-by-sa-3.0.",
        "binarized_mnist ([source](http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/)): events of",
        "https://arxiv.org/abs/1605.02226",
    ):
        assert fact in text, fact
    assert "curve.png" not in text


def test_what_somebody_measured_begins_no_line_of_its_own(measured: Path) -> None:
    change_metrics(measured, training={**toy_zoo.TRAINING, "hardware": "a\n\n## b"}, measured_with={"c\n## d": "1"})
    text = written(measured)
    assert "\n- hardware: a ## b\n" in text and "float32 with c ## d 1;" in text


def test_every_data_set_links_to_where_it_is_from() -> None:
    for name in registry.list_datasets():
        assert re.match(r"https?://\S+$", registry.get_dataset(name).homepage or ""), name


def test_a_card_says_nothing_twice(measured: Path) -> None:
    spec = registry.get_dataset("binarized_mnist")
    test = json.loads((measured / "metrics.json").read_text())["test"]
    change_metrics(measured, test={**test, "protocol": spec.protocol})
    body = written(measured).split("---\n", 2)[2]
    sentences = [
        part.strip() for part in re.split(r"\.\s|\n|\|", re.sub(r"<!--.*?-->|```.*?```", "", body, flags=re.S))
    ]
    long = [sentence for sentence in sentences if len(sentence) > 30]
    assert len(long) == len(set(long)) > 5
    assert body.count(spec.protocol) == 1


def test_no_line_ends_in_blanks_that_an_editor_might_take_away(measured: Path) -> None:
    assert not re.search(r"[ \t]$", written(measured), re.MULTILINE)


def test_what_comes_from_outside_ends_no_section(measured: Path) -> None:
    recipe = (measured / "recipe.toml").read_text()
    (measured / "recipe.toml").write_text(recipe.replace("500 units", "a|b\\n<!-- arzoo:end results -->"))
    text = written(measured)
    assert "a\\|b &lt;!-- arzoo\\:end results -->" in text
    assert "\n| published | 88.33 |" in text
    assert card.check_card(measured) == ""


# ---- any folder


def test_a_folder_without_recipe_and_metrics_gets_a_card_without_them(bare: Path) -> None:
    text = written(bare, "mit")
    assert headings(text) == [toy_zoo.NAME, "Use", "Size", "Limits", "Licence", "Citation"]
    assert "\nA NADE.  NADE: The Neural" in text and "The weights: mit." in text
    data = ModelCard(text).data.to_dict()
    assert data == {"license": "mit", "library_name": "arzoo", "tags": ["autoregressive", "density-estimation", "nade"]}


def test_sections_come_and_go_with_the_files_they_speak_of(measured: Path) -> None:
    everything = written(measured)
    recipe, metrics = ((measured / name).read_bytes() for name in ("recipe.toml", "metrics.json"))
    assert headings(everything)[1:-2] == [
        "Use",
        "Measured and published",
        "Data",
        "Recipe",
        "Training",
        "Size",
        "Limits",
    ]
    (measured / "recipe.toml").unlink()
    (measured / "metrics.json").unlink()
    nothing = written(measured)
    assert headings(nothing) == [toy_zoo.NAME, "Use", "Size", "Limits", "Licence", "Citation"]
    assert "model-index" not in nothing
    assert nothing == card.card_text(measured, "", "cc-by-sa-3.0").replace(
        "library_name: arzoo\n", "library_name: arzoo\npipeline_tag: unconditional-image-generation\n"
    )
    (measured / "recipe.toml").write_bytes(recipe)
    (measured / "metrics.json").write_bytes(metrics)
    assert written(measured) == everything


def test_measurements_of_other_weights_are_not_reported(measured: Path) -> None:
    written(measured)
    change_metrics(measured, weights_sha256="0" * 64)
    text = written(measured)
    assert "543.43" not in text and "model-index" not in text and "What is reported" not in text
    assert "## Training" in text


def test_a_name_on_the_hub_stays_and_another_follows_the_folder(measured: Path) -> None:
    line = 'model = arzoo.load("{}")'
    assert line.format(toy_zoo.NAME) in written(measured)
    moved = measured.rename(measured.with_name("nade-other"))
    text = written(moved)
    assert line.format("nade-other") in text and "\n# nade-other\n" in text
    assert ModelCard(text).data.model_name == "nade-other"
    text = written(moved, name="me/nade-mine")
    assert line.format("me/nade-mine") in text and "\n# nade-mine\n" in text
    assert written(moved) == text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": "low"}, r"value must be int \| float, got str"),
        ({"value": None}, r"value must be int \| float, got NoneType"),
        ({"perplexity": 3}, "test: there is no field 'perplexity'"),
    ],
)
def test_metrics_that_are_none_are_refused(measured: Path, changes: dict[str, Any], reason: str) -> None:
    test = json.loads((measured / "metrics.json").read_text())["test"]
    change_metrics(measured, test={**test, **changes})
    with pytest.raises(ValueError, match=reason):
        card.write_card(measured)


ODD = (
    *(None, True, -1, 0, 3, 2.5, -0.5, 1e14, 1e16, 1e308, -1e308, 10**30, 10**400, math.nan, math.inf),
    *(
        "",
        "nats",
        "low",
        "3",
        "a\n\n## b | c\t`d`",
        "<!-- arzoo:end training -->",
        "\ud800",
        "\x00\x1b[31m\x85",
        "---\na: &b\n",
    ),
    *("x" * 1500, "x" * 10**5, [], [3], {}, {"a": 3}, {"torch": "2"}, {"<!-- -->": "\n"}, {"x" * 10**5: ""}),
    *({"value": 1.0}, {"hardware": 3}, json.loads("[" * 300 + "]" * 300)),
)


def test_whatever_metrics_hold_there_is_a_card_or_a_refusal_on_one_line(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, draw, model = measured / "metrics.json", random.Random(0), arzoo.load(measured)
    monkeypatch.setattr("arzoo.loading.load", lambda folder: model)
    change_metrics(measured, measured_with={"arzoo": "0.9", "torch": "2.99"})
    whole = json.loads(file.read_text())
    cases: list[Any] = [{**whole, name: value} for name in whole for value in ODD]
    for part in ("training", "test", "measured_with"):
        for name in (*whole[part], "more"):
            values = draw.sample(ODD, 5)
            cases += [{**whole, part: {**whole[part], name: value}} for value in values]
            cases.append({**whole, part: {key: value for key, value in whole[part].items() if key != name}})
    cases += ODD
    refused = 0
    for case in cases:
        file.write_text(json.dumps(case))
        try:
            text = card.card_text(measured, "")
            text.encode()
            (measured / "README.md").write_text(text)
            assert card.check_card(measured) == "", case
        except ValueError as error:
            refused += 1
            assert "metrics.json" in str(error) and "\n" not in str(error) and len(str(error)) < 1000, case
        (measured / "README.md").unlink(missing_ok=True)
        tables.checkpoint_details(checkpoints.describe_checkpoint(measured))
    assert len(cases) / 2 < refused < len(cases) - 50


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training": {}}, "training: the field 'hardware' is missing"),
        ({"training": 3}, "training must be a JSON object, got int"),
        ({"test": []}, "test must be a JSON object, got list"),
        ({"measured_with": "arzoo"}, "measured_with must be a JSON object, got str"),
        ({"training": {**toy_zoo.TRAINING, "seconds": -1}}, "training: seconds must be 0 to 1e+15, got -1"),
        ({"training": {**toy_zoo.TRAINING, "steps": 10**40}}, "training: steps must be 0 to 1e+15, got 1000"),
        ({"weights_sha256": 3}, "weights_sha256 must be str | None, got int"),
    ],
)
def test_a_refusal_names_the_file_and_the_field(measured: Path, changes: dict[str, Any], reason: str) -> None:
    change_metrics(measured, **changes)
    for command in (["card", str(measured)], ["verify", str(measured)], ["push", str(measured), "me/mine"]):
        if command[0] == "push":
            (measured / "README.md").write_text("---\nlicense: cc-by-sa-3.0\n---\n<!-- arzoo:begin -->")
        done = CliRunner().invoke(cli.app, command)
        assert (done.exit_code, done.stdout) == (1, ""), done.output
        if command[0] != "push":
            assert re.fullmatch(
                rf"error: .*metrics\.json: {re.escape(reason)}.*; mend or delete the file\n", done.stderr
            )
    assert reason in checkpoints.describe_checkpoint(measured).error


# ---- licence


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


def test_a_licence_is_required(bare: Path) -> None:
    with pytest.raises(ValueError, match=r"no licence is known, .*--license"):
        card.write_card(bare)
    assert not (bare / "README.md").exists()
    (bare / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n")
    assert "The weights: bsd-3-clause." in written(bare)
    assert "The weights: mit." in written(bare, "mit")
    with pytest.raises(ValueError, match=r"as the Hub writes it, like apache-2\.0 or other; got 'MIT License'"):
        card.write_card(bare, "MIT License")


def test_a_licence_that_somebody_chose_stays_if_the_data_allow_it(measured: Path) -> None:
    readme = measured / "README.md"
    readme.write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n")
    text = written(measured)
    assert "The weights: cc-by-nc-sa-4.0.  The data that they were trained on: cc-by-sa-3.0." in text
    assert ModelCard(text).data.license == "cc-by-nc-sa-4.0"
    with pytest.raises(ValueError, match=r"cannot be under mit, since the data are under cc-by-sa-3\.0, which binds"):
        card.write_card(measured, "mit")
    assert readme.read_text() == text
    readme.write_text("---\nlicense: other\nlicense_name: ask-me\n---\n")
    assert "The weights: ask-me." in written(measured)


@pytest.mark.parametrize("license", ['"mit"', "'mit'", "mit # mine", "!!str mit"])
def test_the_licence_is_read_as_yaml(bare: Path, license: str) -> None:
    (bare / "README.md").write_bytes(b"\xef\xbb\xbf" + f"---\r\nlicense: {license}\r\n---\r\n".encode())
    assert checkpoints.describe_checkpoint(bare).license == "mit"
    assert "The weights: mit." in written(bare)


@pytest.mark.parametrize("front", ["license: [mit]", "license: [", "license: no", "mit"])
def test_a_licence_that_cannot_be_read_is_none(bare: Path, front: str) -> None:
    (bare / "README.md").write_text(f"---\n{front}\n---\n")
    info = checkpoints.describe_checkpoint(bare)
    assert (info.license, info.error) == ("", "")


# ---- up to date


def test_a_card_that_was_written_is_up_to_date_until_something_changes(measured: Path) -> None:
    difference = card.write_card(measured)
    assert "+## Use" in difference
    written_once = (measured / "README.md").stat()
    assert card.check_card(measured) == card.write_card(measured) == ""
    assert (measured / "README.md").stat().st_ino == written_once.st_ino
    toy_zoo.measure(measured, 1.25)
    before = (measured / "README.md").read_bytes()
    difference = card.check_card(measured)
    assert (measured / "README.md").read_bytes() == before
    for line in ("-      value: 543.43", "+      value: 1.25", "+| measured | 1.25 | 0.25 |"):
        assert line in difference
    assert card.write_card(measured) == difference
    assert card.check_card(measured) == ""


def test_a_card_that_cannot_be_written_is_the_one_that_was(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = written(measured) + "\nBy hand.\n"
    (measured / "README.md").write_text(text)
    toy_zoo.measure(measured, 1.25)
    files = sorted(measured.iterdir())

    def fail(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="No space"):
            card.write_card(measured)
    assert (measured / "README.md").read_text() == text
    assert sorted(measured.iterdir()) == files


@pytest.mark.parametrize("folder", sorted((ROOT / "model_cards").glob("*/")), ids=lambda folder: str(folder.name))
def test_the_cards_in_the_repository_are_up_to_date(folder: Path) -> None:
    assert card.check_card(folder) == "", f"run: arzoo card {folder}"


def test_the_snippet_runs(measured: Path) -> None:
    snippet = re.search(r"```python\n(.*?)```", written(measured), re.DOTALL)
    assert snippet
    with redirect_stdout(io.StringIO()) as printed:
        exec(snippet[1], {})
    assert printed.getvalue().startswith("tensor([-5")


def test_the_citation_is_that_of_the_repository(measured: Path) -> None:
    title = re.search(r'^title: "(.*)"', (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert title and f"  title = {{{title[1]}}}," in written(measured)


# ---- other families and data


def test_a_bound_and_a_data_set_of_the_hub_are_told(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(registry.get_dataset("cifar10"), name="binarized_mnist", licence="mit")
    monkeypatch.setattr(registry, "get_dataset", lambda name: spec)
    test = json.loads((measured / "metrics.json").read_text())["test"]
    change_metrics(measured, test={**test, "unit": "bits/dim", "likelihood": "lower_bound", "protocol": spec.protocol})
    text = written(measured)
    assert "| measured | at most 543.430 | 0.250 | 10,000 | the test split of binarized_mnist |" in text
    assert "[binarized_mnist](https://huggingface.co/datasets/uoft-cs/cifar10) ([source](https://www.cs" in text
    assert "The weights: apache-2.0.  The data that they were trained on: mit." in text
    data = ModelCard(text).data
    assert data.datasets == ["uoft-cs/cifar10"]
    (result,) = data.eval_results
    assert (result.metric_type, result.dataset_type) == ("bits_per_dim", "uoft-cs/cifar10")
    assert result.metric_name == "Upper bound of the negative log-likelihood, bits/dim"


def test_only_a_family_that_cannot_is_said_not_to_complete_anything(tmp_path: Path) -> None:
    for family in ("nade", "deep_nade"):
        arzoo.create_model(family, {"event_shape": (4,)}).save_pretrained(tmp_path / family)
        text = written(tmp_path / family, license="mit")
        assert ("Completion is exact only where" in text) == (family == "nade")


def test_events_that_are_no_images_get_a_card(tmp_path: Path) -> None:
    config = {"event_shape": (4,), "num_categories": 3, "hidden_size": 2}
    arzoo.create_model("nade", config).save_pretrained(tmp_path / "nade-dice")
    text = written(tmp_path / "nade-dice", "cc0-1.0")
    assert "x = model.sample(4)  # integers 0 to 2, shape (4, 4)" in text
    assert "pipeline_tag" not in text


def test_a_perplexity_and_a_fit_are_told(measured: Path) -> None:
    recipe = (measured / "recipe.toml").read_text()
    (measured / "recipe.toml").write_text(re.sub(r"\[train\].*?\n\n", "[fit]\nseed = 3\n\n", recipe, flags=re.DOTALL))
    metrics = json.loads((measured / "metrics.json").read_text())
    training = {k: v for k, v in metrics["training"].items() if k not in ("precision", "steps", "best_step")}
    change_metrics(measured, training=training, test=metrics["test"] | {"unit": "perplexity"})
    text = written(measured)
    assert "|  | Perplexity | standard error |" in text and "hidden_size = 2, fitted with seed = 3." in text
    assert "- examples: 8\n" in text and "- updates" not in text and "- precision" not in text
    (result,) = ModelCard(text).data.eval_results
    assert (result.metric_type, result.metric_name) == ("perplexity", "Perplexity")


def test_the_snippet_of_a_conditional_model_runs(tmp_path: Path) -> None:
    config = {"event_shape": (5,), "num_categories": 7, "hidden_size": 2, "scale_bias": True}
    model = arzoo.create_model("doc_nade", config)
    model.save_pretrained(tmp_path / "doc_nade-words")
    snippet = re.search(r"```python\n(.*?)```", written(tmp_path / "doc_nade-words", "mit"), re.DOTALL)
    assert snippet and "  # length; your own as a dict\n" in snippet[1]
    with redirect_stdout(io.StringIO()) as printed:
        exec(snippet[1].replace('"doc_nade-words"', repr(str(tmp_path / "doc_nade-words"))), {})
    assert re.match(r"tensor\(\[ *-", printed.getvalue())


@pytest.mark.parametrize(
    ("family", "config", "labels", "line"),
    [
        (
            "gated_pixelcnn",
            {"event_shape": (1, 2, 2), "hidden_size": 2, "num_layers": 1, "head_size": 2, "num_classes": 3},
            {"class": ("cat", 'the "dög"', "frog ``` \N{FROG FACE}")},
            'context = {"class": ["cat", "the \\"dög\\"", "frog ``` \N{FROG FACE}", "cat"]}  # or integers in tensors',
        ),
        (
            "doc_nade",
            {"event_shape": (5,), "num_categories": 3, "hidden_size": 2},
            {"word": ("be", "nöt", "to")},
            'print(*(model.labels["word"][i] for i in x[0].flatten() if i >= 0))',
        ),
    ],
)
def test_the_snippet_of_a_model_with_labels_runs(
    tmp_path: Path, family: str, config: dict[str, Any], labels: dict[str, tuple[str, ...]], line: str
) -> None:
    model = arzoo.create_model(family, config)
    model.labels = labels
    model.save_pretrained(tmp_path / "a-b")
    snippet = re.search(r"^```python\n(.*?)^```$", written(tmp_path / "a-b", "mit"), re.DOTALL | re.MULTILINE)
    assert snippet and line in snippet[1].splitlines()
    with redirect_stdout(io.StringIO()) as printed:
        exec(snippet[1].replace('"a-b"', repr(str(tmp_path / "a-b"))), {})
    first, *rest = printed.getvalue().splitlines()
    assert re.match(r"tensor\(\[ *-", first)
    assert set(" ".join(rest).split()) <= set(labels.get("word", ()))
    assert bool(rest) == ("word" in labels)


# ---- the command


def test_the_command_writes_or_checks_a_card(measured: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(cli.app, ["card", *arguments])

    folder, readme = str(measured), measured / "README.md"
    checked = run(folder, "--check")
    assert (checked.exit_code, readme.exists()) == (1, False) and "+## Use" in checked.stdout
    assert run(folder).stdout == checked.stdout and readme.exists()
    done = run(folder, "--check")
    assert (done.exit_code, done.stdout) == (0, f"{readme} is up to date\n")
    assert '+model = arzoo.load("me/mine")' in run(folder, "--name", "me/mine").stdout
    assert run(folder).stdout == f"{readme} is up to date\n"  # the name on the Hub stays
    assert "+license: cc-by-nc-sa-4.0" in run(folder, "--license", "cc-by-nc-sa-4.0").stdout
    readme.write_text(readme.read_text().replace("integers 0 to 1", "bits"))
    for arguments in ([folder], [folder, "--check"]):
        refused = run(*arguments)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert re.fullmatch(r"error: .*README\.md: line \d+: the section 'use' was edited .*\n", refused.stderr)
    nowhere = run("nowhere")
    assert nowhere.exit_code == 1 and "nowhere is no checkpoint" in nowhere.stderr


def test_what_is_written_while_the_card_is_made_is_not_lost(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card.write_card(measured)
    readme, load = measured / "README.md", arzoo.load

    def slow(folder: Path) -> arzoo.Model:
        readme.write_text(readme.read_text() + "\nBy hand, meanwhile.\n")
        return load(folder)

    change_metrics(measured, measured_with={"arzoo": "0.0.1", "torch": "2.0"})
    monkeypatch.setattr("arzoo.loading.load", slow)
    with pytest.raises(ValueError, match=r"README\.md was changed meanwhile; write it again"):
        card.write_card(measured)
    assert readme.read_text().endswith("\nBy hand, meanwhile.\n")
