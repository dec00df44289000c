"""SCIM 2.0 under /scim/v2 (RFC 7643, 7644, 9865): a second protocol over the same services.

All answers under the mount have SCIM's form, including errors of the framework. Only the app imports this package, if
the setting `scim` is on.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.scim import discovery
from api.scim.answers import answer, error, listed
from api.scim.bulk import bulk
from api.scim.calls import Action, Actions, Call, ScimRequest
from api.scim.errors import Refused, error_of, status_of
from api.scim.lists import answer_query
from api.scim.resources import groups, users
from api.scim.resources.groups import groups_listed
from api.scim.resources.users import users_listed
from api.scim.schemas.discovery import OF_RESOURCES
from api.settings import Settings
from api.web.access import authorize, own_address
from api.web.problems import CHALLENGE, RETRY_AFTER_S
from domain.errors import NotFound, Refusal
from domain.keys import held_in_scim
from services.provisioning import ProvisioningService
from services.users import UserService

MOUNT: Final = "/scim/v2"
NOTHING: Final = "There is nothing at this path."
SERVER_ERROR: Final = "Something went wrong. The server's log has it under the request id."

log = structlog.get_logger("roster.access")


def scim_routes(settings: Settings) -> Sequence[BaseRoute]:
    """The routes of SCIM. A `Mount` does not answer at its own path, so this path has a separate route."""
    routes = [route(path, actions, settings) for path, actions in ACTIONS.items()]
    app = answering_errors(InBothSpellings(Router(routes, redirect_slashes=False, default=nothing_there)))
    return [Mount(MOUNT, app=app, name="scim"), of_any_method(Route(MOUNT, AtTheMount(app), name="scim"))]


class InBothSpellings:
    """Serves paths with and without a slash at the end. There are no redirects, because some clients do not follow
    them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith("/") and scope["path"] != f"{scope['root_path']}/":
            scope = {**scope, "path": scope["path"].removesuffix("/")}
        await self._app(scope, receive, send)


class AtTheMount:
    """The root of the mount without a slash, which a `Mount` does not answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        within = {"path": f"{scope['path']}/", "root_path": f"{scope.get('root_path', '')}{MOUNT}"}
        await self._app({**scope, **within}, receive, send)


def answering_errors(app: ASGIApp) -> ASGIApp:
    handlers: Mapping[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        Refusal: refused,
        HTTPException: http_refused,
        Exception: failed,
    }
    return ExceptionMiddleware(app, handlers=handlers)


async def refused(_: Request, refusal: Refusal) -> Response:
    status = status_of(refusal)
    headers = {}
    if type(refusal) in RETRY_AFTER_S:
        headers["Retry-After"] = str(RETRY_AFTER_S[type(refusal)])
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    return answer(error_of(refusal), status, headers)


async def http_refused(_: Request, refusal: HTTPException) -> Response:
    scim_type = "invalidSyntax" if refusal.status_code == HTTPStatus.BAD_REQUEST else None
    return error(refusal.status_code, refusal.detail, scim_type, refusal.headers)


async def failed(_: Request, defect: Exception) -> Response:
    log.error("failed", exc_info=defect)
    return error(500, SERVER_ERROR)


async def nothing_there(*_: object) -> None:
    raise HTTPException(404, NOTHING)


def route(path: str, actions: Actions, settings: Settings) -> Route:
    """All methods at a path."""

    async def handle(request: Request) -> Response:
        action = actions.get(request.method)
        if action is None:
            raise HTTPException(405, "This path does not support that method.", {"Allow": ", ".join(allowed(actions))})
        request.scope["route"] = action  # for its name in the log and in metrics
        scim = ScimRequest(request.scope, request.receive)
        await authorize(scim, action.scopes, held_in_scim)
        return await action.handle(Call(scim, base_of(request, settings), settings.scim_strict))

    return of_any_method(Route(path, handle, name="scim"))


def of_any_method(route: Route) -> Route:
    """A route for all methods, because the framework would answer other methods itself."""
    route.methods = None
    return route


def allowed(actions: Actions) -> list[str]:
    return [method for name in actions for method in ((name, "HEAD") if name == "GET" else (name,))]


def base_of(request: Request, settings: Settings) -> str:
    """The URL of the mount: under `public_url`, or for callers on this machine under the URL that they use.

    For other callers it is relative to the host. Only they know the name of the host, and their headers are not
    trusted.
    """
    root: str = request.scope.get("app_root_path", request.scope.get("root_path", "")).removesuffix(MOUNT)
    return f"{settings.public_url.rstrip('/') or own_address(request) + root}{MOUNT}"


async def get_config(call: Call) -> Response:
    return answer(discovery.config(call.base, strict=call.strict))


def refuse_filter(call: Call) -> None:
    """Refuse a filter, so that nobody takes the whole list for the result of a filter (RFC 7644, section 4)."""
    if "filter" in call.request.query_params:
        raise Refused("This list has no filter.", status=HTTPStatus.FORBIDDEN)


async def list_schemas(call: Call) -> Response:
    refuse_filter(call)
    described = discovery.schemas(call.base)
    return all_of({each.id: described[each.id] for each in OF_RESOURCES})


async def get_schema(call: Call) -> Response:
    refuse_filter(call)
    return one_of(discovery.schemas(call.base), call.request.path_params["id"])


async def list_resource_types(call: Call) -> Response:
    refuse_filter(call)
    return all_of(discovery.resource_types(call.base))


async def get_resource_type(call: Call) -> Response:
    refuse_filter(call)
    return one_of(discovery.resource_types(call.base), call.request.path_params["id"])


def all_of(described: Mapping[str, dict[str, Any]]) -> Response:
    return answer(listed(list(described.values()), len(described), startIndex=1))


def one_of(described: Mapping[str, dict[str, Any]], name: str) -> Response:
    for each, description in described.items():
        if each.lower() == name.lower():
            return answer(description)
    raise NotFound("There is no such description.")


async def me(_: Call) -> Response:
    raise Refused("A key is not a user, so there is no /Me.", status=HTTPStatus.NOT_IMPLEMENTED)


async def list_all(call: Call) -> Response:
    return answer(await answer_query(call.query, call.path, [users_listed(call), groups_listed(call)]))


async def search_all(call: Call) -> Response:
    return answer(await answer_query(await call.search(), call.path, [users_listed(call), groups_listed(call)]))


READS_ALL: Final = (UserService.list, ProvisioningService.list)
NO_SUCH_THING: Final = {method: Action.of(me) for method in ("GET", "POST", "PUT", "PATCH", "DELETE")}

ACTIONS: Final[Mapping[str, Actions]] = {
    "/Users": users.COLLECTION,
    "/Users/.search": users.SEARCH,
    "/Users/{id}": users.ONE,
    "/Groups": groups.COLLECTION,
    "/Groups/.search": groups.SEARCH,
    "/Groups/{id}": groups.ONE,
    "/Bulk": {"POST": Action.of(bulk, UserService.change, ProvisioningService.change)},
    "/ServiceProviderConfig": {"GET": Action.of(get_config)},
    "/ResourceTypes": {"GET": Action.of(list_resource_types)},
    "/ResourceTypes/{id}": {"GET": Action.of(get_resource_type)},
    "/Schemas": {"GET": Action.of(list_schemas)},
    "/Schemas/{id}": {"GET": Action.of(get_schema)},
    "/Me": NO_SUCH_THING,
    "/.search": {"POST": Action.of(search_all, *READS_ALL)},
    "/": {"GET": Action.of(list_all, *READS_ALL)},
}
"""Each path under the mount, with its methods."""
