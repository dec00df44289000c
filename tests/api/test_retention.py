"""Old changes are removed while a server runs, and a reader that is too late gets a refusal. On both databases."""

import asyncio
from datetime import UTC, datetime, timedelta

from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.container import Container
from api.settings import Settings
from domain.users import NewUser
from domain.work import RequestContext


async def test_a_reader_that_is_too_late_gets_a_410_with_the_position_to_begin_at(database_url: str) -> None:
    now = datetime.now(UTC) - timedelta(days=40)
    settings = Settings(database_url=database_url, keep_changes_days=30, pool_size=4)
    container = Container(settings=providers.Object(settings), clock=providers.Object(lambda: now))
    await container.units().start()
    users = container.users(RequestContext(actor="tester", request_id="r1"))
    for name in ("Alice", "Bob"):
        await users.create(NewUser(name=name))
    now += timedelta(days=40)
    await users.create(NewUser(name="Carol"))

    app = create_app(container, open_locally=True, delivers=True)
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost") as client,
        asyncio.timeout(30),
    ):
        while (late := await client.get("/changes/?since=0")).status_code == 200:  # noqa: ASYNC110  # another task removes
            await asyncio.sleep(0.02)
        assert (late.status_code, late.json()["code"]) == (410, "position_expired")
        assert late.headers["roster-seq"] == "3"
        assert [each["seq"] for each in (await client.get("/changes/?since=2")).json()] == [3]
        assert (await client.get("/users/1/changes/")).json() == []
