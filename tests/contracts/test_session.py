"""What the session of a unit of work promises, on both engines. The stores in memory have none."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, selectinload
from tests.contracts.records import (
    AUTHORS,
    Author,
    AuthorRecord,
    BookRecord,
    NoteRecord,
    PlaceRecord,
    Sample,
    ShelfRecord,
)

from domain.changes import Action, Change
from domain.errors import BrokenReference, Conflict, Stale, UnitEnded
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import Database
from repositories.engines.postgres.database import PostgresDatabase
from repositories.engines.records import Record
from repositories.users import users as users_table
from repositories.work.units_of_work import SqlUnitOfWork, SqlUnitsOfWork
from services.users import UserService

AT_ONCE_S: Final = 2
"""A bound below the time for which a database here waits for a lock. It is hardly ever reached."""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    database: Database = request.getfixturevalue(f"extended_{request.param}")
    return database


@pytest.fixture
def units(database: Database) -> SqlUnitsOfWork:
    return SqlUnitsOfWork(database)


@pytest.fixture
def users(units: SqlUnitsOfWork, context: RequestContext) -> UserService:
    return UserService(units, context)


@pytest.fixture
async def ada(units: SqlUnitsOfWork, context: RequestContext) -> int:
    """The id of an author with two books."""
    async with units.writing(context) as work:
        author = AuthorRecord(name="Ada", books=[BookRecord(title="Notes"), BookRecord(title="Letters")])
        work.session.add(author)
        await work.commit(None)
    return author.id


async def load(session: AsyncSession, id: int) -> AuthorRecord:
    """With the books."""
    return await session.get_one(AuthorRecord, id, options=[selectinload(AuthorRecord.books)])


async def names(units: SqlUnitsOfWork) -> Sequence[str]:
    """The authors that were committed."""
    async with units.reading() as work:
        return (await work.session.scalars(sa.select(AuthorRecord.name).order_by(AuthorRecord.id))).all()


async def changes(units: SqlUnitsOfWork) -> list[Change]:
    async with units.reading() as work:
        return list(await work.changes.list(limit=1000))


def summary(change: Change) -> tuple[str, Action, int, Any, Any]:
    return change.kind, change.action, change.version, change.before, change.after


class Watch:
    """Counts the statements that reach a database by `run`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, executor: Any) -> None:
        self.statements: list[str] = []
        run = executor.run

        async def watched(sql: str, arguments: Sequence[Any], *, many: bool = False) -> Any:
            self.statements.append(sql)
            return await run(sql, arguments, many=many)

        monkeypatch.setattr(executor, "run", watched)


# --- the ORM


async def test_an_added_object_is_stored_with_its_related_objects(units: SqlUnitsOfWork, ada: int) -> None:
    async with units.reading() as work:
        author = await load(work.session, ada)
        assert (author.name, author.version, author.tags) == ("Ada", 1, [])
        assert sorted(book.title for book in author.books) == ["Letters", "Notes"]
        assert {book.author_id for book in author.books} == {ada}


async def test_a_session_takes_lists_of_values(units: SqlUnitsOfWork, context: RequestContext, ada: int) -> None:
    async with units.writing(context) as work:
        work.session.add_all([AuthorRecord(name=name) for name in ("Bob", "Cy")])
        found = sa.select(AuthorRecord.name).where(AuthorRecord.name.in_(["Ada", "Cy", "Nobody"]))
        assert sorted((await work.session.scalars(found)).all()) == ["Ada", "Cy"]


async def test_a_committed_object_is_still_readable(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        author = AuthorRecord(name="Ada")
        work.session.add(author)
        await work.session.commit()
        assert (author.name, author.version) == ("Ada", 1)
        await work.commit(None)
    assert (author.name, author.version) == ("Ada", 1)


async def test_an_id_that_the_database_generates_is_set_on_the_object(
    units: SqlUnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        note = NoteRecord(text="first")
        work.session.add(note)
        await work.session.flush()
        inserted: Any = await work.session.execute(sa.insert(NoteRecord.__table__).values(text="second"))  # type: ignore[arg-type]
        assert (note.id, inserted.inserted_primary_key) == (1, (2,))


async def test_times_and_json_are_read_as_they_were_written(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        author = AuthorRecord(name="Ada", born=work.now, tags=["a", "b"])
        work.session.add_all([author, ShelfRecord(place="left", note={"size": 2})])
        await work.session.flush()
        await work.session.refresh(author)
        assert (author.born, author.tags) == (work.now, ["a", "b"])
        note = sa.select(ShelfRecord.note).where(ShelfRecord.place == "left")
        assert await work.session.scalar(note) == {"size": 2}


async def test_a_relationship_that_was_not_loaded_raises(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.writing(context) as work:
        author = await work.session.get_one(AuthorRecord, ada)
        with pytest.raises(sa.exc.InvalidRequestError, match="lazy='raise'"):
            author.books  # noqa: B018


async def test_adds_many_objects_in_few_statements(
    units: SqlUnitsOfWork, context: RequestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with units.writing(context) as work:
        watch = Watch(monkeypatch, work.unit.executor)
        work.session.add_all([ShelfRecord(place=f"shelf {number}", note=number) for number in range(1000)])
        await work.session.flush()
        assert len(watch.statements) < 10
        assert await work.session.scalar(sa.select(sa.func.count()).select_from(ShelfRecord)) == 1000


async def test_adds_many_objects_with_generated_ids(
    units: SqlUnitsOfWork, database: Database, context: RequestContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with units.writing(context) as work:
        watch = Watch(monkeypatch, work.unit.executor)
        authors = [AuthorRecord(name=f"Author {number}") for number in range(1000)]
        work.session.add_all(authors)
        await work.session.flush()
        drawn = dict((await work.session.execute(sa.select(AuthorRecord.name, AuthorRecord.id))).all())
        assert drawn == {author.name: author.id for author in authors}
        if isinstance(database, PostgresDatabase):  # SQLAlchemy trusts no order of SQLite's: a statement for each
            assert len(watch.statements) < 10


async def test_changes_many_objects(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        authors = [AuthorRecord(name=f"Author {number}") for number in range(5)]
        work.session.add_all(authors)
        await work.session.flush()
        for author in authors:
            author.tags = ["changed"]
        await work.session.flush()
        assert [author.version for author in authors] == [2] * 5
        await change_beside(work, authors[3].id)
        for author in authors:
            author.tags = ["changed again"]
        with pytest.raises(Stale):
            await work.session.flush()


async def test_deletes_many_objects(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        shelves = [ShelfRecord(place=f"shelf {number}") for number in range(20)]
        work.session.add_all(shelves)
        await work.session.flush()
        for shelf in shelves[5:]:
            await work.session.delete(shelf)
        await work.session.flush()
        assert await work.session.scalar(sa.select(sa.func.count()).select_from(ShelfRecord)) == 5


async def test_a_session_can_stream_rows(units: SqlUnitsOfWork, ada: int) -> None:
    async with units.reading() as work:
        titles = await work.session.stream_scalars(sa.select(BookRecord.title).order_by(BookRecord.title))
        assert [title async for title in titles] == ["Letters", "Notes"]


# --- refusals


async def test_a_unique_value_that_is_taken_is_a_conflict(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.writing(context) as work:
        work.session.add(AuthorRecord(name="Ada"))
        with pytest.raises(Conflict) as refused:
            await work.session.flush()
        assert refused.value.field == "name"


async def test_a_reference_to_a_missing_row_is_refused(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        work.session.add(BookRecord(title="Notes", author_id=12345))
        with pytest.raises(BrokenReference):
            await work.session.flush()


async def change_beside(work: SqlUnitOfWork, id: int) -> None:
    """As another unit would do it: the session does not see it."""
    await work.unit.executor.run(f"UPDATE authors SET version = 7 WHERE id = {id}", ())


@pytest.mark.parametrize("way", ["flush", "autoflush", "store", "commit"])
async def test_changing_an_object_that_was_changed_meanwhile_is_stale(
    units: SqlUnitsOfWork, context: RequestContext, ada: int, way: str
) -> None:
    async with units.writing(context) as work:
        author = await work.session.get_one(AuthorRecord, ada)
        await change_beside(work, ada)
        author.name = "Augusta"
        ways: dict[str, Callable[[], Awaitable[Any]]] = {
            "flush": work.session.flush,
            "autoflush": lambda: work.session.scalar(sa.select(sa.func.count()).select_from(AuthorRecord)),
            "store": lambda: work.users.list(limit=1),
            "commit": lambda: work.commit(None),
        }
        with pytest.raises(Stale):
            await ways[way]()


async def test_changing_an_expired_object_that_was_deleted_is_stale(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.writing(context) as work:
        book = (await load(work.session, ada)).books[0]
        work.session.expire(book, ["title"])
        await work.unit.executor.run(f"DELETE FROM books WHERE id = {book.id}", ())
        book.title = "Nothing"
        with pytest.raises(Stale):
            await work.session.flush()


async def test_deleting_an_object_that_was_changed_meanwhile_is_stale(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.writing(context) as work:
        author = await load(work.session, ada)
        await change_beside(work, ada)
        await work.session.delete(author)
        with pytest.raises(Stale):
            await work.session.flush()


async def test_a_unit_whose_flush_was_refused_cannot_commit(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Alice"))
        work.session.add(AuthorRecord(name="Ada"))
        with pytest.raises(Conflict):
            await work.session.flush()
        with pytest.raises(UnitEnded):
            await work.commit(None)
    assert await names(units) == ["Ada"]


# --- savepoints


async def test_a_failure_in_a_savepoint_does_not_affect_the_rest(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    before = await changes(units)

    async def fail(session: AsyncSession) -> None:
        async with session.begin_nested():
            session.add(AuthorRecord(name="Lost"))
            await session.flush()
            session.add(AuthorRecord(name="Ada"))
            await session.flush()

    async with units.writing(context) as work:
        work.session.add(AuthorRecord(name="Bob"))
        with pytest.raises(Conflict):
            await fail(work.session)
        async with work.session.begin_nested():
            work.session.add(AuthorRecord(name="Cy"))
        await work.commit(None)
    assert await names(units) == ["Ada", "Bob", "Cy"]
    assert [change.after for change in (await changes(units))[len(before) :]] == [
        {"name": "Bob", "tags": []},
        {"name": "Cy", "tags": []},
    ]


async def test_a_stale_object_in_a_savepoint_does_not_affect_the_rest(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:

    async def fail(work: SqlUnitOfWork) -> None:
        author = await work.session.get_one(AuthorRecord, ada)
        async with work.session.begin_nested():
            await change_beside(work, ada)
            author.name = "Augusta"

    async with units.writing(context) as work:
        work.session.add(AuthorRecord(name="Bob"))
        with pytest.raises(Stale):
            await fail(work)
        await work.commit(None)
    assert await names(units) == ["Ada", "Bob"]


async def test_a_savepoint_that_is_rolled_back_undoes_writes_of_stores(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    alice = (await users.create(NewUser(name="Alice"))).result
    before = await changes(units)

    async def fail(work: SqlUnitOfWork) -> None:
        async with work.session.begin_nested():
            await work.users.add(NewUser(name="Bob"))
            await work.users.save(alice.revised(name="Lost"))
            raise KeyError("a defect")

    async with units.writing(context) as work:
        with pytest.raises(KeyError):
            await fail(work)
        await work.users.save(alice.revised(name="Alicia"))
        await work.commit(None)
    assert [summary(change) for change in (await changes(units))[len(before) :]] == [
        ("user", Action.UPDATED, 2, {"name": "Alice"}, {"name": "Alicia"})
    ]


async def test_a_refused_store_in_a_savepoint_does_not_affect_the_rest(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    before = await changes(units)

    async def fail(work: SqlUnitOfWork) -> None:
        async with work.session.begin_nested():
            await work.users.add(NewUser(name="Lost"))
            await work.users.add(NewUser(name="Bob", email="KEY"))

    async with units.writing(context) as work:
        alice = await work.users.add(NewUser(name="Alice", email="key"))
        with pytest.raises(Conflict):
            await fail(work)
        await work.users.save(alice.revised(name="Alicia"))
        await work.commit(None)
    (change,) = (await changes(units))[len(before) :]
    assert (change.action, change.version, (change.after or {})["name"]) == (Action.CREATED, 2, "Alicia")
    assert [user.name for user in (await users.list(limit=10)).items] == ["Alicia"]


async def test_a_savepoint_cannot_be_used_after_a_refused_flush(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.writing(context) as work:
        await work.session.begin_nested()
        work.session.add(AuthorRecord(name="Ada"))
        with pytest.raises(Conflict):
            await work.session.flush()
        with pytest.raises(sa.exc.PendingRollbackError):
            await work.users.list(limit=1)
        with pytest.raises(RuntimeError, match="begin_nested"):
            await work.commit(None)


async def test_a_session_sees_that_a_write_of_a_store_was_rolled_back(
    units: SqlUnitsOfWork, context: RequestContext
) -> None:

    async def fail(work: SqlUnitOfWork, shelf: ShelfRecord) -> None:
        async with work.session.begin_nested():
            await work.unit.executor.fetch(WRITE_BESIDE, {"note": "new"})
            await work.session.refresh(shelf)
            assert shelf.note == "new"
            raise KeyError("a defect")

    async with units.writing(context) as work:
        shelf = ShelfRecord(place="left", note="old")
        work.session.add(shelf)
        await work.session.flush()
        with pytest.raises(KeyError):
            await fail(work, shelf)
        assert await shelf.awaitable_attrs.note == "old"


async def test_savepoints_can_be_nested(units: SqlUnitsOfWork, context: RequestContext) -> None:
    before = await changes(units)

    async def fail(session: AsyncSession) -> None:
        async with session.begin_nested():
            session.add(AuthorRecord(name="Bob"))
            await session.flush()
            async with session.begin_nested():
                session.add(AuthorRecord(name="Cy"))
            raise KeyError("a defect")

    async with units.writing(context) as work:
        async with work.session.begin_nested():
            work.session.add(AuthorRecord(name="Ada"))
            with pytest.raises(KeyError):
                await fail(work.session)
            work.session.add(AuthorRecord(name="Dora"))
        await work.commit(None)
    assert await names(units) == ["Ada", "Dora"]
    assert [change.after and change.after["name"] for change in await changes(units)][len(before) :] == ["Ada", "Dora"]


async def test_a_unit_does_not_commit_in_a_savepoint(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        async with work.session.begin_nested():
            work.session.add(AuthorRecord(name="Ada"))
            with pytest.raises(RuntimeError, match="begin_nested"):
                await work.commit(None)
        await work.commit(None)
    assert await names(units) == ["Ada"]


# --- the journal


async def test_each_added_object_writes_a_change(units: SqlUnitsOfWork, ada: int) -> None:
    author, *books = [summary(change) for change in await changes(units)]
    assert author == ("author", Action.CREATED, 1, None, {"name": "Ada", "tags": []})
    assert sorted(books, key=str) == [
        ("book", Action.CREATED, 1, None, {"title": title, "author_id": ada}) for title in ("Letters", "Notes")
    ]


async def recorded_by(units: SqlUnitsOfWork, context: RequestContext, id: int, alter: Any) -> list[Any]:
    """The changes of a unit that alters an author."""
    before = await changes(units)
    async with units.writing(context) as work:
        await alter(work, await load(work.session, id))
        await work.commit(None)
    return [summary(change) for change in (await changes(units))[len(before) :]]


async def test_the_change_has_the_values_before_and_after(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(work: SqlUnitOfWork, author: AuthorRecord) -> None:
        author.name, author.born, author.tags = "Augusta", work.now, ["countess"]

    (change,) = await recorded_by(units, context, ada, alter)
    kind, action, version, before, after = change
    assert (kind, action, version) == ("author", Action.UPDATED, 2)
    assert before == {"name": "Ada", "born": None, "tags": []}
    assert after == {"name": "Augusta", "born": after["born"], "tags": ["countess"]}


async def test_an_object_that_is_flushed_twice_writes_one_change(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(work: SqlUnitOfWork, author: AuthorRecord) -> None:
        author.name = "Augusta"
        await work.session.flush()
        author.name = "A. King"

    assert await recorded_by(units, context, ada, alter) == [
        ("author", Action.UPDATED, 3, {"name": "Ada"}, {"name": "A. King"})
    ]


async def test_the_change_has_the_old_value_of_an_attribute_that_was_set_without_being_loaded(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(work: SqlUnitOfWork, author: AuthorRecord) -> None:
        work.session.expire(author, ["name"])
        author.name = "Augusta"

    assert await recorded_by(units, context, ada, alter) == [
        ("author", Action.UPDATED, 2, {"name": "Ada"}, {"name": "Augusta"})
    ]


async def test_the_change_has_the_old_value_of_an_attribute_that_was_changed_in_place(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(_: SqlUnitOfWork, author: AuthorRecord) -> None:
        author.tags.append("countess")
        orm.attributes.flag_modified(author, "tags")

    assert await recorded_by(units, context, ada, alter) == [
        ("author", Action.UPDATED, 2, {"tags": []}, {"tags": ["countess"]})
    ]


async def test_the_change_has_the_state_that_was_flushed(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(work: SqlUnitOfWork, author: AuthorRecord) -> None:
        author.tags = ["countess"]
        await work.session.flush()
        author.tags.append("never flushed, as nobody said so")

    assert await recorded_by(units, context, ada, alter) == [
        ("author", Action.UPDATED, 2, {"tags": []}, {"tags": ["countess"]})
    ]


async def test_the_change_has_values_that_the_database_generates(
    units: SqlUnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        place = PlaceRecord(name="London")
        work.session.add_all([place, PlaceRecord(name="Paris", country="FR")])
        await work.commit(None)
    async with units.writing(context) as work:
        (await work.session.get_one(PlaceRecord, place.id)).name = "Londinium"
        await work.commit(None)
    assert [(change.before, change.after) for change in await changes(units)] == [
        (None, {"name": "London", "country": "GB", "moves": 0}),
        (None, {"name": "Paris", "country": "FR", "moves": 0}),
        ({"name": "London", "moves": 0}, {"name": "Londinium", "moves": 1}),
    ]


async def test_an_object_that_did_not_change_writes_no_change(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(_: SqlUnitOfWork, author: AuthorRecord) -> None:
        author.name = "Augusta"
        author.name = "Ada"
        author.books[0].author = author

    assert await recorded_by(units, context, ada, alter) == []


async def test_a_store_reaches_the_session_of_its_unit(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        assert work.unit.session is work.session
    async with units.reading() as reading:
        assert reading.unit.session is reading.session


async def test_orphans_and_cascaded_deletions_write_changes(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def orphan(_: SqlUnitOfWork, author: AuthorRecord) -> None:
        author.books.pop()

    ((*ended, before, after),) = await recorded_by(units, context, ada, orphan)
    assert (ended, after) == (["book", Action.ENDED, 2], {})
    assert before["author_id"] == ada

    async def delete(work: SqlUnitOfWork, author: AuthorRecord) -> None:
        await work.session.delete(author)

    recorded = sorted(await recorded_by(units, context, ada, delete), key=str)
    assert [each[:3] for each in recorded] == [("author", Action.ENDED, 2), ("book", Action.ENDED, 2)]
    assert [(each[3]["name" if each[0] == "author" else "author_id"], each[4]) for each in recorded] == [
        ("Ada", {}),
        (ada, {}),
    ]
    assert all(change.before or change.after for change in await changes(units))  # an end erases nothing


async def test_an_object_that_moves_to_another_parent_writes_a_change(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(work: SqlUnitOfWork, author: AuthorRecord) -> None:
        author.books[0].author = AuthorRecord(name="Bob")

    created, moved = await recorded_by(units, context, ada, alter)
    assert created[:2] == ("author", Action.CREATED)
    assert moved == ("book", Action.UPDATED, 2, {"author_id": ada}, {"author_id": ada + 1})


async def test_deleting_a_partly_loaded_object_writes_a_change(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async def alter(work: SqlUnitOfWork, author: AuthorRecord) -> None:
        work.session.expire_all()
        await work.session.delete(await load(work.session, ada))
        work.session.expire(author, ["name"])

    assert ("author", Action.ENDED, 2) in [each[:3] for each in await recorded_by(units, context, ada, alter)]


async def test_a_record_class_without_an_entity_writes_no_change(
    units: SqlUnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        work.session.add(ShelfRecord(place="left"))
        await work.commit(None)
    assert await changes(units) == []


# --- beside the stores

WRITE_BESIDE: Final = sa.update(ShelfRecord.__table__).values(note=sa.bindparam("note", type_=sa.JSON))  # type: ignore[arg-type]


async def test_a_session_sees_what_a_store_wrote(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        found = sa.select(users_table.c.name).where(users_table.c.id == alice.id)
        assert await work.session.scalar(found) == "Alice"
        await work.users.save(alice.revised(name="Alicia"))
        assert await work.session.scalar(found) == "Alicia"


async def test_the_objects_of_a_session_see_what_a_store_wrote(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        shelf = ShelfRecord(place="left", note="old")
        work.session.add(shelf)
        await work.unit.executor.fetch(WRITE_BESIDE, {"note": "new"})
        assert await shelf.awaitable_attrs.note == "new"


async def test_a_store_sees_what_a_session_has_pending(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        work.session.add(ShelfRecord(place="left"))
        assert await work.unit.executor.fetch(sa.select(ShelfRecord.place)) == [("left",)]


async def test_writes_of_stores_and_of_the_session_are_committed_together(
    units: SqlUnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as work:
        alice = await work.users.add(NewUser(name="Alice"))
        work.session.add(AuthorRecord(name="Ada"))
        bob = await work.users.add(NewUser(name="Bob"))
        await work.session.commit()
        await work.commit(None)
    assert await names(units) == ["Ada"]
    assert [(change.kind, change.action) for change in await changes(units)] == [
        ("user", Action.CREATED),
        ("author", Action.CREATED),
        ("user", Action.CREATED),
    ]
    async with units.reading() as read:
        assert await read.users.list(limit=10) == [alice, bob]


async def fill(work: SqlUnitOfWork) -> None:
    await work.users.add(NewUser(name="Alice"))
    work.session.add(AuthorRecord(name="Ada"))
    await work.session.commit()


async def require_empty(units: SqlUnitsOfWork, users: UserService) -> None:
    """Nothing was stored, and the next writer does not wait."""
    assert await names(units) == []
    assert await changes(units) == []
    async with asyncio.timeout(AT_ONCE_S):
        await users.create(NewUser(name="Next"))
    assert [user.name for user in (await users.list(limit=10)).items] == ["Next"]


async def test_a_unit_without_a_commit_rolls_back_stores_and_session(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    async with units.writing(context) as work:
        await fill(work)
    await require_empty(units, users)


async def test_an_exception_rolls_back_writes_of_stores_and_of_the_session(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    async def fail() -> None:
        async with units.writing(context) as work:
            await fill(work)
            raise KeyError("a defect")

    with pytest.raises(KeyError):
        await fail()
    await require_empty(units, users)


async def test_an_open_savepoint_at_the_end_rolls_back_stores_and_session(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    async with units.writing(context) as work:
        await fill(work)
        await work.session.begin_nested()
        work.session.add(AuthorRecord(name="Bob"))
        await work.session.flush()
    await require_empty(units, users)


async def test_a_dry_run_stores_nothing(units: SqlUnitsOfWork, context: RequestContext, users: UserService) -> None:
    async with units.writing(replace(context, dry_run=True)) as work:
        await fill(work)
        await work.commit(None)
    await require_empty(units, users)


@pytest.mark.parametrize("way", ["rollback", "close"])
async def test_rolling_back_the_session_rolls_back_the_unit(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService, way: str
) -> None:
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Alice"))
        work.session.add(AuthorRecord(name="Ada"))
        await work.session.flush()
        await getattr(work.session, way)()
        with pytest.raises((UnitEnded, sa.exc.InvalidRequestError)):
            await work.session.scalar(sa.select(AuthorRecord))
        with pytest.raises(UnitEnded):
            await work.users.list(limit=1)
        with pytest.raises(UnitEnded):
            await work.commit(None)
    await require_empty(units, users)


# --- cancellation

ENDLESS: Final = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


@pytest.mark.parametrize("nested", [False, True])
async def test_a_cancelled_statement_leaves_nothing(
    units: SqlUnitsOfWork, database: Database, context: RequestContext, users: UserService, nested: bool
) -> None:
    reached = asyncio.Event()

    async def work_without_end() -> None:
        async with units.writing(context) as work:
            await fill(work)
            if nested:
                await work.session.begin_nested()
            asyncio.get_running_loop().call_later(0.1, reached.set)
            await work.session.execute(sa.text(ENDLESS[database.engine.dialect.name]))

    task = asyncio.create_task(work_without_end())
    await reached.wait()
    assert not task.done()
    task.cancel()
    async with asyncio.timeout(AT_ONCE_S):
        with pytest.raises(asyncio.CancelledError):
            await task
    await require_empty(units, users)
    if isinstance(database, PostgresDatabase):
        open_ones = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        assert await database.reader.fetch(open_ones) == [(0,)]


async def test_a_statement_that_took_too_long_ends_the_unit(
    units: SqlUnitsOfWork, database: Database, context: RequestContext, users: UserService
) -> None:
    async with units.writing(context) as work:
        await fill(work)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await work.session.execute(sa.text(ENDLESS[database.engine.dialect.name]))
        with pytest.raises(sa.exc.InvalidRequestError):
            await work.session.scalar(sa.select(AuthorRecord))
        await work.session.rollback()
        with pytest.raises(sa.exc.ResourceClosedError):
            await work.session.scalar(sa.select(AuthorRecord))
        with pytest.raises(UnitEnded):
            await work.commit(None)
    await require_empty(units, users)


async def test_a_statement_that_took_too_long_in_a_savepoint_ends_the_whole_unit(
    units: SqlUnitsOfWork, database: Database, context: RequestContext, users: UserService
) -> None:
    async def wait_too_long(session: AsyncSession) -> None:
        async with session.begin_nested():
            session.add(AuthorRecord(name="Lost"))
            await session.flush()
            async with asyncio.timeout(0.1):
                await session.execute(sa.text(ENDLESS[database.engine.dialect.name]))

    async with units.writing(context) as work:
        await fill(work)
        with pytest.raises(TimeoutError):
            await wait_too_long(work.session)
        with pytest.raises(UnitEnded):
            await work.users.list(limit=1)
        with pytest.raises(UnitEnded):
            await work.commit(None)
    await require_empty(units, users)


# --- after the unit


@asynccontextmanager
async def of_sort(units: SqlUnitsOfWork, context: RequestContext, sort: str) -> AsyncIterator[Any]:
    """A unit of one of the three sorts."""
    opened: Any = units.reading() if sort == "reading" else getattr(units, sort)(context)
    async with opened as work:
        yield work


SORTS: Final = ["writing", "reading", "snapshot"]


@pytest.mark.parametrize("sort", SORTS)
async def test_a_session_is_dead_after_its_unit(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService, ada: int, sort: str
) -> None:
    async with of_sort(units, context, sort) as work:
        session = work.session
        connection = await session.connection()
        author = await session.get_one(AuthorRecord, ada)
    await require_dead(session, connection)
    assert work.session is session
    assert author.name == "Ada"
    with pytest.raises(sa.exc.InvalidRequestError):
        await author.awaitable_attrs.books
    async with asyncio.timeout(AT_ONCE_S):
        await users.create(NewUser(name="Next"))


async def require_dead(session: AsyncSession, connection: Any) -> None:
    for use in (
        lambda: session.scalar(sa.select(AuthorRecord)),
        lambda: session.get(AuthorRecord, 1),
        lambda: session.execute(sa.text("SELECT 1")),
        lambda: session.merge(AuthorRecord(id=1, name="Ada")),
        session.connection,
    ):
        with pytest.raises(sa.exc.InvalidRequestError, match="permanently closed"):
            await use()
    with pytest.raises(sa.exc.InvalidRequestError, match="permanently closed"):
        session.add(AuthorRecord(name="Bob"))
    with pytest.raises(UnitEnded):
        await connection.execute(sa.text("SELECT 1"))


async def test_a_session_is_dead_after_the_commit(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    async with units.writing(context) as work:
        session = work.session
        session.add(AuthorRecord(name="Ada"))
        connection = await session.connection()
        await work.commit(None)
        await require_dead(session, connection)
        async with asyncio.timeout(AT_ONCE_S):
            await users.create(NewUser(name="Next"))


@pytest.mark.parametrize("sort", SORTS)
async def test_a_unit_that_has_ended_makes_no_session(
    units: SqlUnitsOfWork, context: RequestContext, sort: str
) -> None:
    async with of_sort(units, context, sort) as work:
        pass
    with pytest.raises(UnitEnded):
        work.session  # noqa: B018


async def test_a_session_that_runs_nothing_begins_nothing(
    units: SqlUnitsOfWork, context: RequestContext, users: UserService
) -> None:
    async with units.writing(context) as work:
        work.session.add(AuthorRecord(name="Ada"))
        async with asyncio.timeout(AT_ONCE_S):
            await users.create(NewUser(name="Next"))


# --- bulk statements


@pytest.mark.parametrize(
    ("statement", "way"),
    [
        (sa.update(AuthorRecord).values(name="X"), "Load the objects"),
        (sa.delete(AuthorRecord), "Load the objects"),
        (sa.insert(AuthorRecord).values(name="X", version=1), "Load the objects"),
        (sa.update(AUTHORS).values(name="X"), "Load the objects"),
        (sa.update(AUTHORS.alias()).values(name="X"), "Load the objects"),
        (sa.update(users_table).values(name="X"), "its store"),
        (sa.delete(users_table), "its store"),
    ],
)
async def test_bulk_statements_on_tables_with_change_rows_are_refused(
    units: SqlUnitsOfWork, context: RequestContext, ada: int, statement: Any, way: str
) -> None:
    async with units.writing(context) as work:
        with pytest.raises(RuntimeError, match=way):
            await work.session.execute(statement)
        connection = await work.session.connection()
        with pytest.raises(RuntimeError, match=way):
            await connection.execute(statement)
        assert await work.session.scalar(sa.select(AuthorRecord.name)) == "Ada"


async def test_the_bulk_methods_of_the_orm_are_refused(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.writing(context) as work:
        with pytest.raises(RuntimeError, match="Load the objects"):
            await work.session.execute(
                sa.insert(AuthorRecord), [{"name": "X", "version": 1}, {"name": "Y", "version": 1}]
            )
        with pytest.raises(RuntimeError, match="Load the objects"):
            await work.session.execute(sa.update(AuthorRecord), [{"id": ada, "name": "X", "version": 1}])
    async with units.writing(context) as work:
        with pytest.raises(RuntimeError, match="Load the objects"):
            await work.session.run_sync(lambda session: session.bulk_save_objects([AuthorRecord(name="X", version=1)]))


async def test_a_bulk_statement_on_another_table_runs(units: SqlUnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        await work.session.execute(sa.insert(ShelfRecord), [{"place": "left"}, {"place": "right"}])
        await work.session.execute(sa.update(ShelfRecord).values(note=1).where(ShelfRecord.place == "left"))
        await work.session.execute(sa.delete(ShelfRecord).where(ShelfRecord.place == "right"))
        assert (await work.session.execute(sa.select(ShelfRecord.place, ShelfRecord.note))).all() == [("left", 1)]


def test_a_record_with_an_entity_has_to_map_its_version() -> None:
    with pytest.raises(TypeError, match="version_id_col"):

        class UnversionedRecord(Sample):
            __tablename__ = "unversioned"
            __entity__ = Author

            id: Mapped[int] = mapped_column(primary_key=True)

    Sample.metadata.remove(Sample.metadata.tables["unversioned"])


def test_a_record_class_of_an_entity_table_has_to_name_its_entity() -> None:
    with pytest.raises(TypeError, match="__entity__"):

        class UserRecord(Record):
            __table__ = users_table


# --- reading


@pytest.mark.parametrize("sort", ["reading", "snapshot"])
async def test_a_reading_session_can_read(units: SqlUnitsOfWork, context: RequestContext, ada: int, sort: str) -> None:
    async with of_sort(units, context, sort) as work:
        author = await load(work.session, ada)
        assert len(author.books) == 2
        assert await work.session.scalar(sa.text("SELECT count(*) FROM books")) == 2
        assert (await work.session.scalars(sa.select(BookRecord).where(BookRecord.id.in_([])))).all() == []


@pytest.mark.parametrize("sort", ["reading", "snapshot"])
@pytest.mark.parametrize(
    "write",
    [
        lambda session: session.flush(),
        lambda session: session.commit(),
        lambda session: session.scalar(sa.select(sa.func.count()).select_from(AuthorRecord)),
        lambda session: session.execute(sa.insert(ShelfRecord).values(place="left")),
        lambda session: session.execute(sa.text("DELETE FROM authors")),
        lambda session: session.execute(sa.text("BEGIN")),
    ],
)
async def test_a_reading_session_refuses_to_write(
    *, units: SqlUnitsOfWork, context: RequestContext, ada: int, sort: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with of_sort(units, context, sort) as work:
        watch = Watch(monkeypatch, work.unit.scans)
        work.session.add(AuthorRecord(name="Bob"))
        with pytest.raises(RuntimeError, match="only reads"):
            await write(work.session)
        assert watch.statements == []
    assert await names(units) == ["Ada"]


async def test_a_reading_session_sets_no_savepoint(units: SqlUnitsOfWork) -> None:
    async with units.reading() as work:
        with pytest.raises(RuntimeError, match="only reads"):
            async with work.session.begin_nested():
                await work.session.scalar(sa.select(AuthorRecord))


async def test_the_session_of_a_snapshot_does_not_see_later_writes(
    units: SqlUnitsOfWork, context: RequestContext, ada: int
) -> None:
    async with units.snapshot(context) as work:
        assert len((await work.session.scalars(sa.select(AuthorRecord))).all()) == 1
        async with units.writing(context) as other:
            other.session.add(AuthorRecord(name="Bob"))
            await other.commit(None)
        assert len((await work.session.scalars(sa.select(AuthorRecord))).all()) == 1
    assert await names(units) == ["Ada", "Bob"]


# --- the cost for units that do not use it

USING: Final = """
import asyncio, sys
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import database_at
from repositories.work.units_of_work import SqlUnitsOfWork

def loaded():
    return {"repositories.engines.sessions", "sqlalchemy.orm"} & set(sys.modules)

async def main():
    units = SqlUnitsOfWork(database_at(sys.argv[1], serving=True, pool_size=1, pool_timeout_s=5))
    await units.start()
    context = RequestContext(actor="tester", request_id="r1")
    async with units.writing(context) as work:
        await work.users.add(NewUser(name="Alice"))
        await work.commit(None)
    async with units.reading() as work:
        await work.users.list(limit=10)
        print(*sorted(loaded()))
        work.session
        print(*sorted(loaded()))
    await units.stop()

asyncio.run(main())
"""


@pytest.mark.heavy  # starts a program
@pytest.mark.parametrize(("engine", "before"), [("upgraded_sqlite", ""), ("postgres", "sqlalchemy.orm")])
def test_the_orm_is_imported_only_when_a_session_is_used(
    request: pytest.FixtureRequest, engine: str, before: str
) -> None:
    url = request.getfixturevalue(f"{engine}_url")
    done = subprocess.run(
        [sys.executable, "-c", USING, url],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.stdout.splitlines() == [before, "repositories.engines.sessions sqlalchemy.orm"], done.stderr
