"""Links that sign in to the console, once."""

import pytest
from tests.api.conftest import Directory
from tests.api.console.conftest import Browser

from domain.errors import Invalid
from domain.keys import Forbidden, Scope
from domain.work import RequestContext


async def link(directory: Directory, key: int | None, *held: Scope) -> str:
    context = RequestContext(actor="cli:root", request_id="r1", scopes=held or None)
    token: str = (await directory.container.keys(context).link(key)).result
    return token


async def follow(browser: Browser, token: str, status: int = 200) -> None:
    seen = await browser.see(f"/link/{token}")
    assert token in seen.text  # to look at it does not use it up
    answer = await browser.http.post("/console/link", data={"link": token})
    assert answer.status_code == status
    assert status == 200 or "This link is not valid" in answer.text


async def test_a_link_signs_in_as_its_key_once(directory: Directory) -> None:
    key, _ = await directory.key(Scope.USERS_READ, Scope.USERS_WRITE, Scope.CHANGES_READ)
    token, browser = await link(directory, key.id), Browser(directory)

    await follow(browser, token)
    added = await browser.send("/users/new", on="/users/new", name="Ada", status="active")
    assert f"console:key:{key.id}" in added.text
    assert (await browser.see("/keys")).status_code == 403

    await follow(Browser(directory), token, 401)


async def test_a_link_ends_after_half_an_hour(directory: Directory) -> None:
    key, _ = await directory.key(*Scope)
    early, late = await link(directory, key.id), await link(directory, key.id)
    directory.time.pass_by(30 * 60 - 1)
    await follow(Browser(directory), early)
    directory.time.pass_by(1)
    await follow(Browser(directory), late, 401)


async def test_a_link_and_its_session_end_with_the_key(directory: Directory) -> None:
    await directory.key(*Scope)
    key, _ = await directory.key(*Scope)
    one, other, browser = await link(directory, key.id), await link(directory, key.id), Browser(directory)
    await follow(browser, one)
    await directory.revoke(key)
    assert "sign-in" in str((await browser.see("/users")).url)
    await follow(Browser(directory), other, 401)


async def test_without_keys_a_link_works_on_this_machine_until_a_key_exists(directory: Directory) -> None:
    one, other, browser = await link(directory, None), await link(directory, None), Browser(directory)
    await follow(browser, one)
    assert (await browser.see("/users")).status_code == 200
    await directory.key(*Scope)
    assert "sign-in" in str((await browser.see("/users")).url)
    await follow(Browser(directory), other, 401)


async def test_wrong_links_are_limited_as_wrong_keys_are(directory: Directory) -> None:
    browser = Browser(directory)
    answers = [await browser.http.post("/console/link", data={"link": "wrong"}) for _ in range(22)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429


async def test_another_site_cannot_follow_a_link(directory: Directory) -> None:
    key, _ = await directory.key(*Scope)
    token, browser = await link(directory, key.id), Browser(directory)
    sent = await browser.http.post("/console/link", data={"link": token}, headers={"Origin": "https://evil.example"})
    assert sent.status_code == 403
    await follow(browser, token)


async def test_a_link_cannot_have_a_scope_that_its_creator_lacks(directory: Directory) -> None:
    key, _ = await directory.key(*Scope)
    with pytest.raises(Forbidden):
        await link(directory, key.id, Scope.KEYS_ADMIN)
    with pytest.raises(Invalid):
        await link(directory, None)
