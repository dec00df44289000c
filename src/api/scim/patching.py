"""PATCH (RFC 7644, section 3.5.2): a sequence of operations, as a function from a resource to the changed resource.

Nothing is stored here. If an operation is refused, there is no changed resource.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from api.scim.errors import Refused, unchangeable
from api.scim.operations import Op, Operation
from api.scim.schemas.attributes import Attribute
from api.scim.schemas.resources import ResourceType, Steps
from api.scim.syntax.paths import Target
from api.scim.values import (
    Resource,
    clean,
    clean_one,
    ignore_unknown,
    in_order,
    is_not_stored,
    members_of,
    require_required,
    with_one_primary,
)
from domain.lists.fields import Path, fold_members
from domain.lists.filters import And, Comparison, Element, Filter, Operator, matches
from domain.scim import RECORD


def patched(resource: Resource, operations: Sequence[Operation], type_: ResourceType, *, strict: bool) -> Resource:
    """The resource after all operations. Raises `Refused`."""
    result = deepcopy(resource)
    for operation in operations:
        if operation.target is not None and not is_not_stored(operation.target.steps[0]):
            Patch(operation, operation.target, strict=strict).apply(result)
    require_required_after(result, type_)
    return result


def require_required_after(resource: Resource, type_: ResourceType) -> None:
    """A required attribute cannot be removed (RFC 7644, section 3.5.2.2)."""
    try:
        require_required(resource, type_)
    except Refused as refused:
        raise Refused(refused.detail, "mutability") from refused


class Patch:
    """One operation at its target. It changes the given resource in place."""

    def __init__(self, operation: Operation, target: Target, *, strict: bool) -> None:
        self._op = operation.op
        self._value = operation.value
        self._target = target
        self._strict = strict
        if self._op is not Op.REMOVE and self._value is None:
            self._op = Op.REMOVE  # null means unassigned (RFC 7643, section 2.5)

    def apply(self, resource: Resource) -> None:
        self._at(resource, self._target.steps, ())

    def _at(self, owner: Resource, steps: Steps, path: Path) -> None:
        """Apply the operation to the attribute at the end of the steps."""
        attribute, *further = steps
        if not further:
            self._change(owner, attribute, (*path, attribute.name))
        elif attribute.multi:
            self._in_each(owner, attribute, further[0])
        else:
            inner = dict(owner.get(attribute.name, {}))
            self._at(inner, tuple(further), (*path, attribute.name))
            put(owner, attribute, in_order(attribute, inner))

    def _in_each(self, owner: Resource, attribute: Attribute, part: Attribute) -> None:
        """Apply the operation to a part of each value: `emails.type` without a selector is the type of each e-mail."""
        before = owner.get(attribute.name, [])
        after = [self._with_part(attribute, each, part) for each in before]
        self._put_values(owner, attribute, [each for each in after if each], before)

    def _change(self, owner: Resource, attribute: Attribute, path: Path) -> None:
        if self._target.selector is not None:
            self._change_selected(owner, attribute, path, self._target.selector)
        elif attribute.multi:
            self._change_values(owner, attribute)
        elif self._op is Op.REMOVE:
            owner.pop(attribute.name, None)
        elif attribute.is_complex:
            replaces_all = self._strict and self._op is Op.REPLACE  # as the interoperability profile defines it
            put(owner, attribute, self._merged(attribute, {} if replaces_all else owner.get(attribute.name, {})))
        else:
            put(owner, attribute, clean(attribute, self._value, strict=self._strict))

    def _merged(self, attribute: Attribute, before: Resource) -> Resource:
        """A complex value with the given parts changed. The other parts stay unchanged. Null removes a part.

        A `$ref` that is not given is kept only if the `value` that it belongs to is unchanged.
        """
        merged = dict(before)
        given = members_of(attribute, self._only(), strict=self._strict)
        for name, member in given.items():
            part = attribute.parts.get(name.lower())
            if part is None:
                ignore_unknown(strict=self._strict)
            elif not part.is_read_only:
                inner = Patch(Operation(self._op, Target((part,)), member), Target((part,)), strict=self._strict)
                inner.apply(merged)
        if merged.get("value") != before.get("value") and "$ref" not in {name.lower() for name in given}:
            merged.pop("$ref", None)
        return in_order(attribute, merged)

    def _only(self) -> Any:
        """The value, also if it is in a list of one."""
        is_one = isinstance(self._value, list) and len(self._value) == 1 and not self._strict
        return self._value[0] if is_one else self._value

    def _change_values(self, owner: Resource, attribute: Attribute) -> None:
        before = owner.get(attribute.name, [])
        if self._op is Op.REMOVE:
            unwanted = clean(attribute, self._value, strict=self._strict)
            after = [] if unwanted is None else [each for each in before if not is_among(each, unwanted)]
        else:
            given = clean(attribute, self._value, strict=self._strict) or []
            after = given if self._op is Op.REPLACE else joined(before, given)
        self._put_values(owner, attribute, after, [] if self._op is Op.REPLACE else before)

    def _change_selected(self, owner: Resource, attribute: Attribute, path: Path, selector: Filter) -> None:
        single = not attribute.multi
        before = [owner[attribute.name]] if single and attribute.name in owner else owner.get(attribute.name, [])
        chosen = [number for number, each in enumerate(before) if selects(selector, each, path)]
        if not chosen and self._op is Op.REPLACE:
            raise Refused("No value matches the filter of the path.", "noTarget")
        if not chosen and self._op is Op.ADD:
            after = [*before, self._created(attribute, selector)]
        else:
            after = [self._selected(attribute, each) if n in chosen else each for n, each in enumerate(before)]
        if single:
            put(owner, attribute, next((each for each in after if each), None))
        else:
            self._put_values(owner, attribute, [each for each in after if each], before)

    def _selected(self, attribute: Attribute, before: Resource) -> Resource | None:
        """A selected value after the operation; None if it is removed."""
        if self._target.part is not None:
            return self._with_part(attribute, before, self._target.part)
        if self._op is Op.REMOVE:
            return None
        if self._op is Op.ADD:
            return self._merged(attribute, before)
        replaced: Resource | None = clean_one(attribute, self._only(), strict=self._strict)
        return replaced

    def _with_part(self, attribute: Attribute, before: Resource, part: Attribute) -> Resource:
        if part.mutability == "immutable" and part.name in before:
            raise unchangeable(f"{attribute.name}.{part.name}")
        after = {name: value for name, value in before.items() if name != part.name}
        if self._op is not Op.REMOVE:
            put(after, part, clean(part, self._value, strict=self._strict))
        return in_order(attribute, after)

    def _created(self, attribute: Attribute, selector: Filter) -> Resource:
        """A new value that matches the selector."""
        created: Resource = {path[0]: value for path, value in equalities_in(selector, attribute)}
        if self._target.part is not None:
            return self._with_part(attribute, created, self._target.part)
        return self._merged(attribute, created)

    def _put_values(self, owner: Resource, attribute: Attribute, after: Sequence[Any], before: Sequence[Any]) -> None:
        put(owner, attribute, with_one_primary(after, before))


def put(owner: Resource, attribute: Attribute, value: Any) -> None:
    """Set the attribute, or remove it if the value is empty."""
    if value is None or value in ({}, []):
        owner.pop(attribute.name, None)
    else:
        owner[attribute.name] = value


def selects(selector: Filter, value: Resource, path: Path) -> bool:
    return matches(selector, Element(fold_members(value, RECORD.exact, path)))


def equalities_in(selector: Filter, attribute: Attribute) -> Iterator[tuple[Path, Any]]:
    """The parts that a value must have to match the selector, if the selector consists only of equalities."""
    match selector:
        case And(parts):
            for part in parts:
                yield from equalities_in(part, attribute)
        case Comparison(operator=Operator.EQ, value=value, path=path) if path[0].lower() in attribute.parts:
            yield path, value


def joined(before: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """The values and those new ones that are not among them. Two with the same value and type count as the same."""
    after = list(before)
    for each in given:
        known = next((number for number, other in enumerate(after) if is_same(each, other)), None)
        if known is None:
            after.append(each)
        elif isinstance(each, Mapping):
            after[known] = {**after[known], **each}
    return after


def is_same(one: Any, other: Any) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping) or "value" not in one:
        return bool(one == other)
    return all(one.get(name) == other.get(name) for name in ("value", "type"))


def is_among(value: Any, unwanted: Sequence[Any]) -> bool:
    """Whether a value is one of those to remove. A client may name these by their `value` only."""
    return any(fits(value, each) for each in unwanted)


def fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(value == wanted)
    if "value" in wanted:
        return bool(value.get("value") == wanted["value"])
    return all(value.get(name) == member for name, member in wanted.items())
