"""The metrics: how many requests, their answers and their times. Nothing about callers and users."""

import asyncio
import platform
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.container import Container
from api.monitoring.metrics import FiguresOfWorkers, Metrics
from api.settings import Settings
from domain.errors import Busy
from domain.keys import Scope
from repositories.engines.meter import NO_METER, Meter
from repositories.fake import MemoryUnitsOfWork

if TYPE_CHECKING:
    from tests.api.conftest import Directory

ROOT: Final = Path(__file__).parents[3]
PROMETHEUS: Final = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;"
    "version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""The Accept header of its version 3."""

Labels = tuple[str, ...]
Figures = dict[Labels, float]


async def figures(client: AsyncClient) -> Figures:
    """Each metric by its name and the values of its labels, in the order of their names."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def answers(shown: Figures) -> dict[Labels, float]:
    """How often each operation was answered with each status."""
    return {key[1:]: value for key, value in shown.items() if key[0] == "roster_request_seconds_count"}


async def test_answers_are_counted_by_operation_and_status(client: AsyncClient) -> None:
    await client.post("/users/", json={"name": "Alice"})
    await client.post("/users", json={"name": "Bob"})
    await client.get("/users/1")
    await client.head("/users/1")

    assert answers(await figures(client)) == {("create_user", "201"): 2, ("get_user", "200"): 2}
    assert answers(await figures(client))["metrics", "200"] == 1


async def test_refusals_and_failures_are_counted_by_their_status(client: AsyncClient) -> None:
    await client.get("/users/7")
    await client.get("/users/no-id")
    await client.delete("/users/")
    await client.get("/nowhere")

    counted = answers(await figures(client))

    assert counted["get_user", "404"] == 1
    assert counted["get_user", "422"] == 1
    assert counted["none", "404"] == 1
    assert {status for _, status in counted} == {"404", "405", "422"}


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("!"), "500"), (Busy("B."), "503")])
async def test_a_failure_is_counted_with_the_status_of_its_answer(
    in_memory: Container, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(MemoryUnitsOfWork, "reading", fail)
    transport = ASGITransport(app=create_app(in_memory, open_locally=True))
    async with AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.get("/users/1")

        assert answers(await figures(client)) == {("get_user", status): 1}


async def test_all_unknown_paths_and_methods_share_one_metric(client: AsyncClient) -> None:
    for number in range(50):
        await client.get(f"/nowhere/{number}?x={number}", headers={"host": f"h{number}", "x-request-id": f"r{number}"})
        await client.request(f"METHOD{number}", "/users/1")

    counted = answers(await figures(client))

    assert counted["none", "404"] == 50
    assert sum(counted.values()) == 100
    assert len(counted) == 2


async def test_a_request_with_a_refused_host_is_counted(directory_with: Callable[..., "Directory"]) -> None:
    directory = directory_with(allowed_hosts="localhost")
    await directory.ask("GET", "/users/1", headers={"host": "elsewhere"})

    shown = (await directory.ask("GET", "/metrics")).text

    assert 'roster_request_seconds_count{operation="none",status="421"} 1.0' in shown


async def test_a_request_is_in_flight_until_it_is_answered(client: AsyncClient) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"name":'
        begun.set()
        await go_on.wait()
        yield b'"Alice"}'

    json = {"content-type": "application/json"}
    assert (await figures(client))[("roster_requests_in_flight",)] == 1  # the question itself
    creating = asyncio.create_task(client.post("/users/", content=body(), headers=json))
    await begun.wait()
    amid = await figures(client)
    go_on.set()
    await creating
    after = await figures(client)

    assert amid[("roster_requests_in_flight",)] == 2
    assert answers(amid) == {("metrics", "200"): 1}
    assert after[("roster_requests_in_flight",)] == 1
    assert answers(after)["create_user", "201"] == 1


async def test_a_cancelled_request_is_no_longer_in_flight(client: AsyncClient) -> None:
    waiting = asyncio.create_task(client.get("/changes/?since=0&wait=30"))
    while (await figures(client))[("roster_requests_in_flight",)] < 2:
        pass
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    shown = await figures(client)

    assert shown[("roster_requests_in_flight",)] == 1
    assert answers(shown)["list_changes", "none"] == 1


async def test_the_metrics_show_the_build(client: AsyncClient) -> None:
    build = ("roster_build_info", "sqlite", platform.python_version(), version("roster"))

    assert (await figures(client))[build] == 1


@pytest.mark.parametrize("url", ["postgresql://roster@/roster", "postgres://roster@/roster"])
async def test_the_build_names_the_engine_and_not_the_url(url: str, client_of: Callable[[Container], Any]) -> None:
    units = providers.Object(MemoryUnitsOfWork())
    async with client_of(Container(settings=providers.Object(Settings(database_url=url)), units=units)) as client:
        text = (await client.get("/metrics")).text

    assert 'database="postgresql"' in text
    assert "//" not in text


async def test_the_metrics_show_the_process(client: AsyncClient) -> None:
    shown = await figures(client)

    assert shown[("process_resident_memory_bytes",)] > 0
    assert ("process_open_fds",) in shown
    assert ("python_gc_collections_total", "0") in shown


async def test_the_metrics_show_the_database(
    database_url: str,
    container_at: Callable[[str], Container],
    client_of: Callable[[Container], AbstractAsyncContextManager[AsyncClient]],
) -> None:
    async with client_of(container_at(database_url)) as client:
        await client.post("/users/", json={"name": "Alice"})
        await client.get("/users/1")
        await client.get('/users/?filter=name co "l"')
        await client.get("/users/", headers={"accept": "application/x-ndjson"})

        shown = await figures(client)

    postgres = any(key[:2] == ("roster_build_info", "postgresql") for key in shown)
    assert shown["roster_database_seconds_count", "read"] >= 1
    assert shown["roster_database_seconds_count", "scan"] >= 2
    assert shown["roster_pool_size", "stream"] == 4
    assert (shown[("roster_sqlite_log_bytes",)] > 0) is not postgres
    assert (shown["roster_pool_in_use", "read"], shown["roster_pool_in_use", "stream"]) == (0, 0)
    assert shown.get(("roster_pool_size", "read")) == (4 if postgres else None)
    assert (("roster_pool_wait_seconds_count", "read") in shown) is postgres


async def test_the_metrics_have_no_value_of_a_request(client: AsyncClient) -> None:
    alice = {"name": "Secretive", "email": "secretive@example.org", "external_id": "secretive-1"}
    headers = {"x-request-id": "secretive", "user-agent": "secretive", "referer": "http://secretive/"}
    await client.post("/users/", json=alice)
    await client.get("/users/by/email/secretive@example.org")
    await client.get("/users/", params={"filter": 'name eq "Secretive"', "secretive": "1"})
    await client.get("/secretive", headers=headers)
    await client.get("/users/1", headers=headers)

    answer = await client.get("/metrics", headers={**headers, "accept": "text/secretive"})

    assert "secretive" not in answer.text.lower()
    assert len(answers(await figures(client))) >= 5


async def test_two_apps_in_one_process_have_separate_metrics(client_of: Callable[[Container], Any]) -> None:
    def container() -> Container:
        return Container(settings=providers.Object(Settings()), units=providers.Object(MemoryUnitsOfWork()))

    async with client_of(container()) as left, client_of(container()) as right:
        await left.get("/users/")
        await right.get("/changes/")
        await right.get("/changes/")

        assert answers(await figures(left)) == {("list_users", "200"): 1}
        assert answers(await figures(right)) == {("list_changes", "200"): 2}


async def test_head_returns_the_headers_only(client: AsyncClient) -> None:
    head = await client.head("/metrics")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(head.headers["content-length"]) > 1000


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "application/json", "", "application/openmetrics-text;q=0"])
async def test_the_format_is_prometheus_text_by_default(client: AsyncClient, accept: str) -> None:
    answer = await client.get("/metrics", headers={"accept": accept})

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert "# TYPE roster_requests_in_flight gauge\nroster_requests_in_flight 1.0\n" in answer.text


@pytest.mark.parametrize(
    "accept",
    [PROMETHEUS, "application/openmetrics-text", "application/openmetrics-text;version=\u00b2;q=0.5,text/*;q=0.4"],
)
async def test_the_format_is_openmetrics_if_the_client_prefers_it(client: AsyncClient, accept: str) -> None:
    await client.get("/users/1")

    answer = await client.get("/metrics", headers={b"accept": accept.encode("latin-1")})

    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert {"roster_request_seconds", "roster_build_info"} <= {each.name for each in openmetrics_families(answer.text)}  # type: ignore[no-untyped-call]


async def test_metrics_need_no_key_even_if_the_api_does(directory: "Directory") -> None:
    await directory.key(Scope.USERS_READ)

    assert (await directory.ask("GET", "/users/")).status_code == 401
    assert (await directory.ask("GET", "/metrics", address="203.0.113.7")).status_code == 200


def test_a_command_beside_the_server_records_no_metrics() -> None:
    container = Container(settings=providers.Object(Settings()), serving=providers.Object(False))

    assert container.meter() is NO_METER
    meter: Meter = Metrics("sqlite")  # that mypy sees it
    assert meter is not NO_METER


def test_the_commands_do_not_import_the_metrics_library() -> None:
    script = "import sys, api.commands.main; sys.exit('prometheus_client' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT / "src")}, check=False)
    assert done.returncode == 0


def test_the_file_of_a_starting_or_ending_worker_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "histogram_1.db").touch()
    (tmp_path / "gauge_livesum_2.db").symlink_to(tmp_path / "removed")
    (tmp_path / "gauge_livesum_3.db").write_bytes(bytes(65536))

    assert list(FiguresOfWorkers(str(tmp_path)).collect()) == []


async def test_every_metric_that_the_docs_name_exists(database_client: AsyncClient) -> None:
    named = set(re.findall(r"`((?:roster|process)_[a-z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    await database_client.get("/users/1")

    text = (await database_client.get("/metrics")).text

    typed = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert {name for name in typed if name.startswith("roster_")} <= named
    assert named <= typed
