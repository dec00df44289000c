"""The servers that are compared, and how each is started: as its documentation shows, with one server process."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import sqlalchemy as sa

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ROOT / "bench" / "peers"
OUR_BIN: Final = Path(sys.executable).parent
THEIR_BIN: Final = ROOT / ".venv-bench" / "bin"

SCOPES: Final = ("users:read", "users:write", "changes:read")

Command: TypeAlias = Sequence[str]


@dataclass(frozen=True, slots=True)
class Place:
    """The port and the database of a server. The database is sqlite:///… or postgresql://…"""

    port: int
    database_url: str
    users: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start one of the servers, and the path of its users."""

    serve: Command
    cwd: Path = PEERS
    env: Mapping[str, str] = field(default_factory=dict)
    before: Sequence[Command] = ()
    make_key: Command | None = None
    one: str = "/users/{id}"
    many: str = "/users/?limit={limit}"
    create: str = "/users/"
    items: str | None = None
    """The member of a list's body that has the users, or None if the body is the list."""


def uvicorn(bin: Path, app: str, place: Place) -> Command:
    """With uvloop and httptools, which uvicorn uses if they are installed, and its own access log."""
    serve = (str(bin / "uvicorn"), app, "--host", "127.0.0.1", "--port", str(place.port))
    return (*serve, "--loop", "uvloop", "--http", "httptools")


def floor(app: str, place: Place) -> Recipe:
    """An app that answers from memory. A floor has nothing that can be left out, so it has no access log."""
    return Recipe((*uvicorn(OUR_BIN, f"{app}:app", place), "--no-access-log"), env={"BENCH_USERS": str(place.users)})


def tutorial(place: Place) -> Recipe:
    return Recipe(uvicorn(OUR_BIN, "tutorial:app", place), env={"BENCH_DATABASE_URL": with_async_driver(place)})


def tutorial_typed(place: Place) -> Recipe:
    return Recipe(uvicorn(OUR_BIN, "tutorial_typed:app", place), env={"BENCH_DATABASE_URL": with_async_driver(place)})


def django(place: Place) -> Recipe:
    """One gunicorn worker with four threads, as gunicorn's page on worker types shows for keep-alive connections."""
    bind = ("--bind", f"127.0.0.1:{place.port}")
    return Recipe(
        (str(THEIR_BIN / "gunicorn"), "project.wsgi", *bind, "-k", "gthread", "--threads", "4"),
        cwd=PEERS / "django_project",
        env={"BENCH_DATABASE_URL": place.database_url},
        before=[(str(THEIR_BIN / "python"), "manage.py", "migrate", "--verbosity", "0")],
        one="/users/{id}/",
        items="results",
    )


def litestar(place: Place) -> Recipe:
    return Recipe(
        uvicorn(THEIR_BIN, "litestar_app:app", place),
        env={"BENCH_DATABASE_URL": with_async_driver(place)},
        many="/users/?pageSize={limit}",
        items="items",
    )


def roster(place: Place) -> Recipe:
    """With default settings and a key. It runs the source of this repository, wherever Roster is installed."""
    command = str(OUR_BIN / "roster")
    where = ("--database-url", place.database_url)
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    return Recipe(
        (command, "serve", "--port", str(place.port), *where),
        env={"PYTHONPATH": str(ROOT / "src")},
        before=[(command, "db", "upgrade", *where)],
        make_key=(command, "keys", "create", "bench", *scopes, "--json", *where),
    )


def roster_without_log(place: Place) -> Recipe:
    """The same without a line in the log for each request, to compare it with the floors."""
    recipe = roster(place)
    return replace(recipe, env={**recipe.env, "ROSTER_LOG_LEVEL": "warning"})


CONTENDERS: Final[Mapping[str, Callable[[Place], Recipe]]] = {
    "bare": partial(floor, "bare"),
    "floor": partial(floor, "floor"),
    "floor-typed": partial(floor, "floor_typed"),
    "tutorial": tutorial,
    "tutorial-typed": tutorial_typed,
    "django": django,
    "litestar": litestar,
    "roster-without-log": roster_without_log,
    "roster": roster,
}

WITHOUT_DATABASE: Final = frozenset({"bare", "floor", "floor-typed"})
"""These servers have no database and are measured once."""


def with_async_driver(place: Place) -> str:
    url = sa.make_url(place.database_url)
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[url.drivername]
    return url.set(drivername=driver).render_as_string(hide_password=False)


def environment(recipe: Recipe) -> dict[str, str]:
    """The environment without the variables that configure a server: only the recipe configures it."""
    foreign = ("ROSTER_", "DJANGO_", "PYTHON", "GUNICORN_", "UVICORN_", "FASTAPI_", "OTEL_", "WEB_CONCURRENCY")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**own, **recipe.env}
