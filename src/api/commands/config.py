"""`roster config`."""

from typing import Annotated, Final

import typer

from api.commands.console import DatabaseUrl, Json, settings_from, show_table
from api.origins import rows_of
from api.settings import Settings

COLUMNS: Final = ("setting", "value", "from")

OnlySet = Annotated[bool, typer.Option("--set", help="Only settings that differ from their default")]


def config(only_set: OnlySet = False, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Show every setting, its value, and the source of the value. Secrets are masked."""
    settings = settings_from(database_url=database_url)
    rows = rows_of(settings, flags=() if database_url is None else ("database_url",))
    show_table([row for row in rows if not only_set or row["from"] != "default"], COLUMNS, as_json=json)
    for warning in Settings.unknown():
        typer.echo(f"roster: {warning}", err=True)
