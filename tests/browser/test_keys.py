"""API keys in the console, in a real browser."""

from playwright.async_api import expect
from tests.browser.conftest import Site, Visit


async def test_a_key_is_created_copied_rotated_and_revoked(site: Site, visit: Visit) -> None:
    visitor = await visit(permissions=["clipboard-read", "clipboard-write"])
    page = await visitor.open("/keys")
    await page.get_by_label("Who uses it").fill("payroll")
    await page.get_by_label("users:read").check()
    await page.get_by_role("button", name="Create").click()

    secret = await page.locator("#secret").inner_text()
    assert (await site.api.get("/users/", headers={"Authorization": f"Bearer {secret}"})).status_code == 200
    await page.get_by_role("button", name="Copy").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    await page.get_by_label("Who uses it").fill("")
    await page.get_by_label("Who uses it").press("Control+v")
    await expect(page.get_by_label("Who uses it")).to_have_value(secret)

    await visitor.open("/keys")
    await expect(page.locator("#secret")).to_have_count(0)  # it is shown once
    row = page.get_by_role("row").filter(has_text="payroll")
    await row.locator("summary").click()
    await row.get_by_label("The old secret stays valid").select_option("no longer")
    await row.get_by_role("button", name="Make a new secret").click()
    assert await page.locator("#secret").inner_text() != secret
    assert (await site.api.get("/users/", headers={"Authorization": f"Bearer {secret}"})).status_code == 401
    await row.get_by_role("button", name="Revoke").click()
    await expect(row).to_have_count(0)
