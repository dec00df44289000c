"""The promises that have to hold after every run, whatever went wrong in it."""

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
GONE: Final = frozenset({Action.PURGED, Action.ENDED})
OF_ONE_USER: Final = frozenset({"create", "put", "patch", "delete", "restore", "purge", "get"})

State = Mapping[str, JsonValue]
"""The fields that have a value."""

States = Mapping[tuple[str, int, int], State | None]
"""The state of each entity at each version, by kind, id and version. None where it was erased or ended."""


def broken(tables: Tables, attempts: Sequence[Attempt], followers: Sequence[Follower]) -> Iterator[str]:
    """A sentence for each broken promise."""
    record = tables.changes
    if [change.seq for change in record] != list(range(1, len(record) + 1)):
        yield "the record of changes has a gap"
        return
    for follower in followers:
        new = record[follower.begins_after :]
        if [change.seq for change in follower.seen] != [each.seq for each in new if matches(follower.filter, each)]:
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
        subject = change.subjects[0]
        before = versions.get(subject, 0)
        if (change.action is Action.CREATED) is (before > 0):
            yield f"{named(subject)} was {change.action} in the wrong place"
        if change.version != before + 1:
            yield f"the version of {named(subject)} went from {before} to {change.version}"
        if subject in over:
            yield f"{named(subject)} changed after it was gone"
        versions[subject] = change.version
        if change.action in GONE:
            over.add(subject)
    rows = {(entity.kind, id): row for entity in KINDS for id, row in tables.rows[entity.kind].by_id.items()}
    there = {subject for subject in versions.keys() - over if subject[0] in UNIQUE}
    for subject in rows.keys() ^ there:
        yield f"{named(subject)} is {'stored' if subject in rows else 'in the record'} only"
    for subject, row in rows.items():
        state = states.get((*subject, row.version))
        if row.version != versions.get(subject):
            yield f"{named(subject)} is at another version than its record"
        elif state is not None and not is_state(row, state):
            yield f"{named(subject)} is in another state than its record says"


def named(subject: Subject) -> str:
    kind, id = subject
    return f"{kind} {id}"


def states_in(record: Sequence[Change]) -> States:
    states: dict[tuple[str, int, int], State | None] = {}
    for change in record:
        key = (*change.subjects[0], change.version)
        if change.after is None or change.action is Action.ENDED:
            states[key] = None
        else:
            before = states.get((*change.subjects[0], change.version - 1)) or {}
            states[key] = without_none({**before, **change.after})
    return states


def is_state(entity: Entity, state: State) -> bool:
    return without_none(state_of(entity)) == state


def without_none(values: State) -> State:
    return {name: value for name, value in values.items() if value is not None}


UNIQUE: Final[Mapping[str, Sequence[tuple[str, ...]]]] = {
    User.kind: (("email",), ("external_id",)),
    Group.kind: (("name",),),
    Membership.kind: (("group_id", "user_id"),),
    Nesting.kind: (("group_id", "child_id"),),
}


def broken_uniqueness(record: Sequence[Change]) -> Iterator[str]:
    """Two entities that are not deleted never had the same unique value at the same time."""
    kept: dict[str, dict[int, dict[str, JsonValue]]] = {kind: {} for kind in UNIQUE}
    for change in record:
        states, after = kept.get(change.kind, {}), change.after
        if after is None or change.action is Action.ENDED:
            states.pop(change.entity_id, None)
            continue
        states.setdefault(change.entity_id, {}).update(after)
        if change.action is Action.DELETED:
            continue
        live = [each for each in states.values() if not each.get("deleted_at")]
        for names in UNIQUE.get(change.kind, ()):
            values = [[str(each[name]).casefold() for name in names] for each in live if each.get(names[0])]
            if any(value in values[:number] for number, value in enumerate(values)):
                yield f"after change {change.seq} two of kind {change.kind} had the same {' and '.join(names)}"


def broken_relations(tables: Tables) -> Iterator[str]:
    """References exist, a membership is hidden exactly while its user is, and no group is a part of itself."""
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
    """An acknowledged write is stored once, a refused one is not, and every answer was true."""
    by_request: dict[str, list[Change]] = defaultdict(list)
    for change in record:
        by_request[change.request_id].append(change)
    for attempt in attempts:
        written = by_request.get(attempt.request_id, ())
        if attempt.error == Contended.__name__:
            yield f"{attempt} was not run again"
        if not is_lawful(attempt, written):
            yield f"{attempt} wrote {len(written)} changes"
        elif attempt.outcome is Outcome.OK and not attempt.is_dry_run:
            yield from broken_write(attempt, written)
            yield from broken_answer(attempt, states)


def is_lawful(attempt: Attempt, written: Sequence[Change]) -> bool:
    """Whether it may have written these changes: none if refused, else one transaction with one change of its user."""
    if attempt.is_dry_run or attempt.outcome in (Outcome.REFUSED, Outcome.REPLAYED):
        return not written
    if attempt.outcome is Outcome.OK and bool(written) is (attempt.seq is None):
        return False
    if written and written[-1].seq - written[0].seq != len(written) - 1:
        return False
    of_users = sum(change.kind == User.kind for change in written)
    return of_users == (1 if written and attempt.operation in OF_ONE_USER else 0)


def broken_write(attempt: Attempt, written: Sequence[Change]) -> Iterator[str]:
    if written and written[-1].seq != attempt.seq:
        yield f"{attempt} got another number than its change has"
    for change in written:
        overwrote = attempt.expected not in (None, change.version - 1) and change.action is not Action.CREATED
        if overwrote and change.kind == User.kind:
            yield f"{attempt} overwrote a version that it had not seen"


def broken_answer(attempt: Attempt, states: States) -> Iterator[str]:
    entity = attempt.entity
    if entity is None:
        return
    key = (entity.kind, entity.id, entity.version)
    if key not in states:
        yield f"{attempt} got a state that never existed"
        return
    state = states[key]
    if state is not None and not is_state(entity, state):
        yield f"{attempt} got another state than was stored"
    if attempt.operation == "get" and entity.version < attempt.known:
        yield f"{attempt} got an old state"


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
    """Whether the clock jumped so far that the stored answer has expired."""
    return (following.at - one.at).total_seconds() >= 24 * 60 * 60


def traces(record: Sequence[Change], tables: Tables) -> Iterator[str]:
    """Nothing of an erased user is left, not even in memberships."""
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
