"""The pictures of README.md and docs/console.md. `make pictures` writes them."""

import os
import random
import shutil
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from dependency_injector import providers
from playwright.async_api import expect
from tests.browser.conftest import Site, Visit, served
from tests.e2e.forks import Forks

from api.container import Container
from api.settings import Settings
from domain.groups import NewGroup
from domain.memberships import NewMembership
from domain.nestings import NewNesting
from domain.users import NewUser, Status
from domain.work import RequestContext

PICTURES: Final = Path(__file__).parents[2] / "docs/pictures"
MOST_BYTES: Final = 200 * 1024
DAYS: Final = 30

NAMES: Final = (
    "Ada Lovelace", "Alan Turing", "Annie Easley", "Barbara Liskov", "Donald Knuth", "Dorothy Vaughan",
    "Edsger Dijkstra", "Frances Allen", "Grace Hopper", "Hedy Lamarr", "Jean Bartik", "Joan Clarke",
    "Karen Sparck Jones", "Katherine Johnson", "Margaret Hamilton", "Mary Jackson", "Niklaus Wirth", "Radia Perlman",
    "Sophie Wilson", "Tony Hoare",
)  # fmt: skip
TEAMS: Final = ("Compilers", "Networks", "Space")


@pytest.fixture
async def site(
    tmp_path: Path, empty_sqlite_file: Path, environment: Mapping[str, str], forks: Forks
) -> AsyncIterator[Site]:
    shutil.copy(empty_sqlite_file, tmp_path / "roster.db")
    await fill(f"sqlite:///{tmp_path / 'roster.db'}")
    (tmp_path / "roster.db-backup").write_text("/backups/roster.db")
    async with served("sqlite:///roster.db", tmp_path, environment, forks) as site:
        yield site


async def fill(url: str) -> None:
    """A directory with a month of changes."""
    now, chance = datetime.now(UTC), random.Random(1)
    times = sorted(now - timedelta(minutes=chance.randrange(60, DAYS * 24 * 60)) for _ in range(140))
    clock = iter(times)
    container = Container(settings=providers.Object(Settings(database_url=url)), clock=providers.Object(lambda: at))
    at: datetime = next(clock)
    units = container.units()
    await units.start()
    async with units.writing(RequestContext(actor="key:2", request_id="seed")) as work:
        groups = [await work.groups.add(NewGroup(name=team)) for team in TEAMS]
        everyone = await work.groups.add(NewGroup(name="Everyone"))
        for group in groups:
            await work.nestings.add(NewNesting(group_id=everyone.id, child_id=group.id))
        await work.commit(None)
    for number, at in enumerate(clock):  # noqa: B007  # the clock reads it
        async with units.writing(RequestContext(actor=f"key:{2 + number % 3}", request_id=f"seed-{number}")) as work:
            if number % 5 or number < 20:
                name, team = NAMES[number % len(NAMES)], number % len(TEAMS)
                user = await work.users.add(new(name, number, TEAMS[team]))
                await work.memberships.add(NewMembership(group_id=groups[team].id, user_id=user.id))
            else:
                user = await work.users.get(chance.randrange(2, 16), hidden=True)
                await work.users.save(user.revised(status=chance.choice(list(Status)), attributes={"floor": number}))
            await work.commit(None)
    for at, profile in zip(times[-3:], CHANGED, strict=True):  # noqa: B007
        async with units.writing(RequestContext(actor="console:key:3", request_id="r-7f3a")) as work:
            await work.users.save((await work.users.get(1)).revised(**profile))
            await work.commit(None)
    await units.stop()


CHANGED: Final[tuple[dict[str, Any], ...]] = (
    {"attributes": {"team": "Compilers", "office": {"city": "Oslo", "floor": 3}}},
    {"email": "ada@example.com"},
    {"attributes": {"team": "Space", "office": {"city": "Lyon", "floor": 3}}},
)


def new(name: str, number: int, team: str) -> NewUser:
    first, *_, last = name.lower().split()
    suffix = number // len(NAMES) or ""
    return NewUser(
        name=name,
        email=f"{first}.{last}{suffix}@example.org",
        username=f"{first[0]}{last}{suffix}",
        external_id=f"hr-{1000 + number}",
        attributes={"team": team},
    )


async def test_the_pictures_show_the_current_console(site: Site, visit: Visit, tmp_path: Path) -> None:
    folder = PICTURES if os.environ.get("PICTURES") else tmp_path
    for _ in range(200 if os.environ.get("PICTURES") else 1):
        await site.api.get("/users/1")
    for name, path, scheme, width in (
        ("home", "/", "light", 1200),
        ("users", "/users?attribute=team=Space&sort=name", "dark", 1200),
        ("person", "/users/1", "light", 1200),
        ("telephone", "/users/1", "dark", 400),
    ):
        visitor = await visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = await visitor.open(path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await page.screenshot(path=folder / f"{name}.png")
        assert (folder / f"{name}.png").stat().st_size <= MOST_BYTES
