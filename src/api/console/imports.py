"""Imports in the console: a file, a dry run, and the import itself with its progress."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from tempfile import TemporaryFile
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.console.jobs import Job, Jobs, State
from api.console.pages import render, route, to
from api.files import reports
from api.imports import receive
from api.web.streams import NDJSON
from domain.errors import Busy, Malformed, NotFound
from domain.imports import Done, Match, Mode, Options
from domain.keys import Scope, require_scopes
from domain.work import RequestContext
from services.imports.service import ImportService

MODES: Final = {
    Mode.CREATE: "Create: each row is new",
    Mode.UPSERT: "Create or update",
    Mode.SYNC: "Create or update, and delete those who are not in the file",
}
MATCHES: Final = {Match.EXTERNAL_ID: "External id", Match.EMAIL: "E-mail", Match.USERNAME: "Username"}
PIECE: Final = 64 * 1024


def job_of(request: Request) -> Job | None:
    require_scopes((Scope.USERS_WRITE,), request.state.session.scopes)
    jobs: Jobs = request.app.state.jobs
    return jobs.of(request.state.session.actor)


def imports_of(request: Request, *, dry_run: bool) -> ImportService:
    session = request.state.session
    context = RequestContext(
        actor=session.actor, request_id=request.state.request_id, scopes=session.scopes, dry_run=dry_run
    )
    service: ImportService = request.app.state.container.imports(context)
    return service


def place_of(request: Request) -> AbstractContextManager[None]:
    """One of those for imports over HTTP: the console's are counted among them."""
    place: AbstractContextManager[None] = request.app.state.container.import_places().one(request.state.session.actor)
    return place


async def show_import(request: Request) -> Response:
    """The page of an import. With `rows`, only its progress. A header says when the whole page has to be loaded
    again."""
    job = job_of(request)
    template = "import_progress.html" if "rows" in request.query_params else "import.html"
    response = render(request, template, job=job, modes=MODES, matches=MATCHES, outcomes=tuple(Done))
    if job is None or not job.is_going:
        response.headers["Roster-Done"] = "true"
    return response


async def take_file(request: Request) -> Response:
    """Take a file. It is the body of the request, so that it can be written to the disk while it arrives. The dry run
    begins at once."""
    job = job_of(request)
    if job is not None and job.is_going:
        raise Malformed("Another import of yours is still going on.")
    options = options_in(request)
    file = TemporaryFile()  # noqa: SIM115  # the job closes it
    try:
        await receive(request, file, request.app.state.container.settings().limits.import_bytes)
    except BaseException:
        file.close()
        raise
    job = Job(request.query_params.get("name", "")[:200], file, options)
    try:
        job.begin(State.CHECKING, imports_of(request, dry_run=True), State.CHECKED, place_of(request))
    except Busy:
        job.close()
        raise
    request.app.state.jobs.keep(request.state.session.actor, job)
    return Response(status_code=204)


def options_in(request: Request) -> Options:
    asked = request.query_params
    share = reports.share_in(asked.get("max_delete", "10%"))
    if share is None:
        raise Malformed("Write how many may be deleted as a number, or as a percentage such as 10%.")
    try:
        mode, match = Mode(asked.get("mode", Mode.CREATE)), Match(asked.get("match", Match.EXTERNAL_ID))
    except ValueError:
        raise Malformed("There is no such way to import.") from None
    return Options(mode=mode, match=match, atomic="atomic" in asked, max_delete=share)


async def act_on_import(request: Request) -> Response:
    job, action = job_of(request), request.path_params["action"]
    if job is None:
        raise NotFound("There is no import of yours here any more.")
    if action == "start" and job.state is State.CHECKED:
        job.begin(State.RUNNING, imports_of(request, dry_run=False), State.DONE, place_of(request))
    elif action == "cancel":
        job.cancel()
    elif action == "discard" and not job.is_going:
        request.app.state.jobs.discard(request.state.session.actor)
    else:
        raise Malformed("That cannot be done now.")
    return to(request, "/import")


async def report_import(request: Request) -> Response:
    """The result of each row, as NDJSON."""
    job = job_of(request)
    if job is None or job.is_going:
        raise NotFound("There is no report here yet.")
    headers = {"Content-Disposition": 'attachment; filename="import-report.ndjson"'}
    return StreamingResponse(pieces_of(job), media_type=NDJSON, headers=headers)


def pieces_of(job: Job) -> Iterator[bytes]:
    job.report.seek(0)
    while piece := job.report.read(PIECE):
        yield piece


ROUTES: Final = (
    route("/import", show_import),
    route("/import", take_file, methods=("PUT",)),
    route("/import/report", report_import),
    route("/import/{action}", act_on_import, methods=("POST",)),
)
