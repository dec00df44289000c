"""Failures that must not wake an operator. `make night` runs these tests at length, and prints their figures.

`make proofs` runs what is quick of it: a restart in place of twenty, seconds in place of minutes. What has no quick
form is skipped there: it takes the fixture `at_night`.
"""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.clusters import Cluster, postgres_binaries
from tests.e2e.conftest import Roster

NIGHT: Final = os.environ.get("ROSTER_TEST_NIGHT") == "1"

log = logging.getLogger("night")


@pytest.fixture
def at_night() -> None:
    if not NIGHT:
        pytest.skip("takes minutes: make night")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of the test's own, to be killed and stopped."""
    with tempfile.TemporaryDirectory(prefix="roster-night-") as folder:
        cluster = Cluster(postgres_binaries(), Path(folder))
        cluster.make()
        cluster.start()
        yield cluster
        if (cluster.data / "postmaster.pid").exists():
            cluster.stop()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        yield listener


def memory_of(roster: Roster) -> int:
    """The bytes that a server and its children hold."""
    return sum(field_of(pid, "VmRSS") for pid in tree_of(roster.process.pid)) * 1024


def tree_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *[each for child in children for each in tree_of(int(child))]]


def field_of(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
