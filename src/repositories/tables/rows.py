"""From rows to entities."""

from collections.abc import Callable
from dataclasses import InitVar, field, fields, make_dataclass
from typing import Any, TypeVar, cast

E = TypeVar("E")


def maker(entity: type[E]) -> Callable[..., E]:
    """Makes entities from the values of their fields in order, in a quarter of the time that a frozen dataclass takes.

    One value behind those, which the rows of lists have, is passed over.

    A frozen dataclass sets each of its fields by a call. Over a page of a hundred users that is a sixth of the whole
    request. So an object of a twin class, with the same layout but not frozen, takes the values and then becomes the
    entity. Rules are not checked: rows were checked before they were stored.
    """
    kind = cast("Any", entity)
    rest = ("rest", InitVar[Any], field(default=None))
    plain = make_dataclass("Plain", [*[(each.name, Any) for each in fields(kind)], rest])
    body = {
        "__slots__": kind.__slots__,
        "__init__": vars(plain)["__init__"],
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,  # only both together are as quick as those of any class
    }
    twin: Any = type(f"{kind.__name__}Row", kind.__bases__, body)

    def make(*values: Any) -> E:
        made = twin(*values)
        made.__class__ = entity
        return made  # type: ignore[no-any-return]

    return make
