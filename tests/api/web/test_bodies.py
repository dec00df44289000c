"""What bodies have in common: ids in them, and how their faults are told."""

from typing import Annotated, Any, Final

import pytest
from fastapi import Depends
from httpx2 import ASGITransport, AsyncClient, Response
from pydantic import BaseModel, ConfigDict

from api.app import create_app
from api.container import Container
from api.users import users_to_read
from api.web.bodies import EntityId
from api.web.routing import Router, calls
from domain.values import MAX_ID
from services.users import UserService


class MemberIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: EntityId
    inviter_id: EntityId | None = None


def members() -> Router:
    """Answers with the ids that it was sent."""
    router = Router("/members", "members")

    @router.post("/")
    @calls(UserService.create)
    async def create_member(users: Annotated[UserService, Depends(users_to_read)], body: MemberIn) -> dict[str, Any]:
        return body.model_dump()

    return router


@pytest.fixture
def client(in_memory: Container) -> AsyncClient:
    app = create_app(in_memory, open_locally=True)
    app.router.routes.extend(members().routes)
    return AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost")


async def post(client: AsyncClient, body: str) -> Response:
    return await client.post("/members/", content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    ("written", "id"),
    [("1", 1), ("1.0", 1), ("10e-1", 1), ("1E2", 100), (str(MAX_ID), MAX_ID), (f"{MAX_ID}.0", MAX_ID)],
)
async def test_an_id_is_the_number_however_it_is_written(client: AsyncClient, written: str, id: int) -> None:
    taken = await post(client, f'{{"user_id": {written}, "inviter_id": {written}}}')

    assert (taken.status_code, taken.text) == (200, f'{{"user_id":{id},"inviter_id":{id}}}')


REFUSED: Final = {
    '"1"': "wrong_type",
    '""': "wrong_type",
    "true": "wrong_type",
    "false": "wrong_type",
    "[1]": "wrong_type",
    "{}": "wrong_type",
    "1.5": "wrong_type",
    "1e-400": "out_of_range",
    "0": "out_of_range",
    "-0.0": "out_of_range",
    "-1": "out_of_range",
    str(2**53): "out_of_range",
    f"{2**53}.0": "out_of_range",
    str(2**63): "out_of_range",
    "1e300": "out_of_range",
}


@pytest.mark.parametrize(("written", "code"), [*REFUSED.items(), ("null", "wrong_type")])
async def test_what_is_not_an_id_is_refused_where_it_stands(client: AsyncClient, written: str, code: str) -> None:
    refused = await post(client, f'{{"user_id": {written}}}')

    assert refused.status_code == 422
    [fault] = refused.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/body/user_id", code)


@pytest.mark.parametrize(("written", "code"), REFUSED.items())
async def test_an_optional_id_is_null_or_an_id(client: AsyncClient, written: str, code: str) -> None:
    refused = await post(client, f'{{"user_id": 1, "inviter_id": {written}}}')
    cleared = await post(client, '{"user_id": 1, "inviter_id": null}')

    assert refused.status_code == 422
    assert {fault["code"] for fault in refused.json()["errors"]} == {code}
    assert {fault["pointer"] for fault in refused.json()["errors"]} == {"/body/inviter_id"}
    assert cleared.json() == {"user_id": 1, "inviter_id": None}


async def test_an_id_that_is_missing_is_said_to_be_missing(client: AsyncClient) -> None:
    [fault] = (await post(client, "{}")).json()["errors"]

    assert (fault["pointer"], fault["code"]) == ("/body/user_id", "missing")


def test_the_schema_says_the_bounds_of_an_id() -> None:
    schema = MemberIn.model_json_schema()["properties"]["user_id"]

    assert (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", 1, 2**53 - 1)
