"""Versions: one more with each change, so that nobody overwrites what they have not seen."""

from collections.abc import Collection
from typing import Final, TypeAlias

from domain.errors import Stale
from domain.values import MAX_INTEGER

Expected: TypeAlias = Collection[int] | None
"""The versions that a caller is content with; None for any, and for none: what is not there yet."""

NOT_THERE: Final = 0
"""The version of what is not there."""

ANY_VERSION: Final = range(1, MAX_INTEGER + 1)
"""The versions of whatever is there."""


def require_version(version: int, expected: Expected, unwanted: Collection[int] = ()) -> None:
    """Raises `Stale` unless the version is an expected one, or if it is an unwanted one."""
    if (expected is not None and version not in expected) or version in unwanted:
        raise Stale("It is not at the version that was asked for.")
