"""Who may do what by SCIM. Every answer under its path has the form of SCIM (RFC 7644, sections 2 and 3.12)."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from tests.api.conftest import Directory
from tests.scim.conftest import MOUNT, Scim, is_in_form

from api.scim.app import ACTIONS
from api.scim.calls import Action
from domain.keys import GIVEN_BY_SCIM, Scope
from services.users import UserService


def actions() -> Iterator[tuple[str, str, Action]]:
    for path, methods in ACTIONS.items():
        for method, action in methods.items():
            yield method, path.replace("{id}", "7"), action


METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


async def ask(directory: Directory, method: str, path: str, **options: Any) -> Response:
    return is_in_form(await directory.ask(method, f"{MOUNT}{path}", **options))


def is_admitted(answer: Response) -> bool:
    return answer.status_code not in {401, 403, 429}


async def test_2_every_request_without_a_valid_key_is_a_401(directory: Directory) -> None:
    _, valid = await directory.key(Scope.SCIM)
    _, expired = await directory.key(Scope.SCIM, expires_at=directory.time.now + timedelta(seconds=1))
    gone, revoked = await directory.key(Scope.SCIM)
    await directory.revoke(gone)
    directory.time.pass_by(60)
    for method, path, _ in actions():
        for number, secret in enumerate((None, expired, revoked, valid[:-1], "garbage")):
            answer = await ask(directory, method, path, key=secret, address=f"10.{number}.{len(path)}.1")
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert is_admitted(await ask(directory, method, path, key=valid)), (method, path)


@pytest.mark.parametrize("scope", Scope)
async def test_a_key_may_do_what_its_scope_allows_and_the_scope_scim_allows_everything(
    directory: Directory, scope: Scope
) -> None:
    _, secret = await directory.key(scope)
    for method, path, action in actions():
        answer = await ask(directory, method, path, key=secret)
        missing = [each for each in action.scopes if each != scope and scope is not Scope.SCIM]
        assert (answer.status_code == 403) is bool(missing), (method, path)
        if missing:
            assert missing[0] in answer.json()["detail"]


def test_the_scope_of_scim_includes_every_scope_that_scim_needs() -> None:
    used = {scope for methods in ACTIONS.values() for action in methods.values() for scope in action.scopes}
    assert used <= GIVEN_BY_SCIM


async def test_the_scope_of_scim_allows_nothing_outside_scim(directory: Directory) -> None:
    _, secret = await directory.key(Scope.SCIM)
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 403
    assert (await ask(directory, "GET", "/Users", key=secret)).status_code == 200


@pytest.mark.parametrize("path", ACTIONS)
async def test_3_12_an_unsupported_method_is_a_405_that_lists_the_supported_ones(scim: Scim, path: str) -> None:
    there = set(ACTIONS[path])
    for method in {*METHODS, "OPTIONS", "FOO"} - there:
        answer = await scim.ask(method, path.replace("{id}", "1"))
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == there | ({"HEAD"} if "GET" in there else set())


@pytest.mark.parametrize("path", ["/foo", "/Users/1/x", "/users", "//Users", "/Users//", "/Users/1//"])
async def test_3_12_an_unknown_path_is_a_404(scim: Scim, path: str) -> None:
    await scim.refused(404, None, "GET", path)


async def test_a_path_may_end_with_a_slash(scim: Scim) -> None:
    await scim.create(userName="b")
    for path in ("/Users", "/Users/1", "/Groups", "/Schemas", "/ServiceProviderConfig", ""):
        assert await scim.get(f"{path}/") == await scim.get(path), path
    assert (await scim.ask("POST", "/Users/", {"userName": "c"})).status_code == 201
    assert (await scim.ask("POST", "/Users/.search/", {})).status_code == 200
    answer = await scim.ask("PUT", "/Users/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


@pytest.mark.parametrize("method", METHODS)
async def test_3_11_me_is_a_501(scim: Scim, method: str) -> None:
    await scim.refused(501, None, method, "/Me")


JSON: Final = "application/json"
BODIES: Final[dict[str, tuple[int, str | None, dict[str, Any]]]] = {
    "no JSON": (400, "invalidSyntax", {"content": b"{", "headers": {"content-type": "application/scim+json"}}),
    "empty": (400, "invalidSyntax", {"content": b"", "headers": {"content-type": "application/scim+json"}}),
    "no UTF-8": (400, "invalidSyntax", {"content": b'"\xff"', "headers": {"content-type": "application/json"}}),
    "a name twice": (400, "invalidSyntax", {"content": b'{"a":1,"a":2}', "headers": {"content-type": JSON}}),
    "too large": (413, None, {"content": b" " * 2**21, "headers": {"content-type": "application/scim+json"}}),
    "another type": (415, None, {"content": b"{}", "headers": {"content-type": "text/plain"}}),
    "no type": (415, None, {"content": b"{}"}),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize(("method", "path"), [("POST", "/Users"), ("PUT", "/Users/1"), ("PATCH", "/Users/1")])
async def test_3_12_a_body_that_cannot_be_read_is_refused(scim: Scim, case: str, method: str, path: str) -> None:
    await scim.create(userName="b")
    status, scim_type, options = BODIES[case]
    await scim.refused(status, scim_type, method, path, **options)


async def test_3_12_a_defect_is_a_500_without_details(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(UserService, "get", broken)
    answer = await ask(directory, "GET", "/Users/1")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]
    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_no_response_header_repeats_a_value_of_the_request(directory: Directory) -> None:
    sent = {"host": "evil.example.org", "x-forwarded-host": "evil.example.org", "forwarded": "host=evil.example.org"}
    _, secret = await directory.key(Scope.SCIM)
    body = {"userName": "b\r\nX-Evil: evil.example.org", "externalId": "evil.example.org"}
    answer = await ask(directory, "POST", "/Users", key=secret, json=body, headers=sent)
    assert answer.status_code == 201
    assert "evil" not in str(answer.headers)
    assert answer.json()["meta"]["location"] == "/scim/v2/Users/1"


async def test_a_refused_host_gets_an_answer_in_the_form_of_scim(directory_with: Callable[..., Directory]) -> None:
    transport = ASGITransport(app=directory_with(allowed_hosts="people.example.org").app)
    async with AsyncClient(transport=transport, base_url="http://localhost") as http:
        for path in ("", "/", "/Users", "/foo"):
            assert is_in_form(await http.get(f"{MOUNT}{path}")).status_code == 421
        assert (await http.get("/users/")).headers["content-type"] == "application/problem+json"
        assert (await http.get(f"{MOUNT}x")).headers["content-type"] == "application/problem+json"


async def test_3_14_a_malformed_entity_tag_is_a_400_without_a_scim_type(scim: Scim) -> None:
    await scim.create(userName="b")
    await scim.refused(400, None, "GET", "/Users/1", headers={"If-None-Match": "1"})
    await scim.refused(400, None, "DELETE", "/Users/1", headers={"If-Match": "1"})


async def test_too_many_wrong_keys_are_a_429(directory: Directory) -> None:
    await directory.key(Scope.SCIM)
    answers = [await ask(directory, "GET", "/Users", key="garbage") for _ in range(22)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_scim_is_a_404_if_it_is_not_enabled(directory_with: Callable[..., Directory]) -> None:
    transport = ASGITransport(app=directory_with(scim=False).app)
    async with AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get(f"{MOUNT}/Users")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


LOADED: Final = """
import sys
from api.app import create_app
from api.container import Container
create_app(Container())
print(sorted(name for name in sys.modules if name.startswith("api.scim")))
"""


@pytest.mark.heavy  # starts a program
@pytest.mark.parametrize(("setting", "loaded"), [("false", False), ("true", True)])
def test_the_package_of_scim_is_imported_only_if_scim_is_enabled(setting: str, loaded: bool, tmp_path: Any) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], env={"ROSTER_SCIM": setting, "PYTHONPATH": ":".join(sys.path)},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert (ran.stdout.strip() != "[]") is loaded
