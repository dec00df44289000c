"""Only a few requests begin in each iteration of the event loop, however many arrive together."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from httpx2 import Response
from starlette.types import Receive, Scope, Send

from api.monitoring.metrics import Metrics
from api.web import admission
from api.web.admission import TOGETHER, Admission

if TYPE_CHECKING:
    from tests.api.conftest import Directory

MANY = 50


class Begun:
    """An app that records which requests have begun, and never answers."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.metrics = Metrics("memory")
        self._admission = Admission(self, self.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])

    def ask(self, path: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._admission({"type": "http", "path": path}, never, ignore))
        self._tasks.append(task)
        return task

    @property
    def waiting(self) -> float | None:
        return self.metrics.shown.get_sample_value("roster_requests_waiting")


async def never() -> dict[str, object]:
    raise AssertionError


async def ignore(message: object) -> None:
    raise AssertionError


async def test_a_few_requests_begin_in_each_iteration_in_the_order_of_arrival() -> None:
    begun = Begun()
    for number in range(MANY):
        begun.ask(f"/{number}")
    seen = [len(begun.paths)]
    while seen[-1] < MANY:
        await asyncio.sleep(0)
        assert begun.waiting in {0, MANY - len(begun.paths), MANY - len(begun.paths) - TOGETHER}
        seen.append(len(begun.paths))

    assert max(later - earlier for earlier, later in pairwise(seen)) == TOGETHER
    assert begun.paths == [f"/{number}" for number in range(MANY)]
    assert begun.waiting == 0


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
async def test_probes_begin_at_once(path: str) -> None:
    begun = Begun()
    for number in range(MANY):
        begun.ask(f"/{number}")
    begun.ask(path)
    await asyncio.sleep(0)

    assert begun.paths[TOGETHER:] == [path]


async def test_later_requests_begin_at_once_if_none_waits() -> None:
    begun = Begun()
    for number in range(3 * TOGETHER):
        begun.ask(f"/{number}")
        await asyncio.sleep(0)
        assert begun.paths[-1] == f"/{number}"


async def test_new_requests_do_not_overtake_waiting_ones() -> None:
    begun = Begun()
    for number in range(MANY):
        begun.ask(f"/{number}")
        if number % TOGETHER == 0:
            await asyncio.sleep(0)
    for _ in range(MANY):
        await asyncio.sleep(0)

    assert begun.paths == [f"/{number}" for number in range(MANY)]


async def test_a_cancelled_request_delays_no_other() -> None:
    begun = Begun()
    tasks = [begun.ask(f"/{number}") for number in range(MANY)]
    await asyncio.sleep(0)
    for task in tasks[TOGETHER : MANY - 1]:
        task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)

    assert begun.paths == [*[f"/{number}" for number in range(TOGETHER)], f"/{MANY - 1}"]
    assert begun.waiting == 0


async def answers_at(directory: "Directory", path: str) -> list[Response]:
    return await asyncio.gather(*[directory.ask("GET", path) for _ in range(MANY)])


async def test_requests_that_waited_too_long_are_refused(
    directory: "Directory", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_S", -1)
    answers = await answers_at(directory, "/users/1")

    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) >= MANY / 2
    assert {answer.status_code for answer in answers} == {404, 503}
    for answer in refused:
        assert answer.json()["code"] == "busy"
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert (await directory.ask("GET", "/users/1")).status_code == 404


async def test_requests_that_waited_within_the_bound_are_answered(
    directory: "Directory", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_S", 3600)
    assert {answer.status_code for answer in await answers_at(directory, "/users/1")} == {404}


async def test_a_refused_scim_request_has_the_form_of_scim(
    directory_with: Callable[..., "Directory"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_S", -1)
    answers = await answers_at(directory_with(scim=True), "/scim/v2/ServiceProviderConfig")

    [one, *_] = [answer for answer in answers if answer.status_code == 503]
    assert one.headers["content-type"] == "application/scim+json"
    assert one.headers["retry-after"] == "1"
