"""What can be done with keys, by whom, and when a secret is valid."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

from domain.errors import Busy, Conflict, Invalid, NotFound
from domain.keys import (
    FIRST_ID,
    Forbidden,
    LastAdminKey,
    NewKey,
    Scope,
    Unauthenticated,
    id_in,
    write_secret,
)
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from repositories.memory.keys import MemoryKeys
from services.authentication import Authenticator
from services.keys import DEFAULT_OVERLAP, MAX_OVERLAP, KeyService

if TYPE_CHECKING:
    from tests.conftest import MovedTime

ADMIN = NewKey(name="admin", scopes=(Scope.KEYS_ADMIN,))
READER = NewKey(name="reader", scopes=(Scope.USERS_READ,))


@pytest.fixture
def units(time: "MovedTime") -> MemoryUnitsOfWork:
    return MemoryUnitsOfWork(time.clock)


@pytest.fixture
def access(units: MemoryUnitsOfWork, time: "MovedTime") -> Authenticator:
    return Authenticator(units, time.monotonic, time.clock)


def randoms() -> Iterator[str]:
    return (f"{number:032}" for number in count())


@pytest.fixture
def keys(units: MemoryUnitsOfWork, access: Authenticator, context: RequestContext) -> KeyService:
    numbers = randoms()
    return KeyService(units, lambda: next(numbers), access.forget, context)


def held_by(keys: KeyService, *scopes: Scope) -> KeyService:
    """The same service, called by a key with these scopes."""
    caller = RequestContext(actor="key:9", request_id="r2", scopes=scopes)
    return KeyService(keys.units, keys._randomness, keys._forget, caller)


async def test_a_created_key_accepts_its_secret(keys: KeyService, access: Authenticator) -> None:
    key, secret = (await keys.create(READER)).result

    assert id_in(secret) == key.id
    assert (await access.authenticate(secret)).id == key.id
    assert (await keys.get(key.id)).scopes == (Scope.USERS_READ,)


async def test_no_two_keys_have_the_same_secret(keys: KeyService) -> None:
    assert len({((await keys.create(READER)).result)[1] for _ in range(3)}) == 3


async def test_only_the_answer_has_the_secret(keys: KeyService, units: MemoryUnitsOfWork) -> None:
    key, secret = (await keys.create(READER)).result
    random = secret.split("_")[2]

    async with units.reading() as work:
        shown = [repr(await work.keys.digests(key.id)), repr(await work.changes.list(limit=9)), repr(key)]
    assert [each for each in shown if random[:32] in each or "rk_" in each] == []


async def test_an_expired_key_cannot_be_created(keys: KeyService, time: "MovedTime") -> None:
    with pytest.raises(Invalid):
        await keys.create(NewKey(name="late", scopes=(Scope.USERS_READ,), expires_at=time.now))

    assert (await keys.list(limit=9)).items == []


def refusal_to_grant(scope: Scope) -> str:
    """The refusal for a caller that has every scope except this one."""
    if scope is Scope.KEYS_ADMIN:
        return "This needs the scope keys:admin."
    return f"A key cannot grant a scope that it does not hold: {scope}."


async def test_a_refusal_names_all_scopes_that_cannot_be_granted(keys: KeyService) -> None:
    scopes = (Scope.USERS_READ, Scope.USERS_WRITE, Scope.KEYS_ADMIN)
    with pytest.raises(Forbidden, match=r"does not hold: users:read, users:write\.$"):
        await held_by(keys, Scope.KEYS_ADMIN).create(NewKey(name="more", scopes=scopes))


@pytest.mark.parametrize("scope", Scope)
async def test_a_key_cannot_grant_a_scope_that_it_lacks(keys: KeyService, scope: Scope) -> None:
    others = held_by(keys, *set(Scope) - {scope})

    with pytest.raises(Forbidden) as refused:
        await others.create(NewKey(name="more", scopes=(Scope.KEYS_ADMIN, scope)))
    assert refused.value.detail == refusal_to_grant(scope)
    assert (await keys.list(limit=9)).items == []
    created, _ = (await held_by(keys, scope, Scope.KEYS_ADMIN).create(NewKey(name="same", scopes=(scope,)))).result
    assert created.scopes == (scope,)


@pytest.mark.parametrize("scope", Scope)
async def test_a_key_cannot_rotate_one_that_has_more_scopes(
    keys: KeyService, access: Authenticator, scope: Scope
) -> None:
    key, secret = (await keys.create(NewKey(name="other", scopes=(scope,)))).result

    with pytest.raises(Forbidden) as refused:
        await held_by(keys, *set(Scope) - {scope}).rotate(key.id)
    assert refused.value.detail == refusal_to_grant(scope)
    assert (await access.authenticate(secret)).rotated_at is None
    _, newer = (await held_by(keys, scope, Scope.KEYS_ADMIN).rotate(key.id)).result
    assert (await access.authenticate(newer)).id == key.id


async def test_both_secrets_are_valid_during_the_overlap(
    keys: KeyService, access: Authenticator, time: "MovedTime"
) -> None:
    key, before = (await keys.create(READER)).result
    rotated, after = (await keys.rotate(key.id, overlap=timedelta(minutes=10))).result

    assert rotated.rotated_at == time.now
    assert before != after
    time.pass_by(599)
    for secret in (before, after):
        assert (await access.authenticate(secret)).id == key.id
    time.pass_by(1)  # the one before was looked up a moment ago
    with pytest.raises(Unauthenticated):
        await access.authenticate(before)
    assert (await access.authenticate(after)).id == key.id


async def test_the_old_secret_is_valid_for_a_day_by_default(
    keys: KeyService, access: Authenticator, time: "MovedTime"
) -> None:
    key, before = (await keys.create(READER)).result
    await keys.rotate(key.id)

    time.pass_by(24 * 60 * 60 - 1)
    assert timedelta(hours=24) == DEFAULT_OVERLAP
    assert (await access.authenticate(before)).id == key.id
    time.pass_by(1)
    with pytest.raises(Unauthenticated):
        await access.authenticate(before)


async def test_without_an_overlap_the_old_secret_ends_at_once(keys: KeyService, access: Authenticator) -> None:
    key, before = (await keys.create(READER)).result
    await access.authenticate(before)
    await keys.rotate(key.id, overlap=timedelta(0))

    with pytest.raises(Unauthenticated):
        await access.authenticate(before)


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), MAX_OVERLAP + timedelta(seconds=1)])
async def test_an_overlap_has_its_bounds(keys: KeyService, overlap: timedelta) -> None:
    key, _ = (await keys.create(READER)).result

    with pytest.raises(Invalid):
        await keys.rotate(key.id, overlap=overlap)
    assert (await keys.get(key.id)).rotated_at is None
    await keys.rotate(key.id, overlap=MAX_OVERLAP)


async def test_two_rotations_leave_the_newest_two_secrets(keys: KeyService, access: Authenticator) -> None:
    key, first = (await keys.create(READER)).result
    (_, second), (_, third) = (await keys.rotate(key.id)).result, (await keys.rotate(key.id)).result

    with pytest.raises(Unauthenticated):
        await access.authenticate(first)
    for secret in (second, third):
        assert (await access.authenticate(secret)).id == key.id


async def test_a_revoked_key_is_not_accepted_not_listed_and_not_revoked_again(
    keys: KeyService, access: Authenticator
) -> None:
    key, secret = (await keys.create(READER)).result
    _, newer = (await keys.rotate(key.id)).result
    await keys.revoke(key.id)

    for each in (secret, newer):
        with pytest.raises(Unauthenticated):
            await access.authenticate(each)
    assert (await keys.list(limit=9)).items == []
    assert (await keys.get(key.id)).revoked_at is not None
    for again in (keys.revoke(key.id), keys.rotate(key.id)):
        with pytest.raises(NotFound):
            await again


async def test_the_last_admin_key_is_revoked_only_with_force(keys: KeyService, access: Authenticator) -> None:
    key, secret = (await keys.create(ADMIN)).result
    await keys.create(READER)

    with pytest.raises(LastAdminKey):
        await keys.revoke(key.id)
    assert (await access.authenticate(secret)).id == key.id
    await keys.revoke(key.id, force=True)
    with pytest.raises(Unauthenticated):
        await access.authenticate(secret)


async def test_an_expired_admin_key_does_not_allow_revoking_the_other(keys: KeyService, time: "MovedTime") -> None:
    expiring = NewKey(name="short", scopes=(Scope.KEYS_ADMIN,), expires_at=time.now + timedelta(hours=1))
    await keys.create(expiring)
    key, _ = (await keys.create(ADMIN)).result

    time.pass_by(3600)
    with pytest.raises(LastAdminKey):
        await keys.revoke(key.id)


async def test_other_keys_are_revoked_whether_there_is_an_admin_or_not(keys: KeyService) -> None:
    key, _ = (await keys.create(READER)).result

    await keys.revoke(key.id)

    assert (await keys.list(limit=9)).items == []


async def test_every_change_of_a_key_clears_the_cache_of_keys(
    units: MemoryUnitsOfWork, context: RequestContext
) -> None:
    cleared: list[str] = []
    numbers = randoms()
    keys = KeyService(units, lambda: next(numbers), lambda: cleared.append("forget"), context)

    await keys.seed(write_secret(FIRST_ID, "s" * 32))
    assert len(cleared) == 1
    key, _ = (await keys.create(READER)).result
    assert len(cleared) == 2
    await keys.rotate(key.id)
    assert len(cleared) == 3
    await keys.revoke(key.id)
    assert len(cleared) == 4
    await keys.seed(write_secret(FIRST_ID, "s" * 32))
    await keys.list(limit=9)
    assert len(cleared) == 4


async def test_a_seeded_key_has_every_scope_and_accepts_the_given_secret(
    keys: KeyService, access: Authenticator
) -> None:
    secret = write_secret(FIRST_ID, "s" * 32)
    committed = await keys.seed(secret)

    assert committed is not None
    seeded = committed.result
    assert (seeded.id, set(seeded.scopes), seeded.expires_at) == (FIRST_ID, set(Scope), None)
    assert (await access.authenticate(secret)).id == FIRST_ID


async def test_nothing_is_seeded_if_a_key_ever_existed(keys: KeyService, access: Authenticator) -> None:
    key, _ = (await keys.create(ADMIN)).result
    await keys.revoke(key.id, force=True)
    secret = write_secret(FIRST_ID, "s" * 32)

    assert await keys.seed(secret) is None
    with pytest.raises(Unauthenticated):
        await access.authenticate(secret)
    assert (await keys.list(limit=9)).items == []


@pytest.mark.parametrize(
    "secret", ["", "secret", "rk_1_", write_secret(FIRST_ID, "s" * 32)[:-1], write_secret(2, "s" * 32)]
)
async def test_an_invalid_secret_of_a_first_key_is_refused(
    keys: KeyService, access: Authenticator, secret: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await keys.seed(secret)

    assert "s" * 32 not in repr(refused.value.faults)
    assert not await access.needs_key()


async def test_keys_are_listed_by_pages(keys: KeyService) -> None:
    ids = [((await keys.create(READER)).result)[0].id for _ in range(3)]

    first = await keys.list(limit=2)
    second = await keys.list(after=(ids[1],), limit=2)

    assert ([key.id for key in first.items], first.more) == (ids[:2], True)
    assert ([key.id for key in second.items], second.more) == (ids[2:], False)


async def test_a_write_returns_the_number_of_its_change(keys: KeyService, units: MemoryUnitsOfWork) -> None:
    seeded = await keys.seed(write_secret(FIRST_ID, "s" * 32))
    assert seeded is not None
    numbers = [seeded.seq]
    numbers += [(await keys.create(READER)).seq, (await keys.rotate(2)).seq, (await keys.revoke(2)).seq]
    assert numbers == [1, 2, 3, 4]


async def test_the_changes_of_a_key_show_its_creation_rotation_and_revocation(
    keys: KeyService, units: MemoryUnitsOfWork
) -> None:
    await keys.create(READER)
    await keys.rotate(1)
    await keys.revoke(1)
    async with units.reading() as work:
        cleared = await work.changes.list(subject=("key", 1), limit=9)
    assert [change.action for change in cleared] == ["created", "updated", "deleted"]
    assert cleared[0].after == {"name": "reader", "scopes": ["users:read"]}
    assert [list(change.after or ()) for change in cleared[1:]] == [["rotated_at"], ["revoked_at"]]


async def test_a_rotation_returns_the_stored_key(keys: KeyService) -> None:
    created, _ = (await keys.create(READER)).result
    rotated, _ = (await keys.rotate(created.id)).result
    assert rotated == await keys.get(created.id)
    assert rotated.version == 2


async def test_a_revocation_returns_the_stored_key(keys: KeyService, time: "MovedTime") -> None:
    created, _ = (await keys.create(READER)).result
    revoked = (await keys.revoke(created.id)).result
    assert revoked == await keys.get(created.id)
    assert (revoked.version, revoked.revoked_at) == (2, time.now)


async def test_an_admin_key_is_revoked_if_there_is_another_one(keys: KeyService) -> None:
    first, _ = (await keys.create(ADMIN)).result
    second, _ = (await keys.create(ADMIN)).result
    await keys.revoke(first.id)
    assert (await keys.list(limit=9)).items == [second]


async def test_an_unknown_key_is_not_found(keys: KeyService) -> None:
    for attempt in (keys.get(1), keys.rotate(1), keys.revoke(1)):
        with pytest.raises(NotFound):
            await attempt


async def test_a_refusal_has_the_pointer_of_the_fault(keys: KeyService, time: "MovedTime") -> None:
    await keys.create(READER)
    late = NewKey(name="late", scopes=(Scope.USERS_READ,), expires_at=time.now)
    for pointer, attempt in (
        ("/overlap", keys.rotate(1, overlap=MAX_OVERLAP + timedelta(microseconds=1))),
        ("/secret", keys.seed(write_secret(2, "s" * 32))),
        ("/expires_at", keys.create(late)),
    ):
        with pytest.raises(Invalid) as refused:
            await attempt
        assert [fault.pointer for fault in refused.value.faults] == [pointer]
    assert timedelta(days=30) == MAX_OVERLAP


async def test_a_refused_change_does_not_clear_the_cache_of_keys(
    units: MemoryUnitsOfWork, context: RequestContext
) -> None:
    cleared: list[str] = []
    keys = KeyService(units, lambda: "r" * 32, lambda: cleared.append("forget"), context)
    key, _ = (await keys.create(ADMIN)).result
    cleared.clear()
    for refused in (keys.revoke(key.id), keys.rotate(7)):
        with pytest.raises((LastAdminKey, NotFound)):
            await refused
    assert cleared == []


def look_too_early(monkeypatch: pytest.MonkeyPatch, *, times: int) -> list[MemoryKeys]:
    """The first lookups find no key, although there are some. All lookups are recorded."""
    looks: list[MemoryKeys] = []

    async def any_key(store: MemoryKeys) -> bool:
        looks.append(store)
        return len(looks) > times and bool(store._rows)

    monkeypatch.setattr(MemoryKeys, "any", any_key)
    return looks


async def test_of_two_concurrent_seeds_one_creates_the_key_and_the_other_finds_it(
    keys: KeyService, access: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = write_secret(FIRST_ID, "s" * 32), write_secret(FIRST_ID, "t" * 32)
    await keys.seed(first)
    looks = look_too_early(monkeypatch, times=1)

    assert await keys.seed(second) is None

    assert len(looks) == 2
    assert (await access.authenticate(first)).id == FIRST_ID
    with pytest.raises(Unauthenticated):
        await access.authenticate(second)


async def test_a_seed_that_loses_every_race_is_busy(keys: KeyService, monkeypatch: pytest.MonkeyPatch) -> None:
    await keys.seed(write_secret(FIRST_ID, "s" * 32))
    look_too_early(monkeypatch, times=99)

    with pytest.raises(Busy) as refused:
        await keys.seed(write_secret(FIRST_ID, "t" * 32))

    assert refused.value.__cause__ is not None
    assert isinstance(refused.value.__cause__.__cause__, Conflict)


async def test_a_link_signs_in_once_with_the_key_that_it_names(keys: KeyService, access: Authenticator) -> None:
    made, _ = (await keys.create(ADMIN)).result
    token = (await keys.link(made.id)).result
    with pytest.raises(Unauthenticated):
        await access.redeem("another token")
    assert await access.redeem(token) == made
    with pytest.raises(Unauthenticated):
        await access.redeem(token)


async def test_a_wrong_token_of_a_link_does_not_keep_others_from_writing(
    access: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(MemoryUnitsOfWork, "writing")
    with pytest.raises(Unauthenticated):
        await access.redeem("no token")


async def test_a_link_ends_after_half_an_hour(keys: KeyService, access: Authenticator, time: "MovedTime") -> None:
    made, _ = (await keys.create(ADMIN)).result
    in_time, late = (await keys.link(made.id)).result, (await keys.link(made.id)).result
    time.pass_by(30 * 60 - 1)
    assert await access.redeem(in_time) == made
    time.pass_by(1)
    with pytest.raises(Unauthenticated):
        await access.redeem(late)


async def test_a_link_ends_with_its_key(keys: KeyService, access: Authenticator) -> None:
    made, _ = (await keys.create(ADMIN)).result
    token = (await keys.link(made.id)).result
    await keys.revoke(made.id, force=True)
    with pytest.raises(Unauthenticated):
        await access.redeem(token)


async def test_a_link_without_a_key_is_valid_until_a_key_exists(keys: KeyService, access: Authenticator) -> None:
    used, unused = (await keys.link(None)).result, (await keys.link(None)).result
    assert await access.redeem(used) is None
    await keys.create(ADMIN)
    with pytest.raises(Unauthenticated):
        await access.redeem(unused)
    with pytest.raises(Invalid) as refused:
        await keys.link(None)
    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [("/key", "required")]


async def test_a_link_cannot_have_a_scope_that_its_creator_lacks(keys: KeyService) -> None:
    made, _ = (await keys.create(NewKey(name="writer", scopes=(Scope.USERS_WRITE,)))).result
    with pytest.raises(Forbidden):
        await held_by(keys, Scope.KEYS_ADMIN).link(made.id)
    assert (await held_by(keys, Scope.KEYS_ADMIN, Scope.USERS_WRITE).link(made.id)).result


async def test_a_revoked_key_has_no_link(keys: KeyService) -> None:
    made, _ = (await keys.create(ADMIN)).result
    await keys.revoke(made.id, force=True)
    with pytest.raises(NotFound):
        await keys.link(made.id)
