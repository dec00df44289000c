"""Metrics: the number of requests, their durations, and their waits. They contain no data of users.

The values of labels are few and defined by Roster: operations, statuses, pools. A client cannot create new values.
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

from api.monitoring.hour import LastHour
from api.version import VERSION

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which workers keep their metrics. The library reads it when it is
imported."""

REQUEST_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5, 16, 35)
"""Buckets of the duration of requests, in seconds. They are close together up to 50 ms, where nearly all answers are.
Above that they follow the time limits: a wait for a connection ends after 2 seconds by default, a statement after 15, a
wait for changes after about 30. Each bucket is one more series for each operation and status."""

DATABASE_S: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.25, 1, 3.5, 16)
"""Buckets of the duration of statements, in seconds. A read by id takes tenths of a millisecond. A statement is ended
after 15 seconds."""

WAIT_S: Final = (0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 1, 3.5, 10, 61)
"""Buckets of waits for a connection, in seconds. Waits are short while connections are free. They end after
`ROSTER_POOL_TIMEOUT_S`, which is 2 seconds by default and at most 60."""


REQUEST_TEXT: Final = "Time until the end of the answer, including waits for changes and whole streams."
WAITING_TEXT: Final = "Requests that have not begun, because more arrive than the process can answer."
SENT_TEXT: Final = "Attempts to send a change to a webhook: delivered, failed, refused (4xx), gone (410)."
READS_TEXT: Final = (
    "Reading units of work, if there are replicas. A moved one was read from the primary because a replica failed."
)
BEHIND_TEXT: Final = "Largest possible lag of this replica, in seconds. Infinite while it is not known."
NONE: Final = "none"
"""The value of a label that has nothing to name."""


class Metrics:
    """The metrics of one app, in its own registry. Workers share them through files. This is also the meter of a
    database.

    Finding a metric by its labels costs as much as adding to it, so the result is cached.
    """

    def __init__(self, engine: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # additional series, which workers do not have
        own = CollectorRegistry()
        in_flight = gauge(own, "roster_requests_in_flight", "Requests in progress, including this one.")
        self._queued = gauge(own, "roster_requests_waiting", WAITING_TEXT)
        requests = histogram(own, "roster_request_seconds", REQUEST_TEXT, REQUEST_S, "operation", "status")
        database = histogram(own, "roster_database_seconds", "Time of a statement or COMMIT.", DATABASE_S, "kind")
        waits = histogram(own, "roster_pool_wait_seconds", "Time until a connection was free.", WAIT_S, "pool")
        in_use = gauge(
            own, "roster_pool_in_use", "Connections in use. For reading on SQLite: reads in progress.", "pool"
        )
        alarms = gauge(own, "roster_database_alarm", "1 while the database does not work for this reason.", "code")
        size = gauge(own, "roster_pool_size", "Largest possible number of connections.", "pool")
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

    def queued(self, change: int) -> None:
        self._queued.inc(change)

    def ended(self, operation: str, status: int, seconds: float) -> None:
        """Count a request. Status 0 means that the server was stopped before there was an answer."""
        self._in_flight.dec()
        self._requests(operation, status or NONE).observe(seconds)
        self.hour.ended(operation, status, seconds)

    def took(self, kind: str, seconds: float, error: BaseException | None = None) -> None:  # noqa: ARG002
        self._database(kind).observe(seconds)

    def failed(self, error: BaseException) -> None:
        """Nothing to count: the request is counted with its status."""

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
    """A gauge. With several workers it is the sum or the highest value of all living workers."""
    return Gauge(name, text, labels, registry=registry, multiprocess_mode=shared)


def register_build_info(registry: CollectorRegistry, engine: str) -> None:
    labels = {"version": VERSION, "database": engine, "python": platform.python_version()}
    info = Gauge("roster_build_info", "Always 1.", labels, registry=registry, multiprocess_mode="max")
    info.labels(**labels).set(1)


def shown(own: CollectorRegistry) -> CollectorRegistry:
    """The registry to show. In a worker it has the totals of all workers, because the next request may reach another
    one."""
    if folder := os.environ.get(SHARED_FOLDER):
        everyone = CollectorRegistry()
        everyone.register(FiguresOfWorkers(folder))
        return everyone
    ProcessCollector(registry=own)
    GCCollector(registry=own)
    return own


class FiguresOfWorkers(Collector):
    """The metrics of all workers, from the files in their folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def collect(self) -> Iterable[Metric]:
        """Collect the metrics. Empty files are left out, because the library would fail on them. A worker has just
        created such a file."""
        files = [str(file) for file in self._folder.glob("*.db") if size_of(file)]
        found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return found


def size_of(file: Path) -> int:
    """The size of a file. It is 0 if the file was removed meanwhile, because its worker died."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def shared_by_workers() -> Iterator[str]:
    """Creates a folder for the metrics of the workers that are started in the block. Its name contains the id of the
    parent process."""
    with TemporaryDirectory(prefix=f"roster-metrics-{os.getpid()}-") as folder:
        os.environ[SHARED_FOLDER] = folder
        try:
            yield folder
        finally:
            del os.environ[SHARED_FOLDER]
