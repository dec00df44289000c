"""Groups in the console, in a real browser."""

from playwright.async_api import expect
from tests.browser.conftest import Site, Visitor


async def test_a_group_is_created_and_members_are_added_by_search_and_removed(site: Site, visitor: Visitor) -> None:
    await site.user("Niklaus Wirth", email="wirth@x.org")
    page = await visitor.open("/groups")
    await page.get_by_role("link", name="Add a group").click()
    await page.get_by_label("Name", exact=True).fill("Compilers")
    await page.get_by_role("button", name="Save").click()

    await page.get_by_label("Add somebody").fill("wirth@")  # they appear while one types
    await page.get_by_role("button", name="Add Niklaus Wirth").click()
    await expect(page.get_by_role("heading", name="Members (1)")).to_be_visible()

    await page.get_by_role("button", name="Remove Niklaus Wirth").click()
    await expect(page.get_by_text("This group has no members of its own.")).to_be_visible()


async def test_groups_are_nested_and_a_person_shows_the_groups_between(site: Site, visitor: Visitor) -> None:
    person, outer, inner = await site.user("Tony Hoare"), await site.group("Everyone"), await site.group("Oxford")
    await site.api.put(f"{inner}/members/{person.rpartition('/')[2]}", json={})
    page = await visitor.open(outer)
    await page.get_by_label("Name of a group").fill("Oxford")
    await page.get_by_role("button", name="Make it a part").click()
    await expect(page.get_by_role("listitem").get_by_role("link", name="Oxford")).to_be_visible()

    await visitor.open(inner)
    await page.get_by_label("Name of a group").fill("Everyone")
    await page.get_by_role("button", name="Make it a part").click()
    await expect(page.get_by_role("alert")).to_be_visible()  # a circle

    await visitor.open(person)
    await expect(page.get_by_role("listitem").filter(has_text="Everyone")).to_contain_text("through")
