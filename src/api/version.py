"""The version of Roster. The package takes it from here, and so does a checkout that was not installed again."""

from typing import Final

VERSION: Final = "0.2.0"
