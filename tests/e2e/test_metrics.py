"""The metrics of several workers: each worker shows the sum of all."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient, TransportError
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.e2e.conftest import Roster, Run

POOL_SIZE = 3


class Workers:
    """A server of two workers, which are known by the files of their figures."""

    def __init__(self, roster: "Roster", url: str) -> None:
        self.url = url
        self._prefix = f"roster-metrics-{roster.process.pid}-"

    @property
    def folders(self) -> list[Path]:
        return list(Path(tempfile.gettempdir()).glob(f"{self._prefix}*"))

    @property
    def ids(self) -> set[int]:
        """The ids of the processes that are alive, as far as the server knows."""
        files = (file for folder in self.folders for file in folder.glob("gauge_livesum_*.db"))
        return {int(file.stem.rpartition("_")[2]) for file in files}

    async def are_both_there(self, *but: int) -> list[int]:
        async with asyncio.timeout(120):
            while await self.figure("roster_pool_size", pool="read") != 2 * POOL_SIZE or len(self.ids - {*but}) < 2:
                pass
        return sorted(self.ids)

    async def get(self, path: str, **options: Any) -> str:
        """Uses a new connection, so that any worker may answer."""
        async with AsyncClient(timeout=120) as http:
            answer = await http.get(f"{self.url}{path}", **options)
            assert answer.status_code == 200, answer.text
            return answer.text

    async def figure(self, name: str, **labels: str) -> float | None:
        families = text_string_to_metric_families(await self.get("/metrics"))
        samples = (sample for family in families for sample in family.samples)
        return next((each.value for each in samples if (each.name, each.labels) == (name, labels)), None)

    async def comes_to(self, wanted: float, name: str, **labels: str) -> None:
        """Returns when a metric has this value. A request counts as ended only after its client has the answer."""
        async with asyncio.timeout(120):
            while await self.figure(name, **labels) != wanted:
                pass

    async def users_listed(self) -> float | None:
        return await self.figure("roster_request_seconds_count", operation="list_users", status="200")

    @asynccontextmanager
    async def alone(self, id: int) -> AsyncIterator[None]:
        """Makes this worker answer: the other one is stopped while it has no running request."""
        (other,) = self.ids - {id}
        os.kill(other, signal.SIGSTOP)
        try:
            while await self.figure("roster_requests_in_flight") != 1:
                os.kill(other, signal.SIGCONT)
                await self.get("/metrics")  # whichever answers: the other one has time meanwhile
                os.kill(other, signal.SIGSTOP)
            yield
        finally:
            os.kill(other, signal.SIGCONT)


@pytest.fixture
async def roster(serve: "Run", postgres_url: str) -> Any:
    return await serve(postgres_url, "--workers", "2", pool_size=POOL_SIZE)


@pytest.fixture
async def workers(roster: "Roster") -> Workers:
    return Workers(roster, await roster.url())


async def test_the_metrics_of_each_worker_include_all_workers(workers: Workers, roster: "Roster") -> None:
    first, second = await workers.are_both_there()

    for id, requests in ((first, 3), (second, 4)):
        async with workers.alone(id):
            for _ in range(requests):
                await workers.get("/users/")

    for id in (first, second):
        async with workers.alone(id):
            assert await workers.users_listed() == 7
            assert await workers.figure("roster_requests_in_flight") == 1
            assert await workers.figure("roster_pool_size", pool="read") == 2 * POOL_SIZE
    shown = await workers.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert "roster_request_seconds" in {family.name for family in openmetrics_families(shown)}  # type: ignore[no-untyped-call]
    assert await roster.stop() == 0
    assert roster.complained == []
    assert workers.folders == []


async def test_answers_of_a_dead_worker_still_count_and_its_running_requests_do_not(
    workers: Workers, roster: "Roster"
) -> None:
    dead, other = await workers.are_both_there()
    async with workers.alone(dead):
        await workers.get("/users/")
        waiting = asyncio.create_task(workers.get("/changes/?since=0&wait=30"))
        await workers.comes_to(2, "roster_requests_in_flight")

    os.kill(dead, signal.SIGKILL)
    with pytest.raises(TransportError):
        await waiting
    assert other in await workers.are_both_there(dead)

    await workers.comes_to(1, "roster_requests_in_flight")
    assert await workers.users_listed() == 1
    assert await roster.stop() == 0
    assert workers.folders == []


async def test_a_folder_of_another_program_is_not_changed(
    serve: "Run", http: AsyncClient, sqlite_url: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment, "PROMETHEUS_MULTIPROC_DIR", "/nowhere")
    roster = await serve(sqlite_url, fresh=True)  # the library reads the variable when it is loaded

    assert "process_cpu_seconds_total" in (await http.get(f"{await roster.url()}/metrics")).text
    assert await roster.stop() == 0
    assert roster.complained == []
