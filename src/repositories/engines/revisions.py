"""Where a database stands in the history of the schema (`repositories/migrations`), and how to bring it to its head.

The revision is read without Alembic, which would be a tenth of what a server loads to start.
"""

from dataclasses import dataclass
from functools import cache
from logging import getLogger
from pathlib import Path

import sqlalchemy as sa

from domain.errors import NotReady

FOLDER = Path(__file__).parents[1] / "migrations"

log = getLogger("roster")

OWN_TABLES = frozenset({"alembic_version", "users", "changes"})
OWN_COLUMNS = frozenset({"seq", "kind", "entity_id", "request_id"})
"""What `changes` has, in each revision. Tables of these names without them are another program's."""

CURRENT = sa.select(sa.column("version_num", sa.Text)).select_from(sa.table("alembic_version"))
"""The revision of a database, as a statement for executors."""


UNFINISHED = "copying-"
"""What the revision of a database begins with in which `roster copy` has not come to its end. It is not served."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """`current` is the revision that the database is at, None before the first."""

    current: str | None
    head: str
    known: bool

    @property
    def at_head(self) -> bool:
        return self.current == self.head

    @property
    def is_behind(self) -> bool:
        """Whether there is a schema to upgrade."""
        return self.known and self.current is not None and not self.at_head

    def __str__(self) -> str:
        """For an operator: how it is, and what to do."""
        if (self.current or "").startswith(UNFINISHED):
            return "A part of another directory is in it. Run roster copy again, as before, or use another database."
        if not self.known:
            return f"The schema is at revision {self.current}, which a newer Roster wrote. Upgrade Roster."
        if not self.at_head:
            return (
                f"The schema is at revision {self.current or 'none'}, this Roster needs {self.head}. "
                "Run: roster db upgrade"
            )
        return f"The schema is at revision {self.current}, the head."

    def require_head(self) -> None:
        """Raises `NotReady`, saying what to run."""
        if not self.at_head:
            raise NotReady(str(self))


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did: from which revision to which. `copy` is the file as it was before, if a copy was kept."""

    before: str | None
    after: str
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
    return status_of(revision_of(connection))


def status_of(current: str | None) -> SchemaStatus:
    return SchemaStatus(current=current, head=head(), known=current is None or current in revisions())


def revision_of(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalars(CURRENT).one_or_none()


def upgrade(connection: sa.Connection) -> Upgrade:
    """Bring the schema to its head, within the transaction that the connection is in."""
    before = status(connection)
    if not before.known:
        before.require_head()
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
