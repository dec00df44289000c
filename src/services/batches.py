"""Many operations on users at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from domain.batches import OperationDone, Taken, UserOperation, Verb
from domain.errors import Fault, Gone, Invalid, NotFound, Refusal
from domain.idempotency import NOBODY, Committed
from domain.imports import Options, Row
from domain.keys import Scope
from domain.references import Subject
from domain.stores import Identifier, Who
from domain.users import NewUser, User
from domain.versions import NOT_THERE, require_version
from domain.work import UnitOfWork
from services.imports.batches import Batch, Draft, SeenKeys, made
from services.operations import operation
from services.users import WritesUsers, require_email

NO_ROWS: Final = SeenKeys({})


@dataclass(frozen=True, slots=True)
class BatchDone:
    """The results of the operations, in their order. The stored answer contains no values of users."""

    done: Sequence[OperationDone]

    about: ClassVar[Subject] = NOBODY


class BatchService(WritesUsers):
    @operation(Scope.USERS_WRITE)
    async def carry_out(self, operations: Sequence[UserOperation], *, atomic: bool = False) -> Committed[BatchDone]:
        """Carry out all valid operations in one transaction. If it is `atomic`, carry out all of them or none.

        At most one operation can name the same user. No operation sees the effects of another one.
        """
        async with self.units.writing(self.context) as work:
            batch = Batch(work, Options(), NO_ROWS, self.context.scopes, self._is_email)
            drafts, refusals = drafts_of(batch, operations, await those_named(work, operations))
            drafts = await batch.without_conflicts(work.users, User.kind, drafts)
            refusals.update((line, refusal_of(each.faults)) for line, each in batch.outcomes.items())
            if atomic and refusals:
                return Committed(BatchDone([OperationDone(refusal=refusals.get(n)) for n in range(len(operations))]))
            stored = await batch.store(work.users, drafts)
            users = {draft.row.line: (user, draft.before is None) for draft, user in stored}
            done = [
                OperationDone(refusal=refusals[n]) if n in refusals else stored_as(*users[n])
                for n in range(len(operations))
            ]
            return await work.commit(BatchDone(done))


def stored_as(user: User, is_new: bool) -> OperationDone:
    return OperationDone(user=user, is_new=is_new)


async def those_named(work: UnitOfWork, operations: Sequence[UserOperation]) -> Mapping[Who, User]:
    """The users that the operations name, locked. Deleted users are included if they are named by their ids."""
    ids = [each.who for each in operations if isinstance(each.who, int)]
    external = [each.who.value for each in operations if isinstance(each.who, Identifier)]
    found: dict[Who, User] = {}
    if ids:
        found.update((user.id, user) for user in await work.users.get_many(ids))
    if external:
        users = await work.users.find_many("external_id", external)
        found.update((Identifier("external_id", value), user) for value, user in users.items())
    return found


def drafts_of(
    batch: Batch, operations: Sequence[UserOperation], found: Mapping[Who, User]
) -> tuple[list[Draft], dict[int, Refusal]]:
    """The drafts of all valid operations, and the refusals of the others by their index."""
    drafts, refusals, named = [], dict[int, Refusal](), set[int]()
    for number, each in enumerate(operations):
        try:
            drafts.append(draft_of(batch, Row(number, {}), each, found, named))
        except Refusal as refusal:
            refusals[number] = refusal
    return drafts, refusals


def draft_of(batch: Batch, row: Row, operation: UserOperation, found: Mapping[Who, User], named: set[int]) -> Draft:
    """Raises what the operation would raise if it was alone, and `Invalid` if an earlier operation names the same
    user."""
    before = None if operation.who is None else found.get(operation.who)
    if before is not None:
        if before.id in named:
            raise Invalid([Fault("", "duplicate", "An earlier operation names the same user.")])
        named.add(before.id)
    if before is None and operation.verb in {Verb.PATCH, Verb.DELETE}:
        raise NotFound("There is no such user.")
    if before is not None and before.is_hidden:
        raise Gone("This user is deleted.")
    require_version(NOT_THERE if before is None else before.version, operation.expected)
    after = after_of(batch, operation, before)
    require_email(batch.is_email, after, before)
    return Draft(row, before, after)


def after_of(batch: Batch, operation: UserOperation, before: User | None) -> Any:
    if operation.verb is Verb.DELETE:
        assert before is not None  # noqa: S101  # the caller has seen to it
        return before.deleted(batch.work.now)
    refuse_record(operation.body)
    if operation.verb is Verb.PATCH:
        assert before is not None  # noqa: S101  # as above
        return before.patched(operation.body)
    known = {"external_id": operation.who.value} if isinstance(operation.who, Identifier) else {}
    if known and operation.body.get("external_id") not in (None, *known.values()):
        raise Invalid([Fault("/external_id", "not_allowed", "Must be that of the operation.")])
    new = made(NewUser, None, {**operation.body, **known}, is_patch=False)
    return new if before is None else before.replaced(new)


def refuse_record(body: Collection[str]) -> None:
    """Raises `Invalid` for the record of SCIM, which is not a field of users over HTTP."""
    if "scim" in body:
        raise Invalid([Fault("/scim", "unknown", "There is no such field.")])


def refusal_of(faults: Sequence[Fault]) -> Refusal:
    """The refusal of a single request with these faults: `Taken` if all are unique values, otherwise `Invalid`."""
    return Taken(faults) if all(each.code == "taken" for each in faults) else Invalid(faults)
