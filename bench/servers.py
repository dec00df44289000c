"""Servers as processes: started on a port of this machine only, awaited, and stopped by their process id."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from bench.contenders import CONTENDERS, Command, Place, Recipe, environment
from bench.errors import BenchError

START_S: Final = 60
STOP_S: Final = 20
POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    name: str
    recipe: Recipe
    pid: int
    port: int
    secret: str | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.secret is None else {"Authorization": f"Bearer {self.secret}"}

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers=self.headers, timeout=60, trust_env=False)


def nothing() -> None:
    """The default step between preparing and starting a server: none."""


@contextmanager
def serving(
    name: str, database_url: str, users: int, folder: Path, then: Callable[[], None] = nothing
) -> Iterator[Server]:
    """Prepare the server of that name, call `then`, and start it. Its log is a file in the folder."""
    place = Place(free_port(), database_url, users)
    recipe = CONTENDERS[name](place)
    require(recipe)
    secret = prepare(recipe, folder)
    then()
    with running(recipe, folder, folder / f"{name}-{place.port}.log") as process:
        server = Server(name, recipe, process.pid, place.port, secret)
        wait_for(server, process)
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require(recipe: Recipe) -> None:
    if not Path(recipe.serve[0]).exists():
        raise BenchError(f"{Path(recipe.serve[0]).name} is not installed at the expected path. Run: make bench")


def prepare(recipe: Recipe, folder: Path) -> str | None:
    """Create its database and, if it needs one, a key. Returns the secret of the key."""
    for command in recipe.before:
        run(command, recipe, folder)
    if recipe.make_key is None:
        return None
    secret: str = json.loads(run(recipe.make_key, recipe, folder))["secret"]
    return secret


def run(command: Command, recipe: Recipe, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd_of(recipe, folder), env=environment(recipe), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command[:3])} … failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def cwd_of(recipe: Recipe, folder: Path) -> Path:
    """The folder in which a server starts. Roster reads a file .env there, so it starts in a folder without one."""
    return folder if recipe.make_key else recipe.cwd


@contextmanager
def running(recipe: Recipe, folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            recipe.serve,
            cwd=cwd_of(recipe, folder),
            env=environment(recipe),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        except BenchError as error:
            error.add_note(f"The end of its log:\n{log.read_text()[-2000:]}")
            raise
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(server: Server, process: subprocess.Popen[bytes], poll_s: float = POLL_S) -> None:
    """Wait until it answers a request."""
    deadline = time.monotonic() + START_S
    with server.client() as client:
        while not answers(client, server.recipe):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{server.name} did not start.")
            time.sleep(poll_s)


def answers(client: httpx2.Client, recipe: Recipe) -> bool:
    try:
        return client.get(recipe.many.format(limit=1)).is_success
    except httpx2.TransportError:
        return False
