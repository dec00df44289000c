"""The operations that are measured, and their order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from bench.contenders import Recipe
from bench.users import PAGE
from bench.wrk import Load, write_paths

CLIENTS: Final = (1, 16, 64)
RATIO_CLIENTS: Final = 16
"""CPU per request is compared at this number of clients: enough to keep a server busy, without a queue in front of
it."""

MIXED_CLIENTS: Final = 64
MIXED_SHARE_OF_CREATES: Final = 0.2
SPREAD: Final = 1000
"""The largest number of different ids that are read."""

OPERATIONS: Final = {
    "get": "get one",
    "list": f"list {PAGE}",
    "create": "create",
    "mixed": f"mixed, {MIXED_CLIENTS} clients, {MIXED_SHARE_OF_CREATES:.0%} creates",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """Each turn measures every server once, one after the other."""

    operation: str
    clients: int
    round: int


def turns(operations: Sequence[str], rounds: int) -> Iterator[Turn]:
    """The turns of a run. Reads are before writes, so that all of them see the same users. The operations that the
    ratios use are measured in each round, the others in every second round, which halves the time."""
    for operation in [each for each in OPERATIONS if each in operations]:
        for number in range(rounds):
            for clients in clients_in(operation, number):
                yield Turn(operation, clients, number)


def clients_in(operation: str, round: int) -> Sequence[int]:
    if operation == "mixed":
        return () if round % 2 else (MIXED_CLIENTS,)
    return (RATIO_CLIENTS,) if round % 2 else CLIENTS


def clients_compared(operation: str) -> int:
    return MIXED_CLIENTS if operation == "mixed" else RATIO_CLIENTS


def load_for(operation: str, recipe: Recipe, users: int, file: Path) -> Load:
    ids = Random(1).sample(range(1, users + 1), min(users, SPREAD))  # noqa: S311
    ones = [recipe.one.format(id=id) for id in ids]
    match operation:
        case "list":
            return Load(write_paths(file, [recipe.many.format(limit=PAGE)]))
        case "create":
            return Load(write_paths(file, ones[:1]), share_of_creates=1, create=recipe.create)
        case "mixed":
            return Load(write_paths(file, ones), share_of_creates=MIXED_SHARE_OF_CREATES, create=recipe.create)
    return Load(write_paths(file, ones))
