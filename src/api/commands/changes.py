"""`roster changes`, on the database itself."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic_core import to_json

from api.commands.console import DatabaseUrl, Json, in_service_of, lawful, show_table
from domain.changes import FIELDS, Change, document_of
from domain.lists.filters import Filter
from domain.lists.pages import MAX_LIMIT
from domain.lists.terms import parse_filter
from domain.values import MAX_ID
from services.changes import ChangeService

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS: Final = ("seq", "at", "actor", "action", "what", "fields")
WAIT_S: Final = 30.0

Since = Annotated[int | None, typer.Option(help="Begin after the change with this number", min=0, max=MAX_ID)]
FilterText = Annotated[str | None, typer.Option("--filter", help="Only changes that match, as in GET /changes/")]
Limit = Annotated[int, typer.Option(help="The most changes to show; not with --follow", min=1, max=MAX_LIMIT)]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Continue with new changes, until Ctrl-C")]


def changes(
    *,
    since: Since = None,
    filter: FilterText = None,
    limit: Limit = 20,
    follow: Follow = False,
    json: Json = False,
    database_url: DatabaseUrl = None,
) -> None:
    """Show the last changes, or with --since the changes after a number, or with --follow new changes as they come.

    With --follow, --json prints one object on each line.
    """
    wanted = None if filter is None else lawful(lambda: parse_filter(filter, FIELDS))

    async def shown(service: ChangeService) -> None:
        if follow:
            await follow_from(service, since, wanted, as_json=json)
            return
        found: Sequence[Change]
        if since is None:
            found = list(reversed(await service.latest(filter=wanted, limit=limit)))
        else:
            found = (await service.list(filter=wanted, since=since, limit=limit)).changes
        rows = [document_of(change) if json else row_of(change) for change in found]
        show_table(rows, COLUMNS, as_json=json)

    try:
        in_service_of(lambda container: container.changes, shown, database_url)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


async def follow_from(service: ChangeService, since: int | None, wanted: Filter | None, *, as_json: bool) -> None:
    while True:
        page = await service.wait(filter=wanted, since=since, limit=MAX_LIMIT, within_s=WAIT_S)
        for change in page.changes:
            typer.echo(to_json(document_of(change)).decode() if as_json else line_of(change))
        since = page.end


def row_of(change: Change) -> dict[str, Any]:
    fields = {**(change.before or {}), **(change.after or {})}
    return {
        "seq": change.seq,
        "at": change.at,
        "actor": change.actor,
        "action": str(change.action),
        "what": f"{change.kind} {change.entity_id}",
        "fields": ", ".join(fields),
    }


def line_of(change: Change) -> str:
    row = row_of(change)
    return (
        f"{row['seq']}  {change.at:%Y-%m-%dT%H:%M:%SZ}  {row['actor']}  {row['action']} {row['what']}  {row['fields']}"
    )
