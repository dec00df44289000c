"""Failures in a simulation are planted."""

import logging
from collections.abc import Iterator

import pytest
from tests.simulation.beginnings import tables_at_first


@pytest.fixture(autouse=True)
def nothing_is_broken_at_first() -> None:
    """The data with which runs begin is made before a fault is planted."""
    for groups in (False, True):
        for webhook in (False, True):
            tables_at_first(groups=groups, webhook=webhook)


@pytest.fixture(autouse=True)
def nothing_is_logged() -> Iterator[None]:
    """The services log each simulated failure with its traceback: a fifth of the time of a run, and read by nobody."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
