"""What a store in memory gets from its unit of work: the tables, and the state of the transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from domain.changes import Change
from domain.delivery.deliveries import Delivery
from domain.delivery.leases import Lease
from domain.delivery.webhooks import Secret
from domain.entities import Entity
from domain.epochs import start_of_epoch
from domain.errors import UnitEnded
from domain.journal import Journal
from domain.keys import Digest
from domain.links import Link
from domain.references import Reference


@dataclass(slots=True)
class Rows:
    """The entities of one kind, by id. Ids are never used again, even if entities are removed."""

    by_id: dict[int, Any] = field(default_factory=dict)
    last_id: int = 0

    def copy(self) -> "Rows":
        return Rows(self.by_id.copy(), self.last_id)


@dataclass(frozen=True, slots=True)
class Answer:
    """The stored answer of an idempotency key, and the entity (kind and id) that it shows."""

    entity: tuple[str, int]
    fingerprint: str
    answer: str
    at: datetime


class Referrers(NamedTuple):
    """The entities that refer to one kind by one of their fields."""

    entity: type[Entity]
    reference: Reference


COPIED: Final = ("digests", "links", "secrets", "deliveries", "leases", "changes", "expired", "answers")


@dataclass(slots=True)
class Tables:
    """The data of a directory. Entities are frozen, so a shallow copy is a snapshot."""

    entities: Sequence[type[Entity]]
    rows: dict[str, Rows] = field(default_factory=dict)
    digests: dict[int, Sequence[Digest]] = field(default_factory=dict)
    links: dict[bytes, Link] = field(default_factory=dict)
    secrets: dict[int, Sequence[Secret]] = field(default_factory=dict)
    deliveries: dict[tuple[int, int], Delivery] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    expired: list[range] = field(default_factory=list)
    """The positions of the feed that have expired."""

    last_seq: int = 0
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)

    @classmethod
    def of(cls, entities: Iterable[type[Entity]]) -> "Tables":
        kinds = tuple(entities)
        return cls(kinds, {entity.kind: Rows() for entity in kinds})

    def copy(self) -> "Tables":
        rows = {kind: each.copy() for kind, each in self.rows.items()}
        others: Any = {name: getattr(self, name).copy() for name in COPIED}
        return Tables(self.entities, rows, last_seq=self.last_seq, **others)

    @property
    def last_change(self) -> int:
        return self.changes[-1].seq if self.changes else 0

    def begin_epoch(self, beyond: int, now: datetime) -> int:
        """Continue counting after a higher number (see `domain.epochs`)."""
        start = start_of_epoch(max(beyond, self.last_seq, *[rows.last_id for rows in self.rows.values()]), now)
        self.expired.append(range(self.last_change + 1, start + 1))
        self.last_seq = start
        for rows in self.rows.values():
            rows.last_id = start
        return start

    def become(self, other: "Tables") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def referrers_of(self, kind: str) -> Sequence[Referrers]:
        return [
            Referrers(entity, reference)
            for entity in self.entities
            for reference in entity.references
            if reference.to.kind == kind
        ]


@dataclass(slots=True)
class MemoryReading:
    tables: Tables


@dataclass(slots=True)
class MemoryWriting:
    """A writing unit's copy of the tables. It replaces the tables when the unit commits."""

    copied: Tables
    now: datetime
    journal: Journal = field(default_factory=Journal)
    has_ended: bool = False

    @property
    def tables(self) -> Tables:
        if self.has_ended:
            raise UnitEnded
        return self.copied

    def fail(self) -> None:
        self.has_ended = True
