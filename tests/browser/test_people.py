"""People in the console, in a real browser."""

import re

from playwright.async_api import expect
from tests.browser.conftest import Site, Visit, Visitor


async def test_the_search_runs_while_the_user_types(site: Site, visitor: Visitor) -> None:
    await site.user("Zoë Quark", email="quark@x.org")
    await site.user("Yann Lepton", username="lepton")
    page = await visitor.open("/users")

    await expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    await page.keyboard.type("qu")  # two keystrokes find a person

    await expect(page.get_by_role("link", name="Zoë Quark")).to_be_visible()
    await expect(page.get_by_role("link", name="Yann Lepton")).to_have_count(0)
    await expect(page).to_have_url(re.compile(r"q=qu\b"))
    await page.reload()
    await expect(page.get_by_role("searchbox")).to_have_value("qu")
    await page.get_by_role("searchbox").fill("nobody has this")
    await expect(page.get_by_text("Nobody matches.")).to_be_visible()


async def test_a_person_is_added_edited_and_brought_back(site: Site, visitor: Visitor) -> None:
    page = await visitor.open("/users")
    await page.get_by_role("link", name="Add a person").click()
    await page.get_by_label("Name", exact=True).fill("Ada")
    await page.get_by_label("E-mail").fill("ada@x.org")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Ada")

    await page.get_by_role("link", name="Edit").click()
    await page.get_by_label("Name", exact=True).fill("Ada Wrong")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Ada Wrong")
    await expect(page.locator(".timeline")).to_contain_text("console:key:1")

    await page.get_by_role("button", name="Undo this change").click()
    await expect(page.get_by_role("heading", level=1)).not_to_contain_text("Wrong")


async def test_two_edits_at_once_lose_nothing(site: Site, visit: Visit) -> None:
    path = await site.user("Grace", email="grace@x.org")
    mine, theirs = (await visit()), (await visit())
    await mine.open(f"{path}/edit")
    await theirs.open(f"{path}/edit")
    for visitor, email in ((theirs, "theirs@x.org"), (mine, "mine@x.org")):
        await visitor.page.get_by_label("E-mail").fill(email)
        await visitor.page.get_by_role("button", name="Save").click()

    await expect(mine.page.get_by_role("alert")).to_contain_text("Somebody changed this person while you edited")
    await expect(mine.page.get_by_label("E-mail")).to_have_value("mine@x.org")
    await expect(mine.page.locator("main")).to_contain_text("theirs@x.org")
    await mine.page.get_by_role("button", name="Save").click()
    await expect(mine.page.get_by_text("mine@x.org").first).to_be_visible()


async def test_a_refusal_is_shown_beside_its_field_and_keeps_the_input(site: Site, visitor: Visitor) -> None:
    await site.user("Holder", username="held")
    page = await visitor.open("/users/new")
    await page.get_by_label("Name", exact=True).fill("Late")
    await page.get_by_label("Username").fill("held")
    await page.get_by_role("button", name="Save").click()

    await expect(page.get_by_label("Username")).to_have_value("held")
    await expect(page.get_by_label("Username")).to_have_accessible_description("Another one has this value.")


async def test_a_person_is_suspended_deleted_and_restored(site: Site, visitor: Visitor) -> None:
    page = await visitor.open(await site.user("Edsger"))
    for button, status in (
        ("Suspend", "suspended"),
        ("Activate", "active"),
        ("Delete", "deleted"),
        ("Restore", "active"),
    ):
        await page.get_by_role("button", name=button, exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(status)


async def test_erasing_a_person_needs_the_name_typed(site: Site, visitor: Visitor) -> None:
    path = await site.user("Barbara")
    page = await visitor.open(path)
    await page.locator("summary").filter(has_text="Erase").click()
    await page.get_by_label("Type the name").fill("Someone")
    await page.get_by_role("button", name="Erase").click()
    await expect(page.get_by_role("alert")).to_contain_text("Type the name exactly")

    await page.locator("summary").filter(has_text="Erase").click()
    await page.get_by_label("Type the name").fill("Barbara")
    await page.get_by_role("button", name="Erase").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Users")
    assert (await site.api.get(path)).status_code == 404


async def test_many_people_are_chosen_and_suspended_at_once(site: Site, visitor: Visitor) -> None:
    for number in range(3):
        await site.user(f"Bulk {number}", attributes={"team": "Moved"})
    page = await visitor.open("/users")
    await page.get_by_label("Attribute", exact=True).fill("team=Moved")
    await expect(page.get_by_role("row")).to_have_count(4)
    await page.get_by_label("Choose all that are shown").check()
    await page.get_by_label("Choose Bulk 1").uncheck()
    await page.get_by_role("button", name="Suspend chosen").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Suspend 2 people?")
    await page.get_by_role("button", name="Suspend 2").click()
    await expect(page.get_by_role("status").first).to_have_text("2 suspended.")

    await page.locator("select[name=status]").select_option("suspended")
    await page.get_by_label("Attribute", exact=True).fill("team=Moved")
    await expect(page.get_by_role("row")).to_have_count(3)


async def test_columns_are_shown_and_hidden_without_a_reload(site: Site, visitor: Visitor) -> None:
    await site.user("Columns", attributes={"floor": 17})
    page = await visitor.open("/users?q=columns")
    await page.locator("summary").filter(has_text="Columns").click()
    await page.get_by_label("Username").uncheck()
    await page.get_by_label("Attributes").fill("floor")
    await expect(page.get_by_role("columnheader", name="floor")).to_be_visible()
    await expect(page.get_by_role("columnheader", name="Username")).to_have_count(0)
    await expect(page.get_by_role("cell", name="17", exact=True)).to_be_visible()


async def test_the_search_result_can_be_downloaded(site: Site, visitor: Visitor) -> None:
    await site.user("Downloaded", external_id="d-1")
    page = await visitor.open("/users?q=downloaded")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV", exact=True).click()
    file = await (await download.value).path()
    assert "d-1" in file.read_text()
