"""Every error is a problem document, and none repeats a value of the request."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient, Response

import api.web.requests
from api.app import create_app
from api.container import Container
from domain.errors import (
    Busy,
    Contended,
    Damaged,
    FilesRemoved,
    NoSpace,
    NotReady,
    Refusal,
    Stale,
    Uncertain,
    Unreachable,
)
from repositories.fake import MemoryUnitsOfWork

JSON = {"content-type": "application/json"}
MARKER = "Zq7XpMarker"


def problem_in(answer: Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which has to be complete."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    errors = document.pop("errors", [])
    assert document == {
        "type": f"urn:roster:problem:{code}",
        "title": answer.reason_phrase,
        "status": status,
        "detail": document["detail"],
        "instance": quote(answer.request.url.path, safe="/"),
        "code": code,
        "request_id": answer.headers["x-request-id"],
    }
    assert document["detail"].endswith(".")
    for error in errors:
        assert error.keys() == {"pointer", "code", "detail"}
    return {**document, "errors": errors}


def pointers(document: Mapping[str, Any]) -> dict[str, str]:
    return {error["pointer"]: error["code"] for error in document["errors"]}


@pytest.mark.parametrize("path", ["/user", "/users/1/", "/users//", "/users/1/x", "/docs/assets/none.js", "/%00"])
async def test_an_unknown_path_is_a_404(client: AsyncClient, path: str) -> None:
    problem_in(await client.get(path), 404, "no_such_path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/users/", "GET, HEAD, POST"),
        ("DELETE", "/users", "GET, HEAD, POST"),
        ("POST", "/users/1", "GET, HEAD, PATCH, DELETE"),
        ("OPTIONS", "/users/1", "GET, HEAD, PATCH, DELETE"),
        ("BREW", "/users/1/changes/", "GET, HEAD"),
        ("POST", "/changes", "GET, HEAD"),
        ("POST", "/health/live", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("POST", "/docs/assets/swagger-ui.css", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_a_405_with_the_allowed_ones(
    client: AsyncClient, method: str, path: str, allowed: str
) -> None:
    refused = await client.request(method, path)

    problem_in(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == allowed


async def test_a_body_announced_as_too_large_is_refused_unread(client: AsyncClient) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(True)
        yield b""

    size = str(api.web.requests.MAX_BODY_BYTES + 1)
    refused = await client.post("/users/", content=body(), headers={**JSON, "content-length": size})

    problem_in(refused, 413, "too_large")
    assert read == []


async def test_a_body_is_read_no_further_than_the_size_limit(client: AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 64 * 1024
            yield b" " * 64 * 1024

    problem_in(await client.post("/users/", content=body(), headers=JSON), 413, "too_large")
    assert read <= api.web.requests.MAX_BODY_BYTES + 128 * 1024


async def test_a_body_of_the_largest_size_is_read(client: AsyncClient) -> None:
    body = b'{"name":"Alice"}'.ljust(api.web.requests.MAX_BODY_BYTES)

    assert (await client.post("/users/", content=body, headers=JSON)).status_code == 201


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/jsonx", "application/vnd.api+json", "application/merge-patch+json", "json", ";", "\xff"],
)  # fmt: skip
async def test_a_body_of_another_media_type_is_a_415(client: AsyncClient, media_type: str | None) -> None:
    headers = {} if media_type is None else {b"content-type": media_type.encode("latin-1")}
    refused = await client.post("/users/", content=b'{"name":"Alice"}', headers=headers)

    problem_in(refused, 415, "unsupported_media_type")
    assert refused.headers["accept"] == "application/json"


async def test_a_patch_with_another_media_type_is_refused_with_the_supported_ones(client: AsyncClient) -> None:
    refused = await client.patch("/users/1", content=b"{}", headers={"content-type": "application/json-patch+json"})

    problem_in(refused, 415, "unsupported_media_type")
    assert refused.headers["accept-patch"] == "application/merge-patch+json, application/json"


NO_JSON = {
    "malformed": b'{"name":',
    "two documents": b'{"name":"Alice"}{"name":"Bob"}',
    "blanks only": b"  ",
    "single quotes": b"{'name':'Alice'}",
    "a comma too many": b'{"name":"Alice",}',
    "a member twice": b'{"name":"Alice","name":"Bob"}',
    "a member twice, spelled in two ways": b'{"name":"Alice","n\\u0061me":"Bob"}',
    "a member twice further down": b'{"name":"Alice","attributes":{"a":1,"a":2}}',
    "NaN": b'{"name":"Alice","attributes":{"a":NaN}}',
    "Infinity": b'{"name":"Alice","attributes":{"a":Infinity}}',
    "-Infinity": b'{"name":"Alice","attributes":{"a":-Infinity}}',
    "1e400": b'{"name":"Alice","attributes":{"a":1e400}}',
    "-1e400": b'{"name":"Alice","attributes":{"a":-1e400}}',
    "not UTF-8": b'{"name":"\xff"}',
    "UTF-16": '{"name":"Alice"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name":"Alice"}',
    "a surrogate as bytes": b'{"name":"\xed\xa0\x80"}',
    "NUL": b'{"name":"a\x00b"}',
    "100,000 brackets": b"[" * 100_000,
    "100,000 brackets closed again": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "an integer of 10,000 digits": b'{"name":"Alice","attributes":{"a":' + b"9" * 10_000 + b"}}",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_body_that_is_not_strict_json_is_a_400(client: AsyncClient, method: str, body: bytes) -> None:
    await client.post("/users/", json={"name": "Before"})
    path = "/users/" if method == "POST" else "/users/1"

    problem_in(await client.request(method, path, content=body, headers=JSON), 400, "malformed")
    assert (await client.get("/users/")).json() == [{"id": 1, "name": "Before"}]


@pytest.mark.parametrize("depth", [8, 9, 63, 64, 65, 255, 256, 900, 940, 950, *range(953, 960), 990, 1000])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_nesting_is_refused_at_any_depth(client: AsyncClient, method: str, depth: int) -> None:
    await client.post("/users/", json={"name": "Before"})
    path = "/users/" if method == "POST" else "/users/1"
    body = b'{"name":"A","attributes":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"

    answer = await client.request(method, path, content=body, headers=JSON)

    done = 201 if method == "POST" else 200
    assert answer.status_code == (done if depth == 8 else 422 if depth < 64 else 400), answer.text


BROKEN_RULES: dict[str, tuple[Any, dict[str, str]]] = {
    "nothing": ({}, {"/body/name": "missing"}),
    "an array": ([], {"/body": "wrong_type"}),
    "null": (None, {"/body": "missing"}),
    "types": (
        {"name": 1, "email": [], "username": True, "external_id": {}, "status": "x", "attributes": "a"},
        {
            "/body/name": "wrong_type",
            "/body/email": "wrong_type",
            "/body/username": "wrong_type",
            "/body/external_id": "wrong_type",
            "/body/status": "not_allowed",
            "/body/attributes": "wrong_type",
        },
    ),
    "an unknown field": ({"name": "A", "nmae": "B"}, {"/body/nmae": "unknown"}),
    "bookkeeping": ({"name": "A", "id": 7, "version": 2}, {"/body/id": "unknown", "/body/version": "unknown"}),
    "every rule at once": (
        {"name": " ", "email": "x" * 255, "username": "a\0b", "external_id": "", "attributes": {"a/b": {"~": 2**60}}},
        {
            "/body/name": "too_short",
            "/body/email": "too_long",
            "/body/username": "forbidden_character",
            "/body/external_id": "too_short",
            "/body/attributes/a~1b/~0": "out_of_range",
        },
    ),
    "a name too long": ({"name": "x" * 201}, {"/body/name": "too_long"}),
    "large attributes": ({"name": "A", "attributes": {"a": "x" * 16384}}, {"/body/attributes": "too_long"}),
    "an item": ({"name": "A", "attributes": {"a": [1, "\0"]}}, {"/body/attributes/a/1": "forbidden_character"}),
}


@pytest.mark.parametrize(("body", "expected"), BROKEN_RULES.values(), ids=BROKEN_RULES.keys())
async def test_a_422_points_to_each_broken_rule(client: AsyncClient, body: object, expected: dict[str, str]) -> None:
    document = problem_in(await client.post("/users/", json=body), 422, "invalid")

    assert pointers(document) == expected


@pytest.mark.parametrize(
    "body",
    [rb'{"name":"\ud800"}', rb'{"name":"A","email":"\udfff"}', rb'{"name":"A","attributes":{"a":"\ud800"}}',
     rb'{"name":"A","attributes":{"\ud800":1}}', rb'{"name":"A","\ud800":1}', rb'{"name":"\ude00\ud83d"}'],
)  # fmt: skip
async def test_a_lone_surrogate_is_a_422(client: AsyncClient, body: bytes) -> None:
    problem_in(await client.post("/users/", content=body, headers=JSON), 422, "invalid")


async def test_a_pair_of_surrogates_is_a_character(client: AsyncClient) -> None:
    created = await client.post("/users/", content=rb'{"name":"\ud83d\ude00"}', headers=JSON)

    assert created.json() == {"id": 1, "name": "😀"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/users/"), ("POST", "/users/"), ("GET", "/users/1"), ("PATCH", "/users/1"), ("DELETE", "/users/1"),
     ("GET", "/changes/"), ("GET", "/users/1/changes/")],
)  # fmt: skip
async def test_an_unknown_query_parameter_is_refused_before_anything_is_done(
    client: AsyncClient, method: str, path: str
) -> None:
    await client.post("/users/", json={"name": "Alice"})

    content = b'{"name":"Bob"}' if method in ("POST", "PATCH") else None
    refused = await client.request(method, f"{path}?limti=5&a/b", content=content, headers=JSON)

    expected = {"/query/limti": "unknown", "/query/a~1b": "unknown"}
    assert pointers(problem_in(refused, 422, "invalid")) == expected
    assert (await client.get("/users/")).json() == [{"id": 1, "name": "Alice"}]


async def test_the_number_of_faults_and_the_length_of_pointers_are_bounded(client: AsyncClient) -> None:
    many = problem_in(await client.post("/users/", json={f"f{n}": n for n in range(500)}), 422, "invalid")
    long = problem_in(await client.post("/users/", json={"name": "A", "x" * 9000: 1}), 422, "invalid")
    deep = {"name": "A", "attributes": {"y" * 9000: float(2**60), "z" * 9000: "\0"}}
    longer = problem_in(await client.post("/users/", json=deep), 422, "invalid")

    assert len(many["errors"]) == 50
    for document in (long, longer):
        assert document["errors"]
        assert all(len(error["pointer"]) <= 200 for error in document["errors"])


class Failing:
    """Units of work that fail in some way, with a text that no client may see."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def reading(self, *_: object) -> Any:
        raise self.error

    writing = reading

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def pause(self, attempt: int) -> None: ...


@pytest.fixture
def failing(in_memory: Container, client_of: Callable[[Container], Any]) -> Callable[[Exception], Any]:
    def client_of_failing(error: Exception) -> Any:
        in_memory.units.override(providers.Object(Failing(error)))
        return client_of(in_memory)

    return client_of_failing


async def test_a_500_shows_only_the_request_id(failing: Callable[[Exception], Any]) -> None:
    async with failing(ValueError(MARKER)) as client:
        with structlog.testing.capture_logs() as logs:
            answer = await client.get("/users/1", headers={"x-request-id": "r-500"})

    document = problem_in(answer, 500, "internal_error")
    assert document["request_id"] == "r-500"
    assert MARKER not in answer.text
    (failed,) = [line for line in logs if line["log_level"] == "error"]
    assert failed["event"] == "failed"
    assert failed["exc_info"]


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (Busy("B."), 503, "1"),
        (Contended("C."), 503, "1"),
        (Unreachable(), 503, "5"),
        (NoSpace(), 503, "60"),
        (Damaged(), 503, "60"),
        (Uncertain("U."), 503, None),
        (Stale("S."), 412, None),
    ],
)
async def test_a_refusal_has_its_status_and_retry_after(
    failing: Callable[[Exception], Any], refusal: Refusal, status: int, retry_after: str | None
) -> None:
    async with failing(refusal) as client:
        answer = await client.get("/users/1")

    problem_in(answer, status, "busy" if type(refusal) is Contended else refusal.code)
    assert answer.headers.get("retry-after") == retry_after


@pytest.mark.parametrize("refusal", [*Refusal.__subclasses__(), Unreachable, NoSpace], ids=lambda each: each.__name__)
def test_every_refusal_has_a_status(refusal: type[Refusal]) -> None:
    from api.web.problems import STATUS  # noqa: PLC0415

    assert 400 <= STATUS[refusal] < 600


async def test_a_server_that_drains_or_has_lost_its_database_is_not_ready(in_memory: Container) -> None:
    app = create_app(in_memory, open_locally=True)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client,
    ):
        assert (await client.get("/health/ready")).json() == {"status": "ok"}
        app.state.draining = True
        draining = await client.get("/health/ready")
        assert (await client.get("/health/live")).json() == {"status": "ok"}

    problem_in(draining, 503, "not_ready")
    assert draining.headers["retry-after"] == "1"


class Troubled(MemoryUnitsOfWork):
    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.trouble = trouble

    async def require_ready(self) -> None:
        raise self.trouble


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Unreachable(), "database_unreachable"),
        (Damaged(), "database_damaged"),
        (FilesRemoved(), "files_removed"),
        (NotReady("The schema is at revision 1."), "not_ready"),
    ],
)
async def test_readiness_shows_what_is_wrong_with_the_database(trouble: Exception, code: str) -> None:
    app = create_app(Container(units=providers.Object(Troubled(trouble))), open_locally=True)
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client:
        answer = await client.get("/health/ready")

    problem_in(answer, 503, code)
    assert "retry-after" in answer.headers
    assert "revision" not in answer.text  # that is for the operator


async def test_a_body_that_arrives_too_slowly_is_a_408(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.web.requests, "BODY_TIMEOUT_S", 0.05)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"name":'
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        refused = await client.post("/users/", content=body(), headers=JSON)

    problem_in(refused, 408, "too_slow")
    assert (await client.get("/users/")).json() == []


@pytest.mark.parametrize(
    "path", ["/users/", "/users/1", "/nowhere", "/users/x", "/docs", "/docs/assets/swagger-ui.css"]
)
async def test_a_valid_request_id_is_used(client: AsyncClient, path: str) -> None:
    for request_id in ("a", "A-1._z", "x" * 64):
        answer = await client.get(path, headers={"x-request-id": request_id})
        assert answer.headers.get_list("x-request-id") == [request_id]


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "a b", "a;b", "ä", "a\tb", "{}", "a,b", '"', "%0d%0aX: y"])
async def test_an_invalid_request_id_is_replaced(client: AsyncClient, sent: str | None) -> None:
    headers = {} if sent is None else {b"x-request-id": sent.encode("latin-1")}

    minted = [(await client.get(path, headers=headers)).headers.get_list("x-request-id") for path in ("/users/", "/x")]

    assert all(len(ids) == 1 and ids[0] != sent and ids[0].isalnum() for ids in minted)
    assert minted[0] != minted[1]


async def test_no_refusal_repeats_a_value_of_the_request(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Alice", "email": f"{MARKER}@b.c"})
    in_values: list[Any] = [
        {"name": MARKER * 20},
        {"name": f"{MARKER}\0"},
        {"name": [MARKER]},
        {"name": {MARKER: MARKER}},
        {"name": "A", "email": f"{MARKER}@b.c"},
        {"name": "A", "email": {"x": MARKER}},
        {"name": "A", "status": MARKER},
        {"name": "A", "attributes": MARKER},
        {"name": "A", "attributes": [MARKER]},
        {"name": "A", "attributes": {"a": f"{MARKER}\0"}},
        {"name": "A", "attributes": {"a": MARKER * 2000}},
        {"name": "A", "unknown": MARKER},
        [MARKER],
        MARKER,
    ]
    raw = [f'{{"name":"{MARKER}",}}', f'{{"name":{MARKER}}}', f"{MARKER}", f'{{"name":"{MARKER}","name":"{MARKER}"}}']
    bodies = [json.dumps(value).encode() for value in in_values] + [text.encode() for text in raw]
    bodies += [rb'{"name":"' + MARKER.encode() + tail + b'"}' for tail in (rb"\ud800", b"\xff", rb"\x")]

    answers = [await client.post("/users/", content=body, headers=JSON) for body in bodies]
    answers += [await client.patch("/users/1", content=body, headers=JSON) for body in bodies]
    answers += [await client.get("/users/", params={name: MARKER}) for name in ("limit", "cursor", "fields", "nothing")]
    answers += [await client.get("/changes/", params={name: MARKER}) for name in ("limit", "since")]
    answers += [await client.get(path) for path in (f"/users/{MARKER}", f"/{MARKER}", f"/docs/assets/{MARKER}")]
    answers += [await client.request(MARKER, "/users/")]
    for name in ("content-type", "x-request-id", "accept", "content-length", "content-encoding", MARKER):
        answers += [await client.post("/users/", content=b"{}", headers={**JSON, name: f"{MARKER} "})]

    for answer in answers:
        if answer.request.method == "PATCH" and answer.status_code == 200:
            continue  # the first user may have the marker for its e-mail: it has it already
        assert answer.status_code >= 400
        document = answer.json()
        document.pop("instance")
        assert MARKER not in json.dumps(document)
        assert MARKER.encode() not in b"".join(name + value for name, value in answer.headers.raw)
