"""What a plugin may implement: a module with these functions, marked with `@arzoo.hookimpl`.

The module is named by an entry point of its package, one line for each family or data set that it holds:

    [project.entry-points."arzoo.families"]
    made = "arzoo_made"

    [project.entry-points."arzoo.datasets"]
    mnist = "arzoo_datasets"

A third group, `arzoo.checkpoints`, needs no hook: its value is a package whose folders are checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from arzoo.data import DatasetSpec
    from arzoo.model import Model

hookspec = pluggy.HookspecMarker("arzoo")
hookimpl = pluggy.HookimplMarker("arzoo")


@hookspec
def arzoo_families() -> list[type[Model]]:  # type: ignore[empty-body]
    """The families of this module; their `family` names are those of its entry points."""


@hookspec
def arzoo_datasets() -> list[DatasetSpec]:  # type: ignore[empty-body]
    """The data sets of this module; their names are those of its entry points."""
