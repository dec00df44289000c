"""Clients that try wrong keys are slowed down, and no others."""

from typing import TYPE_CHECKING

import pytest

import api.web.access
from api.web.access import MAX_ADDRESSES, MAX_FAILURES, WINDOW_S, Failures
from domain.keys import Scope, TooManyFailures, write_secret

if TYPE_CHECKING:
    from tests.api.conftest import Directory
    from tests.conftest import MovedTime

WRONG = write_secret(1, "w" * 32)


async def fail(directory: "Directory", address: str, times: int = MAX_FAILURES) -> None:
    for _ in range(times):
        refused = await directory.ask("GET", "/users/", key=WRONG, address=address)
        assert refused.status_code == 401


async def status(directory: "Directory", address: str) -> int:
    return (await directory.ask("GET", "/users/", key=WRONG, address=address)).status_code


async def test_after_twenty_wrong_keys_in_a_minute_an_address_gets_a_429(directory: "Directory") -> None:
    assert (MAX_FAILURES, WINDOW_S) == (20, 60)
    await fail(directory, "192.0.2.1")

    refused = await directory.ask("GET", "/users/", key=WRONG, address="192.0.2.1")

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_failures")
    assert 1 <= int(refused.headers["retry-after"]) <= WINDOW_S
    assert refused.headers["content-type"] == "application/problem+json"


async def test_every_kind_of_wrong_key_counts(directory: "Directory") -> None:
    for number in range(MAX_FAILURES):
        kinds = [{"authorization": f"Bearer {WRONG}"}, {"authorization": "Basic x"}, {"authorization": ""}]
        headers = kinds[number % len(kinds)]
        assert (await directory.ask("GET", "/users/", headers=headers)).status_code == 401

    assert (await directory.ask("GET", "/users/", headers={"authorization": "x"})).status_code == 429


async def test_a_valid_key_from_a_refused_address_is_accepted(directory: "Directory") -> None:
    _, used = await directory.key(Scope.USERS_READ)
    _, unused = await directory.key(Scope.USERS_READ)
    await directory.ask("GET", "/users/", key=used, address="192.0.2.1")
    await fail(directory, "192.0.2.1")
    assert await status(directory, "192.0.2.1") == 429

    for secret in (used, unused, used):
        assert (await directory.ask("GET", "/users/", key=secret, address="192.0.2.1")).status_code == 200
    assert await status(directory, "192.0.2.1") == 429


async def test_a_request_without_a_key_does_not_count_as_a_wrong_key(directory: "Directory") -> None:
    await directory.key(Scope.USERS_READ)
    for _ in range(MAX_FAILURES + 1):
        assert (await directory.ask("GET", "/users/")).status_code == 401

    assert await status(directory, "127.0.0.1") == 401


async def test_a_valid_key_without_the_scope_does_not_count_as_wrong(directory: "Directory") -> None:
    _, secret = await directory.key(Scope.CHANGES_READ)
    for _ in range(MAX_FAILURES + 1):
        assert (await directory.ask("GET", "/users/", key=secret)).status_code == 403


async def test_other_addresses_are_not_slowed_down(directory: "Directory") -> None:
    await fail(directory, "192.0.2.1")

    assert await status(directory, "192.0.2.1") == 429
    assert await status(directory, "192.0.2.2") == 401


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("/run/roster.sock", "/run/roster.sock", True),
    ],
)
async def test_all_addresses_of_a_network_count_as_one_client(
    directory: "Directory", one: str, other: str, together: bool
) -> None:
    await fail(directory, one)

    assert await status(directory, other) == (429 if together else 401)


async def test_the_wait_ends_with_its_window(directory: "Directory") -> None:
    await fail(directory, "192.0.2.1", MAX_FAILURES - 1)
    directory.time.pass_by(WINDOW_S - 1)
    await fail(directory, "192.0.2.1", 1)
    assert await status(directory, "192.0.2.1") == 429

    directory.time.pass_by(1)

    await fail(directory, "192.0.2.1")
    assert await status(directory, "192.0.2.1") == 429


def test_the_number_of_counted_addresses_is_bounded(time: "MovedTime", monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ADDRESSES <= 10_000
    monkeypatch.setattr(api.web.access, "MAX_ADDRESSES", 3)
    failures = Failures(time.monotonic)
    for _ in range(MAX_FAILURES):
        failures.note("busy")
        for number in range(2):
            failures.note(f"address {number}")

    failures.note("a fourth")

    assert len(failures._counts) == 3
    with pytest.raises(TooManyFailures):
        failures.note("address 1")


async def test_two_apps_in_one_process_count_separately(directory: "Directory") -> None:
    await fail(directory, "192.0.2.1")
    other = type(directory)(directory.time)

    assert await status(other, "192.0.2.1") == 401
