"""The console is accessible: on any screen, with any name, with the keyboard alone, with low vision."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Page, expect
from tests.browser.conftest import Site, Visit, Visitor

AXE_CORE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")

HOSTILE: Final = (
    "<img src=x onerror=document.title='owned'>",
    "\"><script>document.title='owned'</script>",
    "{{ 7 * 7 }}",
    "\u202egnp.eel\u202c",
    "\u2067\u05d0\u05d1\u05d2",
    "x" * 200,
    "\ufdfd" * 60,
    "e\u0301" * 100,
)

TOO_WIDE: Final = """
document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body, body *")]
    .filter(each => each.getBoundingClientRect().right > innerWidth + 1 || each === document.body)
    .map(each => each.outerHTML.slice(0, 200))
"""
"""The elements that are wider than the window, if the page can scroll sideways."""

WIDE: Final[Any] = {"width": 1280, "height": 800}
NARROW: Final[Any] = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
async def pages(site: Site) -> list[str]:
    """Every page, each with some content."""
    people = [await site.user(name, attributes={"a": [{"b": name}, None, 1]}, external_id=name) for name in HOSTILE]
    outer, inner = await site.group(HOSTILE[0]), await site.group("y" * 200, description="z" * 200)
    await site.api.put(f"{outer}/groups/{inner.rpartition('/')[2]}")
    for person in people:
        await site.api.put(f"{inner}/members/{person.rpartition('/')[2]}", json={"role": "w" * 50})
        await site.api.patch(person, json={"email": "v" * 200})
    hook = f"/webhooks/{(await site.add('/webhooks/', url=f'https://x.org/{HOSTILE[5]}'))['id']}"
    gone = await site.user("Gone")
    await site.api.delete(gone)
    return [
        "/", "/users", "/users/new", *people[:2], people[5], gone, f"{people[5]}/edit", "/groups", "/groups/new", outer,
        f"{inner}?add=gone", f"{inner}/edit", "/changes?kind=group", "/keys", "/webhooks", hook, "/webhooks/new",
        "/system", "/import", "/nowhere",
    ]  # fmt: skip


async def test_every_page_is_accessible_on_any_screen_with_any_names(pages: list[str], visit: Visit) -> None:
    """The content security policy is off in this window, since it would block axe-core. Only escaping protects."""
    visitor = await visit(bypass_csp=True)
    found = {path: await findings(await visitor.open(path)) for path in [*pages, "/sign-in"]}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


async def test_pages_without_an_address_of_their_own_are_accessible_too(site: Site, visit: Visit) -> None:
    """Pages that no address opens: the question before many are changed, a running import, a link to sign in."""
    await site.user(HOSTILE[0])
    page = (await visit(bypass_csp=True)).page
    found: dict[str, list[str]] = {}
    await page.goto(f"{site.url}/console/users")
    await page.get_by_label(f"Choose {HOSTILE[0]}").first.check()
    async with page.expect_navigation():
        await page.get_by_role("button", name="Suspend chosen").click()
    found["bulk"] = await findings(page)

    await page.goto(f"{site.url}/console/import")
    file: Any = {"name": "people.ndjson", "mimeType": "application/x-ndjson", "buffer": b'{"name": "Alice"}\n{}\n'}
    await page.get_by_label("File").set_input_files(file)
    await page.get_by_role("button", name="Check the file").click()
    await expect(page.get_by_role("button", name="Start the import")).to_be_visible()
    found["checked"] = await findings(page)
    async with page.expect_navigation():
        await page.get_by_role("button", name="Start the import").click()
    await expect(page.get_by_text("Done.")).to_be_visible()
    found["imported"] = await findings(page)

    link = (await site.command("keys", "console-link")).rpartition("/console")[2]
    found["link"] = await findings(await (await visit(signed_in=False, bypass_csp=True)).open(link))
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


async def findings(page: Page) -> list[str]:
    """Elements that are too wide on a telephone or a desktop, and serious findings of axe-core, light or dark."""
    found = [] if await page.title() != "owned" else ["ran what a name says"]
    for size in (NARROW, WIDE):
        await page.set_viewport_size(size)
        found += await page.evaluate(TOO_WIDE)
    await page.evaluate(AXE_CORE)
    found += await run_axe(page, {})
    await page.emulate_media(color_scheme="dark")
    found += await run_axe(page, {"runOnly": ["color-contrast"]})
    await page.emulate_media(color_scheme="light")
    return found


async def run_axe(page: Page, options: dict[str, Any]) -> list[str]:
    run = "options => axe.run({resultTypes: ['violations'], ...options}).then(results => results.violations)"
    violations = await page.evaluate(run, options)
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in violations if each["impact"] in SERIOUS]


SERIOUS: Final = ("serious", "critical")


async def test_hostile_names_are_shown_as_text(pages: list[str], visitor: Visitor) -> None:
    page = await visitor.open("/users")
    for name in HOSTILE:
        await expect(page.get_by_role("cell", name=name, exact=True).first).to_be_visible()


async def test_the_console_can_be_used_with_the_keyboard_alone(site: Site, visitor: Visitor) -> None:
    """From the list to a person, to the form, and back with the saved values."""
    await site.user("Keyboard Alone")
    page = await visitor.open("/users")
    await expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    await page.keyboard.type("keyboard al")
    await expect(page.get_by_role("row")).to_have_count(2)
    await tab_to(page, "Keyboard Alone")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Keyboard Alone")
    await tab_to(page, "Edit")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Edit")
    await tab_to(page, "", "name")
    await page.keyboard.press("End")
    await page.keyboard.type(" Changed")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Keyboard Alone Changed")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()


async def tab_to(page: Page, text: str, id: str = "") -> None:
    for _ in range(60):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if await focused.count() and (
            (text and (await focused.inner_text()).strip() == text) or (id and await focused.get_attribute("id") == id)
        ):
            return
    pytest.fail(f"The key Tab does not lead to {text or id}.")


async def test_the_page_that_refuses_too_many_users_at_once_is_accessible(
    site: Site, visit: Visit, tmp_path: Path
) -> None:
    crowd = tmp_path / "crowd.ndjson"
    crowd.write_text("".join(f'{{"name": "Crowd {number}"}}\n' for number in range(10_001)))
    await site.command("import", str(crowd))
    page = await (await visit(bypass_csp=True)).open("/users?q=crowd")
    await page.get_by_label("all 10,000+").check()
    async with page.expect_navigation():
        await page.get_by_role("button", name="Suspend chosen").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Too many people")
    assert await findings(page) == []
