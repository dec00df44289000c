"""Versions: one more with each change, so that nobody overwrites what they have not seen."""

from collections.abc import Collection
from typing import TypeAlias

from domain.errors import Stale

Expected: TypeAlias = Collection[int] | None
"""The versions that a caller is content with; None for any."""


def require_version(version: int, expected: Expected) -> None:
    if expected is not None and version not in expected:
        raise Stale("It is not at the version that was asked for.")
