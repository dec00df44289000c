"""The schema's history, by Alembic: where a database stands in it, and how to bring it to its head."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from domain.errors import NotReady

FOLDER = Path(__file__).parent

CURRENT = sa.select(sa.column("version_num", sa.Text)).select_from(sa.table("alembic_version"))
"""The revision that a database is at, for whoever has no connection of SQLAlchemy's."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """`current` is the revision that the database is at, None before the first."""

    current: str | None
    head: str
    known: bool

    @property
    def at_head(self) -> bool:
        return self.current == self.head

    def __str__(self) -> str:
        """For an operator: how it is, and what to do."""
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


def status(connection: sa.Connection) -> SchemaStatus:
    current = MigrationContext.configure(connection).get_current_revision()
    known = current is None or current in {script.revision for script in scripts().walk_revisions()}
    return SchemaStatus(current=current, head=head(), known=known)


def upgrade(connection: sa.Connection) -> None:
    """Bring the schema to its head, within the transaction that the connection is in."""
    before = status(connection)
    if before.known and before.at_head:
        return
    if not before.known:
        before.require_head()
    move(connection, "head")


def move(connection: sa.Connection, revision: str) -> None:
    """Bring the schema up or down to a revision, within the transaction that the connection is in."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    if revision == "base":
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


@cache
def scripts() -> ScriptDirectory:
    return ScriptDirectory(str(FOLDER))


@cache
def head() -> str:
    revision = scripts().get_current_head()
    assert revision is not None  # noqa: S101
    return revision
