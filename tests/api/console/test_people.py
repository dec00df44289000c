"""People in the console over HTTP: filtered lists, bulk actions, and undoing changes."""

import asyncio
import csv
import json
import re
from typing import Any

import pytest
from tests.api.conftest import Directory
from tests.api.console.conftest import add, get, signed_in

from domain.groups import NewGroup
from domain.keys import Scope
from domain.lists.filters import Filter
from domain.lists.pages import Page
from domain.users import User
from domain.work import RequestContext
from services.users import UserService


async def crowd(directory: Directory, many: int, **profile: Any) -> list[int]:
    return [(await add(directory, name=f"P{number:03}", **profile)).id for number in range(many)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=p001", ["P001"]),
        ("status=suspended", ["Carol"]),
        ("status=deleted", ["Gone"]),
        ("attribute=team=Sales", ["Alice"]),
        ("attribute=team.floor=3", ["Bob"]),
        ("attribute=team.floor%20=%203&q=ali", []),
        ("attribute=level=true", ["Carol"]),
        ("attribute=team", ["Alice", "Bob"]),
    ],
)
async def test_people_are_filtered_by_text_status_and_attribute(
    directory: Directory, query: str, found: list[str]
) -> None:
    await add(directory, attributes={"team": "Sales"})
    await add(directory, name="Bob", attributes={"team": {"floor": 3}})
    await add(directory, name="Carol", status="suspended", attributes={"level": True})
    await crowd(directory, 2)
    gone = await add(directory, name="Gone")
    await directory.container.users(RequestContext(actor="t", request_id="r")).delete(gone.id)
    browser = await signed_in(directory, *Scope)
    page = (await browser.see(f"/users?rows&{query}")).text
    assert [name for name in ("Alice", "Bob", "Carol", "P000", "P001", "Gone") if f">{name}<" in page] == found


async def test_a_wrong_attribute_is_explained_in_place(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    page = await browser.see('/users?attribute=te"am=1')
    assert page.status_code == 200
    assert "Write an attribute as in team=Sales" in page.text


async def test_columns_can_be_chosen_including_attributes(directory: Directory) -> None:
    await add(directory, email="a@x.org", external_id="e-1", attributes={"team": {"floor": 3}})
    browser = await signed_in(directory, *Scope)
    page = (await browser.see("/users?column=external_id&attributes=team.floor")).text
    assert "e-1" in page
    assert "<code>3</code>" in page
    assert "a@x.org" not in page


async def test_the_filtered_users_can_be_exported(directory: Directory) -> None:
    await add(directory, attributes={"team": "Sales"})
    await add(directory, name="=Bob")
    browser = await signed_in(directory, Scope.USERS_READ)
    found = await browser.see("/users/export/csv?attribute=team=Sales")
    assert found.headers["content-disposition"] == 'attachment; filename="users.csv"'
    assert [row["name"] for row in csv.DictReader(found.text.splitlines())] == ["Alice"]
    everybody = (await browser.see("/users/export/ndjson?sort=-created_at")).text
    assert [json.loads(line)["name"] for line in everybody.splitlines()] == ["=Bob", "Alice"]
    assert (await browser.see("/users/export/xml")).status_code == 400


async def test_many_are_suspended_activated_and_deleted_after_a_confirmation(directory: Directory) -> None:
    one, two, three = await crowd(directory, 3)
    browser = await signed_in(directory, *Scope)
    for action, status in (("suspend", "suspended"), ("activate", "active")):
        chosen = {f"user {id}": "on" for id in (one, two)}
        asked = await browser.send("/users/bulk", on="/users", action=action, **chosen)
        assert "2 people?" in asked.text
        assert (await get(directory, one)).status != status
        done = await browser.send("/users/bulk/confirmed", on="/users", action=action, ids=f"{one} {two}")
        assert f"2 {'suspended' if action == 'suspend' else 'activated'}." in done.text
        assert [(await get(directory, id)).status for id in (one, two, three)] == [status, status, "active"]

    await browser.send("/users/bulk/confirmed", on="/users", action="delete", ids=f"{one} {two} 99")
    assert [(await get(directory, id)).is_hidden for id in (one, two, three)] == [True, True, False]


async def test_deleted_users_are_restored_together_except_those_whose_identifiers_are_taken(
    directory: Directory,
) -> None:
    gone = [(await add(directory, name=f"G{number}", email=f"g{number}@x.org")).id for number in range(3)]
    await directory.container.users(RequestContext(actor="t", request_id="r")).delete_many(gone)
    await add(directory, name="Heir", email="g1@x.org")
    browser = await signed_in(directory, *Scope)
    asked = await browser.send("/users/bulk", on="/users?status=deleted", action="restore", **{f"user {gone[0]}": "on"})
    assert "Restore 1 person?" in asked.text
    done = await browser.send("/users/bulk/confirmed", on="/users", action="restore", ids=" ".join(map(str, gone)))
    assert "2 restored. 1 stay as they are" in done.text
    assert [(await get(directory, id)).is_hidden for id in gone] == [False, True, False]


async def test_all_matching_deleted_users_are_restored(directory: Directory) -> None:
    gone = await crowd(directory, 51)
    await directory.container.users(RequestContext(actor="t", request_id="r")).delete_many(gone)
    browser = await signed_in(directory, *Scope)
    fields = {"action": "restore", "everyone": "on", "search": "q=P0&status=deleted"}
    assert "P000" in (await browser.send("/users/bulk", on="/users", **fields)).text
    await browser.send("/users/bulk/confirmed", on="/users", count="51", **fields)
    assert not any([(await get(directory, id)).is_hidden for id in gone])


async def test_a_bulk_action_is_refused_if_the_number_of_matches_changed(directory: Directory) -> None:
    await crowd(directory, 60)
    other = await add(directory, name="Other")
    browser = await signed_in(directory, *Scope)
    fields = {"action": "suspend", "everyone": "on", "search": "q=P0"}

    asked = await browser.send("/users/bulk", on="/users", **fields)
    assert "Suspend 60 people?" in asked.text
    await add(directory, name="P099")
    refused = await browser.send("/users/bulk/confirmed", on="/users", count="60", **fields)
    assert refused.status_code == 400
    assert (await get(directory, 1)).status == "active"

    done = await browser.send("/users/bulk/confirmed", on="/users", count="61", **fields)
    assert "61 suspended." in done.text
    assert done.url.params["q"] == "P0"
    assert (await get(directory, other.id)).status == "active"


async def test_a_bulk_action_needs_a_choice_a_known_action_and_the_scope(directory: Directory) -> None:
    [one] = await crowd(directory, 1)
    browser = await signed_in(directory, *Scope)
    assert (await browser.send("/users/bulk", on="/users", action="suspend")).status_code == 400
    assert (await browser.send("/users/bulk", on="/users", action="explode")).status_code == 400
    reader = await signed_in(directory, Scope.USERS_READ)
    assert "Suspend" not in (await reader.see("/users")).text
    refused = await reader.send("/users/bulk/confirmed", on="/", action="suspend", ids=str(one))
    assert refused.status_code == 403
    assert (await get(directory, one)).status == "active"


async def test_an_old_version_is_restored_although_others_followed(directory: Directory) -> None:
    alice = await add(directory, email="a@x.org", attributes={"floor": 1})
    users = directory.container.users(RequestContext(actor="other", request_id="r2"))
    second = await users.patch(alice.id, {"name": "Second", "attributes": {"floor": 2}})
    await users.patch(alice.id, {"email": "b@x.org"})
    await users.patch(alice.id, {"name": "Fourth", "username": "late"})
    browser, on = await signed_in(directory, *Scope), f"/users/{alice.id}"

    page = await browser.send(f"{on}/restore-version", on=on, seq=str(second.seq))
    back = await get(directory, alice.id)
    assert (back.name, back.email, back.username, back.attributes) == ("Second", "a@x.org", None, {"floor": 2})
    assert page.text.count(f"{on}/restore-version") == 4  # of five, the newest is how it is

    await add(directory, name="Heir", username="late")
    refused = await browser.send(f"{on}/restore-version", on=on, seq="4")
    assert refused.status_code == 409
    assert "Username: Another one has this value." in refused.text
    assert (await browser.send(f"{on}/restore-version", on=on, seq="99")).status_code == 400


async def test_a_long_history_has_pages(directory: Directory) -> None:
    alice = await add(directory)
    users = directory.container.users(RequestContext(actor="other", request_id="r2"))
    for number in range(40):
        await users.patch(alice.id, {"name": f"Name {number}"})
    browser = await signed_in(directory, *Scope)
    page = (await browser.see(f"/users/{alice.id}")).text
    assert "Name 39" in page
    assert "created" not in page.partition("What happened")[2]
    older = page.partition('href="?before=')[2].partition('"')[0]
    assert "created" in (await browser.see(f"/users/{alice.id}?before={older}")).text


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for a part of a text with a time limit never ends by itself, as in a directory of a million users."""
    listed, waited = UserService.list, asyncio.timeout

    async def slow_unless_exact(self: UserService, *, filter: Filter | None = None, **asked: Any) -> Page[User]:
        if "Operator.CO" in repr(filter) and hurried[-1]:
            await asyncio.Event().wait()
        return await listed(self, filter=filter, **asked)

    hurried: list[bool] = []

    def at_once(delay: float | None) -> asyncio.Timeout:
        hurried.append(delay is not None)
        return waited(delay and 0.001)

    monkeypatch.setattr(UserService, "list", slow_unless_exact)
    monkeypatch.setattr(asyncio, "timeout", at_once)


@pytest.mark.usefixtures("crowded")
async def test_a_slow_search_shows_exact_matches_first_and_can_be_continued(
    directory: Directory,
) -> None:
    await add(directory, name="Alice", email="a@x.org")
    await add(directory, name="Alice Miller")
    browser = await signed_in(directory, *Scope)
    quick = (await browser.see("/users?q=alice")).text
    assert (">Alice<" in quick, "Alice Miller" in quick) == (True, False)
    assert "Only those with exactly this name or identifier are shown." in quick
    [again] = re.findall(r'href="/console(/users[^"]*)">Search for longer', quick)
    patient = (await browser.see(again.replace("&amp;", "&"))).text
    assert "Alice Miller" in patient
    assert "Search for longer" not in patient


@pytest.mark.usefixtures("crowded")
async def test_a_slow_search_for_new_members_shows_only_exact_names(
    directory: Directory,
) -> None:
    await add(directory, name="Alice")
    await add(directory, name="Alice Miller")
    browser = await signed_in(directory, *Scope)
    await directory.container.groups(RequestContext(actor="t", request_id="r")).create(NewGroup(name="Team"))
    suggested = (await browser.see("/groups/1?rows&add=alice")).text
    assert (">Alice<" in suggested, "Alice Miller" in suggested) == (True, False)


async def test_a_count_that_takes_too_long_is_left_out(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    await crowd(directory, 51)
    browser = await signed_in(directory, *Scope)

    async def late(*_: Any, **__: Any) -> int:
        raise TimeoutError

    monkeypatch.setattr(UserService, "count", late)
    page = (await browser.see("/users?q=p")).text
    assert "more than 50" in page
    assert "P049" in page


async def test_a_search_without_matches_shows_a_count_of_0(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    page = (await browser.see("/users?q=nobody")).text
    assert "<strong>0</strong> found" in page
    assert "Nobody matches." in page
