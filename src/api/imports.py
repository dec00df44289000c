"""Imports over HTTP: the body of the request is a file, and the answer is a report. Both are streamed."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from enum import StrEnum
from hashlib import sha256
from tempfile import TemporaryFile
from typing import Annotated, Any, BinaryIO, Final, Literal

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.files import reports
from api.files.reading import Format, Rows, rows_in
from api.web.dependencies import WritingService, container_of
from api.web.idempotency import IdempotencyKeyHeader
from api.web.problems import documented
from api.web.requests import BODY_TIMEOUT_S
from api.web.responses import documented_headers
from api.web.routing import Router, calls
from api.web.streams import CSV, NDJSON, Stream, cut
from domain.errors import Refusal
from domain.imports import SERVER_BATCH, Counts, Done, FileKey, Match, Mode, Options
from services.imports.runs import Import, Step
from services.imports.service import ImportService

router = Router("/imports", "imports")

Imports = Annotated[ImportService, Depends(WritingService(lambda container: container.imports))]

FORMATS: Final = {NDJSON: Format.NDJSON, CSV: Format.CSV}
MAPPED: Final = re.compile("[^=]+=[^=]*")


class Report(StrEnum):
    """The rows that a report contains."""

    REJECTED = "rejected"
    ALL = "all"


ImportMode = Annotated[
    Mode,
    Query(
        description="`create`: every row is new. `upsert`: a row changes the user that it matches, as a merge patch "
        "does, or is new. `sync`: the same, then users who have the identifier and are not in the file are deleted",
        examples=["upsert"],
    ),
]
MatchBy = Annotated[
    Literal["external-id", "email", "username"],
    Query(description="The identifier by which users are matched", examples=["external-id"]),
]
Atomic = Annotated[
    bool, Query(description="Store all rows or none. The file then has at most 10,000 rows", examples=[True])
]
MaxDelete = Annotated[
    str,
    Query(
        description=(
            "How many users a sync may delete: a number, or a percentage of those who have the identifier. If more "
            "are missing in the file, nothing is stored"
        ),
        examples=["10%"],
        json_schema_extra={"pattern": f"^{reports.SHARE.pattern}$"},
    ),
]
Columns = Annotated[
    Sequence[str],
    Query(
        alias="map",
        description=(
            "For a CSV: the name of a column, an equals sign, and its field. Without a field the column is left out"
        ),
        examples=[["E-Mail=email", "Notes="]],
        json_schema_extra={"items": {"type": "string", "pattern": f"^{MAPPED.pattern}$"}},
    ),
]
WhichRows = Annotated[
    Report | None,
    Query(
        alias="report",
        description="The rows that the report contains. By default a dry run has all rows",
        examples=["all"],
    ),
]

LINES: Final = (
    '{"line":2,"done":"rejected","kind":"user","errors":[{"pointer":"/email","code":"taken","detail":"Another user '
    'has this email."}]}\n'
    '{"progress":{"rows":2,"created":1,"updated":0,"unchanged":0,"deleted":0,"rejected":1,"withheld":0,"again":0}}\n'
    '{"result":{"rows":2,"created":1,"updated":0,"unchanged":0,"deleted":0,"rejected":1,"withheld":0,"again":0,"seq":1}}\n'
)
REPORTED: Final[dict[str, Any]] = {
    "description": (
        "The report, line by line. Its last line has the `result`, or says what `stopped` the import, with `code` "
        "and `detail` as in a problem document. Rows that were counted until then are stored"
    ),
    "content": {NDJSON: {"schema": {"type": "string"}, "example": LINES}},
    **documented_headers(Dry_Run="true, if nothing was stored because of dry_run"),
}
OBJECTS: Final = '{"kind":"group","name":"Engineers"}\n{"name":"Alice","groups":["Engineers"]}\n'
TABLE: Final = "name,attributes.floor\r\nAlice,3\r\n"
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The file, in UTF-8",
        "content": {
            NDJSON: {"schema": {"type": "string", "examples": [OBJECTS]}},
            CSV: {"schema": {"type": "string", "examples": [TABLE]}},
        },
    }
}


@router.post(
    "/", responses={200: REPORTED, **documented(400, 409, 415, 422)}, openapi_extra=BODY, response_class=Response
)
@calls(ImportService.store)
async def import_file(
    *,
    request: Request,
    imports: Imports,
    mode: ImportMode = Mode.CREATE,
    match: MatchBy = "external-id",
    atomic: Atomic = False,
    max_delete: MaxDelete = "10%",
    columns: Columns = (),
    which: WhichRows = None,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Import users, groups and memberships from a file, by the same rules as for single requests.

    A line of NDJSON is a user, or what its `kind` says: a `group`; a `nesting` of the group `child` in `group`; a
    `membership` of `user` (by the identifier of `match`) in `group`, with a `role`. The `groups` of a user are all
    groups of which it is a member after the import. A CSV has the fields as columns, and `attributes.x` for a member of
    the attributes. An empty cell clears its field. Rows about groups need the scope `groups:write`.

    A row that breaks a rule is rejected and reported with its line. The others are stored, 50 at a time. The answer
    begins when the file has arrived. To cancel, disconnect. With an idempotency key, the same request within 24 hours
    continues where this one ended, and stores no row twice.
    """
    if (share := reports.share_in(max_delete)) is None:
        raise wrong("max_delete", "Must be a number, or a number and a percent sign.")
    options = Options(mode=mode, match=Match(match.replace("-", "_")), atomic=atomic, max_delete=share)
    format, named = format_of(request), columns_in(columns)
    which = which or (Report.ALL if imports.context.dry_run else Report.REJECTED)
    limits = container_of(request).settings().limits
    lines = report_of(request, imports, lambda file: rows_in(file, format, named), options, which, key=idempotency_key)
    first = await anext(lines)
    headers = {"Dry-Run": "true"} if imports.context.dry_run else {}
    return Stream(after(first, lines), lines, NDJSON, headers, replace(limits, stream_s=limits.import_s))


def wrong(parameter: str, detail: str) -> RequestValidationError:
    return RequestValidationError([{"type": parameter, "loc": ("query", parameter), "msg": detail}])


def format_of(request: Request) -> Format:
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in FORMATS:
        raise HTTPException(415, f"Send {' or '.join(FORMATS)}.", {"Accept": ", ".join(FORMATS)})
    return FORMATS[sent]


def columns_in(texts: Sequence[str]) -> Sequence[tuple[str, str]]:
    if not all(map(MAPPED.fullmatch, texts)):
        raise wrong("map", "Must be the name of a column, an equals sign, and a field or nothing.")
    return [(name, field) for name, _, field in (text.partition("=") for text in texts)]


async def report_of(
    request: Request,
    imports: ImportService,
    read: Callable[[BinaryIO], Rows],
    options: Options,
    which: Report,
    *,
    key: str | None,
) -> AsyncGenerator[bytes]:
    """The report. Raises a refusal if nothing was stored before it. Otherwise the last line has the refusal."""
    container = container_of(request)
    with container.import_places().one(imports.context.actor), TemporaryFile() as file:
        digest = await receive(request, file, container.settings().limits.import_bytes)
        options = replace(options, key=None if key is None else FileKey(key, digest))
        one = Import(imports, await asyncio.to_thread(read, file), options, batch=SERVER_BATCH)
        seq: int | None = None
        try:
            async with aclosing(one.steps()) as steps:
                async for step in steps:
                    seq = step.seq or seq
                    for piece in cut(lines_of(step, one.counts, which)):
                        yield piece
        except Refusal as refusal:
            if not one.counts.rows:
                raise
            yield reports.as_line(reports.stopped(one.counts, refusal))
        else:
            yield reports.as_line(reports.result(one.counts, seq))


async def receive(request: Request, file: BinaryIO, most: int) -> str:
    """Write the body to the file. There is no limit on the whole time, but the body must not stop coming.

    Returns a digest of it.
    """
    size, digest, chunks = 0, sha256(), aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise HTTPException(408, "The body stopped coming.") from error
        if chunk is None:
            return digest.hexdigest()
        size += len(chunk)
        if size > most:
            raise HTTPException(413, f"A file has at most {most} bytes.")
        digest.update(chunk)
        file.write(chunk)


def lines_of(step: Step, counts: Counts, which: Report) -> bytes:
    shown = [each for each in step.outcomes if which is Report.ALL or each.done is Done.REJECTED]
    return b"".join(map(reports.as_line, [*map(reports.row, shown), reports.progress(counts)]))


async def after(first: bytes, lines: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for line in lines:
        yield line
