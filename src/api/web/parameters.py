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
    Query(description="The most items of a page. It has fewer if they are long", examples=[100]),
]
Cursor = Annotated[
    str | None,
    Query(
        description="The cursor from the Link header of the page before, unchanged",
        max_length=MAX_LENGTH,
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},
        examples=[write_cursor((100,), "/users?")],
    ),
]
Count = Annotated[
    bool,
    Query(
        description="Send the number of matches in X-Total-Count. Counting takes as long as reading them all",
        examples=[True],
    ),
]
Accept = Annotated[
    Sequence[str],
    Header(include_in_schema=False),  # OpenAPI derives it from the content of the answers
]
Deleted = Annotated[
    Hidden,
    Query(alias="deleted", description="Include deleted items (`any`), or list only those (`true`)", examples=["any"]),
]
Formulas = Annotated[
    Literal["escape", "keep"],
    Query(
        description=(
            "For CSV: `escape` puts an apostrophe before a value that a spreadsheet would run as a formula, `keep` "
            "leaves every value unchanged. Programs should read NDJSON, which needs no such escape"
        ),
        examples=["keep"],
    ),
]


def filter_query(fields: Fields, example: str) -> Any:
    """The parameter `filter`: an expression on these fields. `narrowed` reads it."""
    json_fields = [each.name for each in fields.values() if each.is_json]
    paths = (
        f"A member of {name} is named by its path, `{name}.department`, "
        f'an element of an array by brackets, `{name}.phones[type eq "work"]`. '
        for name in json_fields
    )
    return Query(
        alias="filter",
        description="Only items that match this expression, in the language of SCIM (RFC 7644, section 3.4.2.2): "
        "`eq ne co sw ew gt ge lt le pr`, `and or not` and parentheses. "
        f"Fields are {', '.join(fields)}. {''.join(paths)}"
        f"At most {grammar.MAX_LENGTH} characters, {grammar.MAX_TERMS} comparisons and {grammar.MAX_DEPTH} nested "
        "parentheses. An invalid filter gets a 400 with the position of the error",
        examples=[example],
        json_schema_extra={"minLength": 1, "maxLength": grammar.MAX_LENGTH},  # the grammar refuses more
    )


def sort_query(fields: Fields, example: str) -> Any:
    """The parameter `sort`. `sorted_by` reads it."""
    return Query(
        alias="sort",
        description=f"Up to {MAX_SORTS} fields, separated by commas. `-` before a field means descending. Items "
        "without a value come last, or first if descending. Equal items are sorted by id. "
        f"Fields are {', '.join(each.name for each in fields.values() if each.sorts)}",
        examples=[example],
        json_schema_extra={"minLength": 1},
    )
