"""What goes wrong in a simulation goes wrong on purpose."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_is_logged() -> Iterator[None]:
    """The services log each simulated failure with its traceback: a fifth of the time of a run, and read by nobody."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
