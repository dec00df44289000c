"""The first page and the system page of the console, in a real browser."""

from playwright.async_api import expect
from tests.browser.conftest import Site, Visitor


async def test_the_first_page_shows_activity_and_the_system_page_the_settings(site: Site, visitor: Visitor) -> None:
    await site.user("Ada")
    page = await visitor.open("/")
    await expect(page.get_by_role("img", name="Changes on each of the last 14 days; today 2")).to_be_visible()
    await expect(page.get_by_role("img", name="Requests in each of the last 60 minutes")).to_be_visible()

    await page.get_by_role("link", name="System").click()
    await expect(page.get_by_role("row").filter(has_text="ROSTER_BOOTSTRAP_KEY").first).to_contain_text("********")
    await page.get_by_role("link", name="metrics").click()
    await expect(page.locator("body")).to_contain_text("roster_request_seconds")


async def test_a_webhook_is_added_tested_and_paused(site: Site, visitor: Visitor) -> None:
    page = await visitor.open("/webhooks")
    await page.get_by_role("link", name="Add a webhook").click()
    await page.get_by_label("URL").fill("https://nobody.invalid/hooks")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#secret")).to_contain_text("whsec_")
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_role("status")).to_contain_text("not delivered")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("paused")
