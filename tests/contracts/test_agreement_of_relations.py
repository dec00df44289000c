"""The fake and the databases, put through the same random work on entities that refer to each other, agree."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import Any, Final

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.contracts.sample import (
    MemorySampleUnits,
    NewParticipation,
    NewProject,
    NewSubstitution,
    NewTask,
    SampleUnits,
    metadata,
)
from tests.contracts.test_agreement import ticking
from tests.generated import examples

from domain.changes import Change
from domain.entities import Entity
from domain.errors import Invalid, Refusal
from domain.users import NewUser
from domain.work import RequestContext
from repositories.engines.database import Database

NEW: Final[dict[str, tuple[type, tuple[str, ...]]]] = {
    "users": (NewUser, ()),
    "projects": (NewProject, ("owner_id",)),
    "participations": (NewParticipation, ("project_id", "user_id")),
    "tasks": (NewTask, ("assignee_id",)),
    "substitutions": (NewSubstitution, ("absent_id", "present_id")),
}
"""What each store is given, and its references."""

TO: Final = {"owner_id": "users", "assignee_id": "users", "absent_id": "users", "present_id": "users"} | {
    "user_id": "users",
    "project_id": "projects",
}
TEXT: Final = {"users": "name", "projects": "name", "tasks": "title", "participations": "role"}
STORE_OF: Final = {"user": "users", "project": "projects", "participation": "participations", "task": "tasks"} | {
    "substitution": "substitutions"
}


@dataclass(frozen=True)
class Step:
    """One call of a store. `which` and `others` count through the entities that were added to a store."""

    verb: str
    store: str
    which: int
    others: tuple[int, int]
    text: str


STEPS: Final = st.builds(
    Step,
    verb=st.sampled_from(["add", "add", "add", "save", "move", "delete", "restore", "end", "remove", "end_all"]),
    store=st.sampled_from(list(NEW)),
    which=st.integers(0, 2),
    others=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    text=st.sampled_from(["a", "A", "b"]),
)
UNITS: Final = st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=3, max_size=12)

START: Final = [
    Step("add", store, 0, others, text)
    for store in NEW
    for others, text in (((0, 0), "a"), ((1, 1), "b"), ((0, 1), "c"))
]
"""Each story begins with three of each kind."""


class Storyteller:
    """Does the work on one directory and writes down each outcome, with entities by their order instead of their id."""

    def __init__(self, units: Any) -> None:
        self._units = units
        self._ids: dict[str, list[int]] = {store: [] for store in NEW}
        self.story: list[object] = []

    async def run(self, units: Sequence[Sequence[Step]]) -> str:
        for steps in [*([step] for step in START), *units]:
            await self._unit(steps)
        async with self._units.reading() as work:
            for store in NEW:
                self.story += [self._entity(store, each) for each in await getattr(work, store).list(limit=1000)]
            self.story += self._recorded(await work.changes.list(limit=1000))
            for store, ids in self._ids.items():
                kind = next(kind for kind, other in STORE_OF.items() if other == store)
                histories = [await work.changes.list(subject=(kind, id), limit=1000) for id in ids]
                self.story += map(self._recorded, histories)
        return "\n".join(map(repr, self.story))

    async def _unit(self, steps: Sequence[Step]) -> None:
        ids = {store: list(each) for store, each in self._ids.items()}
        try:
            async with self._units.writing(RequestContext(actor="tester", request_id="r1")) as work:
                for step in steps:
                    await self._step(work, step)
                await work.commit(None)
        except Invalid as invalid:
            self.story.append([fault.pointer for fault in invalid.faults])
            self._ids = ids
        except Refusal as refusal:
            self.story.append(type(refusal).__name__)
            self._ids = ids

    async def _step(self, work: Any, step: Step) -> None:
        store = getattr(work, step.store)
        new, references = NEW[step.store]
        named = {field: self._id(TO[field], other) for field, other in zip(references, step.others, strict=False)}
        text = {TEXT[step.store]: step.text} if step.store in TEXT else {}
        match step.verb:
            case "add":
                added = await store.add(new(**named, **text))
                self._ids[step.store].append(added.id)
                self.story.append(self._entity(step.store, added))
            case "end_all":
                for field in references[:1]:
                    self.story.append(await store.end_all(field, named[field]))
            case _:
                entity = await store.get(self._id(step.store, step.which), hidden=True)
                await self._alter(store, entity, step.verb, {"save": text, "move": named}.get(step.verb), work.now)

    async def _alter(self, store: Any, entity: Any, verb: str, profile: Any, now: datetime) -> None:
        if verb in {"end", "remove"}:
            await getattr(store, verb)(entity)
        elif profile is not None:
            await store.save(entity.revised(**profile))
        elif hasattr(entity, "deleted_at"):
            await store.save(entity.deleted(now) if verb == "delete" else replace(entity, deleted_at=None))

    def _id(self, store: str, number: int) -> int:
        ids = self._ids[store]
        return ids[number % len(ids)] if ids else 2**53 - 1

    def _entity(self, store: str, entity: Entity) -> object:
        named = {
            field: self._ids[TO[field]].index(getattr(entity, field))
            for field in NEW[store][1]
            if getattr(entity, field)
        }
        changed: Any = {"id": self._ids[store].index(entity.id), **named}
        other: Any = entity
        return astuple(replace(other, **changed))

    def _recorded(self, changes: Sequence[Change]) -> list[object]:
        """Changes of one unit have no order here: a database writes those of set-wise ends before the others."""
        return [
            self._change(change) for change in sorted(changes, key=lambda each: (each.at, each.kind, each.entity_id))
        ]

    def _change(self, change: Change) -> object:
        subjects = tuple((kind, self._ids[STORE_OF[kind]].index(id)) for kind, id in change.subjects)
        states = [self._state(change.before), self._state(change.after)]
        return (change.kind, subjects, change.version, change.action, change.at, *states)

    def _state(self, state: Any) -> object:
        if state is None:
            return None
        return {
            name: self._ids[TO[name]].index(value) if name in TO and value else value for name, value in state.items()
        }


TABLES: Final = [table.name for table in reversed(metadata.sorted_tables)] + ["users", "changes", "change_subjects"]


async def emptied(database: Database) -> None:
    async with database.transaction() as executor:
        for table in TABLES:
            await executor.fetch(sa.text(f"DELETE FROM {table}"))
        await executor.commit()


@pytest.fixture(params=["sqlite", "postgres"])
def sample_units(request: pytest.FixtureRequest) -> SampleUnits:
    units: SampleUnits = request.getfixturevalue(f"sample_{request.param}")
    return units


@examples(8)
@given(units=UNITS)
async def test_the_fake_treats_references_as_a_database_does(
    sample_units: SampleUnits, units: list[list[Step]]
) -> None:
    database = sample_units._database
    await emptied(database)
    on_memory = await Storyteller(MemorySampleUnits(ticking())).run(units)
    sample_units._clock = ticking()
    on_disk = await Storyteller(sample_units).run(units)
    assert on_memory == on_disk
