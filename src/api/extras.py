"""The extras of Roster: their packages, and what is missing without them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from api.settings import Settings


@dataclass(frozen=True, slots=True)
class Extra:
    name: str
    packages: tuple[str, ...]
    lacks: str
    """What is missing without it."""

    is_wanted: Callable[[Settings], bool]
    fix: str
    """What else to do than to install it."""

    def is_installed(self) -> bool:
        return all(map(find_spec, self.packages))


CONSOLE: Final = Extra(
    "console",
    ("itsdangerous", "jinja2"),
    "there is no /console",
    lambda settings: settings.console,
    fix=", or set ROSTER_CONSOLE=false",
)
EXTRAS: Final = (CONSOLE,)
