"""What every store of keys promises."""

import asyncio
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.changes import Action, Change
from domain.errors import Conflict, Malformed, NotFound, Stale, UnitEnded
from domain.keys import FIRST_ID, Digest, Key, LastAdminKey, NewKey, Scope, digest_of, write_secret
from domain.work import RequestContext, UnitsOfWork
from services.keys import KeyService

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADMIN = NewKey(name="admin", scopes=(Scope.KEYS_ADMIN,))
READER = NewKey(name="reader", scopes=(Scope.USERS_READ, Scope.CHANGES_READ), expires_at=NOON)
OUT_OF_RANGE = [0, -1, 2**53, 2**63, 2**70]


@pytest.fixture
def keys(units: UnitsOfWork, context: RequestContext) -> KeyService:
    """With secrets that the tests know beforehand."""
    return KeyService(units, randomness=lambda: "r" * 32, forget=lambda: None, context=context)


async def add(units: UnitsOfWork, context: RequestContext, new: NewKey = ADMIN) -> Key:
    async with units.writing(context) as work:
        key = await work.keys.add(new)
        await work.commit(None)
    return key


async def kept(units: UnitsOfWork, id: int) -> Key:
    async with units.reading() as work:
        return await work.keys.get(id, hidden=True)


async def digests(units: UnitsOfWork, id: int) -> list[Digest]:
    async with units.reading() as work:
        return list(await work.keys.digests(id))


def made(id: int) -> Key:
    return Key(id=id, name="n", scopes=(Scope.SCIM,), created_at=NOON, updated_at=NOON, version=1)


async def listed(units: UnitsOfWork, after: int | None = None, limit: int = 10) -> list[int]:
    async with units.reading() as work:
        return [key.id for key in await work.keys.list(after=None if after is None else (after,), limit=limit)]


async def feed(units: UnitsOfWork) -> list[Change]:
    async with units.reading() as work:
        return list(await work.changes.list(limit=100))


async def test_a_key_is_stored_with_all_its_fields(units: UnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        added = await work.keys.add(READER)
        assert await work.keys.get(added.id) == added
        await work.commit(None)

    assert await kept(units, added.id) == added == Key(
        id=added.id,
        name="reader",
        scopes=(Scope.CHANGES_READ, Scope.USERS_READ),
        created_at=work.now,
        updated_at=work.now,
        version=1,
        expires_at=NOON,
    )  # fmt: skip
    assert {type(scope) for scope in (await kept(units, added.id)).scopes} == {Scope}


async def test_a_unit_without_a_commit_stores_nothing_of_a_key(units: UnitsOfWork, context: RequestContext) -> None:
    async with units.writing(context) as work:
        added = await work.keys.add(ADMIN)
    with pytest.raises(NotFound):
        await kept(units, added.id)
    async with units.reading() as reading:
        assert not await reading.keys.any()
    assert await feed(units) == []


@pytest.mark.parametrize("id", [1, 7, *OUT_OF_RANGE])
async def test_an_unknown_id_is_not_found(units: UnitsOfWork, context: RequestContext, id: int) -> None:
    assert await digests(units, id) == []
    with pytest.raises(NotFound):
        await kept(units, id)
    async with units.writing(context) as work:
        assert list(await work.keys.digests(id)) == []
        with pytest.raises(NotFound):
            await work.keys.get(id)
        with pytest.raises(NotFound):
            await work.keys.save(made(id))


async def test_ids_rise_and_are_never_used_twice(units: UnitsOfWork, context: RequestContext, keys: KeyService) -> None:
    one, two = await add(units, context), await add(units, context)
    await keys.revoke(two.id)
    three = await add(units, context)
    assert one.id < two.id < three.id


async def test_keys_that_are_not_revoked_are_listed_by_id(units: UnitsOfWork, context: RequestContext) -> None:
    ids = [(await add(units, context, new)).id for new in (ADMIN, READER, ADMIN, READER)]
    async with units.writing(context) as work:
        await work.keys.save((await work.keys.get(ids[1])).revoked(work.now))
        await work.commit(None)
    left = [ids[0], ids[2], ids[3]]
    assert await listed(units) == left
    assert await listed(units, limit=2) == left[:2]
    assert await listed(units, after=left[0], limit=1) == [left[1]]
    assert await listed(units, after=left[2]) == []
    assert await listed(units, limit=0) == []
    assert await listed(units, after=2**53 - 1) == []
    with pytest.raises(Malformed):
        await listed(units, after=2**70)
    assert (await kept(units, ids[1])).revoked_at == work.now


async def test_save_raises_the_version_of_a_key_and_sets_updated_at(
    units: UnitsOfWork, context: RequestContext
) -> None:
    key = await add(units, context)
    async with units.writing(context) as work:
        saved = await work.keys.save(replace(key, name="other", scopes=(Scope.SCIM,), expires_at=NOON))
        await work.commit(None)
    assert saved == replace(key, name="other", scopes=(Scope.SCIM,), expires_at=NOON, version=2, updated_at=work.now)
    assert await kept(units, key.id) == saved


async def test_a_key_that_was_changed_meanwhile_is_stale(units: UnitsOfWork, context: RequestContext) -> None:
    key = await add(units, context)
    async with units.writing(context) as work:
        await work.keys.save(key.rotated(work.now))
        await work.commit(None)
    async with units.writing(context) as work:
        with pytest.raises(Stale):
            await work.keys.save(key.revoked(work.now))
        with pytest.raises(UnitEnded):
            await work.commit(None)
    assert (await kept(units, key.id)).revoked_at is None


async def test_a_new_key_has_no_secret(units: UnitsOfWork, context: RequestContext) -> None:
    key = await add(units, context)
    assert await digests(units, key.id) == []


async def test_new_digests_replace_the_old_ones_and_keep_their_order(
    units: UnitsOfWork, context: RequestContext
) -> None:
    key, other = await add(units, context), await add(units, context)
    one, two = Digest(b"\x00\xff" * 16), Digest(b"\x01" * 32, NOON)
    for new in ([one], [one, two], [Digest(b"\x02" * 32)]):
        async with units.writing(context) as work:
            await work.keys.keep_digests(key.id, new)
            assert list(await work.keys.digests(key.id)) == new
            await work.commit(None)
        assert await digests(units, key.id) == new
    assert await kept(units, key.id) == key
    assert await digests(units, other.id) == []


async def test_any_is_true_even_if_the_only_key_is_revoked(units: UnitsOfWork, context: RequestContext) -> None:
    async with units.reading() as reading:
        assert not await reading.keys.any()
    key = await add(units, context)
    async with units.writing(context) as work:
        assert await work.keys.any()
        await work.keys.save(key.revoked(work.now))
        await work.commit(None)
    async with units.reading() as reading:
        assert await reading.keys.any()


async def test_a_touch_writes_no_change(units: UnitsOfWork, context: RequestContext) -> None:
    key, other = await add(units, context), await add(units, context)
    recorded = await feed(units)
    async with units.writing(context) as work:
        await work.keys.touch(key.id, NOON)
        await work.commit(None)
    assert await kept(units, key.id) == replace(key, last_used_at=NOON)
    assert await kept(units, other.id) == other
    assert await feed(units) == recorded


async def test_saving_a_key_that_was_read_before_a_touch_keeps_the_touch(
    units: UnitsOfWork, context: RequestContext
) -> None:
    key = await add(units, context)
    async with units.writing(context) as work:
        await work.keys.touch(key.id, NOON)
        await work.commit(None)
    async with units.writing(context) as work:
        saved = await work.keys.save(key.rotated(work.now))
        await work.commit(None)
    assert await kept(units, key.id) == saved
    assert saved.last_used_at == NOON


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        (NewKey(name="admin", scopes=(Scope.KEYS_ADMIN, Scope.USERS_READ)), True),
        (NewKey(name="lasting", scopes=(Scope.KEYS_ADMIN,), expires_at=NOON + MINUTE), True),
        (NewKey(name="expired", scopes=(Scope.KEYS_ADMIN,), expires_at=NOON), False),
        (NewKey(name="other scopes", scopes=tuple(set(Scope) - {Scope.KEYS_ADMIN})), False),
        (None, False),
    ],
)
async def test_only_a_valid_key_that_may_administer_keys_counts_as_another_admin(
    units: UnitsOfWork, context: RequestContext, other: NewKey | None, counts: bool
) -> None:
    key = await add(units, context)
    if other is not None:
        await add(units, context, other)
    async with units.writing(context) as work:
        assert await work.keys.has_other_admin(than=key.id, at=NOON) is counts


async def test_a_revoked_key_does_not_count_as_another_admin(units: UnitsOfWork, context: RequestContext) -> None:
    key, other = await add(units, context), await add(units, context)
    async with units.writing(context) as work:
        assert await work.keys.has_other_admin(than=key.id, at=work.now)
        await work.keys.save(other.revoked(work.now))
        assert not await work.keys.has_other_admin(than=key.id, at=work.now)


async def test_the_first_key_has_the_first_id_even_after_a_unit_that_was_rolled_back(
    units: UnitsOfWork, context: RequestContext
) -> None:
    async with units.writing(context) as undone:
        await undone.keys.add(ADMIN)
    async with units.writing(context) as work:
        first = await work.keys.add_first(ADMIN)
        await work.commit(None)
    assert first.id == FIRST_ID
    assert await kept(units, FIRST_ID) == first
    assert (await feed(units))[0].entity_id == FIRST_ID
    assert (await add(units, context)).id > FIRST_ID


async def test_adding_a_second_first_key_is_a_conflict(units: UnitsOfWork, context: RequestContext) -> None:
    first = await add(units, context)
    assert first.id == FIRST_ID
    async with units.writing(context) as work:
        with pytest.raises(Conflict) as refused:
            await work.keys.add_first(READER)
    assert refused.value.field == "id"
    assert await kept(units, FIRST_ID) == first


async def test_each_write_is_a_change_without_a_secret(
    units: UnitsOfWork, keys: KeyService, context: RequestContext
) -> None:
    await keys.create(ADMIN)
    key, secret = (await keys.create(NewKey(name="importer", scopes=(Scope.USERS_WRITE,)))).result
    async with units.writing(context) as touch:
        await touch.keys.touch(key.id, touch.now)
        await touch.commit(None)
    rotated, _ = (await keys.rotate(key.id)).result
    await keys.revoke(key.id)

    revoked = await kept(units, key.id)
    recorded = [change for change in await feed(units) if change.entity_id == key.id]
    assert [(change.kind, change.action, change.version, change.actor) for change in recorded] == [
        ("key", Action.CREATED, 1, "tester"),
        ("key", Action.UPDATED, 2, "tester"),
        ("key", Action.DELETED, 3, "tester"),
    ]
    assert (recorded[0].before, recorded[0].after) == (None, {"name": "importer", "scopes": ["users:write"]})
    assert (recorded[1].before, recorded[1].after) == ({"rotated_at": None}, {"rotated_at": z(rotated.rotated_at)})
    assert (recorded[2].before, recorded[2].after) == ({"revoked_at": None}, {"revoked_at": z(revoked.revoked_at)})
    text = json.dumps([asdict(change) for change in recorded], default=str)
    assert "rrrr" in secret
    for private in ("rrrr", "rk_", digest_of(secret).hex(), "hash", "digest", "last_used_at"):
        assert private not in text


def z(time: datetime | None) -> str:
    assert time is not None
    return time.isoformat().replace("+00:00", "Z")


async def test_a_dry_run_stores_no_key_and_no_new_secret(units: UnitsOfWork, keys: KeyService) -> None:
    key, _ = (await keys.create(ADMIN)).result
    before = await digests(units, key.id)
    dry = KeyService(
        units, lambda: "d" * 32, lambda: None, RequestContext(actor="tester", request_id="r2", dry_run=True)
    )
    shown, secret = (await dry.create(READER_TO_COME)).result
    await dry.rotate(key.id)
    with pytest.raises(LastAdminKey):
        await dry.revoke(key.id)
    await dry.revoke(key.id, force=True)
    assert (shown.name, secret.startswith("rk_")) == ("later", True)
    assert await digests(units, key.id) == before
    assert await kept(units, key.id) == key
    assert await listed(units) == [key.id]
    assert len(await feed(units)) == 1


READER_TO_COME = NewKey(name="later", scopes=(Scope.USERS_READ,), expires_at=datetime(9999, 1, 1, tzinfo=UTC))


async def test_one_of_the_last_two_admins_stays_when_both_are_revoked_at_once(
    units: UnitsOfWork, keys: KeyService
) -> None:
    for _ in range(3):
        ids = [((await keys.create(ADMIN)).result)[0].id for _ in range(2)]
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(keys.revoke(id) for id in ids), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Committed", "LastAdminKey"]
        [left] = (await keys.list(limit=10)).items
        await keys.revoke(left.id, force=True)


async def test_many_rotations_at_once_leave_the_newest_secret_and_the_one_before(
    units: UnitsOfWork, context: RequestContext
) -> None:
    letters = iter("abcdefgh")
    keys = KeyService(units, lambda: next(letters) * 32, lambda: None, context)
    key, _ = (await keys.create(ADMIN)).result
    async with asyncio.timeout(60):
        rotations = await asyncio.gather(*(keys.rotate(key.id) for _ in range(4)))
    results = sorted((each.result for each in rotations), key=lambda each: -each[0].version)
    newest, before = (secret for _, secret in results[:2])
    assert [each.hash for each in await digests(units, key.id)] == [digest_of(newest), digest_of(before)]


async def test_of_many_processes_that_seed_the_first_key_at_once_one_succeeds(
    units: UnitsOfWork, context: RequestContext
) -> None:
    """One service for each process: they know nothing of each other."""
    secret = write_secret(FIRST_ID, "s" * 32)
    services = [KeyService(units, lambda: "r" * 32, lambda: None, replace(context)) for _ in range(8)]
    async with asyncio.timeout(60):
        seeded = await asyncio.gather(*(service.seed(secret) for service in services))
    assert [each.result.id for each in seeded if each] == [FIRST_ID]
    assert await listed(units) == [FIRST_ID]
    assert await digests(units, FIRST_ID) == [Digest(digest_of(secret))]
    assert (await kept(units, FIRST_ID)).scopes == tuple(sorted(Scope))
    assert len(await feed(units)) == 1
