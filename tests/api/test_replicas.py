"""`Roster-Min-Seq` without replicas: every answer has every change, and only invalid values are refused."""

import pytest
from httpx2 import AsyncClient

PATHS = ("/users/1", "/users/by/username/alice", "/users/", "/changes/", "/users/1/changes/", "/groups/", "/keys/")


@pytest.mark.parametrize("path", PATHS)
async def test_every_valid_number_in_roster_min_seq_is_accepted(database_client: AsyncClient, path: str) -> None:
    await database_client.post("/users/", json={"name": "Alice", "username": "alice"})
    for number in ("0", "1", "9007199254740991"):
        assert (await database_client.get(path, headers={"Roster-Min-Seq": number})).status_code == 200


@pytest.mark.parametrize("number", ["", "-1", "+1", "1.0", "1 ", "01", "٣", "now", "9007199254740992", "9" * 5000])
async def test_an_invalid_number_in_roster_min_seq_is_refused(client: AsyncClient, number: str) -> None:
    answer = await client.get("/users/", headers={b"roster-min-seq": number.encode()})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert "9" * 9 not in answer.text
