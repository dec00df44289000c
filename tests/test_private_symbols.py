"""Private parts of other libraries that the source uses, with the reason for each.

pyproject.toml caps the versions of these libraries. Whoever raises a cap reads this table first.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import aiosqlite
import pytest
from fastapi.routing import APIRoute
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src"
PACKAGES: Final = ("domain", "services", "repositories", "api")
WITHOUT_DOCUMENTATION: Final = ("uvicorn.protocols", "uvicorn.supervisors", "fastapi.dependencies")
"""Modules without any promise: each of their names counts as private."""

TYPES_ONLY: Final = "_typeshed"
"""A module of the type checkers, which does not exist when the program runs."""

USED: Final[Mapping[str, str]] = {
    "_typeshed.DataclassInstance": "the type of any dataclass; typeshed documents it for type checkers",
    # aiosqlite: a statement is one job for its thread, which a cancelled task can interrupt
    "aiosqlite.core.Connection._connect": "waits for the thread to end if the file cannot be opened",
    "aiosqlite.core.Connection._thread": "the thread is a daemon, and is joined if the file cannot be opened",
    "aiosqlite.core.Connection._tx": "the queue of jobs: one for a statement in place of three",
    "aiosqlite.core.Connection._conn": "the connection that a job runs on, or is interrupted on",
    "aiosqlite.core.Connection._connection": "the same, or None once it is closed",
    # starlette
    "starlette.requests.Request._body": "the body that was read within its bounds, where form() and json() look for it",
    # fastapi: a handler for each set of parameters that are sent
    "fastapi.dependencies.models.Dependant": "what a route declares, without the parameters that were not sent",
    "fastapi.dependencies.utils.request_params_to_args": "reads a parameter that is missing or has several values",
    "fastapi.dependencies.utils.request_body_to_args": "checks a body by the model of the route",
    "fastapi.routing.APIRoute._embed_body_fields": "whether a body is an object with a member for each of its parts",
    # uvicorn: bounds of time and size that it has not
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol": "the protocol to bound; Config(http=...) takes a class",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.on_message_begin": "a request begins: its head is timed",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.on_headers_complete": "then the body is timed",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.on_message_complete": "it is over: nothing is timed",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.shutdown": "the server stops: a first request may come",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.send_400_response": "what is no HTTP gets a problem",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.transport": "to close it, and to ask what is unsent",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.loop": "whose timers are used",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.client": "the client that the log names",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.cycle": "the request that is being answered, if any",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.pipeline": "requests that wait for it",
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle": "the type of a request that is being answered",
    "uvicorn.supervisors.Multiprocess": "the parent of the workers: drops the gauges of those that ended",
    "uvicorn.supervisors.multiprocess.Multiprocess.keep_subprocess_alive": "called when a worker may have ended",
    "uvicorn.supervisors.multiprocess.Multiprocess.restart_all": "called on SIGHUP, and workers end by that",
    "uvicorn.supervisors.multiprocess.Multiprocess.processes": "the workers that are alive",
}
"""The symbols that the search finds in the source."""

CYCLE: Final = "uvicorn.protocols.http.httptools_impl.RequestResponseCycle"
COMPILER: Final = "sqlalchemy.sql.compiler.SQLCompiler"
PROTOCOL: Final = "api/process/protocol.py"
ROUTING: Final = "api/web/routing.py"
CALLING: Final = "api/web/calling.py"
STATEMENTS: Final = "repositories/engines/statements.py"
SESSIONS: Final = "repositories/engines/sessions.py"
SERVER: Final = "api/process/server.py"
NAMED: Final[Mapping[str, tuple[str, str]]] = {
    f"{CYCLE}.response_complete": (PROTOCOL, "whether the request is still being answered"),
    f"{CYCLE}.response_started": (PROTOCOL, "no other answer may follow one that has begun"),
    f"{CYCLE}.more_body": (PROTOCOL, "whether the fault is in the body of that request"),
    f"{CYCLE}.keep_alive": (PROTOCOL, "its answer is the last one of the connection"),
    "fastapi.dependencies.models.Dependant.query_params": (ROUTING, "less those that were not sent"),
    "fastapi.dependencies.models.Dependant.header_params": (ROUTING, "less those that were not sent"),
    "fastapi.dependencies.models.Dependant.dependencies": (ROUTING, "which have parameters too"),
    **{
        f"fastapi.dependencies.models.Dependant.{name}": (CALLING, "what a call has to find, or must not have")
        for name in (
            "path_params",
            "body_params",
            "cookie_params",
            "request_param_name",
            "websocket_param_name",
            "http_connection_param_name",
            "response_param_name",
            "background_tasks_param_name",
            "security_scopes_param_name",
            "concurrency",
            "call",
        )
    },
    "fastapi.dependencies.utils.ModelField.validate": (CALLING, "reads a parameter that has one value"),
    "fastapi.routing.APIRoute.app": (ROUTING, "what answers the requests of a route"),
    "fastapi.routing.APIRoute.dependant": (ROUTING, "what a handler is made from"),
    "fastapi.dependencies.utils.ModelField.alias": (ROUTING, "the name of a parameter on the wire"),
    "fastapi.dependencies.utils.ModelField.field_info": (ROUTING, "whether a parameter is required"),
    "fastapi.routing.APIRouter.add_api_route": (ROUTING, "every decorator calls it: a collection has two spellings"),
    "fastapi.routing.APIRoute.dependency_overrides_provider": (ROUTING, "the app whose overrides hold"),
    "starlette.middleware.cors.CORSMiddleware.preflight_response": (
        "api/app.py",
        "a preflight is answered without a body",
    ),
    "starlette.routing.Route.endpoint": (ROUTING, "the function, which says what operation it calls"),
    "starlette.routing.Route.path_regex": (ROUTING, "`{key:path}` has to take line breaks as well"),
    f"{COMPILER}.binds": (STATEMENTS, "the types of the parameters"),
    f"{COMPILER}.insert_prefetch": (STATEMENTS, "what Python would compute at each INSERT is refused"),
    f"{COMPILER}.update_prefetch": (STATEMENTS, "the same at each UPDATE"),
    f"{COMPILER}.post_compile_params": (STATEMENTS, "what would be expanded at each execution is refused"),
    f"{COMPILER}.literal_execute_params": (STATEMENTS, "the same"),
    f"{COMPILER}.positiontup": (STATEMENTS, "the order of the parameters"),
    "asyncpg.connection.Connection._prepare": (
        "repositories/engines/postgres/executors.py",
        "takes a statement from the driver's cache and tells its columns; the public one prepares it each time",
    ),
    "asyncpg.connection.Connection._transport": (
        "repositories/engines/postgres/pools.py",
        "the socket, to set TCP keepalives: the driver has no option for them",
    ),
    "sqlalchemy.engine.base.Connection._allow_revalidate": (
        SESSIONS,
        "no new connection outside the unit of work after a statement was cancelled",
    ),
    "sqlalchemy.connectors.asyncio.AsyncAdapt_dbapi_cursor._async_soft_close": (
        SESSIONS,
        "AsyncSession calls it on a cursor, whose rows are here already",
    ),
    "sqlalchemy.pool.base.PoolProxiedConnection.is_valid": (SESSIONS, "read of a connection before it is used"),
    "sqlalchemy.pool.base.ManagesConnection.invalidate": (SESSIONS, "called when a statement was cancelled"),
    "sqlalchemy.sql.elements.SavepointClause.ident": (SESSIONS, "the name of a savepoint"),
    "os._exit": ("api/delivery/process.py", "ends at once: the documentation promises it, in spite of its name"),
    "uvicorn.server.Server.force_exit": (SERVER, "a second SIGINT ends it at once"),
    "uvicorn.server.Server.handle_exit": (SERVER, "called with the signal: the process exits with 0"),
    "uvicorn.server.Server.should_exit": (SERVER, "begins the shutdown"),
    "sqlalchemy.orm.RelationshipProperty.strategy_key": (
        "repositories/engines/records.py",
        "has to be of the same strategy as `lazy`, which is set when the mapper is configured",
    ),
}
"""Private names of objects whose type the syntax does not show: where they are used, and why."""

CAPPED: Final = ("fastapi", "uvicorn", "aiosqlite", "sqlalchemy", "asyncpg")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def is_named_self(node: ast.expr) -> bool:
    """`self`, `cls` or `super()`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def imported_by(tree: ast.AST) -> Iterator[str]:
    """The full names of imports that have an underscore at the start of any part, or have no documentation."""
    for node in nodes_in(tree):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            names = [f"{node.module}.{each.name}" for each in node.names]
        else:
            continue
        for name in names:
            if any(map(is_private, name.split("."))) or name.startswith(WITHOUT_DOCUMENTATION):
                yield name


@cache
def tree_of(file: Path) -> ast.Module:
    """A file, which is parsed once for all tests."""
    return ast.parse(file.read_text())


@cache
def nodes_in(tree: ast.AST) -> Sequence[ast.AST]:
    """A tree and all nodes below it. Each is needed several times, and walking it takes most of the time."""
    return tuple(ast.walk(tree))


def attributes_in(tree: ast.AST, *, of_self: bool) -> Iterator[str]:
    """The attributes in `x.name` or `getattr(x, "name")`: of self, or of anything else."""
    for node in nodes_in(tree):
        match node:
            case ast.Attribute(value=owner, attr=name) if is_named_self(owner) is of_self:
                yield name
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[owner, ast.Constant(value=name), *_]
            ):
                if isinstance(name, str) and is_named_self(owner) is of_self:
                    yield name


def defined_in(tree: ast.AST) -> Iterator[str]:
    """The names that a module defines anywhere."""
    yield from set_by(tree)
    for node in nodes_in(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name


def set_by(body: ast.AST) -> Iterator[str]:
    """The attributes that methods set on self."""
    for node in nodes_in(body):
        match node:
            case ast.Attribute(value=owner, attr=name, ctx=ast.Store()) if is_named_self(owner):
                yield name


def members_of(body: ast.ClassDef) -> Iterator[str]:
    """The names that a class defines: functions, fields, and attributes that are set on self."""
    yield from set_by(body)
    for node in body.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def is_own(kind: type) -> bool:
    return kind.__module__.split(".")[0] in (*PACKAGES, "tests")


@cache
def names_of(kind: type) -> frozenset[str]:
    """The attributes that a class itself defines, including those that its methods set."""
    names = {*vars(kind), *vars(kind).get("__annotations__", {})}
    try:
        file = inspect.getsourcefile(kind)
    except TypeError:  # not written in Python
        file = None
    return frozenset(names.union(*map(set_by, classes_in(file).get(kind.__name__, []) if file else [])))


@cache
def classes_in(file: str) -> Mapping[str, list[ast.ClassDef]]:
    """The classes that a file defines anywhere, by their names."""
    classes: dict[str, list[ast.ClassDef]] = {}
    for node in nodes_in(tree_of(Path(file))):
        if isinstance(node, ast.ClassDef):
            classes.setdefault(node.name, []).append(node)
    return classes


def found_in_class(body: ast.ClassDef, kind: type) -> Iterator[str]:
    """The private names of its base classes that a class uses."""
    others = [each for each in kind.__mro__ if not is_own(each)]
    any_hidden = any(each.__module__.startswith(WITHOUT_DOCUMENTATION) for each in others)
    for name in {*attributes_in(body, of_self=True), *members_of(body)}:
        if not any_hidden and not is_private(name):
            continue  # so that the source of most libraries does not have to be read
        owners = [each for each in others if name in names_of(each)]
        hidden = [each for each in owners if each.__module__.startswith(WITHOUT_DOCUMENTATION)]
        if owners and not name.startswith("__") and (is_private(name) or hidden == owners):
            yield f"{owners[0].__module__}.{owners[0].__qualname__}.{name}"


def found_in(tree: ast.Module, module: Any) -> Iterator[str]:
    """The private names of other libraries that a module uses. One of an unknown class is `?.name`."""
    yield from imported_by(tree)
    for node in nodes_in(tree):
        if isinstance(node, ast.keyword) and is_private(node.arg or ""):
            yield f"?.{node.arg}"
    known = set(defined_in(tree))
    for body in tree.body:
        if isinstance(body, ast.ClassDef):
            extended = getattr(module, body.name)
            for symbol in found_in_class(body, extended):
                known.add(symbol.rpartition(".")[2])
                yield symbol
            known |= {name for each in extended.__mro__ if is_own(each) for name in names_of(each)}
    for of_self in (True, False):
        for name in attributes_in(tree, of_self=of_self):
            if is_private(name) and name not in known:
                yield f"?.{name}"


def modules() -> Iterator[tuple[str, ast.Module, Any]]:
    """Each file of the source: path, tree, and module, which is None for a script of Alembic."""
    for file in SOURCE.rglob("*.py"):
        place = str(file.relative_to(SOURCE))
        name = place.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        yield place, tree_of(file), None if "migrations" in name else importlib.import_module(name)


def found() -> frozenset[str]:
    """The symbols that the source uses, without those that are named with their place."""
    named = {(place, f"?.{symbol.rpartition('.')[2]}") for symbol, (place, _) in NAMED.items()}
    return frozenset(
        symbol for place, tree, module in modules() for symbol in found_in(tree, module) if (place, symbol) not in named
    )


def test_the_table_has_exactly_the_symbols_that_the_source_uses() -> None:
    assert found() == USED.keys()


@pytest.mark.parametrize("symbol", NAMED)
def test_every_symbol_in_the_table_is_used_at_its_place(symbol: str) -> None:
    place, _ = NAMED[symbol]
    tree = tree_of(SOURCE / place)
    named = {name for of_self in (True, False) for name in attributes_in(tree, of_self=of_self)}
    given = {each.arg for each in nodes_in(tree) if isinstance(each, ast.keyword)}

    assert symbol.rpartition(".")[2] in {*named, *given, *defined_in(tree)}


def test_every_reason_is_given() -> None:
    assert [symbol for symbol, reason in USED.items() if not reason] == []
    assert [symbol for symbol, (_, reason) in NAMED.items() if not reason] == []


def exists(symbol: str) -> bool:
    """Whether the installed version has a symbol: a name of a module, an attribute of a class, or a parameter."""
    path, _, name = symbol.rpartition(".")
    try:
        return hasattr(importlib.import_module(path), name)
    except ModuleNotFoundError:
        module, _, kind = path.rpartition(".")
        owner: type = getattr(importlib.import_module(module), kind)
    if is_dataclass(owner) and name in owner.__dataclass_fields__:
        return True
    return name in inspect.signature(owner).parameters or any(name in names_of(each) for each in owner.__mro__)


@pytest.mark.parametrize("symbol", [each for each in (*USED, *NAMED) if not each.startswith(TYPES_ONLY)])
def test_the_installed_version_has_every_symbol_of_the_table(symbol: str) -> None:
    assert exists(symbol)


@pytest.mark.parametrize(
    "symbol",
    [
        "aiosqlite.core.Connection._no_such",
        "aiosqlite.core._no_such",
        "fastapi.dependencies.models.Dependant.no_such",
        f"{CYCLE}.no_such",
    ],
)
def test_a_symbol_that_the_version_lacks_is_detected(symbol: str) -> None:
    assert not exists(symbol)


async def endpoint() -> None: ...


def test_a_copied_route_is_a_route_of_its_own() -> None:
    """`copy(route)`, with another dependant. Neither FastAPI nor Starlette promises that routes can be copied."""
    route = APIRoute("/", endpoint)
    copied = copy(route)
    copied.dependant = copy(route.dependant)

    assert type(copied) is APIRoute
    assert copied.dependant is not route.dependant
    assert callable(copied.get_route_handler())


class Planted(aiosqlite.Connection):
    def look(self) -> object:
        return self._running  # type: ignore[attr-defined, unused-ignore]


class PlantedProtocol(HttpToolsProtocol):
    def look(self) -> object:
        return self.scope


PLANTED: Final = {
    "import fastapi._compat": "fastapi._compat",
    "from fastapi import _compat": "fastapi._compat",
    "from fastapi._compat import v2": "fastapi._compat.v2",
    "from uvicorn.supervisors import StatReload": "uvicorn.supervisors.StatReload",
    "import uvicorn.protocols.utils as u": "uvicorn.protocols.utils",
    "def f(connection):\n    return connection._conn": "?._conn",
    "def f(connection):\n    return getattr(connection, '_conn')": "?._conn",
    "def f(pool):\n    del pool._holders": "?._holders",
    "connect(_echo=True)": "?._echo",
}


@pytest.mark.parametrize("text", PLANTED)
def test_a_planted_use_is_found(text: str) -> None:
    assert set(found_in(ast.parse(text), None)) == {PLANTED[text]}


@pytest.mark.parametrize(
    ("planted", "symbol"),
    [
        (Planted, "aiosqlite.core.Connection._running"),
        (PlantedProtocol, "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.scope"),
    ],
)
def test_a_planted_private_use_in_a_subclass_is_found(planted: type, symbol: str) -> None:
    [body] = ast.parse(inspect.getsource(planted)).body

    assert isinstance(body, ast.ClassDef)
    assert set(found_in_class(body, planted)) == {symbol}


@pytest.mark.parametrize("text", ["from __future__ import annotations", "self.__dict__", "_x = 1\ndef f(y): y._x"])
def test_public_and_own_symbols_are_not_found(text: str) -> None:
    assert set(found_in(ast.parse(text), None)) == set()


def minor(text: str) -> tuple[int, int]:
    major, minor, *_ = (int(each) for each in re.findall(r"\d+", text))
    return major, minor


@pytest.mark.parametrize("library", CAPPED)
def test_packages_with_private_symbols_are_capped_at_the_next_minor_version(library: str) -> None:
    [(lowest, cap)] = re.findall(
        rf'^    "{library}(?:\[\w+\])?>=([\d.]+),<([\d.]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )

    assert minor(lowest) <= minor(version(library)) < minor(cap)
    assert minor(cap) == (minor(lowest)[0], minor(lowest)[1] + 1)
