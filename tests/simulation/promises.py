"""What has to be so after every run, whatever went wrong in it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tests.simulation.clients import Attempt, Follower, Outcome

from domain.changes import Action, Change
from domain.errors import Contended
from domain.journal import state_of
from domain.users import User
from repositories.memory.units import Tables

States = Mapping[tuple[int, int], dict[str, Any] | None]
"""The state of each user at each version, by id and version. None where it was erased."""


def broken(tables: Tables, attempts: Sequence[Attempt], followers: Sequence[Follower]) -> Iterator[str]:
    """A sentence for each broken promise."""
    record = tables.changes
    users: Mapping[int, User] = tables.rows[User.kind].by_id
    if [change.seq for change in record] != list(range(1, len(record) + 1)):
        yield "the record of changes has a gap"
        return
    for follower in followers:
        if [change.seq for change in follower.seen] != list(range(1, len(record) + 1)):
            yield "a follower missed a change, or saw one twice"
    yield from broken_histories(record, users)
    states = states_in(record)
    yield from broken_uniqueness(record)
    yield from broken_answers(record, states, attempts)
    yield from broken_keys(record, attempts)
    yield from traces(record, tables, users)


def broken_histories(record: Sequence[Change], users: Mapping[int, User]) -> Iterator[str]:
    """Every change is a write, and every write is a change."""
    versions: dict[int, int] = {}
    purged = set()
    for change in record:
        id = change.entity_id
        if (change.action is Action.CREATED) is (id in versions):
            yield f"user {id} was {change.action} in the wrong place"
        if change.version != versions.get(id, 0) + 1:
            yield f"the version of user {id} went from {versions.get(id, 0)} to {change.version}"
        if id in purged:
            yield f"user {id} changed after it was purged"
        versions[id] = change.version
        if change.action is Action.PURGED:
            purged.add(id)
    if users.keys() != versions.keys() - purged:
        yield "the users are not those of the record"
    for id, user in users.items():
        if user.version != versions.get(id):
            yield f"user {id} is at another version than its record"


def states_in(record: Sequence[Change]) -> States:
    states: dict[tuple[int, int], dict[str, Any] | None] = {}
    for change in record:
        if change.after is None:
            states[change.entity_id, change.version] = None
        else:
            before = states.get((change.entity_id, change.version - 1)) or {}
            states[change.entity_id, change.version] = {**before, **change.after}
    return states


def broken_uniqueness(record: Sequence[Change]) -> Iterator[str]:
    """At no time did two users that are not deleted have the same e-mail or external id."""
    users: dict[int, dict[str, Any]] = defaultdict(dict)
    for change in record:
        if change.after is None:
            users.pop(change.entity_id, None)
            continue
        users[change.entity_id].update(change.after)
        live = [user for user in users.values() if not user.get("deleted_at")]
        for field in ("email", "external_id"):
            values = [user[field].casefold() for user in live if user.get(field)]
            if len(values) > len(set(values)):
                yield f"after change {change.seq} two users had the same {field}"


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
        if len(written) not in lawful_writes(attempt):
            yield f"{what} wrote {len(written)} changes"
        elif attempt.outcome is Outcome.OK and not attempt.is_dry_run:
            yield from broken_write(what, attempt, written)
            yield from broken_answer(what, attempt, states)


def lawful_writes(attempt: Attempt) -> range:
    """How many changes it may have written."""
    if attempt.is_dry_run or attempt.outcome in (Outcome.REFUSED, Outcome.REPLAYED):
        return range(1)
    if attempt.outcome is Outcome.UNKNOWN:
        return range(2)
    return range(1, 2) if attempt.seq is not None else range(1)


def broken_write(what: str, attempt: Attempt, written: Sequence[Change]) -> Iterator[str]:
    for change in written:
        if change.seq != attempt.seq:
            yield f"{what} was told another number than its change has"
        if attempt.expected not in (None, change.version - 1) and change.action is not Action.CREATED:
            yield f"{what} overwrote a version that it had not seen"


def broken_answer(what: str, attempt: Attempt, states: States) -> Iterator[str]:
    user = attempt.user
    if user is None:
        return
    if (user.id, user.version) not in states:
        yield f"{what} was told a state that never was"
        return
    state = states[user.id, user.version]
    if state is not None and {**dict.fromkeys(state_of(user)), **state} != state_of(user):
        yield f"{what} was told another state than was stored"
    if attempt.operation == "get" and user.version < attempt.known:
        yield f"{what} was told an old state"


def broken_keys(record: Sequence[Change], attempts: Sequence[Attempt]) -> Iterator[str]:
    """A request with an idempotency key is carried out once, unless its answer was erased meanwhile."""
    of_key: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.key is not None:
            of_key[attempt.key].append(attempt)
    purged_at = {change.entity_id: change.seq for change in record if change.action is Action.PURGED}
    for key, sent in of_key.items():
        ids = {attempt.request_id for attempt in sent}
        made = [change for change in record if change.request_id in ids]
        for one, following in pairwise(made):
            if purged_at.get(one.entity_id, following.seq) >= following.seq and not expired(one, following):
                yield f"{key} was carried out twice"
        replayed = [attempt for attempt in sent if attempt.outcome is Outcome.REPLAYED]
        if any(attempt.seq not in {change.seq for change in made} for attempt in replayed):
            yield f"{key} was answered with a change that is not its own"


def expired(one: Change, following: Change) -> bool:
    """The clock jumped so far that the answer counts as old."""
    return (following.at - one.at).total_seconds() >= 24 * 60 * 60


def traces(record: Sequence[Change], tables: Tables, users: Mapping[int, User]) -> Iterator[str]:
    """An erased person is nowhere."""
    purged = {change.entity_id for change in record if change.action is Action.PURGED}
    for change in record:
        if change.entity_id in purged and (change.before is not None or change.after is not None):
            yield f"change {change.seq} has values of an erased user"
    if any(answer.entity[1] in purged for answer in tables.answers.values()):
        yield "a stored answer shows an erased user"
    if purged & users.keys():
        yield "an erased user is there"
