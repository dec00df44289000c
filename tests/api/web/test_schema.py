"""The server does what openapi.json says: schemathesis finds no difference on either database."""

import asyncio
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.api.described import OPERATIONS, Operation, ids_in, objects_in

import api.web.access
from api.container import Container
from domain.keys import NewKey, Scope
from domain.work import RequestContext

ROOT: Final = Path(__file__).parents[3]
DEADLINE_S: Final = 1200
WITHOUT: Final = ("revoke_key", "rotate_key", "import_file")
"""Schemathesis would revoke its own key, and it does not know NDJSON."""

EXAMPLES: Final = os.environ.get("SCHEMATHESIS_EXAMPLES", "3")
"""The number of valid and of invalid requests for each operation. `make fuzz` sends more."""

PHASES: Final = ("fuzzing", "stateful")
ONCE: Final = ("examples", "coverage")
"""Examples and bounds of parameters. The server checks them before it uses a database, so one database is enough."""

Serving = Callable[[Container], AbstractAsyncContextManager[Any]]


async def found_by_schemathesis(url: str, phases: Sequence[str], secret: str, folder: Path) -> tuple[int | None, str]:
    """Its exit code, 0 if it found nothing, and its report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", configured(folder),
        "run", ROOT / "openapi.json", "--url", url, "--phases", ",".join(phases), "--max-examples", EXAMPLES,
        *(part for name in WITHOUT for part in ("--exclude-operation-id", name)),
        "--header", f"Authorization: Bearer {secret}",
        cwd=folder,  # where it remembers what it found
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        report, _ = await process.communicate()
    return process.returncode, report.decode()


CONFIGURED: Final = (ROOT / "schemathesis.toml").read_text()


def configured(folder: Path) -> Path:
    """The configuration of the repository, completed for each operation that it does not name."""
    unnamed = [operation for operation in OPERATIONS if f'"{operation.id}"' not in CONFIGURED]
    refused = [MAY_BE_REFUSED.format(id=operation.id) for operation in unnamed if may_be_refused(operation)]
    histories = [MAY_BE_OF_THE_DELETED.format(id=operation.id) for operation in unnamed if is_a_history(operation)]
    file = folder / "schemathesis.toml"
    file.write_text("".join([CONFIGURED, *refused, *histories]))
    return file


MAY_BE_REFUSED: Final = """
[[operations]]
include-operation-id = "{id}"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "410", "412", "422"]
"""

MAY_BE_OF_THE_DELETED: Final = """
[[operations]]
include-operation-id = "{id}"
checks.use_after_free.enabled = false
"""


def may_be_refused(operation: Operation) -> bool:
    """Whether it may answer 422 to what its schema allows.

    That is a used idempotency key, the id of what is not there, or a number deep in an object of the client's own.
    """
    if "idempotency-key" in operation.parameters("header"):
        return True
    return operation.body is not None and any((*ids_in(operation.body), *objects_in(operation.body)))


def is_a_history(operation: Operation) -> bool:
    return operation.path.endswith("}/changes/")


def test_these_tests_find_the_operations_with_an_idempotency_key() -> None:
    keyed = {operation.id for operation in OPERATIONS if "idempotency-key" in operation.parameters("header")}

    assert keyed >= {"create_user", "restore_user"}


def test_every_operation_that_the_configuration_names_exists() -> None:
    named = {
        name for each in re.findall(r"include-operation-id = (.*)", CONFIGURED) for name in re.findall(r"\w+", each)
    }

    assert named <= {operation.id for operation in OPERATIONS}
    assert set(WITHOUT) <= {operation.id for operation in OPERATIONS}


async def key_for_everything(container: Container) -> str:
    """The secret of the first key. From now on every request needs a key."""
    keys = container.keys(RequestContext(actor="tester", request_id="r1"))
    _, secret = (await keys.create(NewKey(name="schemathesis", scopes=tuple(Scope)))).result
    return secret


@pytest.mark.heavy  # thousands of requests
@pytest.mark.parametrize(
    ("database_url", "phases"),
    [("sqlite", PHASES), ("sqlite", ONCE), ("postgres", PHASES)],
    indirect=["database_url"],
    ids=["sqlite", "sqlite_once", "postgres"],
)
async def test_schemathesis_finds_nothing(
    database_url: str,
    container_at: Callable[[str], Container],
    served: Serving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    phases: Sequence[str],
) -> None:
    monkeypatch.setattr(api.web.access, "MAX_FAILURES", 10**6)  # it tries wrong keys at every operation
    container = container_at(database_url)
    async with served(container) as server:
        container.units().release()  # whoever asks to wait for a change is answered at once
        secret = await key_for_everything(container)
        code, report = await found_by_schemathesis(server.url, phases, secret, tmp_path)

    assert code == 0, report
    assert f"{len(OPERATIONS) - len(WITHOUT)} passed" in report, report
