"""metrics.json: how weights were trained, and what was measured on them.  Read, checked and written here alone.

    {"training": {...}, "test": {...}, "measured_with": {"arzoo": ..., "torch": ...}, "weights_sha256": ...}

Each of these may be missing, and what else stands there stays.  A measurement counts for the weights that it
names only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from arzoo.checkpoints import check_fields, read_config, read_json
from arzoo.files import replacing

METRICS = "metrics.json"
METRIC_TYPES = {"nats": "negative_log_likelihood", "bits/dim": "bits_per_dim", "perplexity": "perplexity"}
"""What the Hub calls a measurement in each unit."""

_LARGEST = 1e15  # no honest number comes near it
_LONGEST = 2000  # characters
_LEAST = {"value": -_LARGEST, "num_examples": 1}
"""Of the numbers that are not at least 0."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured.

    Attributes:
        value: Mean over the examples, in `unit`; a perplexity is that of the mean.
        unit: "nats": -log p(x); "bits/dim": that over D ln 2; "perplexity": exp(mean of -log p(x) / D), D the words.
        standard_error: Of the value, in `unit`.
        num_examples: How many.
        dataset, split, protocol: On what, and how it was treated.
        likelihood: "exact", or "lower_bound" if `value` is an upper bound of the negative log-likelihood.
    """

    value: float
    unit: str
    standard_error: float
    num_examples: int
    dataset: str
    split: str
    protocol: str
    likelihood: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a card says of a training, or of a fit, which has no precision and no updates.

    Attributes:
        hardware: Of each process, in the last call that trained.
        processes, threads: How many, and threads of each process, in that call.
        torch: Its version.
        examples: Seen in all updates, or fitted to.
        seconds, cpu_seconds: On the clock, and of the processor in the main process.
        precision: Of the passes; of all calls in turn, if it changed: "bfloat16, then float32".
        steps, best_step: Updates made, and those behind the weights that were kept.
        flops: Floating-point operations of an example in an update, as `arzoo.provenance.training_flops` counts them.
        restarted_at: Updates behind the weights from which alone training last went on, with new moments of the
            optimiser.
    """

    hardware: str
    processes: int
    threads: int
    torch: str
    examples: int
    seconds: float
    cpu_seconds: float
    precision: str | None = None
    steps: int | None = None
    best_step: int | None = None
    flops: int | None = None
    restarted_at: int | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The file, without what no reader needs.

    Attributes:
        training: How the weights were trained.
        test: What was measured on the weights that `weights_sha256` names.
        measured_with: The versions of the software by name.
    """

    training: Training | None = None
    test: Evaluation | None = None
    measured_with: Mapping[str, str] = field(default_factory=dict)
    weights_sha256: str | None = None

    def test_of(self, weights_sha256: str) -> Evaluation | None:
        """What was measured on these weights, if anything."""
        return self.test if self.weights_sha256 == weights_sha256 else None


def read_metrics(folder: Path) -> Metrics:
    """The metrics.json of a checkpoint; empty if it has none.

    Raises:
        ValueError: It is no JSON, or a field is missing, unknown, of another type or out of range; it says which.
    """
    file = folder / METRICS
    try:
        return _parse(read_json(file), str(file)) if file.is_file() else Metrics()
    except ValueError as error:
        raise ValueError(f"{error}; mend or delete the file") from None


def record(folder: Path, facts: Mapping[str, Any]) -> None:
    """Puts facts into the metrics.json of a checkpoint; what else it holds stays.

    Raises:
        ValueError: The file that is there is no JSON, or a fact is not valid; nothing is written then.
    """
    file = folder / METRICS
    found = {**(read_json(file) if file.is_file() else {}), **facts}
    _parse(facts, str(file))
    with replacing(file) as path:
        path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def record_test(folder: Path, test: Evaluation, weights_sha256: str) -> None:
    """Records what was measured on the test split, and with which software.

    Raises:
        ValueError: The folder holds other weights by now, or what was measured is no number; nothing is written then.
    """
    if read_config(folder)["weights"]["sha256"] != weights_sha256:
        raise ValueError(f"the weights in {folder} changed while they were measured; measure them again")
    import torch

    import arzoo

    software = {"arzoo": arzoo.__version__, "torch": torch.__version__}
    record(folder, {"test": asdict(test), "measured_with": software, "weights_sha256": weights_sha256})


def _parse(values: Mapping[str, Any], where: str) -> Metrics:
    training, test, software = (values.get(name, {}) for name in ("training", "test", "measured_with"))
    if isinstance(training, dict):  # other versions record more, and it is for people
        training = {each.name: training[each.name] for each in fields(Training) if each.name in training}
    _check(software, {name: str for name in software} if isinstance(software, dict) else {}, f"{where}: measured_with")
    of = {"weights_sha256": values.get("weights_sha256")}
    _check(of, {"weights_sha256": str | None}, where)
    return Metrics(
        training=_build(Training, training, f"{where}: training") if "training" in values else None,
        test=_build(Evaluation, test, f"{where}: test") if "test" in values else None,
        measured_with=software,
        **of,
    )


def _build(cls: type[T], values: object, where: str) -> T:
    """One of the dataclasses above; `arzoo.schema` could, but takes long to import for who only lists."""
    kinds = {name: int | float if kind is float else kind for name, kind in get_type_hints(cls).items()}
    defaults = {each.name: each.default for each in fields(cls) if each.default is not MISSING}  # type: ignore[arg-type]
    given: Any = {**defaults, **values} if isinstance(values, dict) else values
    _check(given, kinds, where)
    return cls(**given)


def _check(values: Any, kinds: dict[str, Any], where: str) -> None:
    """Refuses other fields than these, other types, and what no card could show."""
    if not isinstance(values, dict):
        raise ValueError(f"{where} must be a JSON object, got {type(values).__name__}")
    check_fields(values, kinds, where)
    for name, value in values.items():
        text = f"{name} {value}"
        if len(text) > _LONGEST or re.search("[\ud800-\udfff]", text):
            raise ValueError(f"{where}: {name[:50]!r} must be a text of at most {_LONGEST} characters of Unicode")
        low = _LEAST.get(name, 0)
        if isinstance(value, int | float) and not low <= value <= _LARGEST:
            raise ValueError(f"{where}: {name} must be {low:g} to {_LARGEST:g}, got {value!s:.30}")
        if name == "unit" and value not in METRIC_TYPES:
            raise ValueError(f"{where}: unit must be {' or '.join(METRIC_TYPES)}, got {value!r:.30}")
