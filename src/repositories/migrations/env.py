"""The environment of Alembic. It uses the connection that it was given, or from Alembic's command line,
ROSTER_DATABASE_URL."""

import asyncio
import os

import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

from repositories import answers, stores  # noqa: F401  # their tables have to be in the metadata
from repositories.engines.revisions import note_compatible_since
from repositories.engines.schema import metadata


def migrate(connection: sa.Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        before = context.get_context().get_current_revision()
        context.run_migrations()
        after = context.get_context().get_current_revision()
        if after not in {before, None}:
            note_compatible_since(connection, compatible_since(str(after)))


def compatible_since(revision: str) -> str:
    """The oldest revision whose servers can use the schema of this one: all after it are additive."""
    script = context.script.get_revision(revision)
    while script.module.additive:
        script = context.script.get_revision(str(script.down_revision))
    return script.revision


async def from_the_command_line() -> None:
    url = os.environ.get("ROSTER_DATABASE_URL", "sqlite:///roster.db")
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
    parsed = sa.make_url(url)
    engine = create_async_engine(parsed.set(drivername=drivers.get(parsed.drivername, parsed.drivername)))
    async with engine.begin() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    asyncio.run(from_the_command_line())
