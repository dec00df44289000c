"""Imports on the fake: the result of each row."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from domain.errors import Conflict, Fault, Malformed, Refusal
from domain.imports import (
    MOST_AT_ONCE,
    Counts,
    Done,
    FileKey,
    KeySet,
    Match,
    Mode,
    Options,
    Outcome,
    Row,
    Share,
    TooManyDeletions,
)
from domain.keys import Scope
from domain.lists.pages import MAX_LIMIT
from domain.stores import Hidden
from domain.users import NewUser, User
from domain.values import JsonObject
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork
from services.groups import GroupService
from services.imports import batches, runs
from services.imports import service as importing
from services.imports.batches import IDENTIFIERS, SeenKeys
from services.imports.runs import Import
from services.imports.service import ImportService
from services.memberships import MembershipService
from services.users import UserService

FAULT = Fault("", "not_json", "Is not JSON.")
BATCH = 5
CREATE = Options()
UPSERT = Options(mode=Mode.UPSERT)


def rows_of(*values: JsonObject) -> list[Row]:
    return [Row(line, each) for line, each in enumerate(values, 1)]


@pytest.fixture(autouse=True)
def batches_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BATCH", BATCH)


class Importing:
    """A directory, and imports into it."""

    def __init__(self, units: MemoryUnitsOfWork, users: UserService) -> None:
        self.units = units
        self.users = users
        self.counts = Counts()

    async def run(self, *values: JsonObject, options: Options = CREATE, **context: Any) -> list[Outcome]:
        return await self.run_rows(rows_of(*values), options, **context)

    async def run_rows(self, rows: Iterable[Row], options: Options, **context: Any) -> list[Outcome]:
        service = ImportService(self.units, RequestContext(actor="importer", request_id="r9", **context))
        one = Import(service, rows, options)
        outcomes = [outcome async for step in one.steps() for outcome in step.outcomes]
        self.counts = one.counts
        return outcomes

    async def people(self, hidden: Hidden = Hidden.NO) -> list[User]:
        return [*(await self.users.list(hidden=hidden, limit=MAX_LIMIT))]


@pytest.fixture
def directory(units: MemoryUnitsOfWork, users: UserService) -> Importing:
    return Importing(units, users)


def ends(outcomes: Sequence[Outcome]) -> list[str]:
    return [each.done for each in outcomes]


def faults(outcome: Outcome) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in outcome.faults]


ALICE: JsonObject = {"name": "Alice", "external_id": "a", "email": "alice@x.org"}
BOB: JsonObject = {"name": "Bob", "external_id": "b"}


class TestCreate:
    async def test_each_good_row_is_a_user_with_a_change_of_its_own(self, directory: Importing, changes: Any) -> None:
        outcomes = await directory.run(ALICE, {"name": " Bob ", "status": "suspended", "attributes": {"floor": 3}})
        alice, bob = await directory.people()
        assert ends(outcomes) == ["created", "created"]
        assert [each.id for each in outcomes] == [alice.id, bob.id]
        assert (bob.name, bob.status, bob.attributes) == ("Bob", "suspended", {"floor": 3})
        found = (await changes.list(since=0, limit=9)).changes
        assert [(each.entity_id, each.actor, each.request_id) for each in found] == [
            (alice.id, "importer", "r9"),
            (bob.id, "importer", "r9"),
        ]

    async def test_a_row_that_breaks_rules_is_rejected_with_each_of_them_and_others_are_stored(
        self, directory: Importing
    ) -> None:
        outcomes = await directory.run(
            {"name": " ", "email": 3, "status": "gone", "attributes": []}, BOB, {"email": "x@x.org"}, {"nmae": "x"}
        )
        assert ends(outcomes) == ["rejected", "created", "rejected", "rejected"]
        assert faults(outcomes[0]) == [
            ("/name", "too_short"),
            ("/email", "wrong_type"),
            ("/status", "not_allowed"),
            ("/attributes", "wrong_type"),
        ]
        assert faults(outcomes[2]) == [("/name", "missing")]
        assert faults(outcomes[3]) == [("/nmae", "unknown")]
        assert directory.counts == Counts(rows=4, created=1, rejected=3)

    @pytest.mark.parametrize(("is_patch", "kept"), [(True, {"floor": 3}), (False, {"floor": 3, "room": None})])
    async def test_null_in_the_attributes_of_a_patch_is_not_stored(
        self, directory: Importing, is_patch: bool, kept: JsonObject
    ) -> None:
        row = Row(1, {"name": "Alice", "attributes": {"floor": 3, "room": None}}, is_patch=is_patch)
        await directory.run_rows([row], CREATE)
        (alice,) = await directory.people()
        assert alice.attributes == kept

    async def test_null_counts_as_a_missing_field(self, directory: Importing) -> None:
        await directory.run({**BOB, "email": None, "status": None, "attributes": None})
        (bob,) = await directory.people()
        assert (bob.email, bob.status, bob.attributes) == (None, "active", {})

    async def test_a_value_that_another_user_has_is_a_conflict_that_does_not_name_the_user(
        self, directory: Importing
    ) -> None:
        await directory.run(ALICE)
        outcomes = await directory.run({"name": "Al", "email": "ALICE@x.org", "external_id": "a"}, BOB)
        assert faults(outcomes[0]) == [("/external_id", "taken"), ("/email", "taken")]
        assert "alice" not in str(outcomes[0].faults).lower()
        assert outcomes[1].done is Done.CREATED

    async def test_the_second_row_with_a_value_is_rejected_with_the_line_of_the_first(
        self, directory: Importing
    ) -> None:
        outcomes = await directory.run(ALICE, {"name": "Al", "email": "ALICE@x.org"}, {"name": "B", "external_id": "A"})
        assert ends(outcomes) == ["created", "rejected", "created"]
        assert outcomes[1].faults[0].detail == "Line 1 of the file has the same."

    async def test_the_unique_values_of_a_rejected_row_are_free_for_later_rows(self, directory: Importing) -> None:
        outcomes = await directory.run({"name": "", "email": "b@x.org"}, {"name": "Bob", "email": "b@x.org"})
        assert ends(outcomes) == ["rejected", "created"]

    async def test_rows_that_cannot_be_read_are_rejected_with_their_reasons(self, directory: Importing) -> None:
        outcomes = await directory.run_rows([Row(1, {}, [FAULT]), Row(2, {"kind": "cat"})], Options())
        assert [faults(each) for each in outcomes] == [[("", "not_json")], [("/kind", "not_allowed")]]

    async def test_an_address_in_a_form_that_the_operator_does_not_allow_is_rejected(
        self, units: MemoryUnitsOfWork
    ) -> None:
        service = ImportService(
            units, RequestContext(actor="a", request_id="r"), is_email=lambda text: text.endswith(".org")
        )
        stored = (await service.store(rows_of(ALICE, {"name": "C", "email": "c"}), Options())).result
        assert ends(stored.outcomes) == ["created", "rejected"]

    async def test_unique_values_are_looked_up_only_after_the_directory_had_one_of_them(
        self, directory: Importing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        find = batches.found

        async def found(store: Any, name: str, values: Any) -> Any:
            asked.extend([name] if values else [])
            return await find(store, name, values)

        monkeypatch.setattr(batches, "found", found)
        new = [{"name": f"User {n}", "external_id": f"x{n}"} for n in range(2 * BATCH)]
        await directory.run(*new)
        assert asked == []
        again = [{"name": "Again", "external_id": "x0"}, *({"name": "N", "external_id": f"y{n}"} for n in range(14))]
        assert ends(await directory.run(*again)) == ["rejected", *["created"] * 14]
        assert asked == ["external_id", "external_id"]  # at the second attempt, and in the batch after it

    async def test_the_next_rows_are_read_while_some_are_stored(
        self, directory: Importing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        are_read = asyncio.Event()
        store = ImportService.store

        async def store_later(*arguments: Any, **options: Any) -> Any:
            async with asyncio.timeout(30):
                await are_read.wait()
            return await store(*arguments, **options)

        def rows() -> Iterator[Row]:
            yield from rows_of(*[{"name": "A"}] * BATCH)
            are_read.set()
            yield Row(BATCH + 1, {"name": "B"})

        monkeypatch.setattr(ImportService, "store", store_later)
        assert ends(await directory.run_rows(rows(), Options())) == ["created"] * (BATCH + 1)

    async def test_rows_before_an_unreadable_end_of_the_file_are_stored_and_reported(
        self, directory: Importing
    ) -> None:
        def rows() -> Iterator[Row]:
            yield from rows_of(*[{"name": "A"}] * BATCH)
            raise Malformed("no more")

        reported: list[Outcome] = []
        service = ImportService(directory.units, RequestContext(actor="importer", request_id="r9"))

        async def run() -> None:
            async for step in Import(service, rows(), Options()).steps():
                reported.extend(step.outcomes)

        with pytest.raises(Malformed):
            await run()
        assert ends(reported) == ["created"] * BATCH == ["created"] * len(await directory.people())

    async def test_a_cancelled_import_leaves_nothing_running(
        self, directory: Importing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runs, "SLICE", 1)  # the next rows are still being read when the first ones are stored
        service = ImportService(directory.units, RequestContext(actor="importer", request_id="r9"))
        before = asyncio.all_tasks()
        async with aclosing(Import(service, rows_of(*[{"name": "A"}] * 3 * BATCH), Options()).steps()) as steps:
            await anext(steps)
        assert len(await directory.people()) == BATCH
        assert asyncio.all_tasks() == before

    async def test_more_rows_than_a_batch_are_all_stored(self, directory: Importing) -> None:
        many = [{"name": f"User {n}", "external_id": f"x{n}"} for n in range(2 * BATCH + 3)]
        outcomes = await directory.run(*many, {"name": "Last", "external_id": "x0"})
        assert len(await directory.people()) == len(many)
        assert faults(outcomes[-1]) == [("/external_id", "taken")]


class Watched:
    """The rows of a file. Before each row is read, it is noted how often something else has run."""

    def __init__(self, count: int) -> None:
        self.rows = rows_of(*[{"name": f"U{n}", "external_id": f"x{n}"} for n in range(count)])
        self.turns = 0
        self.seen: list[int] = []

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            self.seen.append(self.turns)
            yield row

    async def run_others(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    @property
    def pauses(self) -> list[int]:
        """The rows before which something else has run, counted from 0."""
        return [number for number, (one, next) in enumerate(pairwise(self.seen), 1) if one != next]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    file = Watched(BATCH + 2)
    others = asyncio.create_task(file.run_others())
    yield file
    others.cancel()


class TestPauses:
    async def test_requests_run_while_rows_are_read(
        self, directory: Importing, watched: Watched, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runs, "SLICE", 2)
        await directory.run_rows(watched, CREATE)
        assert watched.pauses == [2, 4, BATCH]

    async def test_requests_run_while_the_identifiers_of_a_sync_are_read(
        self, directory: Importing, watched: Watched
    ) -> None:
        await directory.run_rows(watched, TestSync.SYNC)
        assert watched.pauses[:2] == [1, BATCH + 1]

    async def test_requests_run_while_a_batch_is_checked_and_before_its_users_join_groups(
        self, directory: Importing, watched: Watched
    ) -> None:
        service = ImportService(directory.units, RequestContext(actor="importer", request_id="r9"))
        await asyncio.sleep(0)
        before = watched.turns
        await service.store(watched.rows, CREATE)
        assert watched.turns - before == 2


class TestUpsert:
    async def test_a_row_changes_only_the_fields_that_it_has(self, directory: Importing) -> None:
        await directory.run({**ALICE, "attributes": {"floor": 3, "desk": 1}})
        outcomes = await directory.run(
            {"external_id": "a", "email": None, "attributes": {"desk": None, "car": True}},
            BOB,
            options=UPSERT,
        )
        alice, bob = await directory.people()
        assert ends(outcomes) == ["updated", "created"]
        assert (alice.name, alice.email, alice.attributes) == ("Alice", None, {"floor": 3, "car": True})
        assert bob.name == "Bob"

    async def test_the_same_file_again_changes_nothing(self, directory: Importing) -> None:
        await directory.run(ALICE, BOB, options=UPSERT)
        before = await directory.people()
        assert ends(await directory.run(ALICE, BOB, options=UPSERT)) == ["unchanged", "unchanged"]
        assert await directory.people() == before

    @pytest.mark.parametrize(("match", "value"), [(Match.EMAIL, "ALICE@X.org"), (Match.USERNAME, "ALICE")])
    async def test_users_are_matched_by_the_chosen_field(self, directory: Importing, match: Match, value: str) -> None:
        await directory.run({"name": "Alice", "email": "alice@x.org", "username": "alice"})
        (outcome,) = await directory.run(
            {match.value: value, "name": "Alicia"}, options=Options(mode=Mode.UPSERT, match=match)
        )
        assert outcome.difference() == (
            {"name": "Alice", match.value: value.lower()} | ({"email": "alice@x.org"} if match is Match.EMAIL else {}),
            {"name": "Alicia", match.value: value},
        )

    async def test_a_row_without_the_identifier_is_rejected(self, directory: Importing) -> None:
        (outcome,) = await directory.run({"name": "Bob"}, options=UPSERT)
        assert faults(outcome) == [("/external_id", "missing")]

    @pytest.mark.parametrize("between", [0, BATCH])
    async def test_a_second_row_of_the_same_user_is_rejected_even_in_a_later_batch(
        self, directory: Importing, between: int
    ) -> None:
        others = [{"name": f"U{n}", "external_id": f"x{n}"} for n in range(between)]
        outcomes = await directory.run(ALICE, *others, {"external_id": "a", "name": "Al"}, options=UPSERT)
        assert faults(outcomes[-1]) == [("/external_id", "duplicate")]
        assert (await directory.people())[0].name == "Alice"

    async def test_a_value_of_another_user_is_a_conflict(self, directory: Importing) -> None:
        await directory.run(ALICE, BOB)
        (outcome,) = await directory.run({"external_id": "b", "email": "alice@x.org"}, options=UPSERT)
        assert faults(outcome) == [("/email", "taken")]

    async def test_a_deleted_user_is_not_restored(self, directory: Importing, users: UserService) -> None:
        await directory.run(ALICE)
        await users.delete(1)
        assert ends(await directory.run(ALICE, options=UPSERT)) == ["created"]
        assert [user.id for user in await directory.people(Hidden.ONLY)] == [1]


class TestSync:
    SYNC = Options(mode=Mode.SYNC, max_delete=Share(50, is_percent=True))

    async def test_users_with_the_identifier_that_are_not_in_the_file_are_deleted(self, directory: Importing) -> None:
        await directory.run(ALICE, BOB, {"name": "Without"})
        outcomes = await directory.run({**ALICE, "name": "Alicia"}, options=self.SYNC)
        assert [(each.line, each.done, each.id) for each in outcomes] == [(1, "updated", 1), (None, "deleted", 2)]
        assert [user.name for user in await directory.people()] == ["Alicia", "Without"]
        assert directory.counts == Counts(rows=1, updated=1, deleted=1)

    async def test_a_file_in_which_too_many_users_are_missing_is_refused_before_anything_is_stored(
        self, directory: Importing
    ) -> None:
        await directory.run(ALICE, BOB, {"name": "Carol", "external_id": "c"})
        before = await directory.people()
        with pytest.raises(TooManyDeletions, match="2 of the 3 users"):
            await directory.run({**ALICE, "name": "Alicia"}, options=self.SYNC)
        assert await directory.people() == before

    @pytest.mark.parametrize(("allowed", "stays"), [(Share(1, is_percent=False), 2), (Share(0, is_percent=False), 3)])
    async def test_the_bound_of_deletions_can_be_a_number(
        self, directory: Importing, allowed: Share, stays: int
    ) -> None:
        await directory.run(ALICE, BOB, {"name": "Carol", "external_id": "c"})
        options = Options(mode=Mode.SYNC, max_delete=allowed)
        if stays == 3:
            with pytest.raises(TooManyDeletions):
                await directory.run(ALICE, BOB, options=options)
        else:
            await directory.run(ALICE, BOB, options=options)
        assert len(await directory.people()) == stays

    async def test_by_default_a_tenth_of_the_users_may_be_deleted(self, directory: Importing) -> None:
        many = [{"name": f"U{n}", "external_id": f"x{n}"} for n in range(20)]
        await directory.run(*many)
        with pytest.raises(TooManyDeletions):
            await directory.run(*many[3:], options=Options(mode=Mode.SYNC))
        await directory.run(*many[2:], options=Options(mode=Mode.SYNC))
        assert len(await directory.people()) == 18

    async def test_all_users_are_compared_with_the_file_in_pages(
        self, directory: Importing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importing, "MAX_LIMIT", 2)
        many = [{"name": f"U{n}", "external_id": f"X{n}"} for n in range(7)]
        await directory.run(*many)
        outcomes = await directory.run(many[2], options=Options(mode=Mode.SYNC, max_delete=Share(6, is_percent=False)))
        assert [each.id for each in outcomes if each.done is Done.DELETED] == [1, 2, 4, 5, 6, 7]
        assert directory.counts == Counts(rows=1, unchanged=1, deleted=6)

    async def test_a_row_with_an_unknown_user_deletes_nobody(self, directory: Importing) -> None:
        await directory.run(ALICE, BOB)
        for unreadable in (Row(2, {}, [FAULT]), Row(2, {"name": "Bob"})):
            with pytest.raises(Malformed, match="line 2"):
                await directory.run_rows([Row(1, ALICE), unreadable], self.SYNC)
        assert len(await directory.people()) == 2

    async def test_the_user_of_a_rejected_row_stays(self, directory: Importing) -> None:
        await directory.run(ALICE, BOB)
        outcomes = await directory.run(ALICE, {**BOB, "name": ""}, options=self.SYNC)
        assert ends(outcomes) == ["unchanged", "rejected"]
        assert len(await directory.people()) == 2

    async def test_a_dry_run_deletes_nobody_and_reports_who_would_be_deleted(self, directory: Importing) -> None:
        await directory.run(ALICE, BOB)
        outcomes = await directory.run(ALICE, options=self.SYNC, dry_run=True)
        assert [(each.done, each.id) for each in outcomes] == [("unchanged", 1), ("deleted", 2)]
        assert len(await directory.people()) == 2


class TestDryRun:
    async def test_a_dry_run_stores_nothing_and_reports_the_difference_of_each_row(self, directory: Importing) -> None:
        await directory.run(ALICE)
        before = await directory.people()
        outcomes = await directory.run({**ALICE, "name": "Alicia"}, BOB, options=UPSERT, dry_run=True)
        assert outcomes[0].difference() == ({"name": "Alice"}, {"name": "Alicia"})
        assert outcomes[1].difference() == (
            None,
            {"name": "Bob", "external_id": "b", "status": "active", "attributes": {}},
        )
        assert await directory.people() == before

    async def test_a_dry_run_gives_the_same_results_as_the_real_run_in_every_batch(self, directory: Importing) -> None:
        rows: list[JsonObject] = [
            {"kind": "group", "name": "Engineers"},
            {"kind": "group", "name": "Staff"},
            {**ALICE, "groups": ["Engineers"]},
            *[{"name": f"U{n}", "external_id": f"x{n}"} for n in range(BATCH)],
            {"name": "Al", "email": "ALICE@x.org"},
            {"kind": "group", "name": "engineers"},
            {"name": "Bob", "external_id": "b", "groups": ["Engineers"]},
            {"kind": "membership", "user": "x1", "group": "engineers"},
            {"kind": "membership", "user": "nobody", "group": "engineers"},
            {"kind": "nesting", "group": "Staff", "child": "engineers"},
            {"name": "Carol", "groups": ["Pilots"]},
        ]
        dry = await directory.run(*rows, dry_run=True)
        true = await directory.run(*rows)
        assert [each.done for each in dry] == [each.done for each in true]
        assert ends(true[-7:]) == ["rejected", "rejected", "created", "created", "rejected", "created", "rejected"]


class TestAllOrNothing:
    ATOMIC = Options(atomic=True)

    async def test_one_bad_row_stops_an_atomic_import(self, directory: Importing) -> None:
        outcomes = await directory.run(ALICE, {"name": ""}, BOB, options=self.ATOMIC)
        assert ends(outcomes) == ["withheld", "rejected", "withheld"]
        assert await directory.people() == []

    async def test_good_rows_are_one_unit_of_work(self, directory: Importing) -> None:
        many = [{"name": f"U{n}"} for n in range(BATCH + 1)]
        assert set(ends(await directory.run(*many, options=self.ATOMIC))) == {"created"}
        assert len({user.created_at for user in await directory.people()}) == 1

    async def test_the_number_of_rows_of_an_atomic_import_is_bounded(self, directory: Importing) -> None:
        rows = [Row(line, {"name": "x"}) for line in range(MOST_AT_ONCE + 1)]
        with pytest.raises(Malformed, match=str(MOST_AT_ONCE)):
            await directory.run_rows(rows, self.ATOMIC)
        assert await directory.people() == []


class TestGroups:
    async def test_one_file_can_have_groups_and_their_members(
        self, directory: Importing, memberships: MembershipService, groups: GroupService
    ) -> None:
        outcomes = await directory.run(
            {"kind": "group", "name": "Engineers", "description": "Those who build it"},
            {"kind": "group", "name": "Staff"},
            {"kind": "nesting", "group": "Staff", "child": "engineers"},
            {**ALICE, "groups": [{"name": "engineers", "role": "lead"}, "Staff"]},
            BOB,
            {"kind": "membership", "user": "b", "group": "Engineers", "role": "dev"},
        )
        assert set(ends(outcomes)) == {"created"}
        assert outcomes[3].joined == ["engineers", "Staff"]
        members = (await memberships.list(1, limit=9)).items
        assert [(each.user_id, each.role) for each in members] == [(1, "lead"), (2, "dev")]
        assert [group.name for group in (await groups.list_children(2, limit=9)).items] == ["Engineers"]

    async def test_null_takes_the_user_out_of_all_groups(self, directory: Importing, groups: GroupService) -> None:
        await directory.run({"kind": "group", "name": "A"}, {**ALICE, "groups": ["A"]})
        (outcome,) = await directory.run({"external_id": "a", "name": "Alicia", "groups": None}, options=UPSERT)
        assert outcome.done is Done.UPDATED
        assert (await groups.list_of_user(1, limit=9)).items == []

    async def test_the_groups_of_a_row_replace_the_groups_of_the_user(
        self, directory: Importing, groups: GroupService
    ) -> None:
        for name in ("A", "B", "C"):
            await directory.run({"kind": "group", "name": name})
        await directory.run({**ALICE, "groups": ["A", {"name": "B", "role": "lead"}]})
        (outcome,) = await directory.run({"external_id": "a", "groups": ["B", "C"]}, options=UPSERT)
        assert (outcome.done, outcome.joined, outcome.left) == ("updated", ["C", "B"], ["A"])
        assert [each.name for each in (await groups.list_of_user(1, limit=9)).items] == ["B", "C"]
        (outcome,) = await directory.run({"external_id": "a", "groups": ["b", "c"]}, options=UPSERT)
        assert outcome.done is Done.UNCHANGED
        (outcome,) = await directory.run({"external_id": "a", "name": "Alice"}, options=UPSERT)
        assert len((await groups.list_of_user(1, limit=9)).items) == 2

    async def test_a_row_with_a_missing_group_does_not_store_the_user(self, directory: Importing) -> None:
        (outcome,) = await directory.run({**ALICE, "groups": ["Pilots", "", {"role": "x"}, 3]})
        assert faults(outcome) == [("/groups/2", "wrong_type"), ("/groups/3", "wrong_type")]
        (outcome,) = await directory.run({**ALICE, "groups": ["Pilots"]})
        assert faults(outcome) == [("/groups/0", "not_found")]
        (outcome,) = await directory.run({**ALICE, "groups": "Pilots"})
        assert faults(outcome) == [("/groups", "wrong_type")]
        (outcome,) = await directory.run({**ALICE, "groups": ["Pilots", {"name": "PILOTS", "role": "lead"}]})
        assert faults(outcome) == [("/groups/1", "duplicate")]
        (outcome,) = await directory.run({**ALICE, "groups": [{"name": "Pilots", "rank": 1}]})
        assert faults(outcome) == [("/groups/0", "wrong_type")]
        assert await directory.people() == []

    async def test_a_row_of_a_relation_with_a_missing_end_is_rejected(self, directory: Importing) -> None:
        outcomes = await directory.run(
            {"kind": "group", "name": "A"},
            {"kind": "nesting", "group": "A", "child": "B"},
            {"kind": "nesting", "group": "B", "child": "C"},
            {"kind": "membership", "user": "a", "group": "A"},
            {"kind": "membership", "user": "a", "group": "B"},
        )
        assert [faults(each) for each in outcomes[1:]] == [
            [("/child", "not_found")],
            [("/group", "not_found"), ("/child", "not_found")],
            [("/user", "not_found")],
            [("/user", "not_found"), ("/group", "not_found")],
        ]

    async def test_a_row_of_a_relation_has_no_other_fields(self, directory: Importing) -> None:
        await directory.run({"kind": "group", "name": "A"}, {"kind": "group", "name": "B"}, ALICE)
        outcomes = await directory.run(
            {"kind": "nesting", "group": "A", "child": "B", "since": 1},
            {"kind": "membership", "user": "a", "group": "A", "rank": 1, "area": 2},
        )
        assert [faults(each) for each in outcomes] == [
            [("/since", "unknown")],
            [("/area", "unknown"), ("/rank", "unknown")],
        ]

    async def test_a_cycle_rejects_only_the_row_that_closes_it(self, directory: Importing) -> None:
        outcomes = await directory.run(
            {"kind": "group", "name": "A"},
            {"kind": "group", "name": "B"},
            {"kind": "nesting", "group": "A", "child": "B"},
            {"kind": "nesting", "group": "B", "child": "A"},
            {"kind": "nesting", "group": "A", "child": "B"},
            ALICE,
        )
        assert ends(outcomes) == ["created", "created", "created", "rejected", "rejected", "created"]
        assert [faults(each) for each in outcomes[3:5]] == [[("", "cycle")], [("", "conflict")]]

    async def test_an_existing_membership_gets_the_role_of_its_row(self, directory: Importing) -> None:
        await directory.run({"kind": "group", "name": "A"}, {**ALICE, "groups": ["A"]})
        row: JsonObject = {"kind": "membership", "user": "a", "group": "a"}
        assert ends(await directory.run(row)) == ["rejected"]
        for role, done in (("lead", "updated"), ("lead", "unchanged"), (None, "updated")):
            assert ends(await directory.run({**row, "role": role}, options=UPSERT)) == [done]
        assert ends(await directory.run(row, {**row, "role": "x"}, options=UPSERT)) == ["unchanged", "rejected"]

    async def test_a_group_is_matched_by_its_external_id_or_else_by_its_name(
        self, directory: Importing, groups: GroupService
    ) -> None:
        await directory.run({"kind": "group", "name": "A", "external_id": "x"}, {"kind": "group", "name": "B"})
        outcomes = await directory.run(
            {"kind": "group", "external_id": "x", "name": "Aa"},
            {"kind": "group", "name": "b", "description": "Bees"},
            options=UPSERT,
        )
        assert ends(outcomes) == ["updated", "updated"]
        assert [group.name for group in (await groups.list(limit=9)).items] == ["Aa", "b"]


class TestScopes:
    async def test_rows_of_groups_and_scim_records_need_their_scopes(self, directory: Importing) -> None:
        outcomes = await directory.run(
            {"kind": "group", "name": "A"},
            {**ALICE, "groups": []},
            {**BOB, "scim": {}},
            {"name": "Carol"},
            scopes={Scope.USERS_WRITE},
        )
        assert ends(outcomes) == ["rejected", "rejected", "rejected", "created"]
        assert [each.faults[0].detail for each in outcomes[:3]] == [
            "This needs the scope groups:write.",
            "This needs the scope groups:write.",
            "This needs the scope scim.",
        ]


class TestGoingOn:
    """An import with a key that ended early is repeated, and stores the rows that are not stored yet."""

    KEYED = Options(key=FileKey("nightly", "of this file"))
    ROWS: Sequence[JsonObject] = [*[{"name": f"U{n}"} for n in range(BATCH)], {"name": ""}, {"name": "Last"}]

    async def test_no_row_is_stored_twice_and_the_report_is_the_same(self, directory: Importing) -> None:
        first = await directory.run(*self.ROWS, options=self.KEYED)
        again = await directory.run(*self.ROWS, options=self.KEYED)
        assert [(each.line, each.done, each.id, each.faults) for each in again] == [
            (each.line, each.done, each.id, each.faults) for each in first
        ]
        assert len(await directory.people()) == BATCH + 1
        assert directory.counts == Counts(rows=BATCH + 2, created=BATCH + 1, rejected=1, again=BATCH + 2)

    async def test_a_repeated_import_stores_the_rows_that_were_not_reached(self, directory: Importing) -> None:
        service = ImportService(directory.units, RequestContext(actor="importer", request_id="r9"))
        steps = Import(service, rows_of(*self.ROWS), self.KEYED).steps()
        await anext(steps)
        await steps.aclose()
        assert len(await directory.people()) == BATCH
        await directory.run(*self.ROWS, options=self.KEYED)
        assert (len(await directory.people()), directory.counts.again) == (BATCH + 1, BATCH)

    async def test_another_file_with_the_same_key_is_refused(self, directory: Importing) -> None:
        await directory.run(ALICE, options=self.KEYED)
        with pytest.raises(Refusal, match="another request"):
            await directory.run(ALICE, options=Options(key=FileKey("nightly", "of another file")))

    async def test_other_rows_of_the_file_with_the_same_number_are_refused(self, directory: Importing) -> None:
        """The rows are at other places if an upgrade changes how many rows are stored together."""
        service = ImportService(directory.units, RequestContext(actor="importer", request_id="r9"))
        await service.store(rows_of(ALICE, BOB), self.KEYED)
        for others in (rows_of(ALICE), rows_of(ALICE, BOB)[1:], [Row(1, ALICE), Row(3, BOB)]):
            with pytest.raises(Refusal, match="another request"):
                await service.store(others, self.KEYED)

    async def test_without_a_key_rows_are_stored_again(self, directory: Importing) -> None:
        for _ in range(2):
            await directory.run({"name": "Alice"})
        assert len(await directory.people()) == 2


async def test_a_unique_value_that_another_request_takes_meanwhile_is_checked_again(
    directory: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another request writes between the check of unique values and the write of the rows."""
    taken: list[Sequence[NewUser]] = []
    service = ImportService(directory.units, RequestContext(actor="importer", request_id="r9"))
    store = type(directory.units.writing_unit(directory.units._tables, service.context, directory.units._clock).users)
    add_many = store.add_many

    async def add_late(self: Any, new: Sequence[NewUser]) -> Any:
        if not taken:
            taken.append(new)
            raise Conflict("external_id")
        return await add_many(self, new)

    monkeypatch.setattr(store, "add_many", add_late)
    assert ends((await service.store(rows_of(ALICE), Options())).result.outcomes) == ["created"]


def test_values_of_earlier_rows_are_kept_in_one_set_for_each_identifier() -> None:
    """A set has a large fixed cost: one for each row made matching imports and dry runs ten times slower."""
    made: list[KeySet] = []

    def make() -> KeySet:
        made.append(KeySet())
        return made[-1]

    seen = SeenKeys(IDENTIFIERS, defaultdict(make))
    seen.add(("user", name, f"{name} {number}") for number in range(10) for name in ("email", "username"))
    assert len(made) == 2
    assert seen.has("user", "email", "email 9")
    assert not seen.has("group", "name", "email 9")
