"""What the commands print: tables for people, and the facts behind them for scripts."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from arzoo import console
from arzoo.checkpoints import CheckpointInfo, read_config
from arzoo.recipe import load_recipe, read_published
from arzoo.wording import first_few

if TYPE_CHECKING:
    from rich.console import RenderableType

    from arzoo.data import DatasetSpec
    from arzoo.hub import CommunityModel, Push
    from arzoo.model import Model
    from arzoo.registry import PluginInfo


def checkpoint_facts(info: CheckpointInfo) -> dict[str, Any]:
    """A checkpoint with the number that its recipe measures it against; imports neither torch nor plugins."""
    facts = {**asdict(info), "path": str(info.path), "published": None}
    facts["test"] = facts.pop("metrics")
    try:
        dataset, published = read_published(info.path / "recipe.toml")
    except FileNotFoundError:  # one made by save_pretrained
        return facts
    except (OSError, ValueError) as error:
        return {**facts, "error": facts["error"] or str(error)}
    return {**facts, "dataset": dataset, "published": published}


def checkpoint_details(info: CheckpointInfo) -> dict[str, Any]:
    """All that the folder of a checkpoint says.

    Raises:
        FileNotFoundError: It is no checkpoint.
        ValueError: One of its files is not valid.
    """
    config, facts = read_config(info.path), checkpoint_facts(info)
    sections = {name: facts.pop(name) for name in ("test", "published")}
    stored = {name: config[name] for name in ("package", "arzoo_version")}
    details = {"checkpoint": {**facts, **stored, **config["weights"]}, "model": config["model"], **sections}
    if config["labels"]:
        details["labels"] = config["labels"]
    if (info.path / "recipe.toml").is_file():
        recipe = load_recipe(info.path / "recipe.toml")
        how = recipe.train or recipe.fit
        assert how is not None  # a recipe has one of the two
        details["training"] = asdict(how)
    return details


def family_details(family: type[Model], package: str, checkpoints: Iterable[CheckpointInfo]) -> dict[str, Any]:
    """A family: where it is from, and the fields of its config."""
    hints, meanings = typing.get_type_hints(family.config_class), _attributes(family.config_class)
    fields: dict[str, dict[str, Any]] = {}
    for field in dataclasses.fields(family.config_class):
        fields[field.name] = {"type": inspect.formatannotation(hints[field.name])}
        if field.default is not dataclasses.MISSING:
            fields[field.name]["default"] = field.default
        if field.name in meanings:
            fields[field.name]["meaning"] = meanings[field.name]
    facts = {
        "name": family.family,
        "reference": reference(family),
        "package": package,
        "likelihood": family.likelihood,
        "checkpoints": [info.name for info in checkpoints if info.family == family.family],
    }
    return {"family": facts, "config": fields}


def _attributes(config: type) -> dict[str, str]:
    """What the docstrings of a class and of those it inherits from say of its attributes."""
    found: dict[str, str] = {}
    for each in reversed(config.__mro__):
        _, _, section = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
        for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n      .*)*)", section, re.MULTILINE):
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def reference(family: type[Model]) -> str:
    """The paper of a family: the first paragraph of its module's docstring, on one line."""
    text = inspect.getdoc(inspect.getmodule(family)) or family.__name__
    return " ".join(text.split("\n\n")[0].split())


def dataset_details(spec: DatasetSpec) -> dict[str, Any]:
    """A data set, without the code that decodes it."""
    hidden = ("decode", "view")
    names = [field.name for field in dataclasses.fields(spec) if field.name not in hidden]
    facts = {name: getattr(spec, name) for name in names}
    return {"data set": {**facts, "random_view": spec.view is not None}}


def value_text(result: Mapping[str, Any]) -> str:
    """A measured value with its standard error and unit: "88.86 ± 0.24 nats"; "≤" before a bound."""
    value, error, unit = (result.get(name) for name in ("value", "standard_error", "unit"))
    if not isinstance(value, int | float):
        return ""
    bound = "≤ " if result.get("likelihood") == "lower_bound" else ""
    spread = f" ± {number(error, unit)}" if isinstance(error, int | float) else ""
    return f"{bound}{number(value, unit)}{spread} {unit or ''}".rstrip()


def number(value: float, unit: object) -> str:
    """A likelihood with the decimals that papers give it."""
    return f"{value:.3f}" if unit == "bits/dim" else f"{value:.2f}"


def size_text(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.1f} KiB"


def duration_text(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def checkpoint_table(checkpoints: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = []
    for facts in checkpoints:
        start = [facts["name"], facts["family"], facts["dataset"]]
        if facts["error"]:
            rows.append([*start, "", "", f"unusable: {facts['error']}", "", ""])
            continue
        published = facts["published"]
        rows.append(
            [
                *start,
                f"{facts['num_parameters']:,}",
                size_text(facts["num_bytes"]),
                value_text(facts["test"]),
                number(published["value"], facts["test"].get("unit")) if published else "",
                facts["license"],
            ]
        )
    columns = ("checkpoint", "family", "data set", "parameters", "size", "measured", "published", "licence")
    return table(columns, rows, right=("parameters", "size"))


def hub_table(models: Sequence[CommunityModel]) -> RenderableType:
    """What cards on the Hub say; nothing of it was checked."""
    rows = []
    for model in models:
        value = "" if model.value is None else f"{number(model.value, model.unit)} {model.unit}"
        facts = [model.name, model.family, model.dataset, value, model.license, f"{model.downloads:,}"]
        rows.append([*facts, "private" if model.private else "", model.commit])
    columns = ("repository", "family", "data set", "its card says", "licence", "downloads", "", "commit")
    return table(columns, rows, right=("downloads",))


def push_table(push: Push) -> RenderableType:
    rows = [[file.name, size_text(file.size), file.change] for file in push.files]
    return table(("file", "size", "on the Hub"), rows, right=("size",))


def plugin_table(plugins: Sequence[PluginInfo]) -> RenderableType:
    rows = [
        [p.name, p.group.removeprefix("arzoo."), p.distribution, p.version, p.module, p.status, p.error]
        for p in plugins
    ]
    return table(("name", "kind", "distribution", "version", "module", "status", "error"), rows)


def comparison_table(results: Mapping[str, Mapping[str, Any] | None]) -> RenderableType:
    """Rows "measured", "card" and "published" side by side; None where there is nothing."""
    measured = results["measured"] or {}
    unit = str(measured["unit"]) + (", bound" if measured["likelihood"] == "lower_bound" else "")
    rows = []
    for name, result in results.items():
        if result is None:
            rows.append([name, "", "", "", "", "none recorded"])
            continue
        about = [result.get(key) for key in ("protocol", "source", "note")]
        error = result.get("standard_error")
        rows.append(
            [
                name,
                number(result["value"], measured["unit"]),
                "" if error is None else number(error, measured["unit"]),
                str(result.get("num_examples", "")),
                str(result.get("split", "")),
                "; ".join(text for text in about if text),
            ]
        )
    columns = ("", f"value ({unit})", "standard error", "examples", "split", "protocol, source")
    return table(columns, rows, right=columns[1:4])


def details_table(details: Mapping[str, Mapping[str, Any] | None]) -> RenderableType:
    """Sections of names and values below one another."""
    rows = []
    for section, facts in details.items():
        rows.append([f"[{section}]", "" if facts else "none recorded"])
        shown = first_few if section == "labels" else _value_text
        rows += [[f"  {name}", shown(value)] for name, value in (facts or {}).items()]
    return table(("", ""), rows)


def _value_text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if type(value) is int else "" if value is None else str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    result = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold")
    for index, column in enumerate(columns):
        justify: Any = "right" if column in right else "left"
        result.add_column(column, justify=justify, no_wrap=index == 0, overflow="fold")
    for row in rows:
        result.add_row(*(Text(console.plain(cell)) for cell in row))
    return result
