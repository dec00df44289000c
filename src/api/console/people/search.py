"""A search among people: by a text, by status, by an attribute, and with chosen columns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from starlette.datastructures import QueryParams

from domain.errors import Malformed
from domain.lists.filters import Filter, every
from domain.lists.terms import parse_filter
from domain.stores import Hidden
from domain.users import FIELDS, Status, User
from services.users import UserService

if TYPE_CHECKING:
    from domain.values import JsonValue

SEARCHED: Final = ("name", "email", "username", "external_id")
NAMED: Final = 10
"""How many people with exactly this name are shown."""

DELETED: Final = "deleted"
STATUSES: Final = (*Status, DELETED)
SORTS: Final[Mapping[str, str]] = {
    "id": "Oldest first",
    "-created_at": "Newest first",
    "-updated_at": "Last changed first",
    "name": "By name",
    "email": "By e-mail",
}
COLUMNS: Final[Mapping[str, str]] = {
    "email": "E-mail",
    "username": "Username",
    "external_id": "External id",
    "status": "Status",
    "created_at": "Created (UTC)",
    "updated_at": "Changed (UTC)",
}
SHOWN_AT_FIRST: Final = ("email", "username", "status", "updated_at")
ATTRIBUTES: Final = "attributes."


def matching(text: str, operator: str = "co") -> Filter:
    """A filter for people who have this text in their name or an identifier. With `eq` it is the whole value, found by
    indexes."""
    return parse_filter(" or ".join(f"{field} {operator} {json.dumps(text)}" for field in SEARCHED), FIELDS)


async def named(users: UserService, text: str, among: Filter | None, hidden: Hidden = Hidden.NO) -> Sequence[User]:
    """Some people whose name or identifier is exactly this text."""
    return (await users.list(filter=every([matching(text, "eq"), among]), hidden=hidden, limit=NAMED)).items


def with_attribute(text: str) -> Filter:
    """A filter for people who have an attribute such as `team=Sales` or `team.floor=3`, or with any value if none is
    given.

    Raises `Malformed`.
    """
    path, names_value, value = (part.strip() for part in text.partition("="))
    field = ATTRIBUTES + path
    try:
        if not names_value:
            return parse_filter(f"{field} pr", FIELDS)
        literals = {json.dumps(value), *([value] if is_scalar(value) else [])}
        return parse_filter(" or ".join(f"{field} eq {literal}" for literal in sorted(literals)), FIELDS)
    except Malformed:
        raise Malformed("Write an attribute as in team=Sales, or team.floor=3 for one inside another.") from None


def is_scalar(text: str) -> bool:
    """Whether this is a number, true or false. Then it is searched both as such a value and as a text."""
    try:
        return isinstance(json.loads(text), bool | int | float)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Search:
    q: str
    status: str
    attribute: str
    sort: str
    columns: tuple[str, ...]
    """The columns: fields, and attributes by their paths."""

    @classmethod
    def of(cls, asked: QueryParams) -> Self:
        texts = {name: asked.get(name, "").strip() for name in ("q", "status", "attribute", "sort", "attributes")}
        chosen = [name for name in asked.getlist("column") if name in COLUMNS]
        paths = [ATTRIBUTES + path.strip() for path in texts.pop("attributes").split(",") if path.strip()]
        texts["sort"] = texts["sort"] or "id"
        return cls(**texts, columns=(*(chosen or SHOWN_AT_FIRST), *paths))

    @property
    def filter(self) -> Filter | None:
        """Raises `Malformed`."""
        return every([matching(self.q) if self.q else None, self.chosen])

    @property
    def chosen(self) -> Filter | None:
        """The filter without the text. Raises `Malformed`."""
        status = self.status if self.status in tuple(Status) else None
        return every(
            [
                parse_filter(f"status eq {json.dumps(status)}", FIELDS) if status else None,
                with_attribute(self.attribute) if self.attribute else None,
            ]
        )

    @property
    def hidden(self) -> Hidden:
        return Hidden.ONLY if self.status == DELETED else Hidden.NO

    @property
    def is_narrow(self) -> bool:
        """Whether the search excludes anybody, except for deleted people."""
        return bool(self.q or self.status or self.attribute)

    @property
    def attributes(self) -> str:
        return ", ".join(name.removeprefix(ATTRIBUTES) for name in self.columns if name.startswith(ATTRIBUTES))

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters of a link to the same list."""
        texts = [(name, getattr(self, name)) for name in ("q", "status", "attribute", "sort", "attributes")]
        return [(n, v) for n, v in texts if v] + [("column", name) for name in self.columns if name in COLUMNS]


def label_of(column: str) -> str:
    return COLUMNS.get(column, column.removeprefix(ATTRIBUTES))


def cell_of(user: User, column: str) -> object:
    """The value of a user in a column."""
    if not column.startswith(ATTRIBUTES):
        return getattr(user, column)
    value: JsonValue = user.attributes
    for name in column.removeprefix(ATTRIBUTES).split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
