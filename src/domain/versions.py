"""Versions rise by one with each change, so that nobody overwrites a state that they have not seen."""

from collections.abc import Collection
from typing import Final, TypeAlias

from domain.errors import Stale
from domain.values import MAX_INTEGER

Expected: TypeAlias = Collection[int] | None
"""The versions that a caller accepts. None accepts any, and also that there is no entity yet."""

NOT_THERE: Final = 0
"""The version of an entity that does not exist."""

ANY_VERSION: Final = range(1, MAX_INTEGER + 1)
"""The versions of entities that exist."""


def require_version(version: int, expected: Expected, unwanted: Collection[int] = ()) -> None:
    """Raises `Stale` unless the version is an expected one, or if it is an unwanted one."""
    if (expected is not None and version not in expected) or version in unwanted:
        raise Stale("It is not at the version that was asked for.")
