"""What the Hub reads in a README.md: the front matter, the tags that follow from it, and what it will not take."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml


def front_matter(text: str) -> dict[str, Any]:
    """The YAML at the head of a card; empty if there is none.

    Raises:
        ValueError: It is no YAML mapping.
    """
    match = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    if not match:
        return {}
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise ValueError(f"YAML front matter does not parse: {str(error).splitlines()[0]}") from None
    if data is not None and not isinstance(data, dict):
        raise ValueError("YAML front matter must be a mapping")
    return data or {}


def tags(card: Mapping[str, Any], paths: Iterable[str]) -> list[str]:
    """The tags of a repository: those of its card, and those that the Hub adds."""
    found = [*_list(card.get("tags")), card.get("library_name"), card.get("pipeline_tag"), *_list(card.get("language"))]
    found += ["safetensors"] if any(path.endswith(".safetensors") for path in paths) else []
    found += ["model-index"] if card.get("model-index") else []
    for key, prefix in (("datasets", "dataset"), ("base_model", "base_model"), ("license", "license")):
        found += [f"{prefix}:{value}" for value in _list(card.get(key))]
    return list(dict.fromkeys([str(tag) for tag in found if tag] + ["region:us"]))


def errors(text: str) -> list[str]:
    """What keeps the Hub from taking a card."""
    try:
        card = front_matter(text)
    except ValueError as error:
        return [str(error)]
    found = [f'"{key}" must be a string' for key in ("library_name", "pipeline_tag") if not _is(card.get(key), str)]
    for key in ("tags", "datasets", "license", "language"):
        if not all(isinstance(value, str) for value in _list(card.get(key))):
            found.append(f'"{key}" must be a string or a list of strings')
    if not _is(card.get("model-index"), list):
        return [*found, '"model-index" must be an array']
    for i, model in enumerate(card.get("model-index") or []):
        found += [f'"model-index[{i}].{problem}' for problem in _index_errors(model)]
    return found


def _index_errors(model: Mapping[str, Any]) -> list[str]:
    found = [] if model.get("name") else ['name" is required']
    for j, result in enumerate(model.get("results", [])):
        for part, keys in (("task", ["type"]), ("dataset", ["name", "type"])):
            found += [f'results[{j}].{part}.{key}" is required' for key in keys if not result.get(part, {}).get(key)]
        for k, metric in enumerate(result.get("metrics", [])):
            at = f"results[{j}].metrics[{k}]"
            found += [f'{at}.{key}" is required' for key in ("type", "value") if metric.get(key) is None]
    return found


def _is(value: object, kind: type) -> bool:
    return value is None or isinstance(value, kind)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
