"""Creates the users of every server, and checks that the server answers with them."""

from collections.abc import Mapping
from typing import Any, Final

import httpx2

from bench.contenders import Recipe
from bench.errors import BenchError

PAGE: Final = 100
OK: Final = 200
CREATED: Final = 201


def user(number: int) -> dict[str, Any]:
    return {"name": f"User {number}", "email": f"user{number}@example.org"}


def load(client: httpx2.Client, recipe: Recipe, count: int) -> None:
    """Create the users one after the other over HTTP, so that user n has the id n in each server."""
    for number in range(1, count + 1):
        created = client.post(recipe.create, json=user(number))
        check(created, CREATED, {"id": number, **user(number)})


def probe(client: httpx2.Client, recipe: Recipe, count: int) -> None:
    """Check the answers to the measured requests. wrk does not look at bodies, and counts a redirect as an answer."""
    check(client.get(recipe.one.format(id=count)), OK, {"id": count, **user(count)})
    page = client.get(recipe.many.format(limit=PAGE))
    found = page.json() if recipe.items is None else page.json()[recipe.items]
    if page.status_code != OK or [each["id"] for each in found] != list(range(1, min(PAGE, count) + 1)):
        raise BenchError(f"{page.url} answers {page.status_code} {page.text[:300]}")


def check(answer: httpx2.Response, status: int, body: Mapping[str, Any]) -> None:
    if answer.status_code != status or answer.json() != body:
        raise BenchError(f"{answer.url} answers {answer.status_code} {answer.text[:300]}")
