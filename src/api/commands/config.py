"""`roster config`."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer
from dotenv import dotenv_values
from pydantic import SecretStr

from api.commands.console import DatabaseUrl, Json, settings_from, show_table
from api.settings import Settings, plain

COLUMNS: Final = ("setting", "value", "from")
MASK: Final = "********"
IN_AUTHORITY: Final = re.compile(r"(://[^/:@]*:)[^/]*@")
IN_QUERY: Final = re.compile(r"([?&]password=)[^&]*")

OnlySet = Annotated[bool, typer.Option("--set", help="Only what is not at its default")]


def config(only_set: OnlySet = False, json: Json = False, database_url: DatabaseUrl = None) -> None:
    """Show every setting, its value, and where it comes from. Secrets are masked."""
    settings = settings_from(database_url=database_url)
    rows = [row for row in rows_of(settings, database_url is not None) if not only_set or row["from"] != "default"]
    show_table(rows, COLUMNS, as_json=json)
    for warning in Settings.unknown():
        typer.echo(f"roster: {warning}", err=True)


def rows_of(settings: Settings, has_flag: bool) -> Iterator[Mapping[str, Any]]:
    file = str(settings.model_config["env_file"])
    environment = {name.upper() for name in os.environ}
    written = {name.upper() for name in dotenv_values(file)}
    for name, value in settings:
        variable = f"ROSTER_{name.upper()}"
        yield {
            "setting": variable,
            "value": shown(value),
            "from": source_of(variable, environment, written, file, flag=has_flag and name == "database_url"),
        }


def source_of(variable: str, environment: set[str], written: set[str], file: str, *, flag: bool) -> str:
    if flag:
        return "flag"
    if any(name == variable or name.startswith(f"{variable}__") for name in environment):
        return "environment"
    if any(name == variable or name.startswith(f"{variable}__") for name in written):
        return file
    return "default"


def shown(value: object) -> str | None:
    if value is None:
        return None
    return MASK if isinstance(value, SecretStr) else without_password(plain(value))


def without_password(text: str) -> str:
    """The text; a URL without its password."""
    return IN_QUERY.sub(rf"\1{MASK}", IN_AUTHORITY.sub(rf"\1{MASK}@", text))
