"""`roster doctor`."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import typer

from api.checks import findings
from api.commands.console import DatabaseUrl, Json, container_with, run_in, settings_from, show_table
from api.settings import Settings
from domain.errors import NotReady
from domain.findings import Finding, Level, finding

if TYPE_CHECKING:
    from api.container import Container

COLUMNS: Final = ("", "check", "result", "fix")
MARKS: Final = {Level.OK: "ok", Level.WARN: "warn", Level.FAIL: "FAIL"}


def doctor(json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Check everything that a server needs, and say how to correct what is wrong. Nothing is changed.

    The exit code is 0 if no check fails, and 1 otherwise. Warnings are not failures.
    """
    settings = settings_from(database_url=database_url)

    async def run(container: "Container") -> list[Finding]:
        return [each async for each in all_findings(container, settings)]

    found = run_in(container_with(settings), run)
    rows: list[dict[str, Any]] = [
        {"": MARKS[each.level], "check": each.what, "result": each.says, "fix": each.fix or None} for each in found
    ]
    if json:
        rows = [{"level": each.level, "what": each.what, "says": each.says, "fix": each.fix} for each in found]
    show_table(rows, COLUMNS, as_json=json)
    raise typer.Exit(1 if any(each.level is Level.FAIL for each in found) else 0)


async def all_findings(container: "Container", settings: Settings) -> AsyncIterator[Finding]:
    async for each in findings(container):
        yield each
    with suppress(NotReady):  # that is one of the findings
        if (await container.database().status()).is_usable:
            yield await of_keys(container, settings)
        await container.database().stop()


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
        fix="roster keys create admin --all-scopes",
    )
