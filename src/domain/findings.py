"""The findings of an examination of the database, for operators."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined: its state, and the command or setting that helps."""

    what: str
    level: Level
    says: str
    fix: str = ""


def finding(what: str, says: str, *, ok: bool, fix: str, worst: Level = Level.FAIL) -> Finding:
    return Finding(what, Level.OK, says) if ok else Finding(what, worst, says, fix)
