"""Load by wrk: one thread, some clients, and a Lua script that chooses the requests and prints the result."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchError

SCRIPT: Final = Path(__file__).with_name("load.lua")
MARK: Final = "roster-bench "
TIMEOUT_S: Final = 30
"""An answer that takes longer counts as an error."""


@dataclass(frozen=True, slots=True)
class Load:
    """The requests: paths to GET, one at random each time, and the share of requests that create a user."""

    paths: Path
    share_of_creates: float = 0.0
    create: str = "/users/"


@dataclass(frozen=True, slots=True)
class Result:
    requests: int
    seconds: float
    p50_us: int
    p99_us: int
    errors: Mapping[str, int]
    """The number of errors of each kind: connect, read, write, timeout, and status (answers of 400 and above)."""


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        raise BenchError("wrk is missing. It generates the load. On Debian or Ubuntu: apt-get install wrk")


def write_paths(file: Path, paths: Sequence[str]) -> Path:
    file.write_text("".join(f"{path}\n" for path in paths))
    return file


def put_load(url: str, headers: Mapping[str, str], load: Load, *, clients: int, seconds: int, prefix: str) -> Result:
    """Run the load. The prefix keeps the addresses of created users different from those of other measurements."""
    sent = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    options = ["-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", f"{TIMEOUT_S}s", "-s", str(SCRIPT), *sent]
    arguments = [str(load.paths), str(load.share_of_creates), load.create, prefix]
    done = subprocess.run(["wrk", *options, url, "--", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"wrk failed: {done.stdout}{done.stderr}")
    return read_result(done.stdout)


def read_result(output: str) -> Result:
    for line in output.splitlines():
        if line.startswith(MARK):
            told = json.loads(line.removeprefix(MARK))
            return Result(
                requests=told["requests"],
                seconds=told["duration_us"] / 1e6,
                p50_us=told["p50_us"],
                p99_us=told["p99_us"],
                errors={kind: count for kind, count in told["errors"].items() if count},
            )
    raise BenchError(f"wrk printed no result: {output[-500:]}")
