"""What commands that list and change entities share."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol, TypeVar

import typer

from api.commands.console import fail, lawful
from domain.lists.fields import Fields
from domain.lists.filters import Filter
from domain.lists.pages import BY_ID, MAX_LIMIT, Page, Position, Sort, parse_sort
from domain.lists.terms import parse_filter
from domain.stores import Hidden
from domain.values import JsonObject

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

SortText = Annotated[
    str | None, typer.Option("--sort", help="Fields, separated by commas. A - before a field means descending")
]
HiddenOption = Annotated[
    Hidden, typer.Option("--deleted", help="Whether to list deleted ones: false, true (only those) or any")
]
Limit = Annotated[int, typer.Option(help="How many at most", min=1)]


def filter_in(text: str | None, fields: Fields) -> Filter | None:
    return None if text is None else lawful(lambda: parse_filter(text, fields))


def sort_in(text: str | None, fields: Fields) -> Sort:
    return BY_ID if text is None else lawful(lambda: parse_sort(text, fields))


class Lists(Protocol[T_co]):
    """A service whose entities are listed."""

    def list(
        self, *, filter: Filter | None, sort: Sort, hidden: Hidden, after: Position | None, limit: int
    ) -> Awaitable[Page[T_co]]: ...


def listed(
    fields: Fields, *, filter: str | None, sort: str | None, deleted: Hidden, limit: int
) -> Callable[[Lists[T]], Awaitable[list[T]]]:
    """The arguments of a service's list for the options of a command."""
    wanted, order = filter_in(filter, fields), sort_in(sort, fields)

    async def found(service: Lists[T]) -> list[T]:
        return await all_of(
            lambda after, at_most: service.list(filter=wanted, sort=order, hidden=deleted, after=after, limit=at_most),
            order,
            limit,
        )

    return found


async def all_of(pages: Callable[[Position | None, int], Awaitable[Page[T]]], order: Sort, limit: int) -> list[T]:
    """At most `limit` items, read page by page."""
    found: list[T] = []
    after, more = None, True
    while more and len(found) < limit:
        page = await pages(after, min(limit - len(found), MAX_LIMIT))
        found += page.items
        more = page.more
        after = order.position(found[-1]) if found else None
    return found


def object_in(text: str) -> JsonObject:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        fail("attributes: Must be a JSON object.")
    return found
