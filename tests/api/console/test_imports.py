"""Imports in the console over HTTP: dry run, start, cancel, report, by one key at a time."""

import json
import re
from collections.abc import AsyncGenerator, Iterator

import pytest
from httpx2 import Response
from tests.api.conftest import Directory
from tests.api.console.conftest import Browser, add, signed_in

from api.console.jobs import Job, State
from domain.keys import Scope
from services.imports.runs import Import, Step

FILE = b"name,email,external_id\r\nAlice,a@x.org,1\r\nBob,b@x.org,2\r\n,c@x.org,3\r\n"


@pytest.fixture(autouse=True)
def closed(directory: Directory) -> Iterator[None]:
    yield
    directory.app.state.closing.close()


async def bring(browser: Browser, data: bytes = FILE, query: str = "mode=upsert&name=people.csv") -> Response:
    [token] = re.findall(r'data-token="([^"]*)"', (await browser.see("/import")).text)
    return await browser.http.put(f"/console/import?{query}", content=data, headers={"Roster-Token": token})


def job_of(directory: Directory, key: int = 1) -> Job:
    job = directory.app.state.jobs.of(f"console:key:{key}")
    assert isinstance(job, Job)
    return job


async def ended(directory: Directory, key: int = 1) -> Job:
    job = job_of(directory, key)
    assert job.task is not None
    await job.task
    return job


async def test_a_file_is_checked_before_anything_is_stored_and_then_imported(directory: Directory) -> None:
    await add(directory, name="Old", external_id="2")
    browser = await signed_in(directory, *Scope)

    assert (await bring(browser)).status_code == 204
    await ended(directory)
    page = (await browser.see("/import")).text
    for text in ("people.csv", "Created: the first 1", "Updated: the first 1", "Rejected: the first 1", "Alice", "Old"):
        assert text in page
    assert "Start the import" in page

    await browser.send("/import/start", on="/groups/new")
    job = await ended(directory)
    assert (job.state, job.counts.created, job.counts.updated, job.counts.rejected) == (State.DONE, 1, 1, 1)
    page = (await browser.see("/import")).text  # and it is still there after a reload
    assert "Done" in page
    assert "Rejected: the first 1" in page
    report = (await browser.see("/import/report")).text
    assert [json.loads(line)["done"] for line in report.splitlines()] == ["created", "updated", "rejected"]
    assert "console:key:1" in (await browser.see("/users/2")).text

    await browser.send("/import/discard", on="/groups/new")
    assert "Check the file" in (await browser.see("/import")).text


async def test_an_unreadable_file_is_explained_and_nothing_is_stored(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    await bring(browser, b"\xff\xfe\x00")
    job = await ended(directory)
    assert job.state is State.STOPPED
    assert job.reason
    assert "Stopped" in (await browser.see("/import")).text
    await browser.send("/import/discard", on="/groups/new")
    for query in ("mode=explode", "max_delete=many", "match=name"):
        assert (await bring(browser, query=query)).status_code == 400


async def test_an_import_is_cancelled_between_two_batches(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await signed_in(directory, *Scope)
    await bring(browser, b"name\r\n" + b"".join(b"P%d\r\n" % number for number in range(600)), "mode=create")
    await ended(directory)
    job = job_of(directory)
    go = job._go

    async def cancelled_after_a_step(one: Import, note: object) -> None:
        steps = one.steps

        async def watched() -> AsyncGenerator[Step]:
            async for step in steps():
                yield step
                job.cancel()

        monkeypatch.setattr(one, "steps", watched)
        await go(one, note)  # type: ignore[arg-type]

    monkeypatch.setattr(job, "_go", cancelled_after_a_step)
    await browser.send("/import/start", on="/groups/new")
    await ended(directory)
    assert job.state is State.CANCELLED
    assert 0 < job.counts.created < 600
    assert "Cancelled" in (await browser.see("/import")).text


async def test_an_import_is_invisible_to_other_keys(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    await bring(browser)
    await ended(directory)
    other = await signed_in(directory, *Scope)
    assert "people.csv" not in (await other.see("/import")).text
    assert (await other.send("/import/start", on="/groups/new")).status_code == 404
    reader = await signed_in(directory, Scope.USERS_READ)
    assert (await reader.see("/import")).status_code == 403
    assert (await reader.http.put("/console/import", content=FILE)).status_code == 403


async def test_a_file_of_another_site_is_refused(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    assert (await browser.http.put("/console/import", content=FILE)).status_code == 403
    assert directory.app.state.jobs.of("console:key:1") is None


async def test_progress_is_shown_while_an_import_runs(directory: Directory) -> None:
    browser = await signed_in(directory, *Scope)
    await bring(browser)
    job = await ended(directory)
    job.state, job.total = State.RUNNING, 30
    progress = await browser.see("/import?rows")
    assert "<progress" in progress.text
    assert "time left" in progress.text
    assert "roster-done" not in progress.headers


async def test_an_import_beyond_the_bound_is_refused_at_once_and_an_ended_one_frees_its_place(
    directory: Directory,
) -> None:
    places = directory.container.import_places()
    browser = await signed_in(directory, *Scope)
    with places.one("a"), places.one("b"):
        refused = await bring(browser)
        assert refused.status_code == 503
        assert "Too many imports are under way." in refused.text
        assert "Check the file" in (await browser.see("/import")).text
    assert (await bring(browser)).status_code == 204
    await ended(directory)
    assert places.taken == 0
    with places.one("a"), places.one("b"):
        assert (await browser.send("/import/start", on="/groups/new")).status_code == 503
    await browser.send("/import/start", on="/groups/new")
    assert (await ended(directory)).state is State.DONE
    assert places.taken == 0
