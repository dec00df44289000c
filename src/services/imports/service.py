"""The operations of an import."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby
from typing import Any, ClassVar, Final

from domain.errors import Contended, Fault
from domain.idempotency import NOBODY, AlreadyDone, Committed, IdempotencyKey
from domain.imports import Done, FileKey, Kind, Match, Options, Outcome, Row
from domain.keys import Scope
from domain.lists.filters import Present
from domain.lists.pages import MAX_LIMIT, Page, Position
from domain.references import Subject
from domain.users import FIELDS, User
from services.imports.batches import Batch, Key, SeenKeys, folded, kind_of, texts
from services.imports.groups import store_groups, store_nestings
from services.imports.memberships import store_memberships
from services.imports.users import store_users
from services.operations import operation
from services.users import WritesUsers


@dataclass(frozen=True, slots=True)
class Stored:
    """The results of some rows, and the unique values of the stored ones.

    `again` says that an earlier run of this import stored them.
    """

    outcomes: Sequence[Outcome]
    keys: Sequence[Key] = ()
    again: bool = False

    about: ClassVar[Subject] = NOBODY


class ImportService(WritesUsers):
    @operation(Scope.USERS_WRITE)
    async def store(
        self, rows: Sequence[Row], options: Options, seen: SeenKeys | None = None, *, part: str = ""
    ) -> Committed[Stored]:
        """Store all rows that break no rule. With `options.atomic`, store nothing if a row breaks one.

        Rows about groups need the scope `groups:write` too, rows with a SCIM record the scope `scim`. `part` tells
        these rows from other rows of the same import, for its key. Raises `Invalid` or `Cycle` if a broken rule is
        noticed only when the rows are stored.
        """
        key = None if options.key is None else key_of(options.key, part, rows, options)
        try:
            async with self.units.writing(replace(self.context, idempotency_key=key)) as work:
                known = seen or SeenKeys.by(options, dry_run=self.context.dry_run)
                batch = Batch(work, options, known, self.context.scopes, self._is_email)
                outcomes = await carry_out(batch, rows)
                if options.atomic and any(each.done is Done.REJECTED for each in outcomes):
                    return Committed(Stored([withheld(each) for each in outcomes]))
                return await work.commit(Stored(outcomes, tuple(batch.lines)))
        except Contended:
            if seen is not None:
                seen.expects_new = False
            raise
        except AlreadyDone as done:
            keys = [(Kind.USER, options.match, folded(options.match, each)) for each in texts(rows, options.match)]
            return Committed(Stored(outcomes_in(done.answer), keys, again=True))

    @operation(Scope.USERS_WRITE)
    async def matched(self, match: Match, after: Position | None = None) -> Page[User]:
        """A page of the users that have the identifier. A sync may delete these."""
        its = Present(FIELDS[match])
        async with self.units.reading() as work:
            return Page.of(await work.users.list(filter=its, after=after, limit=MAX_LIMIT + 1), MAX_LIMIT)

    @operation(Scope.USERS_WRITE)
    async def delete(self, had: Mapping[int, str], match: Match) -> Committed[Sequence[Outcome]]:
        """Delete the users with these ids, if they still have the same identifiers (`had`)."""
        async with self.units.writing(replace(self.context, idempotency_key=None)) as work:
            found = await work.users.get_many(list(had))
            its = [each for each in found if not each.is_hidden and getattr(each, match) == had[each.id]]
            saved = await work.users.save_many([each.deleted(work.now) for each in its])
            outcomes = [
                Outcome(line=None, done=Done.DELETED, id=now.id, was=was, now=now)
                for was, now in zip(its, saved, strict=True)
            ]
            return await work.commit(outcomes) if outcomes else Committed(outcomes)


STORES: Final[Mapping[Kind, Callable[[Batch, Sequence[Row]], Awaitable[None]]]] = {
    Kind.USER: store_users,
    Kind.GROUP: store_groups,
    Kind.NESTING: store_nestings,
    Kind.MEMBERSHIP: store_memberships,
}


async def carry_out(batch: Batch, rows: Sequence[Row]) -> Sequence[Outcome]:
    """Store the rows. Consecutive rows of one kind are stored together, so that later rows can refer to them."""
    for kind, some in groupby(rows, kind_of):
        if kind is not None:
            await STORES[kind](batch, [row for row in some if batch.may(kind, row)])
            continue
        for row in some:
            batch.reject(row, row.faults or [Fault("/kind", "not_allowed", f"Must be one of {', '.join(Kind)}.")])
    return [batch.outcomes[row.line] for row in rows]


def withheld(outcome: Outcome) -> Outcome:
    is_rejected = outcome.done is Done.REJECTED
    return outcome if is_rejected else Outcome(line=outcome.line, done=Done.WITHHELD, kind=outcome.kind)


def key_of(file: FileKey, part: str, rows: Sequence[Row], options: Options) -> IdempotencyKey:
    """The key of some rows of a file. The digest of the file stands for their values."""
    said = [
        options.mode,
        options.match,
        options.atomic,
        file.digest,
        *[rows[place].line for place in (0, -1)],
        len(rows),
    ]
    return IdempotencyKey(f"{file.name} {part}", sha256(json.dumps(said).encode()).hexdigest(), answer)


def answer(committed: Committed[Stored]) -> str:
    """The results as text, without any values of users."""
    return json.dumps(
        [
            [each.line, each.done, each.kind, each.id, *[[f.pointer, f.code, f.detail] for f in each.faults]]
            for each in committed.result.outcomes
        ]
    )


def outcomes_in(answer: str) -> Sequence[Outcome]:
    outcomes: list[list[Any]] = json.loads(answer)
    return [
        Outcome(line=line, done=Done(done), kind=kind, id=id, faults=tuple(Fault(*fault) for fault in faults))
        for line, done, kind, id, *faults in outcomes
    ]
