"""What has to be so after every run, whatever went wrong in it."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from tests.simulation.clients import Attempt, Follower, Outcome

from domain.changes import Action, Change
from domain.entities import Entity
from domain.errors import Contended
from domain.groups import Group
from domain.journal import state_of
from domain.lists.filters import matches
from domain.memberships import Membership
from domain.nestings import Nesting
from domain.references import Subject
from domain.users import User
from domain.values import JsonValue
from repositories.memory.units import Tables

KINDS: Final[Sequence[type[Entity]]] = (User, Group, Membership, Nesting)
OF_ONE_USER: Final = frozenset({"create", "put", "patch", "delete", "restore", "purge", "get"})

State = Mapping[str, JsonValue]
States = Mapping[tuple[str, int, int], State | None]
"""The state of each entity at each version, by kind, id and version. None where it was erased or ended."""


def broken(tables: Tables, attempts: Sequence[Attempt], followers: Sequence[Follower]) -> Iterator[str]:
    """A sentence for each broken promise."""
    record = tables.changes
    if [change.seq for change in record] != list(range(1, len(record) + 1)):
        yield "the record of changes has a gap"
        return
    for follower in followers:
        if [change.seq for change in follower.seen] != [each.seq for each in record if matches(follower.filter, each)]:
            yield "a follower missed a change, or saw one twice"
    states = states_in(record)
    yield from broken_histories(record, states, tables)
    yield from broken_uniqueness(record)
    yield from broken_relations(tables)
    yield from broken_answers(record, states, attempts)
    yield from broken_keys(record, attempts)
    yield from traces(record, tables)


def broken_histories(record: Sequence[Change], states: States, tables: Tables) -> Iterator[str]:
    """Every change is a write, and every write is a change."""
    versions: dict[Subject, int] = {}
    over = set()
    for change in record:
        subject = (change.kind, change.entity_id)
        what = f"{change.kind} {change.entity_id}"
        if (change.action is Action.CREATED) is (subject in versions):
            yield f"{what} was {change.action} in the wrong place"
        if change.version != versions.get(subject, 0) + 1:
            yield f"the version of {what} went from {versions.get(subject, 0)} to {change.version}"
        if subject in over:
            yield f"{what} changed after it was gone"
        versions[subject] = change.version
        if change.action in (Action.PURGED, Action.ENDED):
            over.add(subject)
    for entity in KINDS:
        rows = tables.rows[entity.kind].by_id
        if {(entity.kind, id) for id in rows} != {each for each in versions.keys() - over if each[0] == entity.kind}:
            yield f"the entities of kind {entity.kind} are not those of the record"
        yield from broken_rows(entity.kind, rows, versions, states)


def broken_rows(
    kind: str, rows: Mapping[int, Entity], versions: Mapping[Subject, int], states: States
) -> Iterator[str]:
    for id, row in rows.items():
        state = states.get((kind, id, row.version))
        if row.version != versions.get((kind, id)):
            yield f"{kind} {id} is at another version than its record"
        elif state is not None and not is_state(row, state):
            yield f"{kind} {id} is in another state than its record says"


def states_in(record: Sequence[Change]) -> States:
    states: dict[tuple[str, int, int], State | None] = {}
    for change in record:
        key = (change.kind, change.entity_id, change.version)
        if change.after is None or change.action is Action.ENDED:
            states[key] = None
        else:
            before = states.get((change.kind, change.entity_id, change.version - 1)) or {}
            states[key] = {**before, **change.after}
    return states


def is_state(entity: Entity, state: State) -> bool:
    return {**dict.fromkeys(state), **state_of(entity)} == {**dict.fromkeys(state_of(entity)), **state}


UNIQUE: Final[Sequence[tuple[type[Entity], tuple[str, ...]]]] = (
    (User, ("email",)),
    (User, ("external_id",)),
    (Group, ("name",)),
    (Membership, ("group_id", "user_id")),
    (Nesting, ("group_id", "child_id")),
)


def broken_uniqueness(record: Sequence[Change]) -> Iterator[str]:
    """At no time did two entities that are not deleted have the same of what is unique."""
    for entity, names in UNIQUE:
        taken: dict[int, dict[str, JsonValue]] = defaultdict(dict)
        for change in record:
            if change.kind != entity.kind:
                continue
            if change.after is None or change.action is Action.ENDED:
                taken.pop(change.entity_id, None)
                continue
            taken[change.entity_id].update(change.after)
            live = [each for each in taken.values() if not each.get("deleted_at") and each.get(names[0])]
            values = [tuple(str(each[name]).casefold() for name in names) for each in live]
            if len(values) > len(set(values)):
                yield f"after change {change.seq} two of kind {entity.kind} had the same {' and '.join(names)}"


def broken_relations(tables: Tables) -> Iterator[str]:
    """What is named is there, a membership is hidden exactly while its user is, and no group is a part of itself."""
    users, groups = tables.rows[User.kind].by_id, tables.rows[Group.kind].by_id
    for membership in tables.rows[Membership.kind].by_id.values():
        if membership.group_id not in groups or membership.user_id not in users:
            yield f"membership {membership.id} names what is not there"
        elif membership.is_hidden is not users[membership.user_id].is_hidden:
            yield f"membership {membership.id} does not go with its user"
    parts: dict[int, set[int]] = defaultdict(set)
    for nesting in tables.rows[Nesting.kind].by_id.values():
        if not {nesting.group_id, nesting.child_id} <= groups.keys():
            yield f"nesting {nesting.id} names what is not there"
        parts[nesting.group_id].add(nesting.child_id)
    for group in groups:
        if group in reached_from(parts[group], parts):
            yield f"group {group} is a part of itself"


def reached_from(start: Collection[int], parts: Mapping[int, Collection[int]]) -> Collection[int]:
    seen: set[int] = set()
    ahead = set(start)
    while ahead:
        seen |= ahead
        ahead = {part for each in ahead for part in parts.get(each, ())} - seen
    return seen


def broken_answers(record: Sequence[Change], states: States, attempts: Sequence[Attempt]) -> Iterator[str]:
    """What was acknowledged is there once, what was refused is not, and every answer was true."""
    by_request: dict[str, list[Change]] = defaultdict(list)
    for change in record:
        by_request[change.request_id].append(change)
    for attempt in attempts:
        written = by_request[attempt.request_id]
        what = f"{attempt.request_id} ({attempt.operation}, {attempt.outcome})"
        if attempt.error == Contended.__name__:
            yield f"{what} was not run again"
        if not is_lawful(attempt, written):
            yield f"{what} wrote {len(written)} changes"
        elif attempt.outcome is Outcome.OK and not attempt.is_dry_run:
            yield from broken_write(what, attempt, written)
            yield from broken_answer(what, attempt, states)


def is_lawful(attempt: Attempt, written: Sequence[Change]) -> bool:
    """Whether it may have written these changes: none if it was refused, all in one transaction, one of its user."""
    if attempt.is_dry_run or attempt.outcome in (Outcome.REFUSED, Outcome.REPLAYED):
        return not written
    if attempt.outcome is Outcome.OK and bool(written) is (attempt.seq is None):
        return False
    if written and written[-1].seq - written[0].seq != len(written) - 1:
        return False
    of_users = [change for change in written if change.kind == User.kind]
    return len(of_users) == (1 if written and attempt.operation in OF_ONE_USER else 0)


def broken_write(what: str, attempt: Attempt, written: Sequence[Change]) -> Iterator[str]:
    if written and written[-1].seq != attempt.seq:
        yield f"{what} was told another number than its change has"
    for change in written:
        overwrote = attempt.expected not in (None, change.version - 1) and change.action is not Action.CREATED
        if overwrote and change.kind == User.kind:
            yield f"{what} overwrote a version that it had not seen"


def broken_answer(what: str, attempt: Attempt, states: States) -> Iterator[str]:
    entity = attempt.entity
    if entity is None:
        return
    key = (entity.kind, entity.id, entity.version)
    if key not in states:
        yield f"{what} was told a state that never was"
        return
    state = states[key]
    if state is not None and not is_state(entity, state):
        yield f"{what} was told another state than was stored"
    if attempt.operation == "get" and entity.version < attempt.known:
        yield f"{what} was told an old state"


def broken_keys(record: Sequence[Change], attempts: Sequence[Attempt]) -> Iterator[str]:
    """A request with an idempotency key is carried out once, unless its answer was erased meanwhile."""
    of_key: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.key is not None:
            of_key[attempt.key].append(attempt)
    purged_at = {(change.kind, change.entity_id): change.seq for change in record if change.action is Action.PURGED}
    for key, sent in of_key.items():
        ids = {attempt.request_id for attempt in sent}
        made = [change for change in record if change.request_id in ids]
        for one, following in pairwise(made):
            erased_at = purged_at.get((one.kind, one.entity_id), following.seq)
            if erased_at >= following.seq and not expired(one, following):
                yield f"{key} was carried out twice"
        replayed = [attempt for attempt in sent if attempt.outcome is Outcome.REPLAYED]
        if any(attempt.seq not in {change.seq for change in made} for attempt in replayed):
            yield f"{key} was answered with a change that is not its own"


def expired(one: Change, following: Change) -> bool:
    """The clock jumped so far that the answer counts as old."""
    return (following.at - one.at).total_seconds() >= 24 * 60 * 60


def traces(record: Sequence[Change], tables: Tables) -> Iterator[str]:
    """An erased person is nowhere, in memberships neither."""
    purged = {(change.kind, change.entity_id) for change in record if change.action is Action.PURGED}
    people = {subject for subject in purged if subject[0] == User.kind}
    for change in record:
        is_about = change.subjects[0] in purged or (
            change.kind == Membership.kind and not people.isdisjoint(change.subjects)
        )
        if is_about and (change.before is not None or change.after is not None):
            yield f"change {change.seq} has values of what was erased"
    if any(answer.entity in purged for answer in tables.answers.values()):
        yield "a stored answer shows what was erased"
    for kind, id in purged:
        if id in tables.rows[kind].by_id:
            yield f"{kind} {id} is there, and was erased"
