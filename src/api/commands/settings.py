"""`roster settings`: every setting, in the form of docs/configuration.md."""

from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

import typer
from pydantic import BaseModel

from api.settings import Settings

FLAGS: Final = ("database_url", "host", "port", "workers")

HEAD: Final = """\
# Configuration

A setting comes from a flag of `roster serve`, from an environment variable, or from a file `.env` in the working
directory, in this order. At its start the server warns of unknown variables `ROSTER_…`, and names the setting that may
be meant. An error about a wrong value does not show the value.

`sqlite:///roster.db` is a file in the working directory, `sqlite:////var/lib/roster/roster.db` one at an absolute path.
In a password in `postgresql://user:password@host/name`, write `%40` for `@`, `%3A` for `:`, `%2F` for `/` and `%3F` for
`?`. Set secrets by a variable or a file and not by a flag: a flag is in the list of processes.

This page is written by `make docs` from the settings themselves (`roster settings`).

| variable | flag | default | meaning |
|---|---|---|---|"""


def settings() -> None:
    """Print every setting with its default and its meaning, as a page of Markdown."""
    typer.echo("\n".join([HEAD, *rows()]))


def rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        flag = f"`--{name.replace('_', '-')}`" if name in FLAGS else ""
        bounds = ", ".join(f"{word} {value}" for word, value in bounds_of(field.metadata))
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `ROSTER_{name.upper()}` | {flag} | {shown(field.get_default(call_default_factory=True))} | " + (
            f"{meaning} ({bounds}) |" if bounds else f"{meaning} |"
        )


def bounds_of(metadata: list[Any]) -> Iterator[tuple[str, object]]:
    for each in metadata:
        for name, word in (("ge", "at least"), ("gt", "more than"), ("le", "at most")):
            if (value := getattr(each, name, None)) is not None:
                yield word, value


def shown(default: object) -> str:
    if default is None or default == "" or isinstance(default, BaseModel):
        return ""
    value = default.value if isinstance(default, Enum) else default
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if len(text) < 40 else ""  # noqa: PLR2004  # the table of bounds is on another page
