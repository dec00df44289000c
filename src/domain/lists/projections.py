"""Projections: the fields of entities that a body has, and pages of such bodies as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar, cast

from domain.entities import profile_of
from domain.lists.pages import JsonPage, Page, Sort
from domain.values import plain

E = TypeVar("E")

ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain)


@dataclass(frozen=True, slots=True)
class Projection(Generic[E]):
    """Some fields of an entity, in this order. If `sparse`, a field that has its default value is left out."""

    entity: type[E]
    names: tuple[str, ...]
    sparse: bool = False

    def __call__(self, entity: E) -> Mapping[str, Any]:
        """The body of an entity."""
        if not self.sparse:
            return {name: getattr(entity, name) for name in self.names}
        defaults = defaults_of(cast("Any", self.entity))
        return {name: value for name in self.names if (value := getattr(entity, name)) != defaults.get(name)}

    def page(self, page: Page[E], sort: Sort) -> JsonPage:
        """A page of entities as JSON, for stores and services that have the entities."""
        items = [ENCODER.encode(self(item)) for item in page.items]
        return JsonPage(items, sort.position(page.items[-1]) if page.more and items else None, page.seq)


@cache
def defaults_of(entity: Any) -> Mapping[str, Any]:
    """The default values of the fields of the profile. Other fields, and those without a default, have none."""
    return {name: each.default for name, each in profile_of(entity.created_from).items() if each.default is not None}
