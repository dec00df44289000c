"""The record of changes in SQL: its tables and its store. `repositories.journal` writes to it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.functions import FunctionElement

from domain.changes import BY_SEQ, NEWEST_FIRST, Action, Change, NewChange, Tally
from domain.lists.filters import Filter
from domain.references import Subject
from domain.values import is_id
from repositories.engines.epochs import expired_positions
from repositories.engines.functions import spelled
from repositories.engines.json_rows import ROWS, as_parameter, rows_of
from repositories.engines.schema import BigId, Instant, Json, Key, metadata
from repositories.engines.statements import Row, Rows, bounded
from repositories.lists.functions import Member
from repositories.lists.pages import Listing, Query, page
from repositories.units import Reading, Writing

changes: Final = sa.Table(
    "changes",
    metadata,
    sa.Column("seq", BigId, sa.Identity(), primary_key=True),
    sa.Column("kind", Key, nullable=False),
    sa.Column("entity_id", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("action", Key, nullable=False),
    sa.Column("actor", Key, nullable=False),
    sa.Column("request_id", Key, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("before", Json),
    sa.Column("after", Json),
    sa.Column("subjects", Json),
    sa.Index("ix_changes_kind_entity_id_seq", "kind", "entity_id", "seq"),
    sqlite_autoincrement=True,
)
"""`subjects` are the entities that a change is about. It is null if the change is only about its own entity."""

change_subjects: Final = sa.Table(
    "change_subjects",
    metadata,
    sa.Column("kind", Key, primary_key=True),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)
"""For each entity the changes of other entities that are about it."""

COLUMNS: Final = tuple(each.name for each in fields(NewChange))
CHANGE: Final = tuple(changes.c[name] for name in (*COLUMNS, "seq"))
"""The columns of a Change, in the order of its fields."""

LISTING: Final = Listing(
    columns=CHANGE,
    keys={
        name: changes.c[name] for name in ("seq", "kind", "entity_id", "version", "action", "actor", "request_id", "at")
    },
    shown=sa.true(),
    unique=[("seq",)],
)
LAST_SEQ: Final = sa.select(sa.func.coalesce(sa.func.max(changes.c.seq), 0))
LAST_CHANGE: Final = LAST_SEQ.scalar_subquery().label("last_change")
POSITION: Final = sa.bindparam("position", type_=sa.BigInteger())
EXPIRED: Final = (
    sa.select(expired_positions.c.last)
    .where(expired_positions.c.first <= POSITION, expired_positions.c.last >= POSITION)
    .limit(1)
)
SINCE: Final = sa.bindparam("since", type_=sa.BigInteger())
LIMIT: Final = sa.bindparam("limit", type_=sa.Integer())
LIST: Final = sa.select(*CHANGE).where(changes.c.seq > SINCE).order_by(changes.c.seq).limit(LIMIT)

IS_OF: Final = (changes.c.kind == sa.bindparam("its_kind"), changes.c.entity_id == sa.bindparam("its_id"))
IS_ABOUT: Final = (change_subjects.c.kind == sa.bindparam("its_kind"), change_subjects.c.id == sa.bindparam("its_id"))


@spelled(sqlite="substr({}, 1, 10)", postgresql="to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
class Day(FunctionElement[str]):
    """The day of a time, in UTC."""

    type = sa.Text()
    inherit_cache = True


BEFORE: Final = sa.bindparam("before", type_=sa.BigInteger())


def of_subject(*, newest_first: bool) -> sa.Select[Any]:
    """The changes of an entity, and the changes of other entities that are about it. Each part reads an index in
    order."""

    def beyond(seq: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        return seq < BEFORE if newest_first else seq > SINCE

    def ordered(rows: sa.Select[Any], seq: sa.ColumnElement[int]) -> sa.Select[Any]:
        return rows.order_by(seq.desc() if newest_first else seq).limit(LIMIT)

    its_own = sa.select(*CHANGE).where(*IS_OF, beyond(changes.c.seq))
    joined = sa.select(*CHANGE).join_from(change_subjects, changes, changes.c.seq == change_subjects.c.seq)
    about_it = joined.where(*IS_ABOUT, beyond(change_subjects.c.seq))
    parts = (ordered(its_own, changes.c.seq), ordered(about_it, change_subjects.c.seq))
    all = sa.union_all(*[part.subquery().select() for part in parts]).subquery()
    return ordered(sa.select(*[all.c[column.name] for column in CHANGE]), all.c.seq)


LIST_OF_SUBJECT: Final = of_subject(newest_first=False)
LATEST_OF_SUBJECT: Final = of_subject(newest_first=True)

NEWEST: Final = (
    sa.select(
        Day(changes.c.at).label("day"),
        changes.c.at,
        changes.c.kind,
        changes.c.action,
        Member(changes.c.before, "status").label("status_before"),
        Member(changes.c.after, "status").label("status_after"),
    )
    .order_by(changes.c.seq.desc())
    .limit(LIMIT)
    .subquery()
)
ALIKE: Final = (NEWEST.c.day, NEWEST.c.kind, NEWEST.c.action, NEWEST.c.status_before, NEWEST.c.status_after)
TALLY: Final = (
    sa.select(*ALIKE, sa.func.count()).where(NEWEST.c.at >= sa.bindparam("start", type_=Instant)).group_by(*ALIKE)
)

ASKED: Final = rows_of(change_subjects.c.id).subquery("asked")
LAST_OWN: Final = sa.select(sa.func.max(changes.c.seq)).where(
    changes.c.kind == sa.bindparam("its_kind"), changes.c.entity_id == ASKED.c.id
)
LAST_NAMED: Final = sa.select(sa.func.max(change_subjects.c.seq)).where(
    change_subjects.c.kind == sa.bindparam("its_kind"), change_subjects.c.id == ASKED.c.id
)
LAST_ABOUT: Final = sa.select(
    ASKED.c.id, LAST_OWN.scalar_subquery().label("own"), LAST_NAMED.scalar_subquery().label("named")
)
"""Each maximum is read from the end of an index."""

TIMES: Final = sa.select(changes.c.seq, changes.c.at).where(changes.c.seq.in_(rows_of(changes.c.seq)))

OLDEST: Final = sa.select(changes.c.seq, changes.c.at, changes.c.subjects).order_by(changes.c.seq).limit(LIMIT)
REMOVE: Final = sa.delete(changes).where(changes.c.seq <= sa.bindparam("up_to"))
NAMED: Final = rows_of(change_subjects.c.kind, change_subjects.c.id, change_subjects.c.seq).cte("named")
REMOVE_SUBJECTS: Final = sa.delete(change_subjects).where(
    sa.tuple_(change_subjects.c.kind, change_subjects.c.id, change_subjects.c.seq).in_(
        sa.select(NAMED.c.kind, NAMED.c.id, NAMED.c.seq)
    )
)
FORGET_EXPIRED: Final = sa.delete(expired_positions).where(
    (expired_positions.c.first == sa.literal_column("0")) | (expired_positions.c.last <= sa.bindparam("up_to"))
)
EXPIRE: Final = sa.insert(expired_positions)


class SqlReadChanges:
    """The record of changes, for reading. Reads that may scan the whole table run on the executor for scans."""

    def __init__(self, unit: Reading | Writing) -> None:
        self._executor = unit.executor
        self._scans = unit.scans

    async def list(
        self, *, filter: Filter | None = None, since: int = 0, subject: Subject | None = None, limit: int
    ) -> Sequence[Change]:
        window = {"since": bounded(since), "limit": bounded(limit)}
        if subject is not None:
            kind, id = subject
            found = (
                await self._executor.fetch(LIST_OF_SUBJECT, {**window, "its_kind": kind, "its_id": id})
                if is_id(id)
                else ()
            )
        elif filter is not None:
            found = await self._ask(page(LISTING, filter, BY_SEQ, (window["since"],), window["limit"]))
        else:
            found = await self._executor.fetch(LIST, window)
        return [change_of(row) for row in found]

    async def latest(
        self, *, filter: Filter | None = None, before: int, subject: Subject | None = None, limit: int
    ) -> Sequence[Change]:
        if subject is None:
            found = await self._ask(page(LISTING, filter, NEWEST_FIRST, (bounded(before),), bounded(limit)))
        else:
            (kind, id), window = subject, {"before": bounded(before), "limit": bounded(limit)}
            asked = {**window, "its_kind": kind, "its_id": id}
            found = await self._executor.fetch(LATEST_OF_SUBJECT, asked) if is_id(id) else ()
        return [change_of(row) for row in found]

    async def tally(self, *, since: datetime, most: int) -> Sequence[Tally]:
        rows = await self._scans.fetch(TALLY, {"limit": bounded(most), "start": since})
        return [Tally(day, kind, Action(action), *rest) for day, kind, action, *rest in rows]

    async def last(self) -> int:
        ((seq,),) = await self._executor.fetch(LAST_SEQ)
        return int(seq)

    async def has_expired(self, position: int) -> bool:
        return bool(await self._executor.fetch(EXPIRED, {"position": bounded(position)}))

    async def last_about(self, kind: str, ids: Collection[int]) -> Mapping[int, tuple[int, datetime]]:
        asked = {ROWS: as_parameter((id,) for id in {*ids} if is_id(id)), "its_kind": kind}
        rows = await self._executor.fetch(LAST_ABOUT, asked)
        seqs = {id: max(own or 0, named or 0) for id, own, named in rows if own or named}
        times = dict(await self._executor.fetch(TIMES, {ROWS: as_parameter((seq,) for seq in {*seqs.values()})}))
        return {
            id: (seq, times[seq]) for id, seq in seqs.items() if seq in times
        }  # changes may be removed between the two reads

    async def _ask(self, query: Query) -> Rows:
        executor = self._scans if query.scans else self._executor
        return await executor.fetch(query.statement, query.parameters)


class SqlChanges(SqlReadChanges):
    def __init__(self, unit: Writing) -> None:
        super().__init__(unit)
        self._now = unit.now

    async def trim(self, *, before: datetime, up_to: int, limit: int) -> int:
        rows = await self._executor.fetch(OLDEST, {"limit": bounded(limit)})
        old = list(takewhile(lambda row: row[0] <= up_to and row[1] < before, rows))
        if old:
            named = [(kind, id, seq) for seq, _, subjects in old for kind, id in (subjects or ())[1:]]
            await self._executor.fetch(REMOVE, {"up_to": old[-1][0]})
            await self._executor.fetch(REMOVE_SUBJECTS, {ROWS: as_parameter(named)})
            last = old[-1][0] - 1
            await self._executor.fetch(FORGET_EXPIRED, {"up_to": last})
            await self._executor.fetch(EXPIRE, {"first": 0, "last": last, "at": self._now})
        return len(old)


def change_of(row: Row) -> Change:
    kind, entity_id, version, action, actor, request_id, at, before, after, subjects, seq = row
    return Change(
        kind=kind,
        entity_id=entity_id,
        version=version,
        action=Action(action),
        actor=actor,
        request_id=request_id,
        at=at,
        before=before,
        after=after,
        subjects=tuple((each, id) for each, id in subjects) if subjects else ((kind, entity_id),),
        seq=seq,
    )
