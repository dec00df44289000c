"""Versions for optimistic concurrency. Each change raises the version by one, so that nobody overwrites a state that
they have not seen."""

from collections.abc import Collection
from typing import Final, TypeAlias

from domain.errors import Stale
from domain.values import MAX_INTEGER

Expected: TypeAlias = Collection[int] | None
"""The versions that a caller accepts. None accepts every version, and also that the entity does not exist."""

NOT_THERE: Final = 0
"""The version of an entity that does not exist."""

ANY_VERSION: Final = range(1, MAX_INTEGER + 1)
"""The versions of entities that exist."""


def require_version(version: int, expected: Expected, unwanted: Collection[int] = ()) -> None:
    """Raises `Stale` if the version is not expected, or if it is unwanted."""
    if (expected is not None and version not in expected) or version in unwanted:
        raise Stale("It is not at the version that was asked for.")
