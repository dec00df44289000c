"""The progress of a command, on a terminal and without one."""

import io
import sys

import pytest

from api.commands import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_is_printed_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("api.commands.progress.time.monotonic", lambda: now[0])
    with progress.showing() as show:
        for rows in (1000, 20_000, 21_000):
            now[0] += 4
            show(rows, rows / 40_000, "copying users")
    assert capsys.readouterr().err == "roster: 20,000 rows, 50%, 2,500 rows/s, copying users\n"


def test_on_a_terminal_a_bar_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    with progress.showing() as show:
        show(20_000, 0.5, "copying users")
    assert "50%" in terminal.getvalue()
    assert "20,000 rows" in terminal.getvalue()
    assert "copying users" in terminal.getvalue()
