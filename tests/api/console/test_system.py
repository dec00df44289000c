"""The system page and the first page of the console over HTTP."""

import pytest
from dependency_injector import providers
from tests.api.conftest import Directory
from tests.api.console.conftest import add, signed_in

from api.checks import Checks
from domain.findings import Finding, Level
from domain.keys import Scope
from domain.work import RequestContext

BAD = Finding("disk", Level.WARN, "1 MiB free", "make room")


async def test_the_system_page_shows_settings_with_their_origin_and_no_secret(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await signed_in(directory, *Scope)
    page = (await browser.see("/system")).text
    assert "ROSTER_DATABASE_URL" in page
    assert "ROSTER_BOOTSTRAP_KEY" in page
    assert 'href="/metrics"' in page
    assert 'href="/docs"' in page
    assert "default" in page
    for scopes in ((Scope.USERS_READ,), tuple(set(Scope) - {Scope.KEYS_ADMIN})):
        assert (await (await signed_in(directory, *scopes)).see("/system")).status_code == 403


async def test_the_first_page_shows_problems_to_those_who_can_fix_them(directory: Directory) -> None:
    async def look() -> list[Finding]:
        return [BAD, Finding("pages", Level.OK, "no damage")]

    directory.app.state.checks = Checks(look)
    page = (await (await signed_in(directory, *Scope)).see("/")).text
    assert "1 MiB free" in page
    assert "no damage" not in page
    assert "1 MiB free" not in (await (await signed_in(directory, Scope.USERS_READ)).see("/")).text


async def test_the_checks_are_repeated_after_ten_minutes(directory: Directory) -> None:
    looks = []

    async def look() -> list[Finding]:
        looks.append(1)
        return [BAD]

    checks = Checks(look, directory.time.monotonic)
    assert await checks.warnings() == await checks.warnings() == [BAD]
    assert len(looks) == 1
    directory.time.pass_by(600)
    await checks.warnings()
    assert len(looks) == 2


async def test_the_first_page_shows_counts_and_activity(directory: Directory) -> None:
    directory.container.clock.override(providers.Object(directory.time.clock))
    alice = await add(directory)
    await add(directory, name="Bob")
    await directory.container.users(RequestContext(actor="t", request_id="r")).patch(alice.id, {"status": "suspended"})
    browser = await signed_in(directory, *Scope)
    page = (await browser.see("/")).text
    figures = page.partition('<dl class="figures">')[2].partition("</dl>")[0]
    assert [each.partition("<svg")[0] for each in figures.split("<dd>")[1:]] == ["2", "1", "2", "0"]
    assert page.count("<polyline") == 4
    assert "95 of 100 were answered within" in page
    reader = (await (await signed_in(directory, Scope.USERS_READ)).see("/")).text
    assert "Changes per day" not in reader
    assert "Groups" not in reader
