"""Where a database stands in the history of the schema (`repositories/migrations`), and how to bring it to its head.

The revision is read without Alembic, which would be a tenth of what a server loads to start.

A database may also be ahead: a newer Roster has upgraded it while this one serves, or goes back to. Each revision says
whether it is `additive`: whether servers of the revision before can go on with the schema that it makes. Whoever
upgrades notes beside the revision since which one all are (`compatible_since`). So a server knows of revisions that it
does not have whether they concern it.
"""

from dataclasses import dataclass, replace
from functools import cache
from logging import getLogger
from pathlib import Path

import sqlalchemy as sa

from domain.errors import NotReady
from repositories.engines.executors import Executor

FOLDER = Path(__file__).parents[1] / "migrations"

log = getLogger("roster")

OWN_TABLES = frozenset({"alembic_version", "users", "changes"})
OWN_COLUMNS = frozenset({"seq", "kind", "entity_id", "request_id"})
"""What `changes` has, in each revision. Tables of these names without them are another program's."""

CURRENT = sa.select(sa.column("version_num", sa.Text)).select_from(sa.table("alembic_version"))
"""The revision of a database, as a statement for executors."""

COMPATIBLE_SINCE = sa.select(sa.column("compatible_since", sa.Text)).select_from(sa.table("alembic_version"))
"""The oldest revision whose servers can use this schema, where it was brought beyond revision 0011."""


UNFINISHED = "copying-"
"""What the revision of a database begins with in which `roster copy` has not come to its end. It is not served."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """`current` is the revision that the database is at, None before the first.

    `compatible_since` is the oldest one whose servers can use it, if that was noted.
    """

    current: str | None
    head: str
    known: bool
    compatible_since: str | None = None

    @property
    def at_head(self) -> bool:
        return self.current == self.head

    @property
    def is_unfinished(self) -> bool:
        """Whether a copy into it has not come to its end."""
        return (self.current or "").startswith(UNFINISHED)

    @property
    def is_ahead(self) -> bool:
        """Whether only additive revisions were added to what this Roster has."""
        return not self.known and not self.is_unfinished and self.compatible_since in revisions()

    @property
    def is_usable(self) -> bool:
        """Whether this Roster can use it."""
        return self.at_head or self.is_ahead

    @property
    def is_behind(self) -> bool:
        """Whether there is a schema to upgrade."""
        return self.known and self.current is not None and not self.at_head

    def __str__(self) -> str:
        """For an operator: how it is, and what to do."""
        if self.is_unfinished:
            return "A part of another directory is in it. Run roster copy again, as before, or use another database."
        if self.is_ahead:
            return f"The schema is at revision {self.current}, ahead of this Roster's {self.head}, which can use it."
        if not self.known:
            return f"The schema is at revision {self.current}, which a newer Roster wrote. Upgrade Roster."
        if not self.at_head:
            return (
                f"The schema is at revision {self.current or 'none'}, this Roster needs {self.head}. "
                "Run: roster db upgrade"
            )
        return f"The schema is at revision {self.current}, the head."

    def require_head(self) -> None:
        """For work on all tables, those too that only a newer Roster knows. Raises `NotReady`, saying what to run."""
        if self.is_ahead:
            raise NotReady(f"{self} But for this, upgrade Roster.")
        self.require_usable()

    def require_usable(self) -> None:
        """Raises `NotReady`, saying what to run."""
        if not self.is_usable:
            raise NotReady(str(self))


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did: from which revision to which. `copy` is the file as it was before, if a copy was kept."""

    before: str | None
    after: str | None
    copy: Path | None = None

    def __str__(self) -> str:
        """For an operator."""
        if self.before is None:
            return f"created a new database at revision {self.after}"
        if self.before == self.after:
            return f"the schema was at revision {self.after} already"
        kept = f"; a copy from before is {self.copy}" if self.copy else ""
        return f"schema upgraded from {self.before} to {self.after}{kept}"

    def tell(self, database: str) -> None:
        """Log it, if anything was done."""
        if self.before is None:
            log.info("created a new database", extra={"database": database})
        elif self.before != self.after:
            copy = {"copy": str(self.copy)} if self.copy else {}
            log.info("schema upgraded", extra={"from": self.before, "to": self.after, "database": database, **copy})


def require_own(connection: sa.Connection, database: str) -> None:
    """Raises `NotReady` if the tables in this database are another program's."""
    inspector = sa.inspect(connection)
    tables = OWN_TABLES.intersection(inspector.get_table_names())
    if "changes" in tables:
        is_own = OWN_COLUMNS.issubset(column["name"] for column in inspector.get_columns("changes"))
    else:  # none of them, or it was brought down to before the first revision
        is_own = tables <= {"alembic_version"} and revision_of(connection) is None
    if not is_own:
        raise NotReady(f"{database} is not a Roster database: it has tables of another program. Nothing was changed.")


def status(connection: sa.Connection) -> SchemaStatus:
    status = status_of(revision_of(connection))
    return status if status.known else replace(status, compatible_since=compatible_since(connection))


def status_of(current: str | None) -> SchemaStatus:
    return SchemaStatus(current=current, head=head(), known=current is None or current in revisions())


async def current_status(executor: Executor) -> SchemaStatus:
    """The same in as few statements as a health check needs."""
    ((current,),) = await executor.fetch(CURRENT)
    status = status_of(current)
    if status.known:
        return status
    ((since,),) = await executor.fetch(COMPATIBLE_SINCE)
    return replace(status, compatible_since=since)


def revision_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalars(CURRENT).one_or_none()


def has_compatible_since(connection: sa.Connection) -> bool:
    """Whether it was ever upgraded by a Roster that notes it."""
    return "compatible_since" in {column["name"] for column in sa.inspect(connection).get_columns("alembic_version")}


def compatible_since(connection: sa.Connection) -> str | None:
    return connection.scalars(COMPATIBLE_SINCE).one_or_none() if has_compatible_since(connection) else None


def note_compatible_since(connection: sa.Connection, revision: str) -> None:
    if not has_compatible_since(connection):
        connection.exec_driver_sql("ALTER TABLE alembic_version ADD COLUMN compatible_since TEXT")
    connection.execute(
        sa.update(sa.table("alembic_version", sa.column("compatible_since"))), {"compatible_since": revision}
    )


def upgrade(connection: sa.Connection) -> Upgrade:
    """Bring the schema to its head, within the transaction that the connection is in. One that is ahead stays so."""
    before = status(connection)
    if not before.known:
        before.require_usable()
        return Upgrade(before.current, before.current)
    if not before.at_head:
        move(connection, "head")
    return Upgrade(before.current, before.head)


def move(connection: sa.Connection, revision: str) -> None:
    """Bring the schema up or down to a revision, within the transaction that the connection is in."""
    from alembic import command  # noqa: PLC0415  # a server whose schema is at its head starts without it
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    if revision == "base":
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


@cache
def revisions() -> tuple[str, ...]:
    """All revisions in their order, which the names of their files tell: 0001_..., 0002_..."""
    return tuple(sorted(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*_*.py")))


def head() -> str:
    return revisions()[-1]
