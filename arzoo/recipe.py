"""A recipe: all it takes to train a model again, short enough to read aloud."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arzoo import schema
from arzoo.checkpoints import check_fields

if TYPE_CHECKING:
    from arzoo.data import DatasetSpec
    from arzoo.model import Model

_LARGEST = 2**14  # bytes; a recipe is short, and TOML of many dots takes far more memory than its text


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        steps: Updates in all; the learning rate schedule ends there.
        batch_size: Examples an update, over all processes.
        lr: Peak learning rate.
        warmup_steps: Updates over which the learning rate rises linearly from 0.
        schedule: How it falls to 0 after that.
        betas: Decay rates of Adam's two moments.
        weight_decay: Decoupled (AdamW).
        muon: Patterns of the names of the weights that Muon updates; AdamW updates all others.
        grad_clip: Largest norm of the gradient of the mean loss, in nats; None does not clip.
        ema: Decay of the running average of the weights that is evaluated and kept; None keeps the weights themselves.
        precision: "bfloat16" trains under autocast; likelihoods are measured in float32 either way.
        seed: Of everything random.
        eval_every: Updates between evaluations on the validation split.
        eval_examples: How many of its examples, evenly spaced; None takes all.
        patience: Evaluations without improvement after which training stops; None never stops early.
        weights_dtype: What the weights are stored as.
    """

    steps: int
    batch_size: int
    lr: float
    warmup_steps: int = 0
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    muon: tuple[str, ...] = ()
    grad_clip: float | None = None
    ema: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    eval_every: int = 1000
    eval_examples: int | None = None
    patience: int | None = None
    weights_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        schema.check(self)
        for name in ("steps", "batch_size", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("eval_examples", "patience"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("lr", "grad_clip"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must be between 0 and 1, got {self.ema}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be at least 0 and below 1, got {self.betas}")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a model is fitted, if its family can solve for the weights.

    Attributes:
        seed: Of everything random: an order that is drawn, a random view of the data.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        schema.check(self)


@dataclass(frozen=True, kw_only=True)
class Published:
    """The number that a result is measured against.

    Attributes:
        value: In the unit of the data set.
        source: Who reported it, where.
        note: What differs from our protocol or model, if anything.
    """

    value: float
    source: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    Attributes:
        family: Name of an installed family.
        dataset: Name of an installed data set.
        model: Fields of the family's config, without what the data set fixes.
        train: How it is trained.
        fit: How it is fitted, in place of `train`.
        published: What its result is measured against.
    """

    family: str
    dataset: str
    model: dict[str, Any] = field(default_factory=dict)
    train: TrainConfig | None = None
    fit: FitConfig | None = None
    published: Published | None = None

    def __post_init__(self) -> None:
        if (self.train is None) == (self.fit is None):
            raise ValueError("a recipe has one of the tables [train] and [fit]")
        fixed = {"event_shape", "num_categories"} & self.model.keys()
        if fixed:
            raise ValueError(f"[model] must leave out {', '.join(sorted(fixed))}: the data set fixes them")

    def create_model(self, spec: "DatasetSpec") -> "Model":
        """A new model for the events of the recipe's data set.

        Raises:
            LookupError: The family is not installed.
            ValueError: A field of `model` is none of its config, or not valid.
        """
        from arzoo import registry

        fixed = {"event_shape": spec.event_shape, "num_categories": spec.num_categories}
        return registry.create_model(self.family, {**fixed, **self.model})

    def what_must_stay(self) -> dict[str, Any]:
        """What two calls that train one model must agree on, for JSON.

        That is all but how long, in which precision, and what others published.
        """
        facts: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del facts["published"]
        if self.train is None:
            del facts["train"]
        else:
            del facts["fit"]
            for name in ("steps", "patience", "precision"):
                del facts["train"][name]
        return facts

    def differing(self, other: "Recipe") -> list[str]:
        """What differs of what must stay, as "lr of [train]" or "dataset"."""
        mine, theirs = (_by_field(each.what_must_stay()) for each in (self, other))
        return [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]


def _by_field(facts: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in facts.items():
        table = isinstance(value, dict)
        fields |= {f"{field} of [{name}]": each for field, each in value.items()} if table else {name: value}
    return fields


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe in a TOML file, or that of a checkpoint.

    Arguments:
        name_or_path: A file whose name ends in .toml, or what `arzoo.load` takes.

    Raises:
        FileNotFoundError: There is no such file.
        LookupError: There is no such checkpoint.
        ValueError: The file is no TOML, or no recipe.
    """
    path = recipe_path(name_or_path)
    return schema.build(Recipe, _read_toml(path), str(path))


def read_published(path: Path) -> tuple[str, dict[str, Any] | None]:
    """The data set of a recipe, and what it is measured against; nothing else of it is looked at, which is quick.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no TOML, or these are no recipe's.
    """
    values = _read_toml(path)
    check_fields({"dataset": values.get("dataset")}, {"dataset": str}, str(path))
    if "published" not in values:
        return str(values["dataset"]), None
    check_fields({"published": values["published"]}, {"published": dict}, str(path))
    published = {"note": "", **values["published"]}
    check_fields(published, {"value": float | int, "source": str, "note": str}, f"{path}: published")
    value = schema.number_in(published["value"])
    if value is None or not math.isfinite(value):
        raise ValueError(f"{path}: published: value must be a number that is not too large")
    return str(values["dataset"]), {"value": value, "source": published["source"], "note": published["note"]}


def _read_toml(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes; it is no recipe")
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from None


def recipe_path(name_or_path: str | Path) -> Path:
    """Where the file that `load_recipe` reads lies."""
    path = Path(name_or_path).expanduser()
    if path.suffix != ".toml":
        from arzoo import hub

        path = hub.locate(name_or_path, files=("recipe.toml",)) / "recipe.toml"
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe at {path}")
    return path
