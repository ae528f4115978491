"""The card of a checkpoint: README.md, written from what lies beside it, so that it says nothing else.

The front matter and what stands between the two markers is written anew each time; what somebody wrote by
hand above or below the markers stays.

The weights are under the licence of the data where that binds what is made of them (share-alike), or where it
forbids what Apache-2.0 would allow (commercial use, derived works); elsewhere under Apache-2.0, as arzoo is.
"""

from __future__ import annotations

import json
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arzoo import registry
from arzoo.checkpoints import describe_checkpoint, read_config
from arzoo.files import replacing
from arzoo.recipe import Published, Recipe, load_recipe
from arzoo.tables import number, reference, size_text

if TYPE_CHECKING:
    from arzoo.data import DatasetSpec
    from arzoo.model import Model

BEGIN, END = "<!-- arzoo:begin -->", "<!-- arzoo:end -->"
TITLE = "arzoo: a plugin-based zoo of autoregressive generative models"


def write_card(directory: str | Path) -> None:
    """Writes README.md of a checkpoint folder anew from config.json, recipe.toml and metrics.json.

    Arguments:
        directory: Holds these three; "test" in the last is what `arzoo.evaluate` gave for the weights whose
            sha256 is "weights_sha256".  samples.png and curve.png are shown if they are there.

    Raises:
        FileNotFoundError: One of the three is missing.
        ValueError: One of them is not valid, the weights were not measured, or README.md lacks a marker.
    """
    directory = Path(directory)
    config, recipe = read_config(directory), load_recipe(directory / "recipe.toml")
    metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    if "test" not in metrics or metrics.get("weights_sha256") != config["weights"]["sha256"]:
        raise ValueError(f"{directory} was not measured on its test split; run scripts/make_card.py on it")
    spec, family = registry.get_dataset(recipe.dataset), registry.get_family(config["family"])
    front = _front_matter(directory.absolute().name, recipe, spec, metrics["test"])
    body = _body(directory, config, recipe, spec, family, metrics)
    card = directory / "README.md"
    before, after = _hand_written(card)
    with replacing(card) as path:
        path.write_text(f"---\n{front}\n---\n{before}{BEGIN}\n{body}\n{END}{after}", encoding="utf-8")


def weights_licence(data_licence: str) -> str:
    """The licence of weights that were trained on data under this one, as the Hub writes it."""
    binding = {"sa", "nc", "nd"} & set(data_licence.split("-"))
    return data_licence if binding else "apache-2.0"


def _hand_written(card: Path) -> tuple[str, str]:
    """What stands before and behind the generated part of a card."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    if text.startswith("---\n") and "\n---\n" in text:
        text = text.split("\n---\n", 1)[1]
    if (text.count(BEGIN), text.count(END)) == (0, 0):
        return "\n", f"\n\n{text.strip()}\n" if text.strip() else "\n"
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended or BEGIN in rest or END in after:
        raise ValueError(f"{card} must have {BEGIN} and {END} once each, in this order")
    return before, after


def _front_matter(name: str, recipe: Recipe, spec: DatasetSpec, test: dict[str, Any]) -> str:
    """YAML of the Hub.  It groups results by data set and config alone, so the protocol is the config."""
    from huggingface_hub import EvalResult, ModelCardData

    image = "unconditional-image-generation" if spec.kind == "image" else None
    result = EvalResult(
        task_type=image or "density-estimation",
        task_name="Density estimation",
        dataset_type=spec.hub_id or spec.name,
        dataset_name=spec.name,
        dataset_config=test["protocol"],
        dataset_split=test["split"],
        metric_type="bits_per_dim" if test["unit"] == "bits/dim" else "negative_log_likelihood",
        metric_name=_metric(test),
        metric_value=float(test["value"]),
        metric_args={
            "standard_error": float(test["standard_error"]),
            "num_examples": int(test["num_examples"]),
        },
    )
    data = ModelCardData(
        model_name=name,
        license=weights_licence(spec.licence),
        library_name="arzoo",
        pipeline_tag=image,
        tags=["autoregressive", "density-estimation", recipe.family],
        datasets=[spec.hub_id] if spec.hub_id else None,
        eval_results=[result],
    )
    return data.to_yaml().strip()


def _metric(test: dict[str, Any]) -> str:
    bound = "upper bound of the " if test["likelihood"] == "lower_bound" else ""
    return f"{bound}negative log-likelihood, {test['unit']}".capitalize()


def _body(
    directory: Path,
    config: dict[str, Any],
    recipe: Recipe,
    spec: DatasetSpec,
    family: type[Model],
    metrics: dict[str, Any],
) -> str:
    name = directory.absolute().name
    sections = [
        f"# {name}",
        f"A {family.__name__} on {spec.name}.  {_paper(family)}",
        "![Samples, not selected](samples.png)" if (directory / "samples.png").is_file() else "",
        "## Use",
        _use(name, config),
        "## Measured and published",
        _results(metrics["test"], recipe.published),
        "## Data",
        _data(spec),
        "## Recipe",
        _recipe(name, recipe),
        "## Training" if "training" in metrics else "",
        _training(directory, metrics["training"]) if "training" in metrics else "",
        "## Size",
        _size(directory, config),
        "## Limits",
        _limits(spec, family),
        "## Licence",
        f"The weights: {weights_licence(spec.licence)}.  The data that they were trained on: {spec.licence}.",
        "## Citation",
        _citation(config["arzoo_version"], family),
    ]
    return "\n\n".join(section for section in sections if section)


def _paper(family: type[Model]) -> str:
    return f"{reference(family).rstrip('.')}."


def _use(name: str, config: dict[str, Any]) -> str:
    shape, categories = tuple(config["model"]["event_shape"]), config["model"]["num_categories"]
    values = f"integers 0 to {categories - 1}" if isinstance(categories, int) else "numbers"
    lines = [
        "import arzoo",
        "",
        f'model = arzoo.load("{name}")',
        f"x = model.sample(4)  # {values}, shape {(4, *shape)}",
        "print(model.log_prob(x))  # nats",
    ]
    return "\n".join(["```python", *lines, "```"])


def _results(test: dict[str, Any], published: Published | None) -> str:
    unit, bound = test["unit"], "at most " if test["likelihood"] == "lower_bound" else ""
    rows = [
        ("", _metric(test), "standard error", "examples", "source"),
        ("---", "---:", "---:", "---:", "---"),
        (
            "measured",
            f"{bound}{number(test['value'], unit)}",
            number(test["standard_error"], unit),
            f"{test['num_examples']:,}",
            f"the {test['split']} split of {test['dataset']}.  {test['protocol']}",
        ),
    ]
    if published is not None:
        source = f"{published.source}.  {published.note}" if published.note else published.source
        rows.append(("published", number(published.value, unit), "", "", source))
    else:
        rows.append(("published", "none known", "", "", ""))
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def _data(spec: DatasetSpec) -> str:
    where = f"[{spec.hub_id}](https://huggingface.co/datasets/{spec.hub_id})" if spec.hub_id else spec.name
    categories = "real numbers" if spec.num_categories is None else f"{spec.num_categories} categories"
    return f"{where}: events of shape {spec.event_shape}, {categories}.  {spec.protocol}"


def _recipe(name: str, recipe: Recipe) -> str:
    train = recipe.train
    facts = [f"{key} = {json.dumps(value)}" for key, value in recipe.model.items()]
    facts += [f"{key} = {getattr(train, key)}" for key in ("steps", "batch_size", "lr", "schedule", "seed")]
    facts += [f"{key} = {value}" for key in ("ema", "patience") if (value := getattr(train, key)) is not None]
    return (
        f"All of it is in [recipe.toml](recipe.toml): {', '.join(facts)}.\n\n"
        f"`arzoo train {name}` trains it again, `arzoo eval {name}` measures it again."
    )


def _training(directory: Path, training: dict[str, Any]) -> str:
    facts = {
        "by": "the arzoo authors",
        "hardware": training["hardware"],
        "processes": training["processes"],
        "threads each": training["threads"],
        "precision": training["precision"],
        "wall time": _duration(training["seconds"]),
        "CPU time of the main process": _duration(training["cpu_seconds"]),
        "updates": f"{training['steps']:,}, the best weights after {training['best_step']:,}",
        "examples seen": f"{training['examples']:,}",
        "torch": training["torch"],
    }
    curve = "\n\n![Loss by update](curve.png)" if (directory / "curve.png").is_file() else ""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items()) + curve


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(directory: Path, config: dict[str, Any]) -> str:
    weights = config["weights"]
    parameters = describe_checkpoint(directory).num_parameters
    return (
        f"{parameters:,} numbers in {size_text(weights['bytes'])} ({weights['bytes']:,} bytes) of"
        f" {weights['dtype']}; sha256 `{weights['sha256']}`.  What is reported was measured on these."
    )


def _limits(spec: DatasetSpec, family: type[Model]) -> str:
    from arzoo.autoregressive import Autoregressive

    limits = [
        f"It knows {spec.name} and nothing else: only events of shape {spec.event_shape}, treated as above.",
        "A high likelihood does not tell that an event is one of the data: others can have a higher one.",
        "Whether samples repeat training examples was not examined.",
    ]
    if family.likelihood == "lower_bound":
        limits.append("Its likelihoods are lower bounds: what is measured is at least as good as reported.")
    if issubclass(family, Autoregressive):
        limits.append("Sampling goes through the event one site after another.")
        limits.append("Completion is exact only where what is known comes first in the order of the model.")
    return "\n".join(f"- {limit}" for limit in limits)


def _citation(version: str, family: type[Model]) -> str:
    author = metadata("arzoo")["Author"]
    lines = [
        "```bibtex",
        "@software{arzoo,",
        f"  title = {{{TITLE}}},",
        f"  author = {{{{{author}}}}},",
        f"  version = {{{version}}}",
        "}",
        "```",
        "",
        f"And the paper of the model: {_paper(family)}",
    ]
    return "\n".join(lines)
