"""Tests on generated cases, on databases: `make test` has a few cases, and `make proofs` four times as many."""

import os
from collections.abc import Callable
from typing import Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings

TIMES: Final = int(os.environ.get("ROSTER_TEST_EXAMPLES", "1"))

Test = TypeVar("Test", bound=Callable[..., object])


def examples(number: int) -> Callable[[Test], Test]:
    """Each example fills the databases again, so fixtures for the whole function are enough."""
    chosen = settings(
        max_examples=number * TIMES,
        deadline=None,
        derandomize=os.environ.get("CI") == "true",
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return lambda test: pytest.mark.generated(chosen(test))
