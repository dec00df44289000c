"""The ways a request can be refused.

Refusal ├── Invalid          a value breaks a rule of the directory ├── Malformed        a request cannot be read: an
invalid cursor, a filter with a syntax error ├── NotFound         there never was such an entity, or it ended or was
erased ├── Gone             the entity is deleted ├── PositionExpired  the feed of changes cannot be followed from this
number on ├── Conflict         another entity has this unique value ├── InUse            another entity refers to this
one ├── BrokenReference  a statement violated a foreign key ├── Stale            the entity changed since the caller
read it ├── Contended        the database asks to run the work again │   └── Unreachable  the database cannot be reached
├── Busy             there are too many requests: try again later │   └── NoSpace      the disk of the database is full
├── Damaged          the database is damaged ├── FilesRemoved     the files of the database were removed or replaced
while the server used them └── Uncertain        the connection broke during a commit: the work may have been stored or
not

Messages are written for the client and contain no value that the client sent. Any other exception is a defect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class Refusal(Exception):
    """A request that is not carried out, and why. Nothing was stored, except perhaps by `Uncertain`."""

    code: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule: the place of the value (a JSON pointer, RFC 6901), a code, and a sentence."""

    pointer: str
    code: str
    detail: str


class Invalid(Refusal):
    """Carries every broken rule, not only the first."""

    code = "invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("Some values break the rules of the directory.")
        self.faults = tuple(faults)


class Malformed(Refusal):
    """`position` is the place of the error in a text: an offset in characters, from 0. None if there is no text."""

    code = "malformed"

    def __init__(self, detail: str, position: int | None = None) -> None:
        super().__init__(detail)
        self.position = position


class NotFound(Refusal):
    code = "not_found"


class Gone(Refusal):
    code = "gone"


class PositionExpired(Refusal):
    """`last` is the number of the last change: a reader who reads everything again can continue from there."""

    code = "position_expired"

    def __init__(self, last: int) -> None:
        super().__init__(
            "The feed cannot be followed from this number on: the directory was restored from a backup, or the changes "
            f"after it are no longer kept. Read everything that you keep a copy of again, then follow since={last}."
        )
        self.last = last


class Conflict(Refusal):
    """`fields` are unique together, and another entity has the same values. `field` is the last of them.

    `taken` has every unique field whose value another entity has, each with the id of that entity, if it is known.
    `kind` is the kind of those entities.
    """

    code = "conflict"

    def __init__(self, *fields: str, kind: str = "", taken: Mapping[str, int | None] | None = None) -> None:
        self.fields = fields
        self.field = fields[-1]
        self.kind = kind
        self.taken: Mapping[str, int | None] = taken or {self.field: None}
        *others, last = dict.fromkeys([*fields[:-1], *self.taken])
        super().__init__(f"Another one has this {', '.join(others)}{' and ' if others else ''}{last}.")


class InUse(Refusal):
    """Other entities refer to it, so it cannot be removed.

    `holders` are some of them, by kind and id. `field` is their reference.
    """

    code = "in_use"

    def __init__(self, field: str, holders: Sequence[tuple[str, int]], *, more: bool = False) -> None:
        named = ", ".join(f"{kind} {id}" for kind, id in holders)
        super().__init__(f"Something still refers to it: {named}{' and more' if more else ''}.")
        self.field = field
        self.holders = tuple(holders)


class BrokenReference(Refusal):
    """A foreign key was violated. Stores check references before they write, so only hand-written statements raise
    this."""

    code = "broken_reference"

    def __init__(self) -> None:
        super().__init__("It refers to something that is not there, or something refers to it.")


class Stale(Refusal):
    code = "stale"


class Contended(Refusal):
    """The same work may succeed when it is run again from its start. Services do so a few times."""

    code = "contended"


class Busy(Refusal):
    code = "busy"


class Unreachable(Contended):
    """The work is run again, as after `Contended`, because perhaps only one connection was lost."""

    code = "database_unreachable"

    def __init__(self) -> None:
        super().__init__("The database cannot be reached. Try again shortly.")


class NoSpace(Busy):
    code = "no_space"

    def __init__(self) -> None:
        super().__init__("The database has no room left. Reads still work.")


class Damaged(Refusal):
    code = "database_damaged"

    def __init__(self) -> None:
        super().__init__("The database is damaged. Its operator has to restore the backup.")


class FilesRemoved(Refusal):
    code = "files_removed"

    def __init__(self) -> None:
        super().__init__("The files of the database were removed or replaced. Its operator has to restart the server.")


class Uncertain(Refusal):
    """The work is never run again automatically, because the first run may have been stored."""

    code = "uncertain"


class UnitEnded(RuntimeError):
    """A unit of work was used after its commit, after its block, or after a refused write. This is a defect."""

    def __init__(self) -> None:
        super().__init__("This unit of work has ended. A refused write ends it: let the refusal leave its block.")


class NotReady(Exception):
    """The database cannot be used as it is. The message tells the operator what to do."""
