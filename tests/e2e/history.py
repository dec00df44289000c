"""The answers that concurrent clients got, and whether one order of events explains them.

Every state of a user has a version, and every write gives it a value that no other write has. So the versions are the
order, if there is one. It has to agree with time: what ended before something else began came before it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count


class Outcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """No answer came, or one that says that the result is unknown."""


@dataclass(slots=True)
class Operation:
    """A read or a write of one user by one client. `began` and `ended` count all events of all clients."""

    user: int
    is_write: bool
    value: str
    """The value that was written or read."""

    began: int
    ended: int = 0
    outcome: Outcome = Outcome.UNKNOWN
    version: int = 0
    """The version in the answer, if there was one."""

    expected: int | None = None
    """The version that a write expected."""

    def __str__(self) -> str:
        return f"the {'write' if self.is_write else 'read'} of {self.value!r} at version {self.version}"


@dataclass(slots=True)
class History:
    operations: list[Operation] = field(default_factory=list)
    _events: Iterator[int] = field(default_factory=count)

    def begin(self, user: int, *, writes: str | None = None, expected: int | None = None) -> Operation:
        operation = Operation(user, writes is not None, writes or "", next(self._events), expected=expected)
        self.operations.append(operation)
        return operation

    def end(self, operation: Operation, outcome: Outcome, version: int = 0, value: str | None = None) -> None:
        operation.ended, operation.outcome, operation.version = next(self._events), outcome, version
        operation.value = operation.value if value is None else value


def violations(history: History) -> Iterator[str]:
    """A sentence for each violation: an answer that no order of events explains."""
    of_user: dict[int, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        of_user[operation.user].append(operation)
    for user, operations in of_user.items():
        for found in [*lost_updates(operations), *unexplained_reads(operations), *against_time(operations)]:
            yield f"user {user}: {found}"


def known(operations: Sequence[Operation]) -> Sequence[Operation]:
    return [operation for operation in operations if operation.outcome is Outcome.OK]


def lost_updates(operations: Sequence[Operation]) -> Iterator[str]:
    writers: dict[int, Operation] = {}
    for write in (operation for operation in known(operations) if operation.is_write):
        if write.version in writers:
            yield f"{write} and {writers[write.version]} made the same version"
        if write.expected not in (None, write.version - 1):
            yield f"{write} was to change version {write.expected}"
        writers[write.version] = write


def unexplained_reads(operations: Sequence[Operation]) -> Iterator[str]:
    """Each version has one value: from the write that made it, or from one write without an answer."""
    values = {write.version: write.value for write in known(operations) if write.is_write}
    writes = {operation.value: operation for operation in operations if operation.is_write}
    for read in (operation for operation in known(operations) if not operation.is_write):
        if values.setdefault(read.version, read.value) != read.value:
            yield f"{read} is another value than that version has: {values[read.version]!r}"
        write = writes.get(read.value)
        if write is None:
            yield f"{read}: nobody wrote it"
        elif write.outcome is Outcome.REFUSED:
            yield f"{read}: that write was refused"
        elif write.outcome is Outcome.OK and write.version != read.version:
            yield f"{read}: it was written at version {write.version}"
        elif write.began > read.ended:
            yield f"{read}: it was written later"
    versions: dict[str, int] = {}
    for version, value in values.items():
        if versions.setdefault(value, version) != version:
            yield f"{value!r} was stored twice, at versions {versions[value]} and {version}"


def against_time(operations: Sequence[Operation]) -> Iterator[str]:
    newest: Operation | None = None
    ends = sorted(known(operations), key=lambda operation: operation.ended)
    passed = 0
    for operation in sorted(known(operations), key=lambda operation: operation.began):
        while passed < len(ends) and ends[passed].ended < operation.began:
            if newest is None or ends[passed].version > newest.version:
                newest = ends[passed]
            passed += 1
        if newest is not None and operation.version < newest.version + operation.is_write:
            yield f"{operation} came after {newest}"
