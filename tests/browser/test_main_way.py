"""The main tasks in the console, on each database."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from playwright.async_api import expect
from tests.browser.conftest import Site, Visit, served
from tests.e2e.forks import Forks


@pytest.fixture
async def site(database_url: str, tmp_path: Path, environment: Mapping[str, str], forks: Forks) -> AsyncIterator[Site]:
    async with served(database_url, tmp_path, environment, forks) as site:
        yield site


@pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)  # two windows of a browser
async def test_mistakes_are_found_corrected_and_undone(site: Site, visit: Visit) -> None:
    person, group = await site.user("Margaret Hamilton", email="wrong@x.org"), await site.group("Apollo")
    crowd = [{"op": "create", "body": {"name": f"Somebody {number}"}} for number in range(60)]
    await site.add("/users/batch", operations=crowd)
    follower = await visit()
    await follower.open("/changes")
    page = await (await visit()).open("/")

    await page.get_by_role("link", name="Users", exact=True).first.click()
    await expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    await page.keyboard.type("hamil")
    await page.get_by_role("link", name="Margaret Hamilton").click()
    await page.get_by_role("link", name="Edit").click()
    await page.get_by_label("E-mail").fill("margaret@x.org")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(".timeline")).to_contain_text("wrong@x.org")
    await expect(follower.page.get_by_role("row").nth(1)).to_contain_text("updated")

    await page.get_by_role("button", name="Undo this change").click()
    await expect(page.locator("dl").first).to_contain_text("wrong@x.org")

    await page.goto(f"{site.url}/console{group}")
    await page.get_by_label("Add somebody").fill("marg")
    await page.get_by_role("button", name="Add Margaret Hamilton").click()
    await page.get_by_role("link", name="Margaret Hamilton").click()
    await expect(page.get_by_role("listitem").filter(has_text="Apollo").first).to_be_visible()

    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Restore").click()
    await page.locator("summary").filter(has_text="Erase").click()
    await page.get_by_label("Type the name").fill("Margaret Hamilton")
    await page.get_by_role("button", name="Erase").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Users")
    assert (await site.api.get(person)).status_code == 404
    await expect(follower.page.get_by_role("row").nth(1)).to_contain_text("purged")
