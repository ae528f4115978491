"""Every installed family passes every check of the public kit, on every one of its tiny configs."""

from collections.abc import Callable
from typing import Any

import pytest

import arzoo
from arzoo import testing


def _parameters(families: list[str]) -> list[Any]:
    return [
        pytest.param(family, index, check, id=f"{family}-{index}-{check.__name__.removeprefix('check_')}")
        for family in families
        for index in range(len(arzoo.get_family(family).tiny_configs()))
        for check in testing.checks_of(arzoo.get_family(family))
    ]


@pytest.mark.parametrize("family", arzoo.list_families())
def test_tiny_configs(family: str) -> None:
    testing.check_tiny_configs(arzoo.get_family(family))


@pytest.mark.parametrize(("family", "index", "check"), _parameters(arzoo.list_families()))
def test_conformance(family: str, index: int, check: Callable[[arzoo.Model], None]) -> None:
    family_class = arzoo.get_family(family)
    check(testing.random_model(family_class, family_class.tiny_configs()[index]))
