"""Strict dataclasses: what a config or a recipe may hold is what its annotations say.

JSON and TOML know no tuples, so `build` takes lists where a tuple is declared; nothing else is converted.
"""

import dataclasses
import difflib
import functools
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


@functools.cache
def _adapters(cls: Any) -> dict[str, Any]:
    """What validates each field; None for one that holds a dataclass, which was checked when it was made."""
    from pydantic import ConfigDict, TypeAdapter

    hints = typing.get_type_hints(cls)
    config = ConfigDict(strict=True, allow_inf_nan=False)
    return {
        field.name: None if _nested(hints[field.name]) else TypeAdapter(hints[field.name], config=config)
        for field in dataclasses.fields(cls)
    }


def _complaint(where: str, name: str, value: object, error: Exception) -> ValueError:
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    reason = "; ".join(dict.fromkeys(detail["msg"] for detail in error.errors()))
    return ValueError(f"{where}: {name} = {value!r} is not valid: {reason}")


def check(instance: Any) -> None:
    """Refuses a dataclass whose fields hold other types than their annotations declare.

    Raises:
        ValueError: Names the class, the field, its value and what was expected.
    """
    from pydantic import ValidationError

    for name, adapter in _adapters(typing.cast(Any, type(instance))).items():
        if adapter is None:
            continue
        value = getattr(instance, name)
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            raise _complaint(type(instance).__name__, name, value, error) from None


def build(cls: type[T], values: object, where: str) -> T:
    """An instance of a dataclass from JSON or TOML values.

    Arguments:
        cls: A dataclass whose fields may be dataclasses in turn.
        values: Field names and values; lists stand for tuples.
        where: What the values were read from, for the messages.

    Raises:
        ValueError: An unknown field, a missing one, or a value of another type than declared.
    """
    from pydantic import ValidationError

    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a table of fields, got {type(values).__name__}")
    adapters: dict[str, Any] = _adapters(typing.cast(Any, cls))
    arguments = {}
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in adapters:
            close = difflib.get_close_matches(str(name), fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"its fields are {', '.join(fields)}"
            raise ValueError(f"{where}: {cls.__name__} has no field {name!r}; {hint}")
        if adapters[name] is None:
            arguments[name] = build(_nested(typing.get_type_hints(cls)[name]), value, f"{where}: {name}")
            continue
        try:
            arguments[name] = adapters[name].validate_python(_tuples(value) if _wants_tuple(cls, name) else value)
        except ValidationError as error:
            raise _complaint(where, str(name), value, error) from None
    missing = [
        name
        for name, field in fields.items()
        if name not in arguments
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}: {cls.__name__} needs {', '.join(missing)}")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _nested(hint: Any) -> Any:
    """The dataclass that a field of this type holds, or None."""
    options = typing.get_args(hint) or (hint,)
    return next((option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)), None)


def _wants_tuple(cls: type, name: str) -> bool:
    return "tuple" in str(typing.get_type_hints(cls)[name])


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def number_in(value: object) -> float | None:
    """A number that somebody wrote; None if it is none, or none that a float can hold."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None
