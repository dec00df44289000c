"""Deliveries in SQL. All rows of a write are one parameter (see `engines.json_rows`)."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from domain.delivery.deliveries import BY_CHANGE, Delivery, DeliveryState
from domain.delivery.webhooks import State
from domain.entities import Entity
from domain.errors import NotFound
from domain.lists.pages import Position
from domain.values import MAX_ID
from repositories.answers import ENTITIES_ABOUT
from repositories.delivery.webhooks import webhooks
from repositories.engines.executors import Transaction
from repositories.engines.json_rows import ROWS, as_parameter, rows_of
from repositories.engines.schema import Choice, Instant, Key, metadata
from repositories.engines.statements import Row, bounded
from repositories.units import Reading, Writing

deliveries: Final = sa.Table(
    "deliveries",
    metadata,
    sa.Column("webhook_id", sa.BigInteger, sa.ForeignKey(webhooks.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("change", sa.BigInteger, primary_key=True),
    sa.Column("kind", Key, nullable=False),
    sa.Column("entity_id", sa.BigInteger, nullable=False),
    sa.Column("action", Key, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("state", Choice(DeliveryState), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("at", Instant),
    sa.Column("status", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("milliseconds", sa.Integer),
    sa.Column("answer", sa.Text),
    sa.Column("next_at", Instant),
    sa.Column("refused_since", Instant),
    sa.Column("holds", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

IS_OPEN: Final = deliveries.c.next_at.is_not(None)
HAS_ANSWER: Final = deliveries.c.answer.is_not(None)

# Few deliveries are open, and few receivers answer with a text, so these indexes cost almost nothing.
sa.Index("ix_deliveries_webhook_id_open", deliveries.c.webhook_id, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
sa.Index(
    "ix_deliveries_kind_entity_id_answered",
    deliveries.c.kind,
    deliveries.c.entity_id,
    sqlite_where=HAS_ANSWER,
    postgresql_where=HAS_ANSWER,
)
sa.Index("ix_deliveries_at", deliveries.c.at)

NAMES: Final = tuple(each.name for each in fields(Delivery))
COLUMNS: Final = tuple(deliveries.c[name] for name in NAMES)

OF_WEBHOOK: Final = deliveries.c.webhook_id == sa.bindparam("of")
GET: Final = sa.select(*COLUMNS).where(OF_WEBHOOK, deliveries.c.change == sa.bindparam("its_change"))
LIST: Final = (
    sa.select(*COLUMNS)
    .where(OF_WEBHOOK, deliveries.c.change < sa.bindparam("before"))
    .order_by(deliveries.c.change.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)
IN_STATE: Final = deliveries.c.state == sa.bindparam("in_state", type_=deliveries.c.state.type)
LIST_IN_STATE: Final = LIST.where(IN_STATE)
OPEN: Final = sa.select(*COLUMNS).where(OF_WEBHOOK, IS_OPEN).order_by(deliveries.c.change)
ASKED: Final = sa.select(*COLUMNS).where(IN_STATE, IS_OPEN).order_by(deliveries.c.webhook_id, deliveries.c.change)

ACTIVE: Final = webhooks.c.state == sa.bindparam("active", type_=webhooks.c.state.type)
FIRST_OPEN: Final = (
    sa.select(sa.func.min(deliveries.c.change))
    .join_from(deliveries, webhooks, webhooks.c.id == deliveries.c.webhook_id)
    .where(IS_OPEN, ACTIVE)
)
FIRST_UNREAD: Final = sa.select(sa.func.min(webhooks.c.position)).where(ACTIVE)

NAMED: Final = rows_of(deliveries.c.webhook_id, deliveries.c.change).cte("named")
REMOVE: Final = sa.delete(deliveries).where(
    sa.tuple_(deliveries.c.webhook_id, deliveries.c.change).in_(sa.select(NAMED.c.webhook_id, NAMED.c.change))
)
GIVEN: Final = rows_of(*COLUMNS).cte("given")
PUT: Final = sa.insert(deliveries).from_select(
    NAMES, sa.select(*[GIVEN.c[name] for name in NAMES]).join_from(GIVEN, webhooks, webhooks.c.id == GIVEN.c.webhook_id)
)

NEWEST: Final = (
    sa.select(deliveries.c.change)
    .where(OF_WEBHOOK, IN_STATE)
    .order_by(deliveries.c.change.desc())
    .limit(sa.bindparam("keep", type_=sa.Integer()))
    .subquery()
)
TRIM: Final = sa.delete(deliveries).where(
    OF_WEBHOOK, IN_STATE, deliveries.c.change < sa.select(sa.func.min(NEWEST.c.change)).scalar_subquery()
)
FORGET: Final = sa.delete(deliveries).where(deliveries.c.at < sa.bindparam("tried_before"), ~IS_OPEN)

EMPTY: Final = sa.update(deliveries).values(answer=None).where(HAS_ANSWER)
REDACT: Final = EMPTY.where(
    deliveries.c.kind == sa.bindparam("its_kind"), deliveries.c.entity_id == sa.bindparam("its_id")
)
REDACT_ABOUT_IT: Final = EMPTY.where(
    deliveries.c.kind == sa.bindparam("other_kind"), deliveries.c.entity_id.in_(ENTITIES_ABOUT)
)


class SqlReadDeliveries:
    def __init__(self, unit: Reading | Writing) -> None:
        self._executor = unit.executor

    async def get(self, webhook_id: int, change: int) -> Delivery:
        for row in await self._executor.fetch(GET, {"of": bounded(webhook_id), "its_change": bounded(change)}):
            return delivery_of(row)
        raise NotFound("There is no delivery of this change.")

    async def list(
        self, webhook_id: int, *, state: DeliveryState | None = None, after: Position | None = None, limit: int
    ) -> Sequence[Delivery]:
        (before,) = (MAX_ID + 1,) if after is None else BY_CHANGE.keys_at(after)
        window: dict[str, Any] = {"of": bounded(webhook_id), "before": before, "limit": bounded(limit)}
        if state is None:
            return await self._all(LIST, window)
        return await self._all(LIST_IN_STATE, {**window, "in_state": state})

    async def open(self, webhook_id: int) -> Sequence[Delivery]:
        return await self._all(OPEN, {"of": bounded(webhook_id)})

    async def asked(self) -> Sequence[Delivery]:
        return await self._all(ASKED, {"in_state": DeliveryState.ASKED})

    async def needed_from(self) -> int | None:
        active = {"active": State.ACTIVE}
        ((position,),) = await self._executor.fetch(FIRST_UNREAD, active)
        ((first_open,),) = await self._executor.fetch(FIRST_OPEN, active)
        if position is None:
            return None
        return int(min(position + 1, position + 1 if first_open is None else first_open))

    async def _all(self, statement: sa.Select[Any], parameters: dict[str, Any]) -> Sequence[Delivery]:
        return [delivery_of(row) for row in await self._executor.fetch(statement, parameters)]


class SqlDeliveries(SqlReadDeliveries):
    def __init__(self, unit: Writing) -> None:
        super().__init__(unit)
        self._write = unit.executor.write

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        await self._write(REMOVE, {ROWS: as_parameter([(each.webhook_id, each.change) for each in deliveries])})
        await self._write(PUT, {ROWS: as_parameter([row_of(each) for each in deliveries])})

    async def trim(self, webhook_id: int, *, keep: int) -> None:
        for state in (DeliveryState.DELIVERED, DeliveryState.SET_ASIDE):
            await self._write(TRIM, {"of": bounded(webhook_id), "in_state": state, "keep": keep})

    async def forget(self, before: datetime) -> None:
        await self._write(FORGET, {"tried_before": before})


async def redact(executor: Transaction, entity: Entity, kinds_about: Sequence[str]) -> None:
    """Erase the answers of receivers to changes about an entity, because they may contain its values."""
    it = {"its_kind": entity.kind, "its_id": entity.id}
    await executor.fetch(REDACT, it)
    for kind in kinds_about:
        await executor.fetch(REDACT_ABOUT_IT, {**it, "other_kind": kind})


def row_of(delivery: Delivery) -> Sequence[Any]:
    *others, holds = [getattr(delivery, name) for name in NAMES]
    return [*others, int(holds)]


def delivery_of(row: Row) -> Delivery:
    *others, holds = row
    return Delivery(**dict(zip(NAMES, others, strict=False)), holds=bool(holds))
