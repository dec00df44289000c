"""The checks of `roster doctor`, which a server also runs in the background."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from api.extras import EXTRAS, Extra
from api.settings import Settings
from domain.errors import NotReady
from domain.findings import Finding, Level, finding

if TYPE_CHECKING:
    from api.container import Container

AGAIN_AFTER_S: Final = 600
PATIENCE_S: Final = 0.3
"""How long a page waits for the first result. Examining a large file takes seconds."""


async def findings(container: "Container") -> AsyncIterator[Finding]:
    """The findings of all checks, except the one about keys."""
    yield Finding("roster", Level.OK, f"{version('roster')}, Python {sys.version.split()[0]}")
    unknown = list(Settings.unknown())
    yield finding(
        "settings", " ".join(unknown) or "every ROSTER_ variable is known", ok=not unknown,
        fix="roster config shows them all", worst=Level.WARN,
    )  # fmt: skip
    for extra in EXTRAS:
        yield of_extra(extra, container.settings())
    try:
        database = container.database()
        yield Finding("database", Level.OK, database.name)
        for each in await database.examine():
            yield each
        status = await database.status()
        fix = "roster db upgrade" if status.known else ""  # for others the sentence says it
        yield finding("schema", str(status), ok=status.is_usable, fix=fix)
    except NotReady as error:
        yield Finding("database", Level.FAIL, str(error), "roster config shows which one is named, and by what")


def of_extra(extra: Extra, settings: Settings) -> Finding:
    what, is_wanted = f"extra {extra.name}", extra.is_wanted(settings)
    if extra.is_installed():
        return Finding(what, Level.OK, "installed" if is_wanted else "installed, and switched off")
    fix = f"pip install 'roster[{extra.name}]'{extra.fix}"
    return finding(what, f"not installed: {extra.lacks}", ok=not is_wanted, fix=fix, worst=Level.WARN)


async def look(container: "Container") -> Sequence[Finding]:
    return [each async for each in findings(container)]


class Checks:
    """The findings about a server, which are at most ten minutes old."""

    def __init__(
        self, look: Callable[[], Awaitable[Sequence[Finding]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._found: Sequence[Finding] = ()

    async def warnings(self) -> Sequence[Finding]:
        if self._clock() >= self._looked_at + AGAIN_AFTER_S and self._looking is None:
            self._looking = asyncio.create_task(self._look_now())
            await asyncio.wait([self._looking], timeout=PATIENCE_S)
        return [each for each in self._found if each.level is not Level.OK]

    async def _look_now(self) -> None:
        try:
            self._found = await self._look()
        finally:
            self._looked_at, self._looking = self._clock(), None
