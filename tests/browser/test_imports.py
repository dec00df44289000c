"""Imports in the console, in a real browser."""

from playwright.async_api import expect
from tests.browser.conftest import Site, Visitor

PEOPLE = "".join(f"Person {number},p{number}@x.org,hr-{number}\r\n" for number in range(1500))
FILE = f"name,email,external_id\r\n{PEOPLE},bad@x.org,hr-x\r\n"


async def test_a_file_is_checked_imported_and_reported_even_after_reloads(site: Site, visitor: Visitor) -> None:
    page = await visitor.open("/import")
    await page.get_by_label("File").set_input_files(
        {"name": "people.csv", "mimeType": "text/csv", "buffer": FILE.encode()}
    )
    await page.get_by_label("Mode").select_option("upsert")
    await page.get_by_role("button", name="Check the file").click()
    await expect(page.get_by_role("heading", name="Created: the first 20")).to_be_visible()
    await expect(page.get_by_role("heading", name="Rejected: the first 1")).to_be_visible()
    assert (await site.api.get("/users/by/external-id/hr-0")).status_code == 404

    async with page.expect_navigation():
        await page.get_by_role("button", name="Start the import").click()
    await page.reload()
    await expect(page.get_by_text("Done.")).to_be_visible()  # by itself
    await expect(page.locator("dl.figures")).to_contain_text("1,500")
    assert (await site.api.get("/users/by/external-id/hr-1499")).status_code == 200
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Report").click()
    report = await (await download.value).path()
    assert report.read_text().count("created") == 1500
    await page.get_by_role("button", name="Another import").click()
    await expect(page.get_by_role("button", name="Check the file")).to_be_visible()


async def test_an_invalid_choice_is_explained_on_the_form(visitor: Visitor) -> None:
    page = await visitor.open("/import")
    await page.get_by_label("File").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": b"name"})
    await page.get_by_label("Delete at most").fill("many")
    await page.get_by_role("button", name="Check the file").click()
    await expect(page.get_by_role("alert")).to_contain_text("Write how many may be deleted")
