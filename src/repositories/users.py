"""Users in SQL: the table and its store."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from domain.changes import Journal
from domain.errors import Gone, NotFound, Stale
from domain.filters import Filter
from domain.pages import BY_ID, Position, Sort
from domain.users import NewUser, Status, User, UserKey
from domain.values import flaw_in, fold, is_id
from repositories.engines.executors import Executor
from repositories.engines.schema import BigId, Instant, Json, Key, metadata
from repositories.engines.statements import Row, Rows, bounded
from repositories.lists.pages import Listing, Query, page, total
from repositories.rows import maker

users: Final = sa.Table(
    "users",
    metadata,
    sa.Column("id", BigId, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", Key, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("email_key", Key),
    sa.Column("username", sa.Text),
    sa.Column("username_key", Key),
    sa.Column("external_id", Key),
    sa.Column("status", Key, nullable=False),
    sa.Column("attributes", Json, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant),
    sa.Column("version", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,  # an id is never given out twice
)

LIVING: Final = users.c.deleted_at.is_(None)

# A deleted user is in none of these: its keys are free, and lists do not pass over it.
for unique in (users.c.email_key, users.c.username_key, users.c.external_id):
    sa.Index(f"uq_users_{unique.name}", unique, unique=True, sqlite_where=LIVING, postgresql_where=LIVING)
for sorted_by in (users.c.name_key, users.c.status, users.c.created_at, users.c.updated_at):
    sa.Index(f"ix_users_{sorted_by.name}_id", sorted_by, users.c.id, sqlite_where=LIVING, postgresql_where=LIVING)

USER: Final = (
    users.c.id,
    users.c.name,
    users.c.created_at,
    users.c.updated_at,
    users.c.version,
    users.c.email,
    users.c.username,
    users.c.external_id,
    users.c.status,
    users.c.attributes,
    users.c.deleted_at,
)
"""The columns of a User, in the order of its fields."""

GET: Final = sa.select(*USER).where(users.c.id == sa.bindparam("id"))
GET_TO_WRITE: Final = GET.with_for_update()
LIST: Final = (
    sa.select(*USER).where(LIVING, users.c.id > sa.bindparam("after")).order_by(users.c.id).limit(sa.bindparam("limit"))
)
LISTING: Final = Listing(
    columns=USER,
    keys={
        "id": users.c.id,
        "name": users.c.name_key,
        "email": users.c.email_key,
        "username": users.c.username_key,
        "external_id": users.c.external_id,
        "status": users.c.status,
        "created_at": users.c.created_at,
        "updated_at": users.c.updated_at,
        "version": users.c.version,
        "attributes": users.c.attributes,
    },
    shown=LIVING,
    unique=frozenset({"id", "email", "username", "external_id"}),
)
ADD: Final = sa.insert(users).returning(users.c.id)
FIND: Final = {
    "email": sa.select(*USER).where(LIVING, users.c.email_key == sa.bindparam("key")),
    "username": sa.select(*USER).where(LIVING, users.c.username_key == sa.bindparam("key")),
    "external_id": sa.select(*USER).where(LIVING, users.c.external_id == sa.bindparam("key")),
}
FIND_TO_WRITE: Final = {key: statement.with_for_update() for key, statement in FIND.items()}
REMOVE: Final = (
    sa.delete(users)
    .where(users.c.id == sa.bindparam("id"), users.c.version == sa.bindparam("version"))
    .returning(users.c.id)
)
SAVE: Final = (
    sa.update(users)
    .where(users.c.id == sa.bindparam("saved_id"), users.c.version == sa.bindparam("saved_version"))
    .returning(users.c.id)
)


class SqlReadUsers:
    """The users as a reading unit of work sees them. What may read the whole table takes the executor for scans."""

    def __init__(self, executor: Executor, scans: Executor) -> None:
        self._executor = executor
        self._scans = scans

    async def get(self, id: int, *, deleted: bool = False) -> User:
        user = await self._one(GET, id)
        return user if deleted else living(user)

    async def find(self, key: UserKey, value: str) -> User:
        return await self._one_by(FIND[key], key, value)

    async def list(
        self, *, filter: Filter | None = None, sort: Sort = BY_ID, after: Position | None = None, limit: int
    ) -> Sequence[User]:
        if filter is None and sort == BY_ID:
            (last,) = (0,) if after is None else sort.keys_at(after)
            rows = await self._executor.fetch(LIST, {"after": last, "limit": bounded(limit)})
        else:
            rows = await self._ask(page(LISTING, filter, sort, after, bounded(limit)))
        return [user_of(row) for row in rows]

    async def count(self, filter: Filter | None = None) -> int:
        rows = await self._ask(total(LISTING, filter))
        return int(rows[0][0])

    async def _ask(self, query: Query) -> Rows:
        executor = self._scans if query.scans else self._executor
        return await executor.fetch(query.statement, query.parameters)

    async def _one(self, statement: sa.Select[Any], id: int) -> User:
        rows = await self._executor.fetch(statement, {"id": id}) if is_id(id) else ()
        if not rows:
            raise NotFound("There is no user with this id.")
        return user_of(rows[0])

    async def _one_by(self, statement: sa.Select[Any], key: UserKey, value: str) -> User:
        form = value if key == "external_id" else fold(value)
        rows = () if flaw_in(form) else await self._executor.fetch(statement, {"key": form})
        if not rows:
            raise NotFound(f"There is no user with this {key}.")
        return user_of(rows[0])


class SqlUsers(SqlReadUsers):
    """The users within one transaction."""

    def __init__(self, executor: Executor, journal: Journal, now: datetime) -> None:
        super().__init__(executor, scans=executor)
        self._journal = journal
        self._now = now
        self._known: dict[int, User] = {}  # as this unit last saw them: what the journal calls "before"

    async def get(self, id: int, *, deleted: bool = False) -> User:
        user = await self._one(GET_TO_WRITE, id)
        self._know(user)
        return user if deleted else living(user)

    async def find(self, key: UserKey, value: str) -> User:
        user = await self._one_by(FIND_TO_WRITE[key], key, value)
        self._know(user)
        return user

    async def add(self, new: NewUser) -> User:
        values = {**row_of(new), "created_at": self._now, "updated_at": self._now, "version": 1}
        rows = await self._executor.fetch(ADD, values)
        user = User(
            id=rows[0][0],
            name=new.name,
            created_at=self._now,
            updated_at=self._now,
            version=1,
            email=new.email,
            username=new.username,
            external_id=new.external_id,
            status=new.status,
            attributes=new.attributes,
        )
        self._journal.added(self._know(user))
        return user

    async def save(self, user: User) -> User:
        before = await self._before(user)
        saved = replace(user, updated_at=self._now, version=user.version + 1)
        values = {
            **row_of(saved),
            "updated_at": saved.updated_at,
            "deleted_at": saved.deleted_at,
            "version": saved.version,
            "saved_id": user.id,
            "saved_version": user.version,
        }
        if not await self._executor.fetch(SAVE, values):
            raise Stale("The user was changed meanwhile.")
        self._journal.saved(before, self._know(saved))
        return saved

    async def remove(self, user: User) -> None:
        before = await self._before(user)
        if not await self._executor.fetch(REMOVE, {"id": user.id, "version": user.version}):
            raise Stale("The user was changed meanwhile.")
        self._journal.removed(before)
        del self._known[user.id]

    async def _before(self, user: User) -> User:
        return self._known.get(user.id) or self._know(await self._one(GET_TO_WRITE, user.id))

    def _know(self, user: User) -> User:
        """Remember a copy: whoever has the user itself may alter what its attributes hold."""
        known = self._known[user.id] = replace(user, attributes=deepcopy(user.attributes))
        return known


def living(user: User) -> User:
    if user.deleted_at is not None:
        raise Gone("This user is deleted.")
    return user


make_user: Final = maker(User)
STATUSES: Final = {status.value: status for status in Status}


def user_of(row: Row) -> User:
    id, name, created_at, updated_at, version, email, username, external_id, status, attributes, deleted_at = row
    return make_user(
        id,
        name,
        created_at,
        updated_at,
        version,
        email,
        username,
        external_id,
        STATUSES[status],
        attributes,
        deleted_at,
    )


def row_of(user: NewUser | User) -> Mapping[str, Any]:
    """The columns of a user's profile, with the folded keys beside what was typed."""
    return {
        "name": user.name,
        "name_key": fold(user.name),
        "email": user.email,
        "email_key": folded(user.email),
        "username": user.username,
        "username_key": folded(user.username),
        "external_id": user.external_id,
        "status": user.status.value,
        "attributes": user.attributes,
    }


def folded(text: str | None) -> str | None:
    return None if text is None else fold(text)
