"""Alarms: conditions in which the database does not work. Each is reported once when it begins and once when it ends.

Every refused request gets an error. An alarm is for the operator: an error in the log, a metric, and readiness.
"""

import time
from collections.abc import Callable, Mapping
from logging import getLogger
from typing import Final

from domain.errors import Damaged, FilesRemoved, NoSpace, Unreachable
from repositories.engines.meter import Kind, Meter, Place, Pool

log = getLogger("roster")

ALARMS: Final = (Unreachable, NoSpace, Damaged, FilesRemoved)

WHAT_TO_DO: Final[Mapping[str, str]] = {
    Unreachable.code: "Check that the database runs, and that this machine can reach it.",
    NoSpace.code: "Make room on the disk of the database. Reads still work.",
    Damaged.code: "Stop the server and restore the backup.",
    FilesRemoved.code: "Put the file back if it was moved, and stop the server by SIGTERM. Writes are refused.",
}


class Alarms:
    """A meter that finds alarms among the errors, and passes everything on to another meter.

    `Unreachable` ends with the next successful statement, `NoSpace` with the next successful commit. `Damaged`
    and `FilesRemoved` last until the server is restarted.
    """

    def __init__(self, meter: Meter, database: str) -> None:
        self._meter = meter
        self._database = database
        self._since: dict[str, float] = {}
        for alarm in ALARMS:
            meter.alarm(alarm.code, on=False)

    def took(self, kind: Kind, seconds: float, error: BaseException | None = None) -> None:
        self._meter.took(kind, seconds)
        if error is not None:
            self.failed(error)
        elif self._since:
            self._end(Unreachable.code)
            if kind == "commit":
                self._end(NoSpace.code)

    def failed(self, error: BaseException) -> None:
        if not isinstance(error, ALARMS) or error.code in self._since:
            return
        self._since[error.code] = time.monotonic()
        self._meter.alarm(error.code, on=True)
        log.error("alarm", extra={"code": error.code, "database": self._database, "what_to_do": WHAT_TO_DO[error.code]})

    def _end(self, code: str) -> None:
        if (since := self._since.pop(code, None)) is not None:
            self._meter.alarm(code, on=False)
            lasted = round(time.monotonic() - since, 1)
            log.warning("alarm over", extra={"code": code, "database": self._database, "lasted_s": lasted})

    def require_undamaged(self) -> None:
        """Raises `Damaged` or `FilesRemoved` if a statement has noticed one of these."""
        for alarm in (Damaged, FilesRemoved):
            if alarm.code in self._since:
                raise alarm

    def waited(self, pool: Pool, seconds: float) -> None:
        self._meter.waited(pool, seconds)

    def in_use(self, pool: Pool, change: int) -> None:
        self._meter.in_use(pool, change)

    def size(self, pool: Pool, connections: int) -> None:
        self._meter.size(pool, connections)

    def log(self, size: Callable[[], int]) -> None:
        self._meter.log(size)

    def read_from(self, place: Place) -> None:
        self._meter.read_from(place)

    def behind(self, replica: str, seconds: float) -> None:
        self._meter.behind(replica, seconds)

    def alarm(self, code: str, *, on: bool) -> None:
        self._meter.alarm(code, on=on)
