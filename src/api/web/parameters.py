"""The parameters that all lists have."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Header, Query
from pydantic import Field

from api.web.cursors import MAX_LENGTH, write_cursor
from api.web.requests import PlainInteger
from domain.lists import grammar
from domain.lists.fields import Fields
from domain.lists.pages import MAX_LIMIT, MAX_SORTS
from domain.stores import Hidden

Limit = Annotated[
    int,
    Field(ge=1, le=MAX_LIMIT),
    PlainInteger,
    Query(description="How many at most; fewer if they are long", examples=[100]),
]
Cursor = Annotated[
    str | None,
    Query(
        description="From the Link header of the page before, as it is",
        max_length=MAX_LENGTH,
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
        examples=[write_cursor((100,), "/users?")],
    ),
]
Count = Annotated[
    bool,
    Query(description="Give the number of matches in X-Total-Count. It takes as long as reading them", examples=[True]),
]
Accept = Annotated[
    Sequence[str],
    Header(include_in_schema=False),  # OpenAPI derives it from the content of the answers
]
Deleted = Annotated[
    Hidden,
    Query(alias="deleted", description="Also deleted items (`any`), or only those (`true`)", examples=["any"]),
]
Formulas = Annotated[
    Literal["escape", "keep"],
    Query(
        description="In CSV: `escape` puts an apostrophe before what a spreadsheet would run as a formula, "
        "`keep` leaves every value as it is. Programs read NDJSON, which has no such question",
        examples=["keep"],
    ),
]


def filter_query(fields: Fields, example: str) -> Any:
    """The parameter that `narrowed` reads: an expression on these fields."""
    json_fields = [each.name for each in fields.values() if each.is_json]
    paths = (
        f"A member of {name} is named by its path, `{name}.department`, "
        f'an element of an array by brackets, `{name}.phones[type eq "work"]`. '
        for name in json_fields
    )
    return Query(
        alias="filter",
        description="Only what matches this expression, in the language of SCIM (RFC 7644, section 3.4.2.2): "
        f"`eq ne co sw ew gt ge lt le pr`, `and or not` and brackets. Fields are {', '.join(fields)}. {''.join(paths)}"
        f"At most {grammar.MAX_LENGTH} characters, {grammar.MAX_TERMS} comparisons and "
        f"{grammar.MAX_DEPTH} brackets within each other. An invalid filter gets a 400 with the position of the error",
        examples=[example],
        json_schema_extra={"minLength": 1, "maxLength": grammar.MAX_LENGTH},  # the grammar refuses more
    )


def sort_query(fields: Fields, example: str) -> Any:
    """The parameter that `sorted_by` reads."""
    return Query(
        alias="sort",
        description=f"Up to {MAX_SORTS} fields, `-` before one to sort downwards. Items without a value come last, "
        "or first downwards. Ids break ties. "
        f"Fields are {', '.join(each.name for each in fields.values() if each.sorts)}",
        examples=[example],
        json_schema_extra={"minLength": 1},
    )
