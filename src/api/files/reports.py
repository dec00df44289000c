"""The report of an import, in lines of JSON. It contains no values of rejected rows."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

from domain.errors import Refusal
from domain.imports import Counts, Outcome, Share

SHARE: Final = re.compile(r"([0-9]{1,9})(%?)", re.ASCII)


def share_in(text: str) -> Share | None:
    """Parse a share such as `50` or `10%`. Returns None if it is not a share."""
    match = SHARE.fullmatch(text)
    return Share(int(match[1]), is_percent=bool(match[2])) if match else None


def as_line(document: Mapping[str, Any]) -> bytes:
    return to_json(document) + b"\n"


def row(outcome: Outcome) -> dict[str, Any]:
    """The result of one row, without members that have no value."""
    before, after = outcome.difference()
    said = {
        "line": outcome.line,
        "done": outcome.done,
        "kind": outcome.kind,
        "id": outcome.id,
        "before": before,
        "after": after,
        "joined": outcome.joined,
        "left": outcome.left,
        "errors": [{"pointer": each.pointer, "code": each.code, "detail": each.detail} for each in outcome.faults],
    }
    return {name: value for name, value in said.items() if value not in (None, [], ())}


def progress(counts: Counts) -> dict[str, Any]:
    return {"progress": counts.as_json()}


def result(counts: Counts, seq: int | None) -> dict[str, Any]:
    """The last line of a report. `seq` is the number of the last change that was written."""
    return {"result": counts.as_json() if seq is None else {**counts.as_json(), "seq": seq}}


def stopped(counts: Counts, refusal: Refusal) -> dict[str, Any]:
    """The last line of the report of an import that did not finish. Rows that it counts are stored."""
    return {"stopped": {**counts.as_json(), "code": refusal.code, "detail": refusal.detail}}
