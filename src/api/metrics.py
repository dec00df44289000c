"""Figures for monitoring: how many requests, how long they took, how long they waited. None of them is about users.

A label has few values, all of them Roster's own: operations, statuses, pools. Nothing that a client sends makes a new
one.
"""

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from api.hour import LastHour
from api.version import VERSION

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that tells the library, when it is imported, where workers keep their figures."""

REQUEST_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 16, 35)
"""The bounds are close together up to 50 ms, where nearly all answers are. Above that they follow the time limits: a
wait for a connection ends after 2 seconds as a rule, a statement after 15, a wait for changes soon after 30. Each bound
is one more series for each operation and status."""

DATABASE_S: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.25, 1, 3.5, 16)
"""A read by its key takes tenths of a millisecond; a statement is ended after 15 seconds."""

WAIT_S: Final = (0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 1, 3.5, 10, 61)
"""Waits are short while connections are free. They end after 2 seconds, or what is set instead, at most 60."""


REQUEST_TEXT: Final = "Time until the answer was over, waits for changes and whole streams included."
SENT_TEXT: Final = "Attempts to send a change to a webhook: delivered, failed, refused (4xx), gone (410)."
READS_TEXT: Final = "Reading units of work where there are replicas: moved are those that a replica did not answer."
BEHIND_TEXT: Final = "How long ago the primary was as this replica is now, at most; infinite while that is not known."
NONE: Final = "none"
"""For a label, where there is nothing to name."""


class Metrics:
    """The metrics of one app, in a registry of its own. Workers share them in files. Also a database's meter.

    Finding a metric by its labels costs as much as adding to it, so what was found is cached.
    """

    def __init__(self, engine: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a further series for each, which workers do not have
        own = CollectorRegistry()
        in_flight = gauge(own, "roster_requests_in_flight", "Requests that are being answered, this one too.")
        requests = histogram(own, "roster_request_seconds", REQUEST_TEXT, REQUEST_S, "operation", "status")
        database = histogram(own, "roster_database_seconds", "Time of a statement or COMMIT.", DATABASE_S, "kind")
        waits = histogram(own, "roster_pool_wait_seconds", "Time until a connection was free.", WAIT_S, "pool")
        in_use = gauge(own, "roster_pool_in_use", "Connections in use; SQLite's for reading: reads.", "pool")
        alarms = gauge(own, "roster_database_alarm", "1 while the database does not work for this reason.", "code")
        size = gauge(own, "roster_pool_size", "Connections that there may be at the most.", "pool")
        sent = counter(own, "roster_webhook_deliveries", SENT_TEXT, "outcome")
        reads = counter(own, "roster_reads", READS_TEXT, "place")
        self._behind = gauge(own, "roster_replica_lag_seconds", BEHIND_TEXT, "replica", shared="livemax")
        self._lag = gauge(own, "roster_webhook_lag_seconds", "Age of the oldest change that was not delivered yet.")
        self._sent = cache(sent.labels)
        self._reads = cache(reads.labels)
        self.hour = LastHour()
        self._in_flight = in_flight
        self._requests = cache(requests.labels)
        self._database = cache(database.labels)
        self._waits = cache(waits.labels)
        self._in_use = cache(in_use.labels)
        self._size = cache(size.labels)
        self._log = gauge(own, "roster_sqlite_log_bytes", "Bytes of SQLite's log file; 0 on PostgreSQL.")
        self._alarms = cache(alarms.labels)
        register_build_info(own, engine)
        self.shown = shown(own)

    def began(self) -> None:
        self._in_flight.inc()

    def ended(self, operation: str, status: int, seconds: float) -> None:
        """Status 0 is none: the server was stopped before there was an answer."""
        self._in_flight.dec()
        self._requests(operation, status or NONE).observe(seconds)
        self.hour.ended(operation, status, seconds)

    def took(self, kind: str, seconds: float, error: BaseException | None = None) -> None:  # noqa: ARG002
        self._database(kind).observe(seconds)

    def failed(self, error: BaseException) -> None:
        """The request that it failed is counted with its status."""

    def waited(self, pool: str, seconds: float) -> None:
        self._waits(pool).observe(seconds)

    def in_use(self, pool: str, change: int) -> None:
        self._in_use(pool).inc(change)

    def size(self, pool: str, connections: int) -> None:
        self._size(pool).set(connections)

    def log(self, size: Callable[[], int]) -> None:
        self._log.set_function(size)

    def read_from(self, place: str) -> None:
        self._reads(place).inc()

    def behind(self, replica: str, seconds: float) -> None:
        self._behind.labels(replica).set(seconds)

    def alarm(self, code: str, *, on: bool) -> None:
        self._alarms(code).set(on)

    def attempted(self, outcome: str) -> None:
        self._sent(outcome).inc()

    def lag(self, seconds: float) -> None:
        self._lag.set(seconds)


def counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=registry)


def histogram(registry: CollectorRegistry, name: str, text: str, bounds: Sequence[float], *labels: str) -> Histogram:
    return Histogram(name, text, labels, buckets=bounds, registry=registry)


def gauge(
    registry: CollectorRegistry, name: str, text: str, *labels: str, shared: Literal["livesum", "livemax"] = "livesum"
) -> Gauge:
    """Of workers, the sum of those that live, or the highest."""
    return Gauge(name, text, labels, registry=registry, multiprocess_mode=shared)


def register_build_info(registry: CollectorRegistry, engine: str) -> None:
    labels = {"version": VERSION, "database": engine, "python": platform.python_version()}
    info = Gauge("roster_build_info", "Always 1.", labels, registry=registry, multiprocess_mode="max")
    info.labels(**labels).set(1)


def shown(own: CollectorRegistry) -> CollectorRegistry:
    """The registry that is shown. For a worker it has the totals of all: the next request may reach another one."""
    if folder := os.environ.get(SHARED_FOLDER):
        everyone = CollectorRegistry()
        everyone.register(FiguresOfWorkers(folder))
        return everyone
    ProcessCollector(registry=own)
    GCCollector(registry=own)
    return own


class FiguresOfWorkers(Collector):
    """The figures of all workers, by the files in their folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def collect(self) -> Iterable[Metric]:
        """Leaves out empty files, which a worker has just opened: the library would fail on them."""
        files = [str(file) for file in self._folder.glob("*.db") if size_of(file)]
        found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return found


def size_of(file: Path) -> int:
    """0 if it was removed meanwhile, because its worker died."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def shared_by_workers() -> Iterator[str]:
    """A folder for the metrics of the workers that are started in the block. Its name has the id of their parent."""
    with TemporaryDirectory(prefix=f"roster-metrics-{os.getpid()}-") as folder:
        os.environ[SHARED_FOLDER] = folder
        try:
            yield folder
        finally:
            del os.environ[SHARED_FOLDER]
