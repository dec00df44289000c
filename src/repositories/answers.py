"""Answers that are remembered for their idempotency keys, in SQL."""

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from domain.changes import Entity
from domain.idempotency import REMEMBERED_FOR, IdempotencyKey, replay
from repositories.engines.executors import Executor
from repositories.engines.schema import Instant, Key, metadata

answers: Final = sa.Table(
    "answers",
    metadata,
    sa.Column("actor", Key, primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("kind", Key, nullable=False),
    sa.Column("entity_id", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index("ix_answers_at", "at"),
    sa.Index("ix_answers_kind_entity_id", "kind", "entity_id"),
)

CLEANED_AT_ONCE: Final = 100
"""How many old answers each new one clears away at the most: the table shrinks faster than it grows."""

FIND: Final = sa.select(answers.c.fingerprint, answers.c.answer).where(
    answers.c.actor == sa.bindparam("actor"),
    answers.c.key == sa.bindparam("key"),
    answers.c.at > sa.bindparam("since"),
)
REPLACE: Final = sa.delete(answers).where(
    answers.c.actor == sa.bindparam("old_actor"), answers.c.key == sa.bindparam("old_key")
)
KEEP: Final = sa.insert(answers)
OLD: Final = (
    sa.select(answers.c.actor, answers.c.key)
    .where(answers.c.at <= sa.bindparam("since"))
    .limit(CLEANED_AT_ONCE)
    .with_for_update(skip_locked=True)
)
CLEAN: Final = sa.delete(answers).where(sa.tuple_(answers.c.actor, answers.c.key).in_(OLD))
FORGET: Final = sa.delete(answers).where(
    answers.c.kind == sa.bindparam("forgotten_kind"), answers.c.entity_id == sa.bindparam("forgotten_id")
)


async def find_answer(executor: Executor, actor: str, idempotency_key: IdempotencyKey, now: datetime) -> None:
    """Raises the answer, or the refusal, if the key is remembered."""
    for fingerprint, answer in await executor.fetch(
        FIND, {"actor": actor, "key": idempotency_key.key, "since": now - REMEMBERED_FOR}
    ):
        raise replay(idempotency_key, fingerprint, answer)


async def keep_answer(
    executor: Executor, actor: str, idempotency_key: IdempotencyKey, *, written: Entity, seq: int, now: datetime
) -> None:
    await executor.fetch(CLEAN, {"since": now - REMEMBERED_FOR})
    await executor.fetch(REPLACE, {"old_actor": actor, "old_key": idempotency_key.key})
    values = {
        "actor": actor,
        "key": idempotency_key.key,
        "fingerprint": idempotency_key.fingerprint,
        "answer": idempotency_key.answer(written, seq),
        "kind": written.kind,
        "entity_id": written.id,
        "at": now,
    }
    await executor.fetch(KEEP, values)


async def forget_answers(executor: Executor, entity: Entity) -> None:
    await executor.fetch(FORGET, {"forgotten_kind": entity.kind, "forgotten_id": entity.id})
