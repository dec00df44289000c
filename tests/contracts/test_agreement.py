"""The fake and the databases, put through the same random work, give the same answers."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.generated import examples

from domain.changes import Change
from domain.errors import Refusal
from domain.users import NewUser, User
from domain.work import Clock, RequestContext, UnitOfWork, UnitsOfWork
from repositories.engines.database import Database
from repositories.fake import MemoryUnitsOfWork
from repositories.work.units_of_work import SqlUnitsOfWork

KEYS: Final = st.sampled_from([None, "a", "A", "b", "ß", "SS", "ﬁ"])
ATTRIBUTES: Final = st.sampled_from([{}, {"a": 1}, {"a": True}, {"a": 1.0}, {"b": None, "a": [{}]}])
FIELDS: Final = st.fixed_dictionaries(
    {"name": st.sampled_from(["Alice", "Bob"])},
    optional={"email": KEYS, "username": KEYS, "external_id": KEYS, "attributes": ATTRIBUTES},
)


@dataclass(frozen=True)
class Step:
    """One call of a store. `which` counts through the users there are, `fields` are for those calls that take some."""

    verb: str
    which: int
    fields: dict[str, Any]


@dataclass(frozen=True)
class Unit:
    ending: str
    steps: Sequence[Step]


STEPS: Final = st.builds(
    Step,
    verb=st.sampled_from(["add", "add", "save", "save", "delete", "restore", "get", "list", "changes", "history"]),
    which=st.integers(0, 5),
    fields=FIELDS,
)
UNITS: Final = st.builds(
    Unit, ending=st.sampled_from(["commit", "commit", "commit", "leave", "dry"]), steps=st.lists(STEPS, max_size=6)
)


def ticking() -> Clock:
    """A clock that moves one second for each unit."""
    seconds = count()
    return lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))


class Storyteller:
    """Does the work on one directory and writes down each answer, with users by their order instead of their id."""

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units
        self._ids: list[int] = []
        self._held: dict[int, User] = {}  # as last handed out, committed or not
        self.story: list[object] = []

    async def run(self, units: Sequence[Unit]) -> str:
        for unit in units:
            await self._unit(unit)
        async with self._units.reading() as work:
            self.story += [self._user(user) for user in await work.users.list(limit=1000)]
            recorded = await work.changes.list(limit=1000)
        assert [change.seq for change in recorded] == sorted({change.seq for change in recorded})
        self.story += [self._change(change) for change in recorded]
        return "\n".join(map(repr, self.story))  # in words, since Python takes 1, 1.0 and True for one another

    async def _unit(self, unit: Unit) -> None:
        ids = list(self._ids)
        context = RequestContext(actor="tester", request_id="r1", dry_run=unit.ending == "dry")
        try:
            async with self._units.writing(context) as work:
                for step in unit.steps:
                    await self._step(work, step)
                if unit.ending != "leave":
                    await work.commit(None)
        except Refusal as refusal:  # it ends the unit, as it ends a service method
            self.story.append(type(refusal).__name__)  # of two keys that are taken, each store may name another
            self._ids = ids
        if unit.ending != "commit":
            self._ids = ids

    async def _step(self, work: UnitOfWork, step: Step) -> None:
        id = self._ids[step.which % len(self._ids)] if self._ids else 2**53 - 1
        match step.verb:
            case "add":
                added = await work.users.add(NewUser(**step.fields))
                self._ids.append(added.id)
                self._hold(added)
            case "get":
                self._hold(await work.users.get(id))
            case "list":
                listed = await work.users.list(after=(id - 1,), limit=step.which)
                self.story.append([self._user(user) for user in listed])
            case "changes":
                self.story.append([self._change(change) for change in await work.changes.list(limit=step.which)])
            case "history":
                recorded = await work.changes.list(subject=("user", id), limit=step.which)
                self.story.append([self._change(change) for change in recorded])
            case _ if id in self._held:
                self._hold(await work.users.save(self._altered(self._held[id], work, step)))

    def _altered(self, user: User, work: UnitOfWork, step: Step) -> User:
        if step.verb == "delete":
            return user.deleted(work.now)
        if step.verb == "restore":
            return replace(user, deleted_at=None)
        return user.revised(**step.fields)

    def _hold(self, user: User) -> None:
        self._held[user.id] = user
        self.story.append(self._user(user))

    def _user(self, user: User) -> object:
        return astuple(replace(user, id=self._ids.index(user.id)))

    def _change(self, change: Change) -> object:
        subjects = tuple((kind, self._ids.index(id)) for kind, id in change.subjects)
        return astuple(replace(change, seq=0, entity_id=self._ids.index(change.entity_id), subjects=subjects))


async def emptied(database: Database) -> None:
    async with database.transaction() as executor:
        await executor.fetch(sa.text("DELETE FROM users"))
        await executor.fetch(sa.text("DELETE FROM changes"), last=True)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    started: Database = request.getfixturevalue(request.param)
    return started


@examples(12)
@given(units=st.lists(UNITS, max_size=8))
async def test_the_fake_answers_as_a_database_does(database: Database, units: list[Unit]) -> None:
    await emptied(database)
    on_memory = await Storyteller(MemoryUnitsOfWork(ticking())).run(units)
    on_disk = await Storyteller(SqlUnitsOfWork(database, ticking())).run(units)
    assert on_memory == on_disk
