"""The front matter of a card: what the Hub reads, in YAML between two rows of dashes.

Only the keys whose values change are written anew, so that other keys stay as people wrote them; comments in
what is replaced come before it.  A result of ours names the weights that it was measured on: it goes when
these do, or when the folder has no measurement any more, while results that people added stay.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from math import nan
from typing import TYPE_CHECKING, Any

import yaml

from arzoo.card_merging import line_end
from arzoo.card_sections import Facts, metric_name
from arzoo.metrics import METRIC_TYPES
from arzoo.schema import number_in
from arzoo.wording import one_line

if TYPE_CHECKING:
    from arzoo.metrics import Evaluation

_FRONT = re.compile(r"(\s*---[ \t]*\r?\n)(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_MOST_ALIASES = 20
_LARGEST = 2**17  # characters; front matter that people write has some thousands
_WEIGHTS = "weights_sha256"  # key of a metric's args


def front_matter(text: str) -> dict[str, Any]:
    """What stands between the first two rows of dashes of a card; empty if it does not begin with one.

    Raises:
        ValueError: It does not end, is no YAML, or is no mapping.
    """
    values = _load(text[slice(*_span(text))])
    return {} if values is None else values


def body_start(text: str) -> int:
    """Index of the first character behind the front matter."""
    found = _FRONT.match(text)
    return found.end() if found else 0


def with_front_matter(text: str, values: dict[str, Any]) -> str:
    """A card whose front matter has these values, and all others that it had; None takes a key away.

    Raises:
        ValueError: As `front_matter`, or what is there cannot be edited.
    """
    before, newline = front_matter(text), line_end(text)
    changed = {key: value for key, value in values.items() if value != before.get(key)}
    if not changed:
        return text
    wanted = {key: value for key, value in {**before, **changed}.items() if value is not None or key not in changed}
    begin, end = _span(text)
    try:
        written = _edit(text[begin:end], changed, newline)
        edited = repr(_load(written)) == repr(wanted)  # where NaN is NaN
    except (yaml.YAMLError, ValueError, RecursionError):
        edited = False
    if not edited:
        raise ValueError(
            "the front matter cannot be edited; let every key stand once, at the beginning of a line,"
            f" as in '{next(iter(changed))}: value'"
        )
    if end == 0:
        return f"---{newline}{written}---{newline}{text}"
    opening, closing = re.sub("---[ \t]+", "---", text[:begin]), re.sub("^---[ \t]+", "---", text[end:])
    return opening + written + closing  # the Hub sees no dashes with blanks behind them


def updated(current: dict[str, Any], facts: Facts, license: str) -> dict[str, Any]:
    """Values of the keys that say something of the checkpoint, merged with what people wrote under them."""
    spec = facts.spec
    image = "unconditional-image-generation" if spec and spec.kind == "image" else None
    tags = ["autoregressive", "density-estimation", facts.config["family"]]
    datasets = [spec.hub_id] if spec and spec.hub_id else []
    return {
        "license": license,
        "library_name": "arzoo",
        "pipeline_tag": current.get("pipeline_tag") or image,
        "tags": _union(current.get("tags"), tags),
        "datasets": _union(current.get("datasets"), datasets),
        "model-index": _model_index(current.get("model-index"), facts, image) or None,
    }


def stated(front: dict[str, Any], test: Evaluation, sha256: str) -> float | None:
    """The value in the model-index of a measurement of these weights, NaN if it is no number; None if none is there."""
    for result in [result for entry in _entries(front.get("model-index")) for result in entry["results"]]:
        data = result["dataset"]
        if (data.get("name"), data.get("config"), data.get("split")) == (test.dataset, test.protocol, test.split):
            for metric in result["metrics"]:
                if _weights(metric) == sha256 and metric.get("type") == _metric_type(test):
                    value = number_in(metric.get("value"))
                    return nan if value is None else value
    return None


def _span(text: str) -> tuple[int, int]:
    """Where the YAML stands."""
    found = _FRONT.match(text)
    if found is None and re.match(r"\s*---[ \t]*\r?\n", text):
        raise ValueError("the front matter has no end: a line --- is missing")
    return found.span(2) if found else (0, 0)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Takes a few aliases at most: some lines of them can stand for more than any memory holds."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.aliases += self.check_event(yaml.AliasEvent)
        if self.aliases > _MOST_ALIASES:
            raise ValueError(f"it has more than {_MOST_ALIASES} aliases")
        return super().compose_node(parent, index)


def _load(text: str) -> dict[str, Any] | None:
    if len(text) > _LARGEST:
        raise ValueError(f"the front matter has {len(text)} characters, more than {_LARGEST}")
    try:
        values = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        raise ValueError(f"the front matter is no YAML: {one_line(error)}") from None
    if values is not None and not isinstance(values, dict):
        raise ValueError(f"the front matter must be lines of the form 'key: value', got {type(values).__name__}")
    return values


def _edit(text: str, changed: dict[str, Any], newline: str) -> str:
    """The YAML of a mapping with some of its values changed; nothing else of it moves."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    keys = [key for key, _ in root.value] if isinstance(root, yaml.MappingNode) else []
    ends = [key.start_mark.index for key in keys[1:]] + [len(text)]
    spans = {key.value: (key.start_mark.index, end) for key, end in zip(keys, ends, strict=False)}
    for name, (begin, end) in reversed(spans.items()):
        if name in changed:
            text = text[:begin] + _replaced(text[begin:end], name, changed[name], newline) + text[end:]
    added = "".join(_dump(name, value, newline) for name, value in changed.items() if name not in spans)
    return text + added


def _replaced(text: str, name: str, value: object, newline: str) -> str:
    """A key with another value.  Comments behind it belong to what follows; those within come before it."""
    lines = text.splitlines(keepends=True)
    last = len(lines)
    while last > 1 and re.match(r"\s*(#|$)", lines[last - 1]):
        last -= 1
    own, comments, end = "".join(lines[:last]), "", 0
    for token in yaml.scan(own, Loader=yaml.SafeLoader):  # no token is a comment
        between = re.findall("#.*", own[end : token.start_mark.index])
        comments += "".join(comment.rstrip() + newline for comment in between)
        end = max(end, token.end_mark.index)
    return comments + _dump(name, value, newline) + "".join(lines[last:])


def _dump(name: str, value: object, newline: str) -> str:
    if value is None:
        return ""
    text: str = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=2**20)
    return text.replace("\n", newline)


def _union(current: object, ours: list[str]) -> object:
    theirs = current if isinstance(current, list) else [] if current is None else [current]
    missing = [item for item in ours if item not in theirs]
    return [*missing, *theirs] if missing else current


# ---- model-index


def _model_index(current: object, facts: Facts, task: str | None) -> list[dict[str, Any]]:
    """The results that the card states, with what was measured now."""
    entries = _entries(copy.deepcopy(current))
    kept: set[str | None] = {None}
    if facts.test is not None:
        kept.add(facts.config["weights"]["sha256"])
        named = [entry for entry in entries if entry["name"] == facts.short_name]
        ours = [
            entry for entry in entries if any(_weights(m) for result in entry["results"] for m in result["metrics"])
        ]
        if not named + ours:
            entries.append({"name": facts.short_name, "results": []})
        entry = (named + ours + entries[-1:])[0]
        entry["name"] = facts.short_name
        _set_result(entry["results"], _result(facts, facts.test, task))
    return [entry for entry in entries if not _emptied(entry, "results", lambda result: not _drop_stale(result, kept))]


def _drop_stale(result: dict[str, Any], kept: set[str | None]) -> bool:
    """Takes metrics of other weights out of a result; whether it is empty now and was not before."""
    return _emptied(result, "metrics", lambda metric: _weights(metric) in kept)


def _emptied(holder: dict[str, Any], key: str, stays: Callable[[dict[str, Any]], bool]) -> bool:
    """Keeps the items under a key that stay; whether that were none of some."""
    before = holder[key]
    holder[key] = [item for item in before if stays(item)]
    return bool(before) and not holder[key]


def _set_result(results: list[dict[str, Any]], new: dict[str, Any]) -> None:
    """Puts a result in the place of the one on the same data, which keeps what else it says."""

    def about(result: dict[str, Any]) -> list[Any]:
        data = result["dataset"]
        return [result["task"].get("type"), *(data.get(name) for name in ("type", "config", "split"))]

    old = next((result for result in results if about(result) == about(new)), None)
    if old is None:
        results.append(new)
        return
    (metric,) = new["metrics"]
    old["task"] |= new["task"]
    old["dataset"] |= new["dataset"]
    same = next((found for found in old["metrics"] if found.get("type") == metric["type"]), None)
    if same is None:
        old["metrics"].append(metric)
    else:
        more = same.get("args")
        same |= {**metric, "args": {**(more if isinstance(more, dict) else {}), **metric["args"]}}


def _result(facts: Facts, test: Evaluation, task: str | None) -> dict[str, Any]:
    """What was measured, as the Hub has it: it tells results by data set and config, so the protocol is the config."""
    hub_id = facts.spec.hub_id if facts.spec and facts.spec.name == test.dataset else None
    return {
        "task": {"type": task or "density-estimation", "name": "Density estimation"},
        "dataset": {
            "name": test.dataset,
            "type": hub_id or test.dataset,
            "config": test.protocol,
            "split": test.split,
        },
        "metrics": [
            {
                "type": _metric_type(test),
                "value": float(test.value),
                "name": metric_name(test),
                "args": {
                    "standard_error": float(test.standard_error),
                    "num_examples": int(test.num_examples),
                    _WEIGHTS: facts.config["weights"]["sha256"],
                },
            }
        ],
    }


def _entries(index: object) -> list[dict[str, Any]]:
    """The models of a model-index, of the form that the Hub reads."""
    if index is None:
        return []
    if not _is_list(index, _is_entry):
        raise ValueError(
            "model-index in the front matter must be a list of 'name' and 'results', each of these with"
            " 'task', 'dataset' and 'metrics'; mend or delete it"
        )
    assert isinstance(index, list)
    return index


def _is_list(value: object, is_item: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) and is_item(item) for item in value)


def _is_entry(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("name"), str) and _is_list(entry.get("results"), _is_result)


def _is_result(result: dict[str, Any]) -> bool:
    parts = (result.get("task"), result.get("dataset"))
    return all(isinstance(part, dict) for part in parts) and _is_list(result.get("metrics"), lambda metric: True)


def _metric_type(test: Evaluation) -> str:
    return METRIC_TYPES[test.unit]


def _weights(metric: dict[str, Any]) -> str | None:
    """The weights that a metric of ours was measured on; None if it is not ours."""
    arguments = metric.get("args")
    found = arguments.get(_WEIGHTS) if isinstance(arguments, dict) else None
    return found if isinstance(found, str) else None
