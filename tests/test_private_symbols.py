"""What the source uses of other libraries that they do not promise to keep: all of it, each with its reason.

A new version of a library may change it without a word. So pyproject.toml caps the libraries, and these tests say what
to look at when a cap is raised.
"""

import ast
import asyncio
import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from copy import copy
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeGuard

import pytest
from fastapi.routing import APIRoute, APIRouter
from packaging.requirements import Requirement
from packaging.version import Version
from sqlalchemy.pool import PoolProxiedConnection
from starlette.middleware.cors import CORSMiddleware
from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

ROOT: Final = Path(__file__).parents[1]
SRC: Final = ROOT / "src"
OURS: Final = ("domain", "services", "repositories", "api")

PRIVATE: Final[Mapping[str, str]] = {
    "aiosqlite.core.Connection._tx": "Queues a job whose result needs one round of the event loop less.",
    "aiosqlite.core.Connection._conn": "The driver's connection, or an error if it is closed: jobs run on it.",
    "aiosqlite.core.Connection._connection": "The same without the error: jobs that wait learn that it is closed.",
    "aiosqlite.core.Connection._thread": "A daemon, so that a process can end; and awaited after a failed start.",
    "aiosqlite.core.Connection._connect": "A failed start waits for the thread, which would report to a closed loop.",
    "asyncpg.connection.Connection._prepare": "Prepares from the cache, and tells the columns and the status.",
    "sqlalchemy.connectors.asyncio.AsyncAdapt_dbapi_cursor._async_soft_close": "AsyncSession calls it on our cursor.",
    "sqlalchemy.engine.base.Connection.__init__._allow_revalidate": "A cancelled statement must not connect anew.",
    "starlette.requests.Request._body": "Where a body is kept that was read: here the one within its bounds.",
}
"""Attributes, parameters and imports that begin with an underscore."""

INHERITED: Final[Mapping[str, str]] = {
    "fastapi.routing.APIRoute.dependant": "Which parameters a route declares, at any depth.",
    "fastapi.routing.APIRoute.get_route_handler": "Documented: where a route of one's own wraps its handler.",
    "fastapi.routing.APIRouter.add_api_route": "Every decorator calls it: a collection gets its second spelling here.",
    "sqlalchemy.pool.base.ManagesConnection.invalidate": "Called on our connection when a statement was cancelled.",
    "sqlalchemy.pool.base.PoolProxiedConnection.close": "Called at the end of a session, whose connection goes on.",
    "sqlalchemy.pool.base.PoolProxiedConnection.is_valid": "Read before each statement: a unit that is over has none.",
    "starlette.middleware.cors.CORSMiddleware.preflight_response": "Answers a preflight without a body.",
    "starlette.routing.Route.endpoint": "The function of a route, which says what it calls.",
    "starlette.routing.Route.path_regex": "`{key:path}` takes line breaks as well.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.client": "Whom the log names.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.cycle": "The request that is being answered.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.loop": "Has the timers.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.on_headers_complete": "The head has ended: its timer too.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.on_message_begin": "A head begins: its timer starts.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.on_message_complete": "A request has ended: no timer.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.pipeline": "Requests that wait behind an answer.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.send_400_response": "Bad bytes get a problem document.",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol.transport": "What is closed when the time is over.",
    "uvicorn.server.Server.force_exit": "A second SIGINT ends at once.",
    "uvicorn.server.Server.handle_exit": "The process exits with 0 after a signal.",
    "uvicorn.server.Server.should_exit": "Begins the shutdown.",
    "uvicorn.supervisors.multiprocess.Multiprocess.keep_subprocess_alive": "Called each half second: who has ended?",
    "uvicorn.supervisors.multiprocess.Multiprocess.processes": "The workers that are alive, with their ids.",
}
"""All that is used or overridden of classes that are not documented to be extended, or not in that way."""

EXTENDED: Final = (APIRoute, APIRouter, CORSMiddleware, HttpToolsProtocol, Multiprocess, PoolProxiedConnection, Server)

REACHED: Final[Mapping[str, tuple[str, str]]] = {
    "fastapi.dependencies.models.Dependant.dependencies": ("api/web/routing.py", "Parameters of dependencies."),
    "fastapi.dependencies.models.Dependant.header_params": ("api/web/routing.py", "Those that were sent are read."),
    "fastapi.dependencies.models.Dependant.query_params": ("api/web/routing.py", "Those that were sent are read."),
    "fastapi.routing.APIRoute.dependency_overrides_provider": ("api/web/routing.py", "Whose overrides take effect."),
    "fastapi.dependencies.utils.ModelField.alias": ("api/web/routing.py", "The name of a parameter on the wire."),
    "fastapi.dependencies.utils.ModelField.field_info": ("api/web/routing.py", "Whether a parameter is required."),
    "sqlalchemy.sql.compiler.SQLCompiler.binds": ("repositories/engines/statements.py", "The types of parameters."),
    "sqlalchemy.sql.compiler.SQLCompiler.insert_prefetch": ("repositories/engines/statements.py", "What it refuses."),
    "sqlalchemy.sql.compiler.SQLCompiler.literal_execute_params": ("repositories/engines/statements.py", "The same."),
    "sqlalchemy.sql.compiler.SQLCompiler.positiontup": ("repositories/engines/statements.py", "Their order."),
    "sqlalchemy.sql.compiler.SQLCompiler.post_compile_params": ("repositories/engines/statements.py", "The same."),
    "sqlalchemy.sql.compiler.SQLCompiler.update_prefetch": ("repositories/engines/statements.py", "The same."),
    "sqlalchemy.sql.elements.SavepointClause.ident": ("repositories/engines/sessions.py", "Which savepoint is set."),
    "sqlalchemy.util.await_": ("repositories/engines/sessions.py", "Awaits below SQLAlchemy's synchronous code."),
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle.keep_alive": ("api/process/protocol.py", "Ends it."),
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle.more_body": (
        "api/process/protocol.py", "Whether the body has still to arrive."
    ),
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle.response_complete": (
        "api/process/protocol.py", "Whether an answer is still being sent."
    ),
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle.response_started": (
        "api/process/protocol.py", "Whether another answer would come too late."
    ),
}  # fmt: skip
"""Public names that no documentation has, by the file that uses them: nothing in the file says whose they are."""

EVERYTHING: Final = (*PRIVATE, *INHERITED, *REACHED)
TYPES_ONLY: Final = {"_typeshed"}
"""Read by type checkers and never imported."""


def is_private(name: str) -> bool:
    return name.startswith("_") and name.strip("_") != "" and not name.endswith("__")


def last(symbol: str) -> str:
    return symbol.rpartition(".")[2]


# What a class knows, and which names the source uses of it


@cache
def names_of(owner: type) -> frozenset[str]:
    """What a class defines, and what its methods set on their instance."""
    names = {*vars(owner), *getattr(owner, "__annotations__", ())}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError, SyntaxError):  # written in C
        return frozenset(names)
    return frozenset(names | {node.attr for node in ast.walk(tree) if is_of_self(node) and is_set(node)})


def is_set(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def is_of_self(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls", "super()")


def names_in(body: ast.ClassDef) -> Iterator[str]:
    """The names that a class uses of itself or overrides, those in strings too (`hasattr(self, "_body")`)."""
    for node in ast.walk(body):
        if is_of_self(node):
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_private(node.value):
            yield node.value


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(SRC.rglob("*.py")):
        yield file, ast.parse(file.read_text())


def module_at(file: Path) -> Any:
    return import_module(".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"))


def is_foreign(owner: type) -> bool:
    return owner.__module__.split(".")[0] not in {*OURS, *sys.stdlib_module_names}


def full_name(owner: type, name: str) -> str:
    return f"{owner.__module__}.{owner.__qualname__}.{name}"


@cache
def used_of_foreign_bases() -> Mapping[str, type]:
    """Every name that a class of the source uses of a base of another library, with the base that has it."""
    found: dict[str, type] = {}
    for file, tree in modules():
        for body in tree.body:
            if isinstance(body, ast.ClassDef) and "migrations" not in file.parts:
                _, *bases = getattr(module_at(file), body.name).__mro__
                for name in names_in(body):
                    owner = next((base for base in bases if is_foreign(base) and name in names_of(base)), None)
                    if owner is not None and not name.endswith("__"):
                        found[full_name(owner, name)] = owner
    return found


# Names of which the source does not say whose they are


def private_names_in(tree: ast.Module, own: "Own") -> Iterator[str]:
    """The private names that a module uses of what is not its own."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if is_private(name) and not is_of_self(node) and name not in own.names:
                yield name
            case ast.keyword(arg=str(name)) if is_private(name) and name not in own.parameters:
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if is_private(name):
                if name not in own.called:  # a library calls it
                    yield name
            case ast.Import(names=names):
                yield from (part for each in names for part in each.name.split(".") if is_private(part))
            case ast.ImportFrom(module=module, names=names) if module not in TYPES_ONLY:
                yield from (part for part in (module or "").split(".") if is_private(part))
                yield from (each.name for each in names if is_private(each.name))
            case _:
                pass


class Own:
    """The private names that are the source's own."""

    def __init__(self, trees: list[ast.Module]) -> None:
        nodes = [node for tree in trees for node in ast.walk(tree)]
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
        fields = {
            node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        self.names = {each.name for each in functions} | {each.attr for each in attributes if is_set(each)} | fields
        self.parameters = {node.arg for node in nodes if isinstance(node, ast.arg)} | fields
        self.called = {each.attr for each in attributes} | {node.id for node in nodes if isinstance(node, ast.Name)}


def private_names(trees: list[ast.Module]) -> set[str]:
    own = Own(trees)
    return {name for tree in trees for name in private_names_in(tree, own)}


def test_every_private_name_of_another_library_has_its_reason() -> None:
    inherited = {symbol for symbol in used_of_foreign_bases() if is_private(last(symbol))}
    reached = private_names([tree for _, tree in modules()])

    assert inherited <= PRIVATE.keys()
    assert reached | set(map(last, inherited)) == set(map(last, PRIVATE))


def test_every_name_that_is_used_of_an_undocumented_class_has_its_reason() -> None:
    extended = {base for each in EXTENDED for base in each.__mro__}
    used = {symbol for symbol, owner in used_of_foreign_bases().items() if owner in extended}

    documented = {symbol for symbol in used if hasattr(asyncio.Protocol, last(symbol))}
    assert used - documented - PRIVATE.keys() == INHERITED.keys()


@pytest.mark.parametrize("symbol", REACHED)
def test_what_is_listed_is_used(symbol: str) -> None:
    file, _ = REACHED[symbol]
    tree = ast.parse((SRC / file).read_text())

    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert last(symbol) in used | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("symbol", EVERYTHING)
def test_what_is_listed_is_in_the_installed_version(symbol: str) -> None:
    owner, name = found(symbol.rpartition(".")[0]), last(symbol)

    if inspect.isfunction(owner):
        assert name in inspect.signature(owner).parameters
    elif inspect.isclass(owner):
        assert any(name in names_of(base) for base in owner.__mro__)
    else:
        assert hasattr(owner, name)


def found(symbol: str) -> Any:
    """What a full name means."""
    try:
        return import_module(symbol)
    except ModuleNotFoundError:
        owner, _, name = symbol.rpartition(".")
        return getattr(found(owner), name)


async def test_a_copy_of_a_route_is_another_route() -> None:
    """`copy(route)`: what is set on the copy leaves the route as it is."""

    async def endpoint(number: int = 1) -> None: ...

    route = APIRoute("/", endpoint)
    other = copy(route)
    other.dependant = copy(route.dependant)
    other.dependant.query_params = []

    assert [each.name for each in route.dependant.query_params] == ["number"]
    assert (other.endpoint, other.path, other.response_field) == (route.endpoint, route.path, route.response_field)


PLANTED: Final = {
    "def f(c): c._tx.put(1)": {"_tx"},
    "from sqlalchemy.sql._typing import X": {"_typing"},
    "import asyncpg._testbase": {"_testbase"},
    "from fastapi.routing import _merge": {"_merge"},
    "def f(g): g(_hidden=1)": {"_hidden"},
    "class A:\n    def _called_by_nobody(self): ...": {"_called_by_nobody"},
    "from _typeshed import X": set(),
    "class A:\n    def __init__(self, b): self._b = b._b": set(),
    "class A:\n    def _f(self): self._f()": set(),
    "class A:\n    _x: int\nA(_x=1)._x": set(),
}


@pytest.mark.parametrize(("line", "names"), PLANTED.items())
def test_a_private_name_would_be_seen(line: str, names: set[str]) -> None:
    assert private_names([ast.parse(line)]) == names


def requirements() -> Mapping[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {each.name: each for each in map(Requirement, project["dependencies"])}


BY_FASTAPI: Final = {"starlette"}
"""Which comes with FastAPI."""


def test_a_library_is_capped_if_more_is_used_of_it_than_it_promises() -> None:
    libraries = {symbol.partition(".")[0] for symbol in EVERYTHING} - BY_FASTAPI

    assert {"aiosqlite", "asyncpg", "fastapi", "sqlalchemy", "uvicorn"} == libraries
    for library in libraries:
        caps = [each.version for each in requirements()[library].specifier if each.operator == "<"]
        lowest = [each.version for each in requirements()[library].specifier if each.operator == ">="]
        assert (len(caps), len(lowest)) == (1, 1), library
        assert Version(lowest[0]) < Version(caps[0])


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-dev.lock"])
def test_what_is_locked_is_within_the_caps(file: str) -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z]+\])?==([^ ]+)", (ROOT / file).read_text(), re.MULTILINE))

    assert {name for name, each in requirements().items() if locked[name] not in each.specifier} == set()
