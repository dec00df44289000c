"""`roster doctor`."""

import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import typer

from api.commands.console import DatabaseUrl, Json, container_with, run_in, settings_from, show_table
from api.settings import Settings
from domain.errors import NotReady
from domain.findings import Finding, Level, finding

if TYPE_CHECKING:
    from api.container import Container

COLUMNS: Final = ("", "what", "says", "mend")
MARKS: Final = {Level.OK: "ok", Level.WARN: "warn", Level.FAIL: "FAIL"}


def doctor(json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Look at everything that a server needs, and say what to do about what is wrong. Nothing is changed.

    Exits with 0 if nothing fails, with 1 otherwise. Warnings do not fail.
    """
    settings = settings_from(database_url=database_url)

    async def run(container: "Container") -> list[Finding]:
        return [each async for each in findings(container, settings)]

    found = run_in(container_with(settings), run)
    rows: list[dict[str, Any]] = [
        {"": MARKS[each.level], "what": each.what, "says": each.says, "mend": each.mend or None} for each in found
    ]
    if json:
        rows = [{"level": each.level, "what": each.what, "says": each.says, "mend": each.mend} for each in found]
    show_table(rows, COLUMNS, as_json=json)
    raise typer.Exit(1 if any(each.level is Level.FAIL for each in found) else 0)


async def findings(container: "Container", settings: Settings) -> AsyncIterator[Finding]:
    yield Finding("roster", Level.OK, f"{version('roster')}, Python {sys.version.split()[0]}")
    unknown = list(Settings.unknown())
    yield finding(
        "settings", " ".join(unknown) or "every ROSTER_ variable is known", ok=not unknown,
        mend="roster config shows them all", worst=Level.WARN,
    )  # fmt: skip
    try:
        database = container.database()
        yield Finding("database", Level.OK, database.name)
        for each in await database.examine():
            yield each
        status = await database.status()
        yield finding("schema", str(status), ok=status.at_head, mend="roster db upgrade")
        if status.at_head:
            yield await of_keys(container, settings)
        await database.stop()
    except NotReady as error:
        yield Finding("database", Level.FAIL, str(error), "roster config shows which one is named, and by what")


async def of_keys(container: "Container", settings: Settings) -> Finding:
    units = container.units()
    await units.start()
    try:
        has_keys = await container.authenticator().needs_key()
    finally:
        await units.stop()
    listens = f"listens on {settings.host}, {'with' if has_keys else 'without'} keys"
    return finding(
        "access by HTTP",
        listens,
        ok=has_keys or settings.is_local(),
        mend="roster keys create admin --all-scopes",
    )
