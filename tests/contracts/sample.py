"""A directory with more nouns than Roster's own, as a product that extends Roster would have them.

A project belongs to a user, and stands in the way of its deletion. A participation ends with its user and its project.
A task stays without its user. A substitution has two users, which may be the same one, and ends with either.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, ClassVar, Final

import sqlalchemy as sa

from domain.entities import Deletable, Editable, Entity, check
from domain.lists.fields import fields_of
from domain.references import Reference, ReferentialAction
from domain.users import User
from domain.values import Id, Text
from repositories.engines.schema import BigId, Instant, Key
from repositories.fake import MemoryUnitOfWork, MemoryUnitsOfWork
from repositories.memory.table import reading, writing
from repositories.stores import TABLES, MemoryReadStores, SqlReadStores, store
from repositories.tables.reading import SqlReadStore
from repositories.tables.store import SqlStore
from repositories.tables.table import EntityTable
from repositories.users import users
from repositories.work.units_of_work import SqlUnitOfWork, SqlUnitsOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectProfile:
    name: Annotated[str, Text(max=100, folds=True, trims=True)]
    owner_id: Annotated[int, Id()]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject(ProjectProfile):
    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(ProjectProfile, Entity, Editable, Deletable):
    kind: ClassVar[str] = "project"
    created_from: ClassVar[type] = NewProject
    hidden_since: ClassVar[str] = "deleted_at"
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("owner_id", "name"),)
    references: ClassVar[tuple[Reference, ...]] = (Reference("owner_id", User),)

    id: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticipationProfile:
    project_id: Annotated[int, Id()]
    user_id: Annotated[int, Id()]
    role: Annotated[str | None, Text(max=64)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewParticipation(ParticipationProfile):
    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation(ParticipationProfile, Entity, Editable):
    kind: ClassVar[str] = "participation"
    created_from: ClassVar[type] = NewParticipation
    unique: ClassVar[tuple[tuple[str, ...], ...]] = (("project_id", "user_id"),)
    identified_by: ClassVar[tuple[str, ...]] = ("project_id", "user_id")
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("project_id", Project, on_delete=ReferentialAction.END, on_purge=ReferentialAction.END),
        Reference("user_id", User, on_delete=ReferentialAction.END, on_purge=ReferentialAction.END, about=True),
    )

    id: int
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProfile:
    title: Annotated[str, Text(max=100)]
    assignee_id: Annotated[int | None, Id()] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask(TaskProfile):
    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(TaskProfile, Entity, Editable, Deletable):
    kind: ClassVar[str] = "task"
    created_from: ClassVar[type] = NewTask
    hidden_since: ClassVar[str] = "deleted_at"
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("assignee_id", User, on_delete=ReferentialAction.CLEAR, on_purge=ReferentialAction.CLEAR),
    )

    id: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubstitutionProfile:
    absent_id: Annotated[int, Id()]
    present_id: Annotated[int, Id()]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubstitution(SubstitutionProfile):
    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitution(SubstitutionProfile, Entity, Editable):
    kind: ClassVar[str] = "substitution"
    created_from: ClassVar[type] = NewSubstitution
    references: ClassVar[tuple[Reference, ...]] = (
        Reference("absent_id", User, on_delete=ReferentialAction.END, on_purge=ReferentialAction.END),
        Reference("present_id", User, on_delete=ReferentialAction.END, on_purge=ReferentialAction.END),
    )

    id: int
    created_at: datetime
    updated_at: datetime
    version: int


metadata: Final = sa.MetaData(naming_convention=users.metadata.naming_convention)


def id_column() -> sa.Column[int]:
    return sa.Column("id", BigId, sa.Identity(), primary_key=True)


def bookkeeping() -> list[sa.Column[object]]:
    return [
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    ]


projects: Final = sa.Table(
    "sample_projects",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("name_key", Key, nullable=False),
    sa.Column("owner_id", sa.BigInteger, sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("deleted_at", Instant),
    *bookkeeping(),
    sqlite_autoincrement=True,
)
living: Final = projects.c.deleted_at.is_(None)
sa.Index(
    "uq_sample_projects_owner_id_name_key", projects.c.owner_id, projects.c.name_key,
    unique=True, sqlite_where=living, postgresql_where=living,
)  # fmt: skip

participations: Final = sa.Table(
    "sample_participations",
    metadata,
    id_column(),
    sa.Column("project_id", sa.BigInteger, sa.ForeignKey(projects.c.id), nullable=False),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("role", Key),
    *bookkeeping(),
    sa.UniqueConstraint("project_id", "user_id"),
    sa.Index("ix_sample_participations_user_id_id", "user_id", "id"),
    sqlite_autoincrement=True,
)

tasks: Final = sa.Table(
    "sample_tasks",
    metadata,
    id_column(),
    sa.Column("title", Key, nullable=False),
    sa.Column("assignee_id", sa.BigInteger, sa.ForeignKey(users.c.id)),
    sa.Column("deleted_at", Instant),
    *bookkeeping(),
    sa.Index("ix_sample_tasks_assignee_id_id", "assignee_id", "id"),
    sqlite_autoincrement=True,
)

substitutions: Final = sa.Table(
    "sample_substitutions",
    metadata,
    id_column(),
    sa.Column("absent_id", sa.BigInteger, sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("present_id", sa.BigInteger, sa.ForeignKey(users.c.id), nullable=False),
    *bookkeeping(),
    sa.Index("ix_sample_substitutions_absent_id_id", "absent_id", "id"),
    sa.Index("ix_sample_substitutions_present_id_id", "present_id", "id"),
    sqlite_autoincrement=True,
)

PROJECTS: Final = EntityTable[NewProject, Project](Project, projects, fields_of(Project, without={"deleted_at"}))
PARTICIPATIONS: Final = EntityTable[NewParticipation, Participation](
    Participation, participations, fields_of(Participation)
)
TASKS: Final = EntityTable[NewTask, Task](Task, tasks, fields_of(Task, without={"deleted_at"}))
SUBSTITUTIONS: Final = EntityTable[NewSubstitution, Substitution](Substitution, substitutions, fields_of(Substitution))


class SampleReading(SqlReadStores):
    projects = store(partial(SqlReadStore, PROJECTS))
    participations = store(partial(SqlReadStore, PARTICIPATIONS))
    tasks = store(partial(SqlReadStore, TASKS))
    substitutions = store(partial(SqlReadStore, SUBSTITUTIONS))


class SampleWriting(SqlUnitOfWork):
    projects = store(partial(SqlStore, PROJECTS))
    participations = store(partial(SqlStore, PARTICIPATIONS))
    tasks = store(partial(SqlStore, TASKS))
    substitutions = store(partial(SqlStore, SUBSTITUTIONS))


class SampleUnits(SqlUnitsOfWork):
    reading_unit = SampleReading
    writing_unit = SampleWriting
    tables = (*TABLES, PROJECTS, PARTICIPATIONS, TASKS, SUBSTITUTIONS)


class MemorySampleReading(MemoryReadStores):
    projects = store(reading(NewProject, Project))
    participations = store(reading(NewParticipation, Participation))
    tasks = store(reading(NewTask, Task))
    substitutions = store(reading(NewSubstitution, Substitution))


class MemorySampleWriting(MemoryUnitOfWork):
    projects = store(writing(NewProject, Project))
    participations = store(writing(NewParticipation, Participation))
    tasks = store(writing(NewTask, Task))
    substitutions = store(writing(NewSubstitution, Substitution))


class MemorySampleUnits(MemoryUnitsOfWork):
    reading_unit = MemorySampleReading
    writing_unit = MemorySampleWriting
    tables = SampleUnits.tables
