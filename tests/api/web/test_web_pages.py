"""The headers for browsers: which pages may call the API, and how an answer may be used."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import Response

from domain.keys import Scope

if TYPE_CHECKING:
    from tests.api.conftest import Directory

ORIGIN = "https://app.example"


@pytest.fixture
def with_pages(directory_with: Callable[..., "Directory"]) -> "Directory":
    return directory_with(cors_origins=f"{ORIGIN}, https://other.example")


def preflight(origin: str, method: str = "PATCH", headers: str = "authorization, content-type") -> dict[str, Any]:
    asked = {"access-control-request-method": method, "access-control-request-headers": headers}
    return {"headers": {"origin": origin, **asked}}


def cors_in(answer: Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


async def test_no_page_may_call_if_nothing_is_configured(directory: "Directory") -> None:
    _, secret = await directory.key(*Scope)
    foreign: dict[str, Any] = {"headers": {"origin": ORIGIN}}

    for answer in (
        await directory.ask("GET", "/users/", key=secret, **foreign),
        await directory.ask("GET", "/users/", **foreign),
        await directory.ask("OPTIONS", "/users/1", **preflight(ORIGIN)),
    ):
        assert cors_in(answer) == {}


async def test_a_configured_page_may_call_with_a_key(with_pages: "Directory") -> None:
    _, secret = await with_pages.key(*Scope)

    asked = await with_pages.ask("OPTIONS", "/users/1", **preflight(ORIGIN))
    answer = await with_pages.ask("GET", "/users/", key=secret, headers={"origin": ORIGIN})

    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in asked.headers["access-control-allow-methods"]
    assert {"authorization", "if-match", "idempotency-key"} <= set(
        asked.headers["access-control-allow-headers"].lower().split(", ")
    )
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"ETag", "Link", "Location", "Roster-Seq", "Retry-After", "X-Request-Id", "Dry-Run"} <= exposed
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"].split(", ")


async def test_a_configured_page_needs_a_key_even_if_no_key_exists(with_pages: "Directory") -> None:
    refused = await with_pages.ask("GET", "/users/", headers={"origin": ORIGIN})

    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == ORIGIN  # so that the page can read why


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example", f"{ORIGIN}.evil.example"])
async def test_a_page_that_is_not_configured_may_not_call(with_pages: "Directory", origin: str) -> None:
    _, secret = await with_pages.key(*Scope)

    asked = await with_pages.ask("OPTIONS", "/users/1", **preflight(origin))
    answer = await with_pages.ask("GET", "/users/", key=secret, headers={"origin": origin})

    for each in (asked, answer):
        assert "access-control-allow-origin" not in each.headers


async def test_a_page_may_send_no_header_that_is_not_listed(with_pages: "Directory") -> None:
    asked = await with_pages.ask("OPTIONS", "/users/1", **preflight(ORIGIN, headers="x-forwarded-for"))

    assert "x-forwarded-for" not in asked.headers["access-control-allow-headers"].lower()


GUARDS = {
    "cache-control": "private, no-cache",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def answers_of(directory: "Directory") -> list[Response]:
    """A request for each common status."""
    alice: dict[str, Any] = {"json": {"name": "Alice"}}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/users/", alice),
        ("GET", "/users/", {}),
        ("HEAD", "/users/", {}),
        ("GET", "/users/1", {"headers": {"if-none-match": '"1"'}}),
        ("GET", "/nowhere", {}),
        ("PUT", "/users/", {}),
        ("OPTIONS", "/users/", {}),
        ("GET", "/users/x", {}),
        ("POST", "/users/", {"content": b"{"}),
        ("GET", "/users/", {"headers": {"authorization": "Bearer wrong"}}),
        ("GET", "/health/live", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/docs/assets/swagger-ui.css", {}),
        ("DELETE", "/users/1", {}),
        ("OPTIONS", "/users/1", preflight(ORIGIN)),
        ("OPTIONS", "/users/1", preflight("https://evil.example")),
    ]
    return [await directory.ask(method, path, **options) for method, path, options in asked]


async def test_every_answer_has_the_security_headers_and_a_request_id(with_pages: "Directory") -> None:
    answers = await answers_of(with_pages)

    assert {answer.status_code for answer in answers} >= {200, 201, 204, 304, 401, 404, 405, 415, 422}
    for answer in answers:
        assert {name: answer.headers.get(name) for name in GUARDS} == GUARDS, answer.request.url
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert "server" not in answer.headers


async def test_a_failure_has_the_security_headers(directory: "Directory") -> None:
    directory.container.users.override(lambda context: 1 / 0)

    failed = await directory.ask("GET", "/users/")

    assert failed.status_code == 500
    assert {name: failed.headers.get(name) for name in GUARDS} == GUARDS


async def test_the_docs_run_only_their_own_script(directory: "Directory") -> None:
    page = await directory.ask("GET", "/docs")

    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    [script] = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert policy["script-src"].split() == ["'self'", f"'sha256-{digest}'"]
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    assert policy["frame-ancestors"] == "'none'"
    assert re.findall(r"<[^>]+\son\w+=", page.text) == []
    assert re.findall(r"<script(?! src=\"/docs/assets/)[^>]*>", page.text) == ["<script>"]


async def test_the_docs_and_the_document_need_no_key(directory: "Directory") -> None:
    await directory.key(Scope.USERS_READ)

    for path in ("/docs", "/openapi.json", "/health/live", "/health/ready", "/docs/assets/swagger-ui.css"):
        assert (await directory.ask("GET", path)).status_code == 200


HOSTS = "roster.example, Roster-2.example:8000, [::1]"


@pytest.mark.parametrize(
    "host",
    [
        "roster.example",
        "ROSTER.example",
        "roster.example:8000",
        "roster-2.example",
        "roster-2.example:1",
        "[::1]:8000",
        "[::1]",
    ],
)
async def test_a_configured_host_is_answered(directory_with: Callable[..., "Directory"], host: str) -> None:
    directory = directory_with(allowed_hosts=HOSTS)

    assert (await directory.ask("GET", "/health/live", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "evil.example", "roster.example.evil.example", "evil.roster.example", "", "roster.example:x"]
)
@pytest.mark.parametrize("path", ["/users/", "/docs", "/nowhere", "/health/live"])
async def test_another_host_is_refused_with_a_problem(
    directory_with: Callable[..., "Directory"], host: str, path: str
) -> None:
    directory = directory_with(allowed_hosts=HOSTS, cors_origins=ORIGIN)

    for method, headers in (("GET", {}), ("OPTIONS", preflight(ORIGIN)["headers"])):
        refused = await directory.ask(method, path, headers={"host": host, **headers})
        assert (refused.status_code, refused.json()["code"]) == (421, "another_host")
        assert refused.headers["content-type"] == "application/problem+json"
        assert {name: refused.headers.get(name) for name in GUARDS} == GUARDS
        assert cors_in(refused) == {}


async def test_every_host_is_answered_if_none_is_configured(directory: "Directory") -> None:
    for host in ("roster.example", "evil.example", ""):
        assert (await directory.ask("GET", "/health/live", headers={"host": host})).status_code == 200
