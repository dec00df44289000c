"""Signing in to the console, in a real browser."""

import re

from playwright.async_api import expect
from tests.browser.conftest import Site, Visit


async def test_signing_in_with_a_key_returns_to_the_page_and_signing_out_works(site: Site, visit: Visit) -> None:
    path = await site.user("Ada")
    visitor = await visit(signed_in=False)
    page = await visitor.open(path)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")

    await page.get_by_label("API key").fill("rk_1_wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("API key")).to_have_accessible_description(re.compile("not valid"))

    await page.get_by_label("API key").fill(site.secret)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Ada")

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    await page.go_back()
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_a_session_shows_what_its_key_may_read_and_ends_with_the_key(site: Site, visit: Visit) -> None:
    path = await site.user("Ada")
    key = await site.add("/keys/", name="reader", scopes=["users:read"])
    visitor = await visit(signed_in=False)
    await visitor.sign_in(key["secret"])
    page = await visitor.open(path)
    await expect(page.get_by_role("navigation")).to_have_text(re.compile(r"^\s*Users\s*$"))
    await expect(page.get_by_role("link", name="Edit")).to_have_count(0)

    await site.api.delete(f"/keys/{key['id']}")
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_a_link_from_the_command_line_signs_in_once(site: Site, visit: Visit) -> None:
    printed = await site.command("keys", "console-link")
    path = printed.rpartition("/console")[2]
    visitor = await visit(signed_in=False)
    page = await visitor.open(path)
    await expect(page.get_by_role("button", name="Sign in")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()

    await visitor.open(path)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("This link is not valid")
