"""How much faster a batch is than single requests: `python -m bench.batches`, in a minute.

The same users are created by single requests of one client, by single requests of sixteen clients, and by one batch,
alternately. The app runs in this process on a SQLite file. Compare the ratios: times depend on the machine.
"""

import asyncio
import tempfile
import time
from itertools import count
from statistics import median
from typing import Any, Final

from dependency_injector import providers
from httpx2 import ASGITransport, AsyncClient

from api.app import create_app
from api.container import Container
from api.settings import Settings

USERS: Final = 500
TURNS: Final = 5
CLIENTS: Final = 16

numbers = count()


def new_users() -> list[dict[str, Any]]:
    chosen = [next(numbers) for _ in range(USERS)]
    return [{"name": f"User {n}", "email": f"user{n}@example.org", "external_id": f"hr-{n}"} for n in chosen]


async def singly(http: AsyncClient, users: list[dict[str, Any]]) -> None:
    for each in users:
        (await http.post("/users/", json=each)).raise_for_status()


async def one_client(http: AsyncClient) -> None:
    await singly(http, new_users())


async def many_clients(http: AsyncClient) -> None:
    users = new_users()
    await asyncio.gather(*(singly(http, users[start::CLIENTS]) for start in range(CLIENTS)))


async def one_batch(http: AsyncClient) -> None:
    operations = [{"op": "create", "body": each} for each in new_users()]
    answer = await http.post("/users/batch", json={"atomic": True, "operations": operations})
    if any("id" not in each for each in answer.json()["results"]):
        raise SystemExit("the batch was refused")


WAYS: Final = {"one client": one_client, "sixteen clients": many_clients, "one batch": one_batch}


async def measure(url: str) -> None:
    app = create_app(Container(settings=providers.Object(Settings(database_url=url))), open_locally=True)
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app=app), base_url="http://localhost", timeout=120) as http,
    ):
        for _ in range(TURNS):
            for name, way in WAYS.items():
                wall, cpu = time.perf_counter(), time.process_time()
                await way(http)
                took[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    for name, times in took.items():
        wall, cpu = (median(each[n] for each in times) for n in (0, 1))
        print(f"{USERS} users, {name}: {wall * 1000:,.0f} ms, {cpu * 1000:,.0f} ms of CPU")
    for name in ("one client", "sixteen clients"):
        ratios = [median(a[n] / b[n] for a, b in zip(took[name], took["one batch"], strict=True)) for n in (0, 1)]
        print(f"a batch is {ratios[0]:.1f} times as fast as {name}, and takes a {ratios[1]:.1f}th of its CPU time")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(f"sqlite:///{folder}/roster.db"))
