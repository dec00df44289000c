"""The extras of Roster: which packages they bring, and what is not there without them."""

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
    """What is so without it."""

    is_wanted: Callable[[Settings], bool]
    mend: str = ""

    def is_installed(self) -> bool:
        return all(map(find_spec, self.packages))


CONSOLE: Final = Extra(
    "console",
    ("itsdangerous", "jinja2"),
    "there is no /console",
    lambda settings: settings.console,
    mend=", or set ROSTER_CONSOLE=false",
)
WEBHOOKS: Final = Extra("webhooks", ("httpcore2",), "nothing is sent to webhooks", lambda _: True)
EXTRAS: Final = (CONSOLE, WEBHOOKS)
