"""The revision of a database's schema (`repositories/migrations`), and its upgrade to the newest one (the *head*).

The revision is read without Alembic, whose import would take a tenth of the start of a server.

A database may also be *ahead*: a newer Roster has upgraded it while this one runs, or before Roster was downgraded.
Each revision says whether it is `additive`, that is, whether servers of the previous revision can go on with its
schema. An upgrade stores, beside the revision, the oldest revision whose servers can use the schema
(`compatible_since`). So a server knows whether it can use a schema whose revision it does not have.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from logging import getLogger
from pathlib import Path

import sqlalchemy as sa

from domain.errors import NotReady
from repositories.engines.executors import Executor

FOLDER = Path(__file__).parents[1] / "migrations"

log = getLogger("roster")

OWN_TABLES = ("alembic_version", "users", "changes")
OWN_COLUMNS = frozenset({"seq", "kind", "entity_id", "request_id"})
"""Columns that `changes` has in every revision. If a table of this name lacks them, it belongs to another program."""

LISTED = ", ".join(f"'{table}'" for table in OWN_TABLES)
COLUMNS = {
    "sqlite": f"""
        SELECT parts.name, columns.name FROM sqlite_master AS parts, pragma_table_info(parts.name) AS columns
        WHERE parts.name IN ({LISTED})""",  # noqa: S608
    "postgresql": f"""
        SELECT relname::text, attname::text FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relname IN ({LISTED}) AND pg_table_is_visible(pg_class.oid) AND attnum > 0 AND NOT attisdropped""",  # noqa: S608
}
"""The statement that reads the columns of our tables, for each database. SQLAlchemy's inspection takes 25 ms of CPU."""

CURRENT = sa.select(sa.column("version_num", sa.Text)).select_from(sa.table("alembic_version"))
"""The statement that reads the revision of a database."""

COMPATIBLE_SINCE = sa.select(sa.column("compatible_since", sa.Text)).select_from(sa.table("alembic_version"))
"""Reads the oldest revision whose servers can use this schema. Upgrades beyond revision 0011 store it."""


UNFINISHED = "copying-"
"""The prefix of the revision of a database in which `roster copy` has not finished. Such a database is not served."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """`current` is the revision of the database. It is None before the first one.

    `compatible_since` is the oldest revision whose servers can use the schema, if it is stored.
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
        """Whether a copy into this database has not finished."""
        return (self.current or "").startswith(UNFINISHED)

    @property
    def is_ahead(self) -> bool:
        """Whether the schema is newer than this Roster's, and this Roster can use it, because all newer revisions are
        additive."""
        return not self.known and not self.is_unfinished and self.compatible_since in revisions()

    @property
    def is_usable(self) -> bool:
        """Whether this Roster can use the schema."""
        return self.at_head or self.is_ahead

    @property
    def is_behind(self) -> bool:
        """Whether there is a schema that can be upgraded."""
        return self.known and self.current is not None and not self.at_head

    def __str__(self) -> str:
        """The state, and what to do, for an operator."""
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
        """Raises `NotReady`, with the command to run, unless the schema is the one of this Roster.

        This is for work on all tables, because a schema that is ahead may have tables that this Roster does not
        know.
        """
        if self.is_ahead:
            raise NotReady(f"{self} But for this, upgrade Roster.")
        self.require_usable()

    def require_usable(self) -> None:
        """Raises `NotReady`, with the command to run, unless this Roster can use the schema."""
        if not self.is_usable:
            raise NotReady(str(self))


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The result of an upgrade: the revisions before and after. `copy` is the copy of the file from before, if there is
    one."""

    before: str | None
    after: str | None
    copy: Path | None = None

    def __str__(self) -> str:
        """The result for an operator."""
        if self.before is None:
            return f"created a new database at revision {self.after}"
        if self.before == self.after:
            return f"the schema was at revision {self.after} already"
        kept = f"; a copy from before is {self.copy}" if self.copy else ""
        return f"schema upgraded from {self.before} to {self.after}{kept}"

    def tell(self, database: str) -> None:
        """Log the upgrade, if anything was done."""
        if self.before is None:
            log.info("created a new database", extra={"database": database})
        elif self.before != self.after:
            copy = {"copy": str(self.copy)} if self.copy else {}
            log.info("schema upgraded", extra={"from": self.before, "to": self.after, "database": database, **copy})


Columns = Mapping[str, Collection[str]]
"""The columns of each of our tables that is there."""


def columns_of(connection: sa.Connection) -> Columns:
    return by_table(map(tuple, connection.exec_driver_sql(COLUMNS[connection.dialect.name])))


def by_table(rows: Iterable[Sequence[str]]) -> Columns:
    columns: dict[str, set[str]] = {}
    for table, column in rows:
        columns.setdefault(table, set()).add(column)
    return columns


def revision_query(columns: Columns) -> str | None:
    """The statement that reads the revision and `compatible_since`. None if there is no table that has them."""
    if "alembic_version" not in columns:
        return None
    since = "compatible_since" if "compatible_since" in columns["alembic_version"] else "NULL"
    return f"SELECT version_num, {since} FROM alembic_version"  # noqa: S608


def status_in(rows: Iterable[Sequence[str | None]]) -> SchemaStatus:
    """`rows` are those of the revision query."""
    current, since = next(iter(rows), (None, None))
    status = status_of(current)
    return status if status.known else replace(status, compatible_since=since)


def require_own(columns: Columns, status: SchemaStatus, database: str) -> None:
    """Raises `NotReady` if the tables in this database belong to another program."""
    if "changes" in columns:
        is_own = OWN_COLUMNS.issubset(columns["changes"])
    else:  # no tables, or the schema was downgraded to before the first revision
        is_own = columns.keys() <= {"alembic_version"} and status.current is None
    if not is_own:
        raise NotReady(f"{database} is not a Roster database: it has tables of another program. Nothing was changed.")


def status(connection: sa.Connection) -> SchemaStatus:
    query = revision_query(columns_of(connection))
    return status_in(map(tuple, connection.exec_driver_sql(query) if query else ()))


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
    return status(connection).current


def note_compatible_since(connection: sa.Connection, revision: str) -> None:
    if "compatible_since" not in columns_of(connection)["alembic_version"]:
        connection.exec_driver_sql("ALTER TABLE alembic_version ADD COLUMN compatible_since TEXT")
    connection.execute(
        sa.update(sa.table("alembic_version", sa.column("compatible_since"))), {"compatible_since": revision}
    )


def upgrade(connection: sa.Connection) -> Upgrade:
    """Upgrade the schema to the newest revision, in the transaction of the connection. A schema that is ahead is not
    changed."""
    before = status(connection)
    if not before.known:
        before.require_usable()
        return Upgrade(before.current, before.current)
    if not before.at_head:
        move(connection, "head")
    return Upgrade(before.current, before.head)


def move(connection: sa.Connection, revision: str) -> None:
    """Upgrade or downgrade the schema to a revision, in the transaction of the connection."""
    from alembic import command  # noqa: PLC0415  # so that a server with the newest schema starts without it
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
    """All revisions in order, from the names of their files: 0001_..., 0002_..."""
    return tuple(sorted(file.name.partition("_")[0] for file in (FOLDER / "versions").glob("[0-9]*_*.py")))


def head() -> str:
    return revisions()[-1]
