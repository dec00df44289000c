"""What bodies have in common: integers as in JSON."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

import pytest
from fastapi import Response
from httpx2 import ASGITransport, AsyncClient
from pydantic import BaseModel, Field

from api.app import create_app
from api.container import Container
from api.web.bodies import EntityId
from api.web.responses import json_answer
from api.web.routing import Router, calls
from domain.values import MAX_ID
from services.users import UserService


class MemberIn(BaseModel):
    """A body of an entity with references."""

    user_id: Annotated[EntityId, Field(description="Who")]
    former_id: EntityId | None = None


router: Final = Router("/members", "members")


@router.post("/")
@calls(UserService.create)
async def create_member(body: MemberIn) -> Response:
    return json_answer(body.model_dump())


@pytest.fixture
async def members(in_memory: Container) -> AsyncIterator[AsyncClient]:
    """A client of an app with a route that takes such a body."""
    app = create_app(in_memory, open_locally=True)
    app.router.routes.extend(router.routes)
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client:
        yield client


async def send(members: AsyncClient, user_id: str, former_id: str = "null") -> tuple[int, object]:
    """Posts a body with these ids as text. Returns the answer, or the pointers of a refusal with their codes."""
    content = f'{{"user_id": {user_id}, "former_id": {former_id}}}'
    answer = await members.post("/members/", content=content, headers={"content-type": "application/json"})
    if answer.status_code != 422:
        return answer.status_code, answer.json()
    return 422, {each["pointer"]: each["code"] for each in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("spelled", "id"),
    [
        ("1", 1),
        ("1.0", 1),
        ("1e0", 1),
        ("10E-1", 1),
        ("4711.000", 4711),
        (str(MAX_ID), MAX_ID),
        (f"{MAX_ID}.0", MAX_ID),
    ],
)
async def test_all_spellings_of_a_number_are_the_same_id(members: AsyncClient, spelled: str, id: int) -> None:
    status, shown = await send(members, spelled, spelled)

    assert (status, shown) == (200, {"user_id": id, "former_id": id})
    assert isinstance(shown, dict)
    assert [type(each) for each in shown.values()] == [int, int]


NO_INTEGERS: Final = ['"1"', '"1.0"', '""', "true", "false", "1.5", "0.1", "-0.5", "[1]", "[]", "{}"]
OUT_OF_RANGE: Final = ["0", "-0", "0.0", "-1", "-1.0", str(2**53), f"{2**53}.0", "1e300", str(10**400), str(-(10**400))]


@pytest.mark.parametrize("spelled", NO_INTEGERS)
async def test_a_value_that_is_not_an_integer_has_the_wrong_type(members: AsyncClient, spelled: str) -> None:
    assert await send(members, spelled) == (422, {"/body/user_id": "wrong_type"})
    assert await send(members, "1", spelled) == (422, {"/body/former_id": "wrong_type"})


@pytest.mark.parametrize("spelled", OUT_OF_RANGE)
async def test_an_impossible_id_is_out_of_range(members: AsyncClient, spelled: str) -> None:
    assert await send(members, spelled) == (422, {"/body/user_id": "out_of_range"})
    assert await send(members, "1", spelled) == (422, {"/body/former_id": "out_of_range"})


async def test_null_is_accepted_only_for_an_optional_id(members: AsyncClient) -> None:
    assert await send(members, "null") == (422, {"/body/user_id": "wrong_type"})
    assert await send(members, "1", "null") == (200, {"user_id": 1, "former_id": None})


def test_the_schema_shows_the_bounds() -> None:
    described = MemberIn.model_json_schema()["properties"]["user_id"]

    assert (described["type"], described["minimum"], described["maximum"]) == ("integer", 1, MAX_ID)
