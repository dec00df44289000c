"""Hostile requests: whatever they contain, the answer is never an internal error."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from httpx2 import AsyncClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def quoted(text: str) -> str:
    return quote(text[:2000].encode(errors="surrogatepass"))


def as_query(parameters: dict[str, str]) -> str:
    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in parameters.items())


def nested(depth: int) -> bytes:
    return b'{"name":"A","attributes":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)


TEXT: Final = st.one_of(
    st.text(st.characters(codec=None), max_size=20),  # lone surrogates and NUL among them
    st.sampled_from(["", " ", "\0", "\ud800", "\ufeff", "\u202e", "\x85", "İ", "ﷺ" * 18, "x" * 70_000, "%00", "1\r\n"]),
)
NUMBERS: Final = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([-1, 0, 1, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 5e-324, -0.0]),
)
VALUES: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)
FIELDS: Final = ["name", "email", "username", "external_id", "status", "attributes", "id", "version", "deleted_at"]
BODIES: Final = st.one_of(
    st.fixed_dictionaries(
        {"name": TEXT}, optional={"email": TEXT, "username": TEXT, "external_id": TEXT, "attributes": VALUES}
    ).map(as_json),
    st.dictionaries(st.one_of(st.sampled_from(FIELDS), TEXT), VALUES, max_size=6).map(as_json),
    VALUES.map(as_json),
    st.integers(1, 1100).map(nested),
    st.binary(max_size=200),
)
PATHS: Final = st.one_of(
    st.sampled_from(["/users/", "/users", "/users/1", "/changes/", "/users/1/changes/", "/docs", "/health/ready"]),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["/users/", "/docs/assets/", "/", "/health/"]),
        st.one_of(NUMBERS.map(str), TEXT.map(quoted), st.just("1")),
        st.sampled_from(["", "/", "/changes", "/changes/", "/../1", "/%2e%2e/"]),
    ),
)
QUERIES: Final = st.one_of(
    st.just(""),
    st.dictionaries(
        st.one_of(st.sampled_from(["limit", "cursor", "fields", "since"]), TEXT),
        st.one_of(NUMBERS.map(str), TEXT),
        max_size=3,
    ).map(as_query),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=40),
)
METHODS: Final = st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"])
MEDIA_TYPES: Final = st.one_of(
    st.sampled_from(["application/json", "application/merge-patch+json"]),
    st.sampled_from(["", ";", "text/plain", "application/json;charset=utf-16", "multipart/form-data", "application/*"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30),
)
HEADERS: Final = st.dictionaries(
    st.sampled_from(["x-request-id", "accept", "host", "content-length", "content-encoding", "if-match", "range"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30),
    max_size=2,
)

hostile = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,  # the same requests on every machine
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


async def refuse_nothing_by_failing(client: AsyncClient, method: str, url: str, **options: Any) -> None:
    answer = await client.request(method, url, **options)
    assert answer.status_code < 500
    if answer.status_code >= 400 and method != "HEAD":
        document = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert document["request_id"] == answer.headers["x-request-id"]
    for name, value in answer.headers.raw:
        assert b"\r" not in name + value
        assert b"\n" not in name + value


@hostile
@given(body=BODIES, patch=st.booleans())
@example(body=b'{"name":"A","attributes":{"a":-0.0,"b":1e-400}}', patch=True)
@example(body=nested(956), patch=True)
async def test_no_body_makes_the_server_fail(database_client: AsyncClient, body: bytes, patch: bool) -> None:
    if not (await database_client.get("/users/?limit=1")).json():
        await database_client.post("/users/", json={"name": "Alice"})
    method, url = ("PATCH", "/users/1") if patch else ("POST", "/users/")

    await refuse_nothing_by_failing(
        database_client, method, url, content=body, headers={"content-type": "application/json"}
    )
    everyone = await database_client.get("/users/?fields=*&limit=1000")
    assert everyone.status_code == 200
    assert all(1 <= len(user["name"]) <= 200 for user in everyone.json())


class Sent(NamedTuple):
    method: str
    path: str
    query: str = ""
    media_type: str = "application/json"
    headers: Mapping[str, str] = {}
    body: bytes | None = None


@hostile
@given(sent=st.builds(Sent, METHODS, PATHS, QUERIES, MEDIA_TYPES, HEADERS, st.none() | BODIES))
@example(Sent("GET", "/users/1%0D%0A/changes/"))
@example(Sent("POST", "/users/", headers={"content-length": "x"}, body=b"{}"))
@example(Sent("POST", "/users/", headers={"content-length": "-1"}, body=b"{}"))
@example(Sent("GET", "/users/", "limit=-1&cursor=%00"))
@example(Sent("GET", "/changes/", "since=9007199254740991"))
@example(Sent("GET", "/docs/assets/%00"))
async def test_no_request_makes_the_server_fail(database_client: AsyncClient, sent: Sent) -> None:
    await database_client.post("/users/", json={"name": "Alice"})
    headers = {**sent.headers, "content-type": sent.media_type}

    await refuse_nothing_by_failing(
        database_client,
        sent.method,
        f"http://localhost{sent.path}?{sent.query}",
        content=sent.body,
        headers={name: value.encode("latin-1") for name, value in headers.items()},
    )
