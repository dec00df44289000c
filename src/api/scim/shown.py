"""The attributes in an answer: `attributes` and `excludedAttributes` (RFC 7644, section 3.9)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from api.scim.schemas.resources import ResourceType

Tree: TypeAlias = dict[str, Any]
"""Names, each with a tree of its selected parts, or None for all parts."""

ALWAYS: Final = ("schemas", "id")
ANY_SELECTS_ALL: Final = None


@dataclass(frozen=True, slots=True)
class Projection:
    """The attributes to show: the wanted ones, or all except the excluded ones. Unknown names are ignored."""

    wanted: Tree | None = None
    unwanted: Tree | None = None

    @classmethod
    def of(cls, attributes: Iterable[str], excluded: Iterable[str], type_: ResourceType) -> "Projection":
        """If both are given, which the RFC does not allow, `excluded` is ignored."""
        wanted, unwanted = tuple(attributes), tuple(excluded)
        if wanted:
            return cls(wanted=tree_of(wanted, type_))
        return cls(unwanted=tree_of(unwanted, type_)) if unwanted else cls()

    def shows(self, name: str) -> bool:
        """Whether answers may contain this attribute."""
        if self.wanted is not None:
            return name in self.wanted
        return self.unwanted is None or self.unwanted.get(name, {}) is not None

    def of_resource(self, resource: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.wanted is not None:
            return {**{name: resource[name] for name in ALWAYS if name in resource}, **picked(resource, self.wanted)}
        if self.unwanted is not None:
            return without(resource, {name: parts for name, parts in self.unwanted.items() if name not in ALWAYS})
        return resource


def tree_of(names: Iterable[str], type_: ResourceType) -> Tree:
    tree: Tree = {}
    for name in names:
        if steps := type_.steps_to(name.strip()):
            grow(tree, [each.name for each in steps])
    return tree


def grow(tree: Tree, path: list[str]) -> None:
    first, *rest = path
    if not rest:
        tree[first] = ANY_SELECTS_ALL
        return
    inner = tree.setdefault(first, {})
    if inner is not None:
        grow(inner, rest)


def picked(value: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    kept = {}
    for name, member in value.items():
        if name in tree:
            parts = tree[name]
            inner = member if parts is None else in_parts(member, parts, picked)
            if inner not in ({}, []):
                kept[name] = inner
    return kept


def without(value: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    kept = {}
    for name, member in value.items():
        parts = tree.get(name, {})
        if parts is None:
            continue
        inner = in_parts(member, parts, without) if parts else member
        if inner not in ({}, []):
            kept[name] = inner
    return kept


def in_parts(member: Any, parts: Tree, cut: Any) -> Any:
    if isinstance(member, list):
        return [inner for each in member if (inner := in_parts(each, parts, cut))]
    return cut(member, parts) if isinstance(member, Mapping) else member
