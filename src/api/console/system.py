"""The system in the console: version, database and schema, and settings with their sources."""

import platform
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import render, route
from api.container import Database
from api.origins import flags_in, rows_of
from api.settings import Settings
from api.version import VERSION
from domain.errors import NotReady
from domain.keys import Scope, require_scopes


async def show_system(request: Request) -> Response:
    """The page of the system. It needs the scope `keys:admin`, because settings contain hosts, files and networks."""
    require_scopes((Scope.KEYS_ADMIN,), request.state.session.scopes)
    container = request.app.state.container
    database = container.database()
    return render(
        request,
        "system.html",
        version=VERSION,
        python=platform.python_version(),
        database=database.name,
        schema=await schema_of(database),
        warnings=await request.app.state.checks.warnings(),
        rows=list(rows_of(container.settings(), flags_in(container.settings()))),
        unknown=list(Settings.unknown()),
    )


async def schema_of(database: Database) -> str:
    try:
        return str(await database.status())
    except NotReady as error:
        return str(error)


ROUTES: Final = (route("/system", show_system),)
