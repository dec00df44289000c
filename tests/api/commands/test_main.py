"""What all commands have in common."""

from collections.abc import Iterator
from typing import Any, Final

import typer

from api.commands.main import app

READING: Final = {"list", "show", "members", "deliveries", "changes", "config", "doctor", "status"}


def commands(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield from commands(command, *names, name) if hasattr(command, "commands") else [((*names, name), command)]


def test_every_command_that_reads_can_print_json() -> None:
    reading = {names: command for names, command in commands(typer.main.get_command(app)) if names[-1] in READING}
    assert {names[-1] for names in reading} == READING
    for names, command in reading.items():
        assert any("--json" in each.opts for each in command.params), names


def test_every_command_has_a_help_text() -> None:
    for names, command in commands(typer.main.get_command(app)):
        assert command.help, names
