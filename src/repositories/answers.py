"""The stored answers of idempotency keys, in SQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from domain.entities import Entity
from domain.idempotency import REMEMBERED_FOR, IdempotencyKey, replay
from domain.references import Subject
from repositories.changes import IS_ABOUT, change_subjects, changes
from repositories.engines.executors import Executor, Transaction
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
"""`kind` and `entity_id` are the entity that the answer shows."""

REMOVED_AT_ONCE: Final = 100
"""The most old answers that one transaction removes, so that other writers do not wait long."""

FIND: Final = sa.select(answers.c.fingerprint, answers.c.answer, answers.c.at).where(
    answers.c.actor == sa.bindparam("actor"), answers.c.key == sa.bindparam("key")
)
REMOVE: Final = sa.delete(answers).where(
    answers.c.actor == sa.bindparam("old_actor"), answers.c.key == sa.bindparam("old_key")
)
KEEP: Final = sa.insert(answers)
OLD: Final = (
    sa.select(answers.c.actor, answers.c.key)
    .where(answers.c.at <= sa.bindparam("since"))
    .limit(REMOVED_AT_ONCE)
    .with_for_update(skip_locked=True)
)
REMOVE_OLD: Final = sa.delete(answers).where(sa.tuple_(answers.c.actor, answers.c.key).in_(OLD)).returning(answers.c.at)
FORGET: Final = sa.delete(answers).where(
    answers.c.kind == sa.bindparam("its_kind"), answers.c.entity_id == sa.bindparam("its_id")
)
ENTITIES_ABOUT: Final = (
    sa.select(changes.c.entity_id)
    .join_from(change_subjects, changes, changes.c.seq == change_subjects.c.seq)
    .where(*IS_ABOUT, changes.c.kind == sa.bindparam("other_kind"))
)
FORGET_ABOUT_IT: Final = sa.delete(answers).where(
    answers.c.kind == sa.bindparam("other_kind"), answers.c.entity_id.in_(ENTITIES_ABOUT)
)


async def find_answer(executor: Executor, actor: str, key: IdempotencyKey, now: datetime) -> None:
    """Raises `AlreadyDone` with the answer, or `IdempotencyKeyReused`, if there is an answer for the key.

    An expired answer is removed here, at the start of the unit. When the new answer is stored, the unit holds the lock
    that orders all commits, and should do as little as possible.
    """
    for fingerprint, answer, at in await executor.fetch(FIND, {"actor": actor, "key": key.key}):
        if at > now - REMEMBERED_FOR:
            raise replay(key, fingerprint, answer)
        await executor.fetch(REMOVE, {"old_actor": actor, "old_key": key.key})


async def keep_answer(
    executor: Transaction, actor: str, key: IdempotencyKey, *, answer: str, shows: Subject, now: datetime
) -> None:
    kind, entity_id = shows
    values: dict[str, Any] = {
        "actor": actor,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "answer": answer,
        "kind": kind,
        "entity_id": entity_id,
        "at": now,
    }
    await executor.write(KEEP, values)


async def remove_old_answers(executor: Executor, now: datetime) -> bool:
    """Remove some expired answers. Returns whether there may be more."""
    removed = await executor.fetch(REMOVE_OLD, {"since": now - REMEMBERED_FOR})
    return len(removed) == REMOVED_AT_ONCE


async def forget_answers(executor: Executor, entity: Entity, kinds_about: Sequence[str]) -> None:
    """Remove the answers that show an entity, or that show entities whose values are personal data of it."""
    it = {"its_kind": entity.kind, "its_id": entity.id}
    await executor.fetch(FORGET, it)
    for kind in kinds_about:
        await executor.fetch(FORGET_ABOUT_IT, {**it, "other_kind": kind})
