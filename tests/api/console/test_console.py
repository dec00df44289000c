"""The console over HTTP: who may see and do what, and that values of users are never run as code."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest
from httpx2 import ASGITransport, AsyncClient
from tests.api.conftest import Directory
from tests.api.console.conftest import Browser, add, get, signed_in

from api.console.sessions import COOKIE, LIFETIME_S
from domain.groups import NewGroup
from domain.keys import Scope
from domain.work import RequestContext

HOSTILE = ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "{{ 7 * 7 }}", "\u202eecilA", "x" * 200]


async def test_a_fresh_console_is_open_on_its_own_machine_and_says_what_to_do(browser: Browser) -> None:
    home = await browser.see("/")
    assert home.status_code == 200
    assert "There are no people yet" in home.text


async def test_with_a_key_signing_in_is_required_and_returns_to_the_page(
    directory: Directory, browser: Browser
) -> None:
    _, secret = await directory.key(*Scope)

    asked = await browser.see("/users")
    assert str(asked.url) == "http://localhost/console/sign-in?next=/users"

    wrong = await browser.sign_in("rk_1_wrong")
    assert wrong.status_code == 401
    assert "rk_1_wrong" not in wrong.text

    assert str((await browser.sign_in(secret, next="/users")).url) == "http://localhost/console/users"


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "/users?x", ""])
async def test_signing_in_never_leads_to_another_site(directory: Directory, browser: Browser, elsewhere: str) -> None:
    _, secret = await directory.key(*Scope)
    assert str((await browser.sign_in(secret, next=elsewhere)).url) == "http://localhost/console/"


async def test_a_request_with_another_host_has_to_sign_in(directory: Directory) -> None:
    transport = ASGITransport(app=directory.app, client=("127.0.0.1", 50000))
    async with AsyncClient(transport=transport, base_url="http://rebound.example") as http:
        answer = await http.get("/console/users")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/sign-in")


async def test_a_session_ends_with_its_key_after_its_time_or_by_signing_out(
    directory: Directory,
) -> None:
    key, secret = await directory.key(*Scope)
    await directory.key(*Scope)
    browser = Browser(directory)
    await browser.sign_in(secret)
    assert "Sign out" in (await browser.see("/users")).text
    await browser.send("/sign-out", on="/users")
    assert "sign-in" in str((await browser.see("/users")).url)

    await browser.sign_in(secret)
    await directory.revoke(key)
    assert "sign-in" in str((await browser.see("/users")).url)


async def test_an_expired_key_ends_its_session(directory: Directory) -> None:
    await directory.key(*Scope)
    _, secret = await directory.key(*Scope, expires_at=directory.time.clock() + timedelta(hours=1))
    browser = Browser(directory)
    await browser.sign_in(secret)
    directory.time.pass_by(3601)
    assert "sign-in" in str((await browser.see("/users")).url)


async def test_the_cookie_is_http_only_and_cannot_be_forged(directory: Directory) -> None:
    _, secret = await directory.key(*Scope)
    browser = Browser(directory)
    answer = await browser.http.post("/console/sign-in", data={"key": secret}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"Max-Age={LIFETIME_S}" in cookie
    assert "Path=/console" in cookie
    assert "Secure" not in cookie
    assert secret not in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    made_up = Browser(directory, cookies={COOKIE: f"x{value[1:]}"})
    assert "sign-in" in str((await made_up.see("/users")).url)


async def test_behind_tls_the_cookie_is_secure(directory: Directory) -> None:
    _, secret = await directory.key(*Scope)
    transport = ASGITransport(app=directory.app, client=("127.0.0.1", 50000))
    async with AsyncClient(transport=transport, base_url="https://localhost") as http:
        answer = await http.post("/console/sign-in", data={"key": secret})
    assert "Secure" in answer.headers["set-cookie"]


async def test_wrong_keys_are_limited_as_they_are_for_the_api(browser: Browser, directory: Directory) -> None:
    await directory.key(*Scope)
    statuses = [(await browser.sign_in("wrong")).status_code for _ in range(22)]
    assert statuses[0] == 401
    assert statuses[-1] == 429


async def test_a_form_of_another_site_is_refused(directory: Directory) -> None:
    alice = await add(directory)
    browser = await signed_in(directory, *Scope)
    path = f"/console/users/{alice.id}/delete"

    without_token = await browser.http.post(path, data={"name": "Alice"})
    with_a_wrong_token = await browser.http.post(path, data={"token": "guessed"})
    [token, *_] = re.findall(r'name="token" value="([^"]*)"', (await browser.see(f"/users/{alice.id}")).text)
    from_elsewhere = await browser.http.post(path, data={"token": token}, headers={"Origin": "https://evil.example"})

    assert {without_token.status_code, with_a_wrong_token.status_code, from_elsewhere.status_code} == {403}
    assert (await get(directory, alice.id)).deleted_at is None


async def test_actions_beyond_the_scopes_of_the_key_are_hidden_and_refused(directory: Directory) -> None:
    alice = await add(directory)
    reader = await signed_in(directory, Scope.USERS_READ)

    page = (await reader.see(f"/users/{alice.id}")).text
    assert "Delete" not in page
    assert "Edit" not in page
    assert "What happened" not in page
    assert "Keys" not in (await reader.see("/")).text
    assert (await reader.send(f"/users/{alice.id}/delete", on="/")).status_code == 403
    assert (await reader.see("/keys")).status_code == 403
    assert (await reader.see("/changes")).status_code == 403
    assert (await get(directory, alice.id)).deleted_at is None


async def test_a_person_is_added_found_and_edited_and_the_changes_name_the_actor(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)

    added = await browser.send(
        "/users/new", on="/users/new", name="Zoë", email="zoe@x.org", attributes='{"floor": 3}', status="active"
    )
    assert str(added.url) == "http://localhost/console/users/1"
    for text in ("zo", "ZOE@", "x.org"):
        assert "Zoë" in (await browser.see(f"/users?rows&q={text}")).text
    assert "Nobody matches" in (await browser.see("/users?rows&q=nobody")).text
    assert "Nobody matches" in (await browser.see("/users?rows&status=suspended")).text

    page = await browser.send(
        "/users/1/edit",
        on="/users/1/edit",
        version="1",
        name="Zoe",
        email="",
        attributes='{"desk": 1}',
        status="active",
    )
    assert str(page.url) == "http://localhost/console/users/1"
    user = await get(directory, 1)
    assert (user.name, user.email, user.attributes) == ("Zoe", None, {"desk": 1})
    assert "console:key:1" in page.text


async def test_a_refused_form_shows_the_error_beside_the_field_and_keeps_the_input(
    directory: Directory,
) -> None:
    await add(directory, email="taken@x.org")
    browser = await signed_in(directory, *Scope)

    taken = await browser.send("/users/new", on="/users/new", name="Bob", email="Taken@x.org")
    assert taken.status_code == 422
    assert 'id="email-fault"' in taken.text
    assert 'value="Taken@x.org"' in taken.text

    empty = await browser.send("/users/new", on="/users/new", name="")
    assert 'id="name-fault"' in empty.text
    no_json = await browser.send("/users/new", on="/users/new", name="Bob", attributes="{")
    assert 'id="attributes-fault"' in no_json.text
    no_object = await browser.send("/users/new", on="/users/new", name="Bob", attributes="[1]")
    assert 'id="attributes-fault"' in no_object.text
    no_status = await browser.send("/users/new", on="/users/new", name="Bob", status="gone")
    assert no_status.status_code == 422


async def test_an_edit_of_an_older_version_shows_both_versions_to_choose_from(directory: Directory) -> None:
    alice = await add(directory, email="old@x.org")
    browser = await signed_in(directory, *Scope)
    users = directory.container.users(RequestContext(actor="other", request_id="r2"))
    await users.patch(alice.id, {"email": "theirs@x.org"})

    met = await browser.send(
        f"/users/{alice.id}/edit", on=f"/users/{alice.id}/edit", version="1", name="Alice", email="mine@x.org"
    )

    assert met.status_code == 409
    assert "mine@x.org" in met.text
    assert "theirs@x.org" in met.text
    assert (await get(directory, alice.id)).email == "theirs@x.org"
    assert 'name="version" value="2"' in met.text  # to save again stores one's own


@pytest.mark.parametrize(("action", "field", "value"), [("suspend", "status", "suspended")])
async def test_a_person_is_suspended_and_activated(directory: Directory, action: str, field: str, value: str) -> None:
    alice = await add(directory)
    browser = await signed_in(directory, *Scope)
    on = f"/users/{alice.id}"
    await browser.send(f"{on}/{action}", on=on)
    assert getattr(await get(directory, alice.id), field) == value
    await browser.send(f"{on}/activate", on=on)
    assert (await get(directory, alice.id)).status == "active"


async def test_a_deleted_person_is_still_shown_and_can_be_restored(directory: Directory) -> None:
    alice = await add(directory, email="a@x.org")
    browser = await signed_in(directory, *Scope)
    on = f"/users/{alice.id}"

    assert "Restore" in (await browser.send(f"{on}/delete", on=on)).text
    await add(directory, name="Heir", email="a@x.org")
    taken = await browser.send(f"{on}/restore", on=on)
    assert taken.status_code == 409
    assert "E-mail: Another one has this value." in taken.text

    await directory.container.users(RequestContext(actor="t", request_id="r")).delete(2)
    assert "Suspend" in (await browser.send(f"{on}/restore", on=on)).text


async def test_a_person_is_erased_only_if_the_name_is_typed(directory: Directory) -> None:
    alice = await add(directory)
    browser = await signed_in(directory, *Scope)
    on = f"/users/{alice.id}"

    assert (await browser.send(f"{on}/erase", on=on, name="Bob")).status_code == 409
    assert (await browser.send(f"{on}/erase", on=on, name="Alice")).status_code == 200

    assert (await browser.see(on)).status_code == 404
    assert "Alice" not in (await browser.see("/changes")).text


async def test_a_change_can_be_undone(directory: Directory) -> None:
    alice = await add(directory, attributes={"floor": 1, "team": {"a": 1}})
    users = directory.container.users(RequestContext(actor="other", request_id="r2"))
    changed = await users.patch(alice.id, {"name": "Bad", "attributes": {"floor": None, "team": {"b": 2}, "x": 1}})
    await users.patch(alice.id, {"email": "later@x.org"})
    browser = await signed_in(directory, *Scope)

    await browser.send(f"/users/{alice.id}/undo", on=f"/users/{alice.id}", seq=str(changed.seq))

    back = await get(directory, alice.id)
    assert (back.name, back.attributes) == ("Alice", {"floor": 1, "team": {"a": 1}})
    assert back.email == "later@x.org"  # of another change


async def test_undoing_a_creation_is_refused(directory: Directory) -> None:
    alice = await add(directory)
    browser = await signed_in(directory, *Scope)
    on = f"/users/{alice.id}"
    for seq in ("1", "99", "x", ""):
        assert (await browser.send(f"{on}/undo", on=on, seq=seq)).status_code in (400, 404)
    assert (await browser.send(f"{on}/explode", on=on)).status_code == 400


@pytest.mark.parametrize("text", HOSTILE)
async def test_values_of_users_are_shown_as_text_only(directory: Directory, text: str) -> None:
    await add(directory, name=text, external_id=text, attributes={text: [text, {text: None}]})
    browser = await signed_in(directory, *Scope)

    for path in ("/users", "/users/1", "/users/1/edit", "/", f"/users?q={text.replace('&', '')}"):
        page = await browser.http.get("/console" + path)
        assert page.status_code == 200
        assert "<img" not in page.text
        assert "alert(1)</script>" not in page.text
    shown = (await browser.see("/users/1")).text
    assert unescape(re.findall(r"<h1><bdi>(.*?)</bdi>", shown)[0]) == text


async def test_every_page_loads_from_this_host_only_and_has_no_inline_script(directory: Directory) -> None:
    await add(directory)
    browser = await signed_in(directory, *Scope)
    paths = (
        "/",
        "/users",
        "/users/1",
        "/users/1/edit",
        "/users/new",
        "/changes",
        "/keys",
        "/webhooks",
        "/webhooks/new",
    )
    for path in (*paths, "/system", "/nowhere", "/sign-in"):
        page = await browser.see(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["referrer-policy"] == "same-origin"  # browsers send no origin with a form otherwise
        assert re.findall(r"<(?:script|style)[^>]*>[^<]", page.text) == []
        assert re.findall(r'\son\w+="', page.text) == []
        assert re.findall(r'(?:src|href)="(?!/console/|#|\?)[^"]*"', page.text) == [] or path in {"/", "/system"}
        assert re.findall(r'(?:src|href)="(?:https?:)?//', page.text) == []
    for asset in ("console.css", "console.js", "icon.svg"):
        assert (await browser.see(f"/assets/{asset}")).status_code == 200


async def test_lists_continue_by_cursor(directory: Directory) -> None:
    for number in range(60):
        await add(directory, name=f"P{number:03}")
    browser = await signed_in(directory, *Scope)
    first = (await browser.see("/users?sort=name")).text
    [more] = re.findall(r'rel="next" href="/console([^"]*)"', first)
    second = (await browser.see(unescape(more))).text
    assert "P000" in first
    assert "P059" in second
    assert "P000" not in second
    assert (await browser.see("/users?cursor=made-up")).status_code == 400
    assert (await browser.see("/users?sort=password")).status_code == 400


async def group_of(directory: Directory, name: str) -> int:
    groups = directory.container.groups(RequestContext(actor="hr", request_id="r1"))
    id: int = (await groups.create(NewGroup(name=name))).result.id
    return id


async def test_a_group_is_added_found_and_edited(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)

    added = await browser.send("/groups/new", on="/groups/new", name="Engineers", description="They build")
    assert str(added.url) == "http://localhost/console/groups/1"
    taken = await browser.send("/groups/new", on="/groups/new", name="ENGINEERS")
    assert taken.status_code == 422
    assert 'id="name-fault"' in taken.text

    assert "Engineers" in (await browser.see("/groups?rows&q=engin")).text
    assert "No group matches" in (await browser.see("/groups?rows&q=x")).text
    edited = await browser.send("/groups/1/edit", on="/groups/1/edit", version="1", name="Builders")
    assert "Builders" in edited.text
    stale = await browser.send("/groups/1/edit", on="/groups/1/edit", version="1", name="Late")
    assert stale.status_code == 409
    assert "Somebody changed this group" in stale.text

    await browser.send("/groups/1/delete", on="/groups/1")
    assert (await browser.see("/groups/1")).status_code == 410


async def test_people_are_searched_added_to_a_group_and_removed(directory: Directory) -> None:
    alice = await add(directory)
    group = await group_of(directory, "Engineers")
    browser = await signed_in(directory, *Scope)
    on = f"/groups/{group}"

    assert "Alice" in (await browser.see(f"{on}?add=ali")).text
    added = await browser.send(f"{on}/add", on=on, user=str(alice.id), role="lead")
    assert "Alice" in added.text
    assert "lead" in added.text
    assert "Nobody else matches" in (await browser.see(f"{on}?add=ali")).text
    assert "Engineers" in (await browser.see(f"/users/{alice.id}")).text

    assert "This group has no members" in (await browser.send(f"{on}/remove", on=on, user=str(alice.id))).text
    assert (await browser.send(f"{on}/add", on=on, user="99")).status_code == 404
    assert (await browser.send(f"{on}/explode", on=on)).status_code == 400


async def test_members_continue_by_cursor(directory: Directory) -> None:
    group = await group_of(directory, "All")
    people = [await add(directory, name=f"P{number:03}") for number in range(60)]
    memberships = directory.container.memberships(RequestContext(actor="hr", request_id="r1"))
    await memberships.change(group, add={user.id: {} for user in people})
    browser = await signed_in(directory, *Scope)

    first = (await browser.see(f"/groups/{group}")).text
    [more] = re.findall(r'<a href="(\?cursor=[^"]*)">', first)
    second = (await browser.see(f"/groups/{group}{unescape(more)}")).text
    assert "Members (60)" in first
    assert "P000" in first
    assert "P059" not in first
    assert "P059" in second
    assert "P000" not in second


async def test_groups_can_be_nested_in_other_groups_but_not_in_a_cycle(directory: Directory) -> None:
    alice = await add(directory)
    outer, inner = await group_of(directory, "All"), await group_of(directory, "Engineers")
    browser = await signed_in(directory, *Scope)
    await browser.send(f"/groups/{inner}/add", on=f"/groups/{inner}", user=str(alice.id))

    nested = await browser.send(f"/groups/{outer}/nest", on=f"/groups/{outer}", name="engineers")
    assert "Take out Engineers" in nested.text
    assert f'through <a href="/console/groups/{inner}">' in (await browser.see(f"/users/{alice.id}")).text

    circle = await browser.send(f"/groups/{inner}/nest", on=f"/groups/{inner}", name="All")
    assert circle.status_code == 409
    assert "a part of itself" in circle.text
    out = await browser.send(f"/groups/{outer}/unnest", on=f"/groups/{outer}", child=str(inner))
    assert "Take out" not in out.text


async def test_a_key_that_may_not_write_groups_can_only_read_them(directory: Directory) -> None:
    alice = await add(directory)
    group = await group_of(directory, "Engineers")
    reader = await signed_in(directory, Scope.GROUPS_READ)
    page = (await reader.see(f"/groups/{group}")).text
    assert "Delete" not in page
    assert "Add somebody" not in page
    assert (await reader.send(f"/groups/{group}/add", on="/", user=str(alice.id))).status_code == 403
    assert (await (await signed_in(directory, Scope.USERS_READ)).see("/groups")).status_code == 403


async def test_changes_are_filtered_paged_and_followed(directory: Directory) -> None:
    for number in range(60):
        await add(directory, name=f"P{number}")
    browser = await signed_in(directory, *Scope)

    page = (await browser.see("/changes")).text
    [older] = re.findall(r'href="(\?[^"]*before=[^"]*)">', page)
    assert "user 60" in page
    assert "user 1<" not in page
    assert "user 1<" in (await browser.see(f"/changes{unescape(older)}")).text
    assert "No change matches" in (await browser.see("/changes?action=purged")).text
    assert (await browser.see("/changes?before=x")).status_code == 404
    times = f"since={directory.time.now:%Y-%m-%dT%H:%M}&until={directory.time.now + timedelta(days=1):%Y-%m-%dT%H:%M}"
    assert "user 60" in (await browser.see(f"/changes?{times}")).text
    assert "No change matches" in (await browser.see("/changes?until=2020-01-01T00:00")).text
    assert (await browser.see("/changes?since=yesterday")).status_code == 400

    new = await browser.see("/changes/new?after=59&kind=user")
    assert "<bdi>P59</bdi>" in new.text
    assert new.headers["Roster-Seq"] >= "60"
    assert "user 60" in new.text


async def test_changes_show_names_of_people_and_keys_that_the_session_may_read(directory: Directory) -> None:
    alice = await add(directory)
    browser = await signed_in(directory, *Scope)
    group = (
        await directory.container.groups(RequestContext(actor="t", request_id="r")).create(NewGroup(name="G"))
    ).result
    members = directory.container.memberships(RequestContext(actor="key:1", request_id="r"))
    await members.put(group.id, alice.id)
    page = (await browser.see("/changes?kind=membership")).text
    assert f'/users/{alice.id}">user {alice.id}</a> <bdi>Alice</bdi>' in page
    assert f'/groups/{group.id}">group {group.id}</a>' in page
    assert '<bdi>key:1</bdi> <bdi class="quiet">n</bdi>' in page
    reader = await signed_in(directory, Scope.CHANGES_READ)
    page = (await reader.see("/changes?kind=membership")).text
    assert "Alice" not in page
    assert '<bdi class="quiet">' not in page


async def test_a_key_is_created_shown_once_rotated_and_revoked(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)

    created = await browser.send(
        "/keys", on="/keys", name="sync", lifetime="30", **{"scope users:read": "on", "scope users:write": "on"}
    )
    [secret] = re.findall(r'<code id="secret">([^<]*)<', created.text)
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 200
    assert secret not in (await browser.see("/keys")).text

    rotated = await browser.send("/keys/2/rotate", on="/keys", overlap="24")
    [newer] = re.findall(r'<code id="secret">([^<]*)<', rotated.text)
    assert (await directory.ask("GET", "/users/", key=secret)).status_code == 200
    rotated = await browser.send("/keys/2/rotate", on="/keys", overlap="0")
    assert (await directory.ask("GET", "/users/", key=newer)).status_code == 401
    [newer] = re.findall(r'<code id="secret">([^<]*)<', rotated.text)
    await browser.send("/keys/2/revoke", on="/keys")
    assert (await directory.ask("GET", "/users/", key=newer)).status_code == 401

    last = await browser.send("/keys/1/revoke", on="/keys")
    assert last.status_code == 409
    assert "last key" in last.text


async def test_a_key_cannot_grant_more_than_it_has(directory: Directory) -> None:
    browser = await signed_in(directory, Scope.KEYS_ADMIN)
    refused = await browser.send("/keys", on="/keys", name="more", **{"scope users:read": "on"})
    assert refused.status_code == 422
    assert "cannot grant" in refused.text


async def test_a_body_that_is_not_a_form_is_refused(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    as_json = await browser.http.post("/console/users/new", json={"name": "x"})
    huge = await browser.http.post("/console/users/new", data={"name": "x" * 70_000})
    form = {"content-type": "application/x-www-form-urlencoded"}
    no_text = await browser.http.post("/console/users/new", content=b"name=%ff", headers=form)
    assert {as_json.status_code, huge.status_code, no_text.status_code} == {400}


@pytest.mark.parametrize("path", ["/users/0", "/users/x", "/users/99", "/users/9999999999999999999", "/nowhere"])
async def test_an_unknown_page_is_a_404_with_the_request_id(directory: Directory, path: str) -> None:
    browser = await signed_in(directory, *Scope)
    page = await browser.see(path)
    assert page.status_code == 404
    assert page.headers["x-request-id"] in page.text


async def test_the_console_can_be_switched_off(directory_with: Callable[..., Directory]) -> None:
    assert (await directory_with(console=False).ask("GET", "/console/")).status_code == 404
