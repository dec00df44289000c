"""A general description of the machine on which the figures were measured."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.contenders import THEIR_BIN

OURS: Final = ("fastapi", "uvicorn", "uvloop", "httptools", "sqlalchemy", "aiosqlite", "asyncpg", "pydantic")
THEIRS: Final = ("django", "djangorestframework", "gunicorn", "psycopg", "litestar", "advanced-alchemy", "sqlalchemy")
ASK: Final = (
    "import json, sys; from importlib.metadata import version; print(json.dumps(list(map(version, sys.argv[1:]))))"
)


def machine(databases: Sequence[str]) -> dict[str, str]:
    return {
        "CPU": f"{cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "Python": platform.python_version(),
        "databases": ", ".join(databases),
        "Roster, the floor and the tutorial on": ", ".join(f"{name} {version(name)}" for name in OURS),
        "the others on": ", ".join(their_versions()),
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def their_versions() -> list[str]:
    """The versions of the other servers, or None if their environment does not exist."""
    if not (THEIR_BIN / "python").exists():
        return []
    done = subprocess.run([THEIR_BIN / "python", "-c", ASK, *THEIRS], capture_output=True, text=True, check=True)
    return [f"{name} {found}" for name, found in zip(THEIRS, json.loads(done.stdout), strict=True)]


def machine_table(of: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in of.items())])
