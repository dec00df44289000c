"""While there is no key, only clients on the same machine have access."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient, Response

from api.app import create_app
from domain.keys import Scope

if TYPE_CHECKING:
    from tests.api.conftest import Directory

OWN_HOSTS: Final = [
    "localhost", "localhost:8000", "LocalHost:1", "localhost.", "localhost.:80", "127.0.0.1", "127.0.0.1:65535",
    "127.8.9.1", "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]",
]  # fmt: skip
OTHER_HOSTS: Final = [
    "", " ", ":8000", "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
    "evil.example.localhost", "evil-localhost", "localhost:evil", "localhost@evil.example", "evil@localhost",
    "localhost/evil", "localhost#evil", "localhost?evil", "localhost\\evil", "localhost,evil.example", "localhost evil",
    "localhost:8000:8000", "localhost:123456", "[localhost]", "0.0.0.0", "0", "10.0.0.1", "192.168.0.1",
    "127.0.0.256", "::1", "[::2]", "[::ffff:192.0.2.1]", "[::1", "::1]", "[::1]evil", "2130706433", "0x7f.1", "127.1",
    "roster.internal", "xn--localhost-x", "lo\u00e7alhost",
]  # fmt: skip


Headers = Mapping[str, str] | Sequence[tuple[str, str]]


async def ask_with(app: FastAPI, method: str, path: str, headers: Headers) -> Response:
    """Sends a request with exactly these headers."""
    sent = headers.items() if isinstance(headers, Mapping) else headers
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://unused") as client:
        request = client.build_request(method, path)
        request.headers = type(request.headers)([(name.encode(), value.encode()) for name, value in sent])
        return await client.send(request)


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_a_request_with_a_loopback_host_needs_no_key(directory: "Directory", host: str) -> None:
    assert (await ask_with(directory.app, "GET", "/users/", {"host": host})).status_code == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
async def test_a_request_with_another_host_needs_a_key(directory: "Directory", host: str) -> None:
    refused = await ask_with(directory.app, "GET", "/users/", {"host": host})

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_a_request_with_no_host_or_two_needs_a_key(directory: "Directory") -> None:
    for headers in ([], [("host", "localhost"), ("host", "evil.example")], [("host", "localhost")] * 2):
        assert (await ask_with(directory.app, "GET", "/users/", headers)).status_code == 401


FOREIGN: Final[list[dict[str, str]]] = [
    *(
        {"origin": origin}
        for origin in (
            "http://evil.example", "https://evil.example:8000", "null", "", "file://", "http://localhost:3000",
            "https://localhost:3000", "http://localhost.evil.example:8000", "http://127.0.0.1:8000", "localhost:8000",
            "http://localhost:8000.evil.example", "http://evil@localhost:8000", "http://localhost:8000/", "http://[",
            "http://localhost:80000", "chrome-extension://localhost:8000", "http://localhost:8000, http://evil.example",
        )
    ),
    *({"sec-fetch-site": site} for site in ("cross-site", "same-site", "whatever")),
    {"origin": "http://localhost:8000", "sec-fetch-site": "cross-site"},
]  # fmt: skip
OWN: Final[list[dict[str, str]]] = [
    {},
    {"origin": "http://localhost:8000"},
    {"origin": "HTTP://LocalHost:8000"},
    {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
]
HOME: Final = {"host": "localhost:8000"}

SIMPLE: Final = [("GET", "/users/"), ("POST", "/users/1/restore"), ("POST", "/keys/1/rotate"), ("POST", "/users/")]
"""The requests that a page may send to any site without a preflight, except for the media type of a body."""


@pytest.mark.parametrize(("method", "path"), [*SIMPLE, ("DELETE", "/users/1"), ("PATCH", "/users/1")])
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_origin_can_neither_read_nor_write(
    directory: "Directory", method: str, path: str, headers: dict[str, str]
) -> None:
    refused = await ask_with(directory.app, method, path, {**HOME, **headers})

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert [name for name in refused.headers if name.startswith("access-control")] == []


@pytest.mark.parametrize(("method", "path"), SIMPLE)
@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_a_page_of_the_server_itself_can_read_and_write(
    directory: "Directory", method: str, path: str, headers: dict[str, str]
) -> None:
    assert (await ask_with(directory.app, method, path, {**HOME, **headers})).status_code in (200, 404, 415, 422)


async def test_a_page_of_another_site_changes_nothing(directory: "Directory") -> None:
    alice: dict[str, Any] = {"content": b'{"name":"Alice"}', "headers": {"content-type": "application/json"}}
    assert (await directory.ask("POST", "/users/", **alice)).status_code == 201
    assert (await directory.ask("DELETE", "/users/1")).status_code == 204
    foreign: dict[str, Any] = {"headers": {"origin": "http://evil.example"}}

    assert (await directory.ask("POST", "/users/1/restore", **foreign)).status_code == 401
    assert (await directory.ask("GET", "/users/1")).status_code == 410
    assert (await directory.ask("POST", "/users/1/restore")).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-IP", "Via",
     "X-Client-IP", "X-Original-URL", "X-Original-Forwarded-For", "X-Rewrite-URL"],
)  # fmt: skip
async def test_a_request_through_a_proxy_needs_a_key(directory: "Directory", name: str) -> None:
    for value in ("127.0.0.1", "for=127.0.0.1;host=localhost", ""):
        refused = await ask_with(directory.app, "GET", "/users/", {**HOME, name.lower(): value})
        assert refused.status_code == 401


async def test_a_key_is_required_at_once_after_the_first_one_is_created(directory: "Directory") -> None:
    created = await directory.ask("POST", "/keys/", json={"name": "first", "scopes": ["keys:admin", "users:read"]})

    assert created.status_code == 201
    assert (await directory.ask("GET", "/users/")).status_code == 401
    assert (await directory.ask("GET", "/users/", key=created.json()["secret"])).status_code == 200


async def test_a_key_is_still_required_after_all_keys_are_revoked(directory: "Directory") -> None:
    key, _ = await directory.key(Scope.USERS_READ)
    await directory.revoke(key)
    directory.time.pass_by(3600)

    assert (await directory.ask("GET", "/users/")).status_code == 401
    assert (await directory.ask("POST", "/keys/", json={"name": "n", "scopes": ["users:read"]})).status_code == 401


async def test_a_dry_run_of_the_first_key_does_not_make_keys_required(directory: "Directory") -> None:
    body = {"name": "first", "scopes": ["keys:admin"]}
    shown = await directory.ask("POST", "/keys/?dry_run=true", json=body)

    assert (shown.status_code, shown.headers["dry-run"]) == (201, "true")
    assert (await directory.ask("GET", "/users/")).status_code == 200
    assert (await directory.ask("GET", "/users/", key=shown.json()["secret"])).status_code == 401


async def test_an_app_that_is_not_declared_local_needs_a_key(directory: "Directory") -> None:
    directory.app = directory.served()

    assert (await directory.ask("GET", "/users/")).status_code == 401
    assert (await directory.ask("GET", "/health/live")).status_code == 200
    _, secret = await directory.key(Scope.USERS_READ)
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 200


async def test_a_mounted_app_needs_a_key(directory: "Directory") -> None:
    _, secret = await directory.key(Scope.USERS_READ)
    fresh = type(directory)(directory.time)
    for each, key, status in ((fresh, None, 401), (directory, None, 401), (directory, secret, 200)):
        outer = FastAPI()
        outer.mount("/directory", create_app(each.container))
        each.app = outer
        assert (await each.ask("GET", "/directory/users/", key=key)).status_code == status


async def test_a_wrong_key_is_refused_even_if_no_key_is_needed(directory: "Directory") -> None:
    assert (await directory.ask("GET", "/users/", key="wrong")).status_code == 401
    assert (await directory.ask("GET", "/users/")).status_code == 200


async def test_a_preflight_of_another_site_gets_no_permission(directory: "Directory") -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "DELETE"}

    answer = await directory.ask("OPTIONS", "/users/1", headers=asked)

    assert answer.status_code == 405
    assert [name for name in answer.headers if name.startswith("access-control")] == []
