"""Where new clients go wrong: the root, entity tags, unknown fields, formulas, e-mail addresses, messages."""

import json
from typing import Any

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.container import Container
from api.files.writing import FORMULA_STARTS, cell, unescaped
from api.settings import EmailForm, Settings
from repositories.fake import MemoryUnitsOfWork


async def test_the_root_returns_an_index_to_programs_and_the_console_to_browsers(client: AsyncClient) -> None:
    index = await client.get("/")
    assert index.status_code == 200
    assert index.json()["name"] == "roster"
    for name in ("users", "changes", "keys", "docs", "openapi", "ready"):
        assert (await client.get(index.json()[name])).status_code == 200
    browser = await client.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["location"]) == (303, "/console")
    assert index.headers["vary"] == browser.headers["vary"] == "Accept"


async def test_without_a_console_browsers_are_shown_the_docs() -> None:
    async with app_with(console=False) as client:
        browser = await client.get("/", headers={"accept": "text/html"})
    assert (browser.status_code, browser.headers["location"]) == (303, "/docs")


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("tag", ["2", "v2", '"1", 2', '"1', "W/2", "'2'"])
async def test_an_entity_tag_without_quotes_is_refused_with_a_hint(client: AsyncClient, header: str, tag: str) -> None:
    await client.post("/users/", json={"name": "Alice"})
    ask = client.get if header == "If-None-Match" else client.delete
    refused = await ask("/users/1", headers={header: tag})
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed")
    assert f'as in {header}: "2"' in refused.json()["detail"]


@pytest.mark.parametrize("tag", ['"1"', '"7","1"', 'W/"7" , "1"', ' "1" ', "*", '"1",', '"x y"'[:2] + '1"'])
async def test_entity_tags_in_quotes_are_read(client: AsyncClient, tag: str) -> None:
    await client.post("/users/", json={"name": "Alice"})
    assert (await client.patch("/users/1", json={"name": "A"}, headers={"if-match": tag})).status_code in {200, 412}


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/users/", "name, email, username, external_id, status"), ("/changes/", "seq, kind, entity_id")],
)
async def test_an_unknown_field_in_a_filter_is_refused_with_the_list_of_fields(
    client: AsyncClient, path: str, fields: str
) -> None:
    refused = await client.get(path, params={"filter": 'colour eq "red"'})
    assert (refused.status_code, refused.json()["position"]) == (400, 0)
    assert f"Fields are {fields}" in refused.json()["detail"]


async def test_an_unknown_field_in_a_sort_is_refused_with_the_list_of_fields(client: AsyncClient) -> None:
    refused = await client.get("/users/?sort=attributes")
    assert "Fields are name, email" in refused.json()["detail"]
    assert "attributes" not in refused.json()["detail"]


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "Must be a string.": ("POST", {"json": {"name": 1}}),
    "Must be given.": ("POST", {"json": {}}),
    "There is no such field.": ("POST", {"json": {"name": "A", "nmae": "B"}}),
    "Must be an object.": ("POST", {"json": {"name": "A", "attributes": 3}}),
    "Must be one of 'active' or 'suspended'.": ("POST", {"json": {"name": "A", "status": "gone"}}),
    "Must be an integer.": ("GET", {"params": {"limit": "x"}}),
    "Must be at most 1000.": ("GET", {"params": {"limit": "1001"}}),
    "Must be true or false.": ("GET", {"params": {"count": "perhaps"}}),
    "There is no such parameter.": ("GET", {"params": {"limti": "1"}}),
    "Must not be blank.": ("POST", {"json": {"name": " "}}),
}


@pytest.mark.parametrize("sentence", ODD)
async def test_the_same_fault_has_the_same_message_from_every_validator(client: AsyncClient, sentence: str) -> None:
    method, asked = ODD[sentence]
    refused = await client.request(method, "/users/", **asked)
    assert [error["detail"] for error in refused.json()["errors"]] == [sentence]


@pytest.mark.parametrize("text", [*(f"{start}1+1" for start in FORMULA_STARTS), "'=1", "''=1", "'plain", "plain", "'"])
def test_the_escape_of_a_cell_can_be_undone(text: str) -> None:
    assert unescaped(cell(text)) == text
    assert cell(text, escapes=False) == text
    assert not cell(text).startswith(FORMULA_STARTS)


async def test_formulas_can_be_kept_on_request(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "=1+1"})
    for asked, name in (("", "'=1+1"), ("&formulas=escape", "'=1+1"), ("&formulas=keep", "=1+1")):
        answer = await client.get(f"/users/?fields=id,name{asked}", headers={"accept": "text/csv"})
        assert answer.text == f"id,name\r\n1,{name}\r\n"
    ndjson = await client.get("/users/", headers={"accept": "application/x-ndjson"})
    assert json.loads(ndjson.text)["name"] == "=1+1"


def app_with(**settings: Any) -> AsyncClient:
    container = Container(settings=providers.Object(Settings(**settings)), units=providers.Object(MemoryUnitsOfWork()))
    app = create_app(container, open_locally=True)
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost")


LOCAL = "a@corp.local"
ADDRESSES = ["alice@example.org", "用户@例え.jp", "a+b@sub.example.org"]


async def test_an_email_address_is_any_text_by_default() -> None:
    async with app_with() as client:
        for email in ("alice", LOCAL, *ADDRESSES):
            assert (await client.post("/users/", json={"name": "A", "email": email})).status_code == 201
    async with app_with(email_form="address") as client:
        for email in ADDRESSES:
            assert (await client.post("/users/", json={"name": "A", "email": email})).status_code == 201
        await client.post("/users/", json={"name": "B", "external_id": "b"})
        for ask, path in (
            (client.post, "/users/"), (client.patch, "/users/4"), (client.put, "/users/by/external-id/b"),
        ):  # fmt: skip
            refused = await ask(path, json={"name": "B", "email": "alice"})
            assert (refused.status_code, refused.json()["errors"]) == (
                422,
                [{"pointer": "/body/email", "code": "invalid", "detail": "Must have the form of an e-mail address."}],
            )


async def test_an_address_that_a_user_has_already_stays_valid() -> None:
    units = providers.Object(MemoryUnitsOfWork())
    for form in EmailForm:
        settings = providers.Object(Settings(email_form=form))
        app = create_app(Container(settings=settings, units=units), open_locally=True)
        async with AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client:
            body = {"name": form, "email": "old form"}
            assert (await client.put("/users/by/external-id/a", json=body)).status_code in {200, 201}
