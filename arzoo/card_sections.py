"""The text of a card's sections, from the facts of a checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arzoo.label_names import category_name
from arzoo.tables import duration_text, number, reference, size_text
from arzoo.wording import one_line

if TYPE_CHECKING:
    from arzoo.data import DatasetSpec
    from arzoo.metrics import Evaluation, Metrics, Training
    from arzoo.model import Model
    from arzoo.recipe import Recipe

TITLE = "arzoo: a plugin-based zoo of autoregressive generative models"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card is written from.

    Attributes:
        folder: The checkpoint; its pictures are shown.
        name: What `arzoo.load` takes for it.
        license: Of the weights, as people read it.
        config: config.json.
        family: The class of the model.
        context_names: What the model is conditioned on.
        num_parameters: Floating-point numbers stored.
        recipe, spec: How and on what it was trained; both None if the folder has no recipe.toml.
        test: What was measured on these weights, if anything.
        metrics: metrics.json.
    """

    folder: Path
    name: str
    license: str
    config: Mapping[str, Any]
    family: type[Model]
    context_names: tuple[str, ...]
    num_parameters: int
    recipe: Recipe | None
    spec: DatasetSpec | None
    test: Evaluation | None
    metrics: Metrics

    @property
    def short_name(self) -> str:
        return self.name.rpartition("/")[2]


def sections(facts: Facts) -> dict[str, str]:
    """The sections by name, in their order; each begins with its heading, and none is empty."""
    written = {
        "intro": _intro(facts),
        "use": _use(facts),
        "results": _results(facts),
        "data": _data(facts),
        "recipe": _recipe(facts),
        "training": _training(facts),
        "size": _size(facts),
        "limits": _limits(facts),
        "licence": _licence(facts),
        "citation": _citation(facts),
    }
    # What came from outside must not begin a comment or look like a marker, for sections end at one.
    return {
        name: re.sub("(arzoo)(?=:(begin|end))", r"\1\\", text.replace("<!--", "&lt;!--"), flags=re.IGNORECASE)
        for name, text in written.items()
        if text
    }


def metric_name(test: Evaluation) -> str:
    bound = "upper bound of the " if test.likelihood == "lower_bound" else ""
    what = "perplexity" if test.unit == "perplexity" else f"negative log-likelihood, {test.unit}"
    return f"{bound}{what}".capitalize()


def _intro(facts: Facts) -> str:
    name = facts.family.__name__
    data = f" on {facts.spec.name}" if facts.spec else ""
    paper = reference(facts.family).rstrip(".")
    text = f"# {facts.short_name}\n\n{'An' if name[0] in 'AEIOU' else 'A'} {name}{data}.  {paper}."
    return text + _picture(facts, "Samples, not selected", "samples.png")


def _picture(facts: Facts, caption: str, file: str) -> str:
    return f"\n\n![{caption}]({file})" if (facts.folder / file).is_file() else ""


def _use(facts: Facts) -> str:
    model = facts.config["model"]
    shape, categories = tuple(model["event_shape"]), model["num_categories"]
    values = "numbers" if categories is None else "integers"
    values += f" 0 to {categories - 1}" if isinstance(categories, int) else ""
    names = facts.context_names
    context, torch, how, words = "", "", "", ""
    labels = facts.config["labels"]
    if names and all(name in labels for name in names):
        some = {name: [labels[name][row % len(labels[name])] for row in range(4)] for name in names}
        how, context = ", context", f"\ncontext = {json.dumps(some, ensure_ascii=False)}  # or integers in tensors"
    elif names:
        torch, how = "\nimport torch", ", context"
        context = f"\ncontext = model.example_context(4, torch.Generator())  # {', '.join(names)}; your own as a dict"
    if (name := category_name(labels, names)) is not None:
        words = f"\nprint(*(model.labels[{json.dumps(name, ensure_ascii=False)}][i] for i in x[0].flatten() if i >= 0))"
    return f"""\
## Use

```python
import arzoo{torch}

model = arzoo.load({json.dumps(facts.name, ensure_ascii=False)}){context}
x = model.sample(4{how})  # {values}, shape {(4, *shape)}
print(model.log_prob(x{how}))  # nats{words}
```"""


def _results(facts: Facts) -> str:
    test, published = facts.test, facts.recipe.published if facts.recipe else None
    if test is None:
        return ""
    source = f"the {test.split} split of {test.dataset}"
    if facts.spec is None or test.protocol != facts.spec.protocol:  # else it stands under Data
        source += f".  {test.protocol}"
    bound = "at most " if test.likelihood == "lower_bound" else ""
    rows = [
        ("", metric_name(test), "standard error", "examples", "source"),
        ("---", "---:", "---:", "---:", "---"),
        (
            "measured",
            f"{bound}{number(test.value, test.unit)}",
            number(test.standard_error, test.unit),
            f"{test.num_examples:,}",
            source,
        ),
    ]
    if published is not None:
        source = f"{published.source}.  {published.note}" if published.note else published.source
        rows.append(("published", number(published.value, test.unit), "", "", source))
    else:
        rows.append(("published", "none known", "", "", ""))
    escaped = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in escaped)
    software = facts.metrics.measured_with
    by = f" with {_software(software)}" if software else ""
    return (
        f"## Measured and published\n\n{table}\n\n"
        f"Measured in float32{by}; `arzoo verify {facts.name}` measures it again and compares."
    )


def _software(versions: Mapping[str, str]) -> str:
    return one_line(", ".join(f"{name} {version}" for name, version in versions.items()))


def _data(facts: Facts) -> str:
    spec = facts.spec
    if spec is None:
        return ""
    name = f"[{spec.name}](https://huggingface.co/datasets/{spec.hub_id})" if spec.hub_id else spec.name
    source = f" ([source]({spec.homepage}))" if spec.homepage else ""
    sizes = spec.num_categories
    if isinstance(sizes, tuple):
        categories = f"{min(sizes)} to {max(sizes)} categories a site"
    else:
        categories = "real numbers" if sizes is None else f"{sizes} categories"
    return f"## Data\n\n{name}{source}: events of shape {spec.event_shape}, {categories}.  {spec.protocol}"


def _recipe(facts: Facts) -> str:
    if facts.recipe is None:
        return ""
    recipe, train = facts.recipe, facts.recipe.train
    fields = [f"{key} = {json.dumps(value)}" for key, value in recipe.model.items()]
    if train is not None:
        fields += [f"{key} = {getattr(train, key)}" for key in ("steps", "batch_size", "lr", "schedule", "seed")]
        fields += [f"{key} = {value}" for key in ("ema", "patience") if (value := getattr(train, key)) is not None]
    elif recipe.fit is not None:
        fields += [f"fitted with seed = {recipe.fit.seed}"]
    return (
        f"## Recipe\n\nAll of it is in [recipe.toml](recipe.toml): {', '.join(fields)}.\n\n"
        f"`arzoo train {facts.name}` trains it again."
    )


def _training(facts: Facts) -> str:
    training = facts.metrics.training
    if training is None:
        return ""
    facts_of_it = {
        "hardware": training.hardware,
        "processes": training.processes,
        "threads each": training.threads,
        "precision": training.precision,
        "wall time": duration_text(training.seconds),
        "CPU time of the main process": duration_text(training.cpu_seconds),
        "updates": _updates(training),
        "examples" if training.steps is None else "examples seen": f"{training.examples:,}",
        "compute": _compute(training),
        "software": _software({"arzoo": facts.config["arzoo_version"], "torch": training.torch}),
    }
    lines = "\n".join(f"- {name}: {one_line(value)}" for name, value in facts_of_it.items() if value is not None)
    return f"## Training\n\n{lines}" + _picture(facts, "Loss by update", "curve.png")


def _compute(training: Training) -> str | None:
    if not training.flops:
        return None
    return (
        f"{training.flops:.2g} FLOP an example, forward and backward, {training.flops * training.examples:.2g} in all"
        " (matrix products and convolutions)"
    )


def _updates(training: Training) -> str | None:
    if training.steps is None:
        return None
    best = "" if training.best_step is None else f", the best weights after {training.best_step:,}"
    again = ""
    if training.restarted_at is not None:
        again = f"; it went on from the weights of update {training.restarted_at:,}, the optimiser's moments new"
    return f"{training.steps:,}{best}{again}"


def _size(facts: Facts) -> str:
    weights = facts.config["weights"]
    measured = "  What is reported was measured on these." if facts.test else ""
    return (
        f"## Size\n\n{facts.num_parameters:,} numbers in {size_text(weights['bytes'])} ({weights['bytes']:,} bytes) of"
        f" {weights['dtype']}; sha256 `{weights['sha256']}`.{measured}"
    )


def _limits(facts: Facts) -> str:
    from arzoo.autoregressive import Autoregressive

    limits = [
        f"It knows {facts.spec.name if facts.spec else 'what it was trained on'} and nothing else.",
        "A high likelihood does not tell that an event is one of the data: others can have a higher one.",
        "Whether samples repeat training examples was not examined.",
    ]
    if facts.family.likelihood == "lower_bound":
        limits.append("Its likelihoods are lower bounds: the true ones are at least as good.")
    if issubclass(facts.family, Autoregressive):
        limits.append("Sampling goes through the event one site after another.")
        if facts.family.complete is Autoregressive.complete:  # others know an order for whatever is known
            limits.append("Completion is exact only where what is known comes first in the order of the model.")
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in limits)])


def _licence(facts: Facts) -> str:
    if facts.spec is None:
        text = f"The weights: {facts.license}."
    elif facts.spec.licence == facts.license:
        text = f"The weights and the data that they were trained on: {facts.license}."
    else:
        text = f"The weights: {facts.license}.  The data that they were trained on: {facts.spec.licence}."
    return f"## Licence\n\n{text}"


def _citation(facts: Facts) -> str:
    return f"""\
## Citation

```bibtex
@software{{arzoo,
  title = {{{TITLE}}},
  author = {{{{{metadata("arzoo")["Author"]}}}}},
  version = {{{facts.config["arzoo_version"]}}}
}}
```

Please cite the paper of the model too, which is named at the top."""
