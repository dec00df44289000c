"""The record of changes in the console, in a real browser."""

from playwright.async_api import expect
from tests.browser.conftest import Site, Visitor


async def test_new_changes_appear_by_themselves_and_link_to_their_entities(site: Site, visitor: Visitor) -> None:
    await site.user("Before")
    page = await visitor.open("/changes")
    await expect(page.get_by_role("row").nth(1)).to_contain_text("user 1")

    path = await site.user("Meanwhile")
    await expect(page.get_by_role("row").nth(1)).to_contain_text("user 2")  # without a reload
    await site.api.patch(path, json={"name": "Later"})
    await expect(page.get_by_role("row").nth(1)).to_contain_text("updated")

    await page.get_by_role("link", name="user 2").first.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Later")


async def test_a_change_that_does_not_match_the_filter_does_not_appear(site: Site, visitor: Visitor) -> None:
    page = await visitor.open("/changes")
    await page.get_by_label("Kind").fill("group")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_label("Kind")).to_have_value("group")
    await site.user("Another")
    await site.group("Awaited")
    await expect(page.get_by_role("row").nth(1)).to_contain_text("group 1")
    await expect(page.get_by_role("row").filter(has_text="user")).to_have_count(0)


async def test_a_time_narrows_the_record(site: Site, visitor: Visitor) -> None:
    await site.user("Somebody")
    page = await visitor.open("/changes")
    await page.get_by_label("Until").fill("2020-01-31T12:00")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_text("No change matches.")).to_be_visible()
