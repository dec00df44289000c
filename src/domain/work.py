"""Units of work: one transaction each, begun by a service method and committed as its last step."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from domain.changes import ReadChanges
from domain.users import ReadUsers, Users

Clock = Callable[[], datetime]
"""Tells the time, aware and in UTC."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Who asks, in which request, and whether only to see what would happen."""

    actor: str
    request_id: str
    dry_run: bool = False


class ReadingUnit(Protocol):
    """The stores, to read. Each answer is what was committed when it was given."""

    @property
    def users(self) -> ReadUsers: ...
    @property
    def changes(self) -> ReadChanges: ...


class UnitOfWork(Protocol):
    """The stores in one transaction. Leaving the unit without `commit` undoes everything."""

    @property
    def users(self) -> Users: ...
    @property
    def changes(self) -> ReadChanges: ...

    @property
    def now(self) -> datetime:
        """The time of everything that this unit writes."""
        ...

    async def commit(self) -> None:
        """Keep what the stores did, with a change for each entity; on a dry run check it, then undo it.

        Raises `Contended` if another transaction came first, `Uncertain` if the connection broke meanwhile.
        """
        ...


class UnitsOfWork(Protocol):
    """Where services get their units of work from."""

    def reading(self) -> AbstractAsyncContextManager[ReadingUnit]: ...

    def writing(self, occasion: Occasion) -> AbstractAsyncContextManager[UnitOfWork]: ...

    def pause(self, attempt: int) -> Awaitable[None]:
        """The wait before a contended unit is run again for the `attempt`-th time, counted from 1."""
        ...
