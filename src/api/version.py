"""The version of Roster. The package reads it from here, so a checkout has the right version even if it was not
installed again."""

from typing import Final

VERSION: Final = "0.2.0"
