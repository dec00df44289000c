"""URLs of databases. Errors never show a part of the URL, because it may contain a password."""

import re
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from domain.errors import NotReady

POSTGRES: Final = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
SQLITE: Final = frozenset({"sqlite", "sqlite+aiosqlite"})

PORT: Final = re.compile(r"0*[0-9]{1,5}", re.ASCII)
MAX_PORT: Final = 65535

BETWEEN_URLS: Final = re.compile(r",(?=\s*[a-z+]*://)")
"""Commas also separate the hosts in one URL."""

ESCAPES: Final = "In a user or a password write %40 for @, %3A for :, %2F for / and %3F for ?."


def parse(url: str) -> sa.URL:
    """Parse a database URL. Raises `NotReady`, which says what to write instead."""
    engine, _, rest = url.partition(":")
    if engine in SQLITE:
        require_file(rest)
    elif engine in POSTGRES:
        require_server(rest)
    else:
        raise NotReady("The database URL begins with sqlite:/// or postgresql://.")
    try:
        return with_hosts(url) if engine in POSTGRES else sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # their messages quote the URL
        raise NotReady("The database URL cannot be read. It looks like sqlite:///roster.db.") from None


def parse_replicas(urls: str) -> Sequence[sa.URL]:
    """Parse several URLs of PostgreSQL servers, separated by commas. Raises `NotReady`."""
    try:
        parsed = [parse(url.strip()) for url in BETWEEN_URLS.split(urls) if url.strip()]
    except NotReady as error:
        raise NotReady(f"ROSTER_REPLICA_URL: {error}") from None
    if any(len(hosts_of(url)) > 1 for url in parsed):
        raise NotReady("ROSTER_REPLICA_URL: name each replica by a URL of its own, with commas between them.")
    if any(url.drivername in SQLITE for url in parsed):
        raise NotReady("ROSTER_REPLICA_URL names PostgreSQL servers, as in postgresql://user:password@host/name.")
    return parsed


def require_file(rest: str) -> None:
    place = rest.partition("?")[0]
    if place in {"", "//", "///", "///:memory:"}:
        raise NotReady("SQLite needs a file, as in sqlite:///roster.db: in memory all requests share a transaction.")
    if not place.startswith("///"):
        raise NotReady(
            "Write three slashes before a file, as in sqlite:///roster.db, "
            "and four before an absolute path, as in sqlite:////var/lib/roster/roster.db."
        )


def require_server(rest: str) -> None:
    if not rest.startswith("//"):
        raise NotReady("The database URL cannot be read. It looks like postgresql://user:password@host/name.")
    place = rest.removeprefix("//").partition("?")[0]
    authority, _, name = place.partition("/")
    credentials, _, host = authority.rpartition("@")
    if "@" in credentials or "@" in name or credentials.count(":") > 1:
        raise NotReady(f"The user or the password in the database URL is not escaped. {ESCAPES}")
    for each in host.split(","):
        require_host(each)
    if "@" in rest.partition("?")[2] and not credentials:
        raise NotReady(f"The user or the password in the database URL is not escaped. {ESCAPES}")


def require_host(host: str) -> None:
    port = host.partition("]" if "[" in host else ":")[2].removeprefix(":")
    if port and not (PORT.fullmatch(port) and 1 <= int(port) <= MAX_PORT):
        raise NotReady(f"The port in the database URL must be a number from 1 to {MAX_PORT}. {ESCAPES}")


def with_hosts(url: str) -> sa.URL:
    """Parse a URL that may name several hosts, as in libpq. SQLAlchemy needs these in the query."""
    scheme, _, rest = url.partition("://")
    place, question_mark, query = rest.partition("?")
    authority, slash, name = place.partition("/")
    credentials, at, host = authority.rpartition("@")
    if "," not in host:
        return sa.make_url(url)
    return sa.make_url(f"{scheme}://{credentials}{at}{slash}{name}{question_mark}{query}").update_query_dict(
        {"host": host}
    )


def hosts_of(url: sa.URL) -> Sequence[sa.URL]:
    """A separate URL for each host of a URL."""
    named = url.query.get("host", "")
    hosts = (named if isinstance(named, str) else ",".join(named)).split(",")
    if len(hosts) == 1:
        return [url]
    rest = url.difference_update_query(["host"])
    return [at_host(rest, each) for each in hosts]


def at_host(url: sa.URL, host: str) -> sa.URL:
    if host.startswith("/"):
        return url.update_query_dict({"host": host})
    name, _, port = host.removeprefix("[").partition("]:" if "[" in host else ":")
    return url.set(host=name.removesuffix("]"), port=int(port) if port else None)
