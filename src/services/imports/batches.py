"""A batch: some rows in one unit of work. This is what rows of all kinds share."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from domain.entities import Entity, profile_of
from domain.errors import Fault, Invalid
from domain.groups import Group
from domain.imports import Done, KeySet, Kind, Mode, Options, Outcome, Row
from domain.journal import differ
from domain.keys import Scope
from domain.stores import Store
from domain.values import JsonObject, fold, merge_patch
from domain.work import UnitOfWork
from services.operations import contended

Key = tuple[str, str, str]
"""A unique value: its kind, its field, and the value in the form in which it is compared."""

IDENTIFIERS: Final[Mapping[str, Sequence[str]]] = {
    Kind.USER: ("external_id", "email", "username"),
    Kind.GROUP: ("name", "external_id"),
}
KINDS: Final = {kind.value: kind for kind in Kind}
FOLDED: Final = frozenset({"email", "username", "name"})


@dataclass(slots=True)
class SeenKeys:
    """The unique values of earlier rows that an import has to remember.

    A dry run stores nothing, so it has to remember all unique values. Otherwise the directory has them. Then only the
    field by which rows are matched is remembered, because a file may have each of its values only once.
    """

    fields: Mapping[str, Collection[str]]
    keys: dict[tuple[str, str], KeySet] = field(default_factory=lambda: defaultdict(KeySet))
    expects_new: bool = False
    """Whether the directory has none of the unique values of the next rows, as far as one knows. Then it is not asked
    for them: if it has one, the unit is contended, and run again with the question."""

    @classmethod
    def by(cls, options: Options, *, dry_run: bool) -> "SeenKeys":
        if dry_run:
            return cls(IDENTIFIERS)
        return cls({} if options.mode is Mode.CREATE else {**IDENTIFIERS, Kind.USER: (options.match,)})

    def has(self, kind: str, name: str, value: str) -> bool:
        return (known := self.keys.get((kind, name))) is not None and folded(name, value) in known

    def add(self, keys: Iterable[Key]) -> None:
        for kind, name, value in keys if self.fields else ():
            if name in self.fields.get(kind, ()):
                self.keys[kind, name].add(value)


@dataclass(slots=True, eq=False)
class Draft:
    """The entity that a row wants to store: a new one, or an existing one with its new values."""

    row: Row
    before: Any
    after: Any
    groups: Mapping[str, JsonObject] | None = None
    """The groups in which a user has to be: by name, with the given values of each membership."""

    joined: Sequence[str] = ()
    left: Sequence[str] = ()

    @property
    def differs(self) -> bool:
        return self.before is None or differ(self.before, self.after)


class Batch:
    """The rows of one unit of work. A row that breaks a rule is rejected, and the others continue."""

    def __init__(
        self,
        work: UnitOfWork,
        options: Options,
        seen: SeenKeys,
        scopes: Collection[Scope] | None,
        is_email: Callable[[str], bool],
    ) -> None:
        self.work = work
        self.options = options
        self.is_email = is_email
        self.outcomes: dict[int, Outcome] = {}
        """The results of rows, by their lines."""

        self.lines: dict[Key, int] = {}
        """The unique values of the stored rows, and their lines."""

        self._seen = seen
        self._scopes = scopes

    def may(self, kind: Kind, row: Row) -> bool:
        """Whether the caller has the scopes that this row needs. If not, the row is rejected. `users:write` was checked
        before."""
        if self._scopes is None:
            return True
        asked = {Scope.GROUPS_WRITE: kind is not Kind.USER or "groups" in row.values, Scope.SCIM: "scim" in row.values}
        for scope, is_asked in asked.items():
            if is_asked and scope not in self._scopes:
                self.reject(row, [Fault("", "forbidden", f"This needs the scope {scope}.")])
                return False
        return True

    def reject(self, row: Row, faults: Sequence[Fault]) -> None:
        kind = kind_of(row) or Kind.USER
        self.outcomes[row.line] = Outcome(line=row.line, done=Done.REJECTED, kind=kind, faults=tuple(faults))

    def drafts(self, rows: Iterable[Row], draft: Callable[[Row], Draft | None]) -> list[Draft]:
        """The drafts of all rows that break no rule."""
        made = []
        for row in rows:
            try:
                if (each := draft(row)) is not None:
                    made.append(each)
            except Invalid as refused:
                self.reject(row, refused.faults)
        return made

    def put_off(self, row: Row) -> None:
        """In a dry run, accept a row that refers to an entity that an earlier row would have created."""
        kind = kind_of(row) or Kind.USER
        self.outcomes[row.line] = Outcome(line=row.line, done=Done.CREATED, kind=kind)

    def was_met(self, kind: str, name: str, value: str) -> bool:
        """Whether this is a dry run in which an earlier row would have created this entity."""
        return self._seen.has(kind, name, value)

    async def matched(self, store: Store[Any, Any], name: str, rows: Iterable[Row]) -> Mapping[str, Any]:
        """The entities that rows may match, by their values in a field."""
        return {} if self.options.mode is Mode.CREATE else await found(store, name, texts(rows, name))

    async def groups_named(self, names: Collection[str]) -> Mapping[str, Group]:
        return await found(self.work.groups, "name", names)

    async def without_conflicts(self, store: Store[Any, Any], kind: str, drafts: Sequence[Draft]) -> list[Draft]:
        """The drafts whose unique values nobody else has. The others are rejected."""
        taken = {
            name: await found(store, name, [value for each in drafts if (value := new_value(each, name)) is not None])
            for name in (() if self._seen.expects_new else IDENTIFIERS[kind])
        }
        return [draft for draft in drafts if self._is_free(kind, draft, taken)]

    def _is_free(self, kind: str, draft: Draft, taken: Mapping[str, Mapping[str, Entity]]) -> bool:
        keys, faults = [], []
        for name in IDENTIFIERS[kind]:
            if (value := getattr(draft.after, name)) is not None:
                keys.append(key := (kind, name, folded(name, value)))
                holder = taken[name].get(value) if taken else None
                if fault := self._fault_at(key, draft, holder):
                    faults.append(fault)
        if faults:
            self.reject(draft.row, faults)
            return False
        for key in keys:
            self.lines[key] = draft.row.line
        return True

    def _fault_at(self, key: Key, draft: Draft, holder: Entity | None) -> Fault | None:
        kind, name, value = key
        if key in self.lines:
            return duplicate(self.lines[key], name)
        if self._seen.has(kind, name, value):
            return Fault(f"/{name}", "duplicate", "An earlier line of the file has the same.")
        if holder is not None and (draft.before is None or holder.id != draft.before.id):
            return Fault(f"/{name}", "taken", f"Another {kind} has this {name}.")
        return None

    async def store(self, store: Store[Any, Any], drafts: Sequence[Draft]) -> Sequence[tuple[Draft, Any]]:
        """Add new entities, and save those that differ. Returns each draft with its stored entity."""
        new = [each for each in drafts if each.before is None]
        changed = [each for each in drafts if each.before is not None and each.differs]
        with contended():
            added = await store.add_many([each.after for each in new])
            saved = await store.save_many([each.after for each in changed])
        stored = {**dict(zip(new, added, strict=True)), **dict(zip(changed, saved, strict=True))}
        return [(draft, stored.get(draft, draft.before)) for draft in drafts]

    def note(self, draft: Draft, stored: Entity) -> None:
        has_changed = stored is not draft.before or draft.joined or draft.left
        self.outcomes[draft.row.line] = Outcome(
            line=draft.row.line,
            done=Done.CREATED if draft.before is None else Done.UPDATED if has_changed else Done.UNCHANGED,
            kind=stored.kind,
            id=stored.id,
            was=draft.before,
            now=stored,
            joined=draft.joined,
            left=draft.left,
        )

    def once(
        self, drafts: Iterable[Draft], pair_of: Callable[[Any], tuple[int, int]], kept: Mapping[tuple[int, int], Any]
    ) -> dict[tuple[int, int], Draft]:
        """The drafts of relations without duplicates. `pair_of` gives the ids of the two related entities.

        If all rows have to be new, a draft is also rejected if its relation is stored already (`kept`).
        """
        good: dict[tuple[int, int], Draft] = {}
        for draft in drafts:
            pair = pair_of(draft.after)
            if pair in good:
                self.reject(draft.row, [duplicate(good[pair].row.line)])
            elif pair in kept and self.options.mode is Mode.CREATE:
                self.reject(draft.row, [Fault("", "conflict", "It is there already.")])
            else:
                good[pair] = draft
        return good


def duplicate(line: int, name: str | None = None) -> Fault:
    return Fault("" if name is None else f"/{name}", "duplicate", f"Line {line} of the file has the same.")


def kind_of(row: Row) -> Kind | None:
    """The kind of a row; None if the row cannot be read or the kind is unknown."""
    kind = row.values.get("kind", Kind.USER)
    return None if row.faults or not isinstance(kind, str) else KINDS.get(kind)


def texts(rows: Iterable[Row], name: str) -> list[str]:
    """The strings that rows have in a field."""
    return [value for row in rows if isinstance(value := row.values.get(name), str)]


def values_of(row: Row, known: Iterable[str] = ()) -> dict[str, Any]:
    """The values of a row. Raises `Invalid` for an unknown field."""
    values = dict(row.values)
    values.pop("kind", None)
    if known and (unknown := values.keys() - set(known)):
        raise Invalid([Fault(f"/{name}", "unknown", "There is no such field.") for name in sorted(unknown)])
    return values


def required(values: JsonObject, name: str) -> str:
    """A required string of a row. Raises `Invalid` if it is missing."""
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid([Fault(f"/{name}", "missing", "Is required.")])
    return value


def made(new: type, before: Any, values: dict[str, Any], *, is_patch: bool) -> Any:
    """A new entity with these values, or the existing one, changed as by a merge patch. Raises `Invalid`."""
    if before is not None:
        return before.patched(values)
    known = profile_of(new).keys()
    if not values.keys() <= known:
        unknown = sorted(values.keys() - known)
        raise Invalid([Fault(f"/{name}", "unknown", "There is no such field.") for name in unknown])
    if values.get("name") is None:
        raise Invalid([Fault("/name", "missing", "Is required.")])
    if is_patch and isinstance(values.get("attributes"), dict):
        values["attributes"] = merge_patch({}, values["attributes"])
    if None in values.values():
        values = {name: value for name, value in values.items() if value is not None}
    return new(**values)


def folded(name: str, value: str) -> str:
    return fold(value) if name in FOLDED else value


def new_value(draft: Draft, name: str) -> str | None:
    """The value of a field, if it differs from the stored value of this entity."""
    value: str | None = getattr(draft.after, name)
    return None if draft.before is not None and value == getattr(draft.before, name) else value


async def found(store: Store[Any, Any], name: str, values: Collection[str]) -> Mapping[str, Any]:
    return await store.find_many(name, values) if values else {}


def missing(faulty: Iterator[str], what: str) -> None:
    """Raises `Invalid` with a fault at each of these pointers, if there are any."""
    if faults := [Fault(pointer, "not_found", f"There is no {what}.") for pointer in faulty]:
        raise Invalid(faults)
