"""Bounds are numbers above 0."""

from dataclasses import fields, replace
from typing import Any

import pytest

from domain.limits import LIMITS


@pytest.mark.parametrize("name", [each.name for each in fields(LIMITS)])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_limit_has_to_be_above_0_and_finite(name: str, value: float) -> None:
    bound: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        replace(LIMITS, **bound)
    bound = {name: 1}
    assert getattr(replace(LIMITS, **bound), name) == 1
