"""Batches: many operations on users in one request, and the result of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.errors import Fault, Invalid, Refusal
from domain.stores import Who
from domain.users import User
from domain.values import JsonObject
from domain.versions import Expected

MOST: Final = 1000
"""The largest number of operations in one batch."""


class Verb(StrEnum):
    """What an operation does."""

    CREATE = "create"
    PATCH = "patch"
    PUT = "put"
    """Create the user of an external id, or replace its profile."""

    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserOperation:
    """`who` is None only if a user is created. `expected` are the versions that the user may have."""

    verb: Verb
    who: Who | None = None
    body: JsonObject
    expected: Expected = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDone:
    """The user after the operation and whether it is new, or the refusal. If it has neither, the operation itself was
    valid, but was undone because another operation of an atomic batch was refused.
    """

    user: User | None = None
    is_new: bool = False
    refusal: Refusal | None = None


class Taken(Invalid):
    """Other entities have the values of unique fields."""

    code = "taken"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.detail = "Others have unique values of it."
