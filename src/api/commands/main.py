"""The command line. A command imports what only it needs in its function, so that other commands start fast."""

import json

import typer

from api.commands.backup import backup, restore
from api.commands.changes import changes
from api.commands.config import config
from api.commands.copies import copy
from api.commands.database import db
from api.commands.doctor import doctor
from api.commands.exports import export
from api.commands.groups import groups
from api.commands.imports import import_file
from api.commands.keys import keys
from api.commands.serve import serve
from api.commands.settings import settings
from api.commands.users import users
from api.commands.webhooks import webhooks
from api.version import VERSION

app = typer.Typer(name="roster", help="A user directory service.", no_args_is_help=True, add_completion=False)
app.command()(serve)
app.command()(backup)
app.command()(restore)
app.command()(copy)
app.command()(export)
app.command("import")(import_file)
app.command()(settings)
app.command()(changes)
app.command()(config)
app.command()(doctor)
app.add_typer(users, name="users")
app.add_typer(groups, name="groups")
app.add_typer(db, name="db")
app.add_typer(keys, name="keys")
app.add_typer(webhooks, name="webhooks")


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the HTTP API."""
    from api.app import create_app  # noqa: PLC0415
    from api.container import Container  # noqa: PLC0415

    typer.echo(json.dumps(create_app(Container()).openapi(), indent=2, ensure_ascii=False))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


if __name__ == "__main__":
    app()
