"""What is left of erased rows in the files of a database."""

from enum import Enum
from typing import NamedTuple


class Scrubbed(Enum):
    """The result of a scrubbing."""

    ALL = "all"
    """Nothing is left, as far as this engine can do it."""

    SOME = "some"
    """All was removed that can be removed while others write. `vacuum` removes the rest."""

    NOT_YET = "not yet"
    """It has to be called again."""


class Vacuumed(NamedTuple):
    """The size of the files before and after, in bytes."""

    before: int
    after: int
