"""Authentication: a key is cached for seconds, never longer than it is valid, and never for a wrong secret."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import FrozenInstanceError
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

import services.authentication
from domain.errors import Busy, Refusal
from domain.keys import NewKey, Scope, Unauthenticated, write_secret
from domain.work import RequestContext
from repositories.fake import MemoryUnitOfWork, MemoryUnitsOfWork
from repositories.stores import MemoryReadStores
from services.authentication import MAX_REMEMBERED, NOT_VALID, REMEMBERED_FOR_S, TOUCHED_EVERY, Authenticator
from services.keys import KeyService

if TYPE_CHECKING:
    from tests.conftest import MovedTime

ADMIN = NewKey(name="admin", scopes=(Scope.KEYS_ADMIN,))
WITHIN_S = 5
"""The promise to every other process."""


class CountedUnits(MemoryUnitsOfWork):
    """Counts its units of work. It can hold each read at its end, and can refuse to write."""

    def __init__(self, time: "MovedTime") -> None:
        super().__init__(time.clock)
        self.reads = 0
        self.writes = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.held = asyncio.Event()
        self.refusal: Refusal | None = None
        self.refuses_writes: Refusal | None = None

    def hold_reads(self) -> None:
        self.go_on.clear()
        self.held.clear()

    async def until_held(self) -> None:
        async with asyncio.timeout(30):
            await self.held.wait()

    @asynccontextmanager
    async def reading(self, context: RequestContext | None = None) -> AsyncIterator[MemoryReadStores]:
        self.reads += 1
        if self.refusal:
            raise self.refusal
        async with super().reading(context) as work:
            yield work
            self.held.set()
            await self.go_on.wait()

    @asynccontextmanager
    async def writing(self, context: RequestContext) -> AsyncIterator[MemoryUnitOfWork]:
        self.writes += 1
        if self.refuses_writes:
            raise self.refuses_writes
        async with super().writing(context) as work:
            yield work


@pytest.fixture
def units(time: "MovedTime") -> CountedUnits:
    return CountedUnits(time)


def access_to(units: MemoryUnitsOfWork, time: "MovedTime") -> Authenticator:
    return Authenticator(units, time.monotonic, time.clock)


@pytest.fixture
def access(units: CountedUnits, time: "MovedTime") -> Authenticator:
    return access_to(units, time)


def service(units: MemoryUnitsOfWork, access: Authenticator) -> KeyService:
    numbers = count()
    return KeyService(
        units, lambda: f"{next(numbers):032}", access.forget, RequestContext(actor="tester", request_id="r1")
    )


@pytest.fixture
def keys(units: CountedUnits, access: Authenticator) -> KeyService:
    """The service of the same process."""
    return service(units, access)


@pytest.fixture
def elsewhere(units: CountedUnits, time: "MovedTime") -> KeyService:
    """The service of another process on the same directory."""
    return service(units, access_to(units, time))


async def refused(access: Authenticator, secret: str) -> bool:
    try:
        await access.authenticate(secret)
    except Unauthenticated as error:
        return error.detail == NOT_VALID
    return False


def units_of(units: CountedUnits) -> int:
    return units.reads + units.writes


async def test_a_cached_key_needs_no_unit_of_work(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)
    before = units_of(units)

    for _ in range(100):
        assert (await access.authenticate(secret)).id == key.id
        time.pass_by(REMEMBERED_FOR_S / 101)

    assert units_of(units) == before


async def test_a_cached_key_is_looked_up_again_after_its_time(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    _, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)
    before = units_of(units)

    time.pass_by(REMEMBERED_FOR_S)
    await access.authenticate(secret)

    assert units_of(units) == before + 1
    assert REMEMBERED_FOR_S < WITHIN_S


async def test_a_revocation_takes_effect_at_once_in_the_same_process(access: Authenticator, keys: KeyService) -> None:
    key, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)

    await keys.revoke(key.id, force=True)

    assert await refused(access, secret)


async def test_a_revocation_takes_effect_in_other_processes_within_five_seconds(
    access: Authenticator, keys: KeyService, elsewhere: KeyService, time: "MovedTime"
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)

    await elsewhere.revoke(key.id, force=True)

    assert not await refused(access, secret)  # it cannot know yet: so much for the probe
    time.pass_by(WITHIN_S)
    assert await refused(access, secret)


async def test_the_time_in_the_cache_counts_from_the_begin_of_the_lookup(
    units: CountedUnits, access: Authenticator, keys: KeyService, elsewhere: KeyService, time: "MovedTime"
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    units.hold_reads()
    look = asyncio.create_task(access.authenticate(secret))
    await units.until_held()
    time.pass_by(3)  # a slow database: what was read is old when it arrives
    units.go_on.set()
    await look

    await elsewhere.revoke(key.id, force=True)

    time.pass_by(WITHIN_S - 3)
    assert await refused(access, secret)


async def test_a_key_that_is_revoked_during_its_lookup_is_not_cached(
    units: CountedUnits, access: Authenticator, keys: KeyService
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    units.hold_reads()
    look = asyncio.create_task(access.authenticate(secret))
    await units.until_held()

    await keys.revoke(key.id, force=True)
    units.go_on.set()
    await look  # it came before

    assert await refused(access, secret)


async def test_a_cached_key_is_refused_when_it_expires(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    new = NewKey(name="short", scopes=(Scope.USERS_READ,), expires_at=time.now + timedelta(seconds=2))
    _, secret = (await keys.create(new)).result
    time.pass_by(1.9)
    await access.authenticate(secret)

    time.pass_by(0.1)

    assert await refused(access, secret)
    time.pass_by(60)
    assert await refused(access, secret)


async def test_the_new_secret_of_a_rotation_in_another_process_is_accepted_at_once(
    access: Authenticator, keys: KeyService, elsewhere: KeyService
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)
    _, newer = (await elsewhere.rotate(key.id)).result

    assert (await access.authenticate(newer)).id == key.id


async def test_a_wrong_secret_is_never_cached(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)
    before = units.reads

    for number in range(50):
        assert await refused(access, write_secret(key.id, f"w{number:031}"))
        assert await refused(access, write_secret(number + 2, "w" * 32))
        assert await refused(access, f"garbage {number}")

    assert len(access._remembered) == 1
    assert units.reads == before + 100
    await access.authenticate(secret)
    assert units.reads == before + 100  # the good one was not displaced


async def test_the_cache_of_keys_is_bounded(
    units: CountedUnits, access: Authenticator, keys: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_REMEMBERED <= 10_000
    monkeypatch.setattr(services.authentication, "MAX_REMEMBERED", 3)
    secrets = [((await keys.create(ADMIN)).result)[1] for _ in range(6)]

    for secret in secrets:
        await access.authenticate(secret)

    assert len(access._remembered) == len(access._touched_at) == 3
    before = units.reads
    for secret in secrets[3:]:
        await access.authenticate(secret)
    assert units.reads == before
    await access.authenticate(secrets[0])
    assert units.reads == before + 1


async def test_a_key_that_was_looked_up_again_is_not_the_next_to_leave_the_cache(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.authentication, "MAX_REMEMBERED", 2)
    first, second, third = [(await keys.create(ADMIN)).result[1] for _ in range(3)]
    await access.authenticate(first)
    time.pass_by(1)
    await access.authenticate(second)
    time.pass_by(REMEMBERED_FOR_S - 1)
    await access.authenticate(first)  # looked up again, while the second one is cached
    await access.authenticate(third)
    before = units.reads

    await access.authenticate(first)
    await access.authenticate(third)

    assert units.reads == before


async def test_a_refused_key_is_removed_from_the_cache(
    access: Authenticator, keys: KeyService, elsewhere: KeyService, time: "MovedTime"
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)
    await elsewhere.revoke(key.id, force=True)
    time.pass_by(WITHIN_S)

    assert await refused(access, secret)

    assert access._remembered == {}


async def test_cached_keys_are_immutable(access: Authenticator, keys: KeyService) -> None:
    _, secret = (await keys.create(ADMIN)).result
    await access.authenticate(secret)
    [remembered] = access._remembered.values()
    with pytest.raises(FrozenInstanceError):
        remembered.until = 0  # type: ignore[misc]
    assert not hasattr(remembered, "__dict__")  # there may be thousands


WRONG = {
    "an unknown id": write_secret(7, "w" * 32),
    "a wrong secret": write_secret(1, "w" * 32),
    "a wrong secret of a key in rotation": write_secret(2, "w" * 32),
    "a wrong secret of a revoked key": write_secret(3, "w" * 32),
    "a wrong secret of an expired key": write_secret(4, "w" * 32),
}


async def test_every_wrong_secret_is_checked_by_the_same_code_path(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime", monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    compare_digest = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare_digest(one, other)

    for _ in range(3):
        await keys.create(ADMIN)
    expiring = NewKey(name="short", scopes=(Scope.USERS_READ,), expires_at=time.now + timedelta(seconds=1))
    await keys.create(expiring)
    await keys.rotate(2)
    await keys.revoke(3)
    time.pass_by(1)
    monkeypatch.setattr("services.authentication.hmac.compare_digest", compare)

    costs = {}
    for name, secret in WRONG.items():
        units.reads, units.writes, compared[:] = 0, 0, []
        assert await refused(access, secret)
        costs[name] = (units.reads, units.writes, list(compared))

    assert costs == dict.fromkeys(WRONG, (1, 0, [(32, 32)] * 2))


@pytest.mark.parametrize("secret", ["", "x", "rk_1_short", write_secret(1, "w" * 32)[:-1] + "!", "ä" * 100])
async def test_a_malformed_secret_costs_no_query(units: CountedUnits, access: Authenticator, secret: str) -> None:
    assert await refused(access, secret)
    assert units_of(units) == 0


async def test_a_key_without_a_secret_accepts_no_secret(units: CountedUnits, access: Authenticator) -> None:
    async with units.writing(RequestContext(actor="tester", request_id="r1")) as work:
        key = await work.keys.add(ADMIN)
        await work.commit(None)

    assert await refused(access, write_secret(key.id, "0" * 32))


async def test_last_used_at_is_updated_at_most_once_a_minute(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    created = units.writes
    first_used_at = time.now

    for _ in range(int(TOUCHED_EVERY.total_seconds() / 5)):
        await access.authenticate(secret)
        assert units.writes == created + 1
        time.pass_by(5)
    assert (await keys.get(key.id)).last_used_at == first_used_at
    await access.authenticate(secret)
    assert units.writes == created + 2
    assert (await keys.get(key.id)).last_used_at == time.now


async def test_a_refused_request_does_not_update_last_used_at(
    units: CountedUnits, access: Authenticator, keys: KeyService
) -> None:
    key, _ = (await keys.create(ADMIN)).result

    await refused(access, write_secret(key.id, "w" * 32))

    assert (await keys.get(key.id)).last_used_at is None


@pytest.mark.parametrize("refusal", [Busy("Too much is going on."), Unauthenticated("whatever")])
async def test_a_failed_update_of_last_used_at_refuses_nobody_and_is_not_retried_each_time(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime", refusal: Refusal
) -> None:
    key, secret = (await keys.create(ADMIN)).result
    units.refuses_writes, units.writes = refusal, 0

    for _ in range(5):
        assert (await access.authenticate(secret)).id == key.id
        time.pass_by(REMEMBERED_FOR_S)
    assert units.writes == 1
    units.refuses_writes = None
    time.pass_by(TOUCHED_EVERY.total_seconds())
    await access.authenticate(secret)
    assert (await keys.get(key.id)).last_used_at == time.now


async def test_the_most_recent_failed_updates_of_last_used_at_are_not_retried_at_once(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.authentication, "MAX_REMEMBERED", 2)
    secrets = [(await keys.create(ADMIN)).result[1] for _ in range(3)]
    units.refuses_writes, units.writes = Busy("Too much is going on."), 0
    for secret in secrets:
        await access.authenticate(secret)
    assert units.writes == 3

    time.pass_by(REMEMBERED_FOR_S)
    for secret in secrets[1:]:
        await access.authenticate(secret)
    assert units.writes == 3
    await access.authenticate(secrets[0])
    assert units.writes == 4


async def test_many_first_uses_at_once_update_last_used_at_once(
    units: CountedUnits, access: Authenticator, keys: KeyService
) -> None:
    _, secret = (await keys.create(ADMIN)).result
    units.writes = 0

    await asyncio.gather(*(access.authenticate(secret) for _ in range(10)))

    assert units.writes == 1


async def test_no_request_needs_a_key_until_a_key_exists(access: Authenticator, keys: KeyService) -> None:
    assert not await access.needs_key()

    await keys.create(ADMIN)

    assert await access.needs_key()  # at once, in this process


async def test_a_first_key_that_another_process_creates_is_required_within_five_seconds(
    access: Authenticator, elsewhere: KeyService, time: "MovedTime"
) -> None:
    assert not await access.needs_key()

    await elsewhere.create(ADMIN)

    assert not await access.needs_key()
    time.pass_by(WITHIN_S)
    assert await access.needs_key()


async def test_the_check_whether_a_key_is_required_is_repeated_after_its_time(
    units: CountedUnits, access: Authenticator, elsewhere: KeyService, time: "MovedTime"
) -> None:
    assert not await access.needs_key()
    await elsewhere.create(ADMIN)
    units.reads = 0

    time.pass_by(REMEMBERED_FOR_S - 0.001)
    assert not await access.needs_key()
    assert units.reads == 0
    time.pass_by(0.001)
    assert await access.needs_key()
    assert units.reads == 1


async def test_a_key_is_still_required_after_the_last_one_is_revoked(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    key, _ = (await keys.create(ADMIN)).result
    assert await access.needs_key()
    await keys.revoke(key.id, force=True)

    time.pass_by(3600)

    assert await access.needs_key()
    assert await access_to(units, time).needs_key()


async def test_the_check_whether_a_key_is_required_is_cached(
    units: CountedUnits, access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    await access.needs_key()
    await access.needs_key()
    assert units.reads == 1
    await keys.create(ADMIN)
    for _ in range(5):
        assert await access.needs_key()
        time.pass_by(WITHIN_S)
    assert units.reads == 2


async def test_concurrent_lookups_all_get_the_answer_that_a_key_is_required(
    units: CountedUnits, access: Authenticator, keys: KeyService
) -> None:
    await keys.create(ADMIN)
    units.hold_reads()
    answers = [asyncio.create_task(access.needs_key()) for _ in range(3)]
    await units.until_held()
    units.go_on.set()

    assert await asyncio.gather(*answers) == [True] * 3


async def test_a_failed_lookup_admits_nobody_without_a_key(
    units: CountedUnits, access: Authenticator, keys: KeyService
) -> None:
    await keys.create(ADMIN)
    units.refusal = Busy("Too much is going on.")
    with pytest.raises(Busy):
        await access.needs_key()
    units.refusal = None

    assert await access.needs_key()


@pytest.fixture
async def early(units: CountedUnits, access: Authenticator, keys: KeyService) -> "asyncio.Task[bool]":
    """A lookup that began before the first key was created, and is held."""
    units.hold_reads()
    look = asyncio.create_task(access.needs_key())
    await units.until_held()
    await keys.create(ADMIN)
    return look


async def test_a_lookup_that_began_before_the_first_key_admits_nobody_after_it(
    units: CountedUnits, access: Authenticator, early: "asyncio.Task[bool]"
) -> None:
    units.go_on.set()
    assert not await early  # it came before

    assert await access.needs_key()


async def test_a_slow_earlier_lookup_does_not_overwrite_that_a_key_is_required(
    units: CountedUnits, access: Authenticator, early: "asyncio.Task[bool]"
) -> None:
    gate, units.go_on = units.go_on, asyncio.Event()
    units.go_on.set()
    assert await access.needs_key()
    gate.set()
    await early

    assert await access.needs_key()


async def test_a_session_finds_its_key_while_the_key_is_valid(
    access: Authenticator, keys: KeyService, time: "MovedTime"
) -> None:
    admin, _ = (await keys.create(ADMIN)).result
    expiring = NewKey(name="guest", scopes=(Scope.USERS_READ,), expires_at=time.clock() + timedelta(hours=1))
    guest, _ = (await keys.create(expiring)).result
    revoked, _ = (await keys.create(ADMIN)).result
    await keys.revoke(revoked.id)

    assert (await access.current(admin.id)).name == "admin"
    assert (await access.current(guest.id)).name == "guest"
    time.pass_by(3600)
    for ended in (guest.id, revoked.id, 99):
        with pytest.raises(Unauthenticated, match=NOT_VALID):
            await access.current(ended)
