"""Visitors in headless Chromium, and a server process on a database of its own for each file of tests."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from httpx2 import AsyncClient
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from tests.e2e.conftest import Run, database_url, environment, forks, running
from tests.e2e.forks import Forks

from api.randomness import random_characters
from domain.keys import FIRST_ID, write_secret

__all__ = ["database_url", "environment", "forks"]

WAIT_MS: Final = 30_000
"""How long a page may take on a busy machine before a test fails."""

FLAGS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
"""Chromium's own calls to other hosts are off, so every call to another host comes from a page."""

ADMIN: Final = write_secret(FIRST_ID, random_characters())

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="session")
def chromium_file() -> str:
    """Debian's Chromium. Without one, these tests are skipped; where CI is true they fail."""
    if file := shutil.which("chromium"):
        return file
    if os.environ.get("CI") == "true":
        pytest.fail("no Chromium: apt-get install chromium")
    pytest.skip("no Chromium: apt-get install chromium")


@pytest.fixture(scope="session")
async def chromium(chromium_file: str, anyio_backend: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_file, args=FLAGS)
        yield browser
        await browser.close()


@dataclass
class Site:
    """A running server, and its API with the key of its administrator."""

    url: str
    api: AsyncClient
    run: Run
    secret: str = ADMIN
    cookies: list[Any] = field(default_factory=list)

    async def add(self, path: str, **body: object) -> dict[str, Any]:
        answer = await self.api.post(path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    async def command(self, *arguments: str) -> str:
        """What a command beside the server prints."""
        command = await self.run(*arguments)
        assert await command.ended() == 0, command.errors
        return "\n".join(command.said)

    async def user(self, name: str, **profile: object) -> str:
        """The path of the page of a new person."""
        return f"/users/{(await self.add('/users/', name=name, **profile))['id']}"

    async def group(self, name: str, **profile: object) -> str:
        return f"/groups/{(await self.add('/groups/', name=name, **profile))['id']}"


@asynccontextmanager
async def served(url: str, folder: Path, environment: Mapping[str, str], forks: Forks) -> AsyncIterator[Site]:
    async with running(folder, environment, forks) as run:
        server = await run("serve", "--port", "0", database_url=url, bootstrap_key=ADMIN)
        async with AsyncClient(base_url=await server.url(), headers={"Authorization": f"Bearer {ADMIN}"}) as api:
            yield Site(str(api.base_url).rstrip("/"), api, partial(run, database_url=url))


@pytest.fixture(scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory,
    empty_sqlite_file: Path,
    environment: Mapping[str, str],
    forks: Forks,
) -> AsyncIterator[Site]:
    """A server on a SQLite file, for all tests of a file."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(empty_sqlite_file, folder / "roster.db")
    async with served("sqlite:///roster.db", folder, environment, forks) as site:
        yield site


@dataclass
class Visitor:
    """A browser window on the console of a site. It records everything that a page is not allowed to do."""

    site: Site
    context: BrowserContext
    page: Page
    strange: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.context.on("request", lambda request: self._asked(request.url))
        self.page.on("pageerror", lambda error: self.strange.append(f"script: {error}"))
        self.page.on("console", lambda message: self._said(message.type, message.text))

    def _asked(self, url: str) -> None:
        if not url.startswith((f"{self.site.url}/", "data:")):
            self.strange.append(f"asked another host: {url}")

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and not text.startswith("Failed to load resource"):  # a refusal: its page says so
            self.strange.append(text)

    async def open(self, path: str = "/") -> Page:
        await self.page.goto(f"{self.site.url}/console{path}")
        return self.page

    async def sign_in(self, secret: str = ADMIN) -> None:
        page = await self.open("/sign-in")
        await page.get_by_label("API key").fill(secret)
        async with page.expect_navigation():
            await page.get_by_role("button", name="Sign in").click()


Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture
async def visit(chromium: Browser, site: Site) -> AsyncIterator[Visit]:
    """Opens a window, signed in as the administrator unless it says otherwise.

    Afterwards, no page of it has asked another host for anything, and none has run into an error or the policy.
    """
    visitors: list[Visitor] = []
    async with AsyncExitStack() as closing:

        async def visit(*, signed_in: bool = True, at: Site = site, **options: Any) -> Visitor:
            context = await chromium.new_context(**options)
            closing.push_async_callback(context.close)
            context.set_default_timeout(WAIT_MS)
            visitor = Visitor(at, context, await context.new_page())
            visitors.append(visitor)
            visitor.watch()
            if signed_in:
                await let_in(visitor)
            return visitor

        yield visit
    assert [(visitor.page.url, visitor.strange) for visitor in visitors if visitor.strange] == []


async def let_in(visitor: Visitor) -> None:
    """Signs in by the form once for each site. Its cookie serves all tests."""
    if visitor.site.cookies:
        await visitor.context.add_cookies(visitor.site.cookies)
        return
    await visitor.sign_in()
    await expect(visitor.page.get_by_role("button", name="Sign out")).to_be_visible()
    visitor.site.cookies = list(await visitor.context.cookies())


@pytest.fixture
async def visitor(visit: Visit) -> Visitor:
    return await visit()
