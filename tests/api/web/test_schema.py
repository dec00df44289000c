"""openapi.json is kept: schemathesis finds nothing on either database."""

import asyncio
import sys
import tomllib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.api.document import OPERATIONS, ROOT, SCHEMAS, Operation

import api.web.access
from api.container import Container
from domain.keys import NewKey, Scope
from domain.values import MAX_ID
from domain.work import RequestContext

DEADLINE_S: Final = 300
WITHOUT: Final = {"revoke_key", "rotate_key"}
"""It would take its own key away from itself."""

PHASES: Final = ("examples", "fuzzing", "stateful")
ON_SQLITE_TOO: Final = "coverage"
"""At the bounds of each parameter and beyond them, which is judged before any database: once is enough."""

Serving = Callable[[Container], AbstractAsyncContextManager[Any]]


async def found_by_schemathesis(url: str, phases: Sequence[str], secret: str, folder: Path) -> tuple[int | None, str]:
    """Its exit code, 0 if it found nothing, and its report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", configured(folder),
        "run", ROOT / "openapi.json", "--url", url, "--phases", ",".join(phases),
        *(part for name in sorted(WITHOUT) for part in ("--exclude-operation-id", name)),
        "--header", f"Authorization: Bearer {secret}",
        cwd=folder,  # where it remembers what it found
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        report, _ = await process.communicate()
    return process.returncode, report.decode()


CONFIGURED: Final = (ROOT / "schemathesis.toml").read_text()


def configured(folder: Path) -> Path:
    """The configuration of the repository, and what it would say of operations that it does not name."""
    file = folder / "schemathesis.toml"
    file.write_text(CONFIGURED + "".join(map(also_refused_by_422, sorted(may_refuse_what_is_well_formed() - named()))))
    return file


def may_refuse_what_is_well_formed() -> set[str]:
    """The operations that answer 422 to a request of a form that the schema allows.

    Because its idempotency key was used for another request, or because its body refers to what is not there.
    """
    return {name for name, each in OPERATIONS.items() if each.takes("idempotency-key") or refers(each)}


def refers(operation: Operation) -> bool:
    """Whether a body has a field of the form of an id."""
    if operation.body is None:
        return False
    forms = [
        form for field in SCHEMAS[operation.body]["properties"].values() for form in (field, *field.get("anyOf", ()))
    ]
    return any((form.get("minimum"), form.get("maximum")) == (1, MAX_ID) for form in forms)


def named() -> set[str]:
    """The operations that the configuration names."""
    named: set[str] = set()
    for each in tomllib.loads(CONFIGURED)["operations"]:
        ids = each["include-operation-id"]
        named |= {ids} if isinstance(ids, str) else set(ids)
    return named


def also_refused_by_422(operation: str) -> str:
    statuses = [*tomllib.loads(CONFIGURED)["checks"]["positive_data_acceptance"]["expected-statuses"], "422"]
    return f"""
[[operations]]
include-operation-id = "{operation}"
checks.positive_data_acceptance.expected-statuses = {statuses}
"""


def test_the_configuration_names_operations_that_are_there() -> None:
    assert {"create_user", "restore_user"} <= named() <= OPERATIONS.keys()
    assert may_refuse_what_is_well_formed() >= {"create_user", "restore_user"}
    assert OPERATIONS.keys() >= WITHOUT


async def key_for_everything(container: Container) -> str:
    """A secret of the first key: from now on every request needs one."""
    keys = container.keys(RequestContext(actor="tester", request_id="r1"))
    _, secret = (await keys.create(NewKey(name="schemathesis", scopes=tuple(Scope)))).result
    return secret


async def test_schemathesis_finds_nothing(
    database_url: str,
    container_at: Callable[[str], Container],
    served: Serving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api.web.access, "MAX_FAILURES", 10**6)  # it tries wrong keys at every operation
    container = container_at(database_url)
    phases = (*PHASES, ON_SQLITE_TOO) if database_url.startswith("sqlite") else PHASES
    async with served(container) as server:
        container.units().release()  # whoever asks to wait for a change is answered at once
        secret = await key_for_everything(container)
        code, report = await found_by_schemathesis(server.url, phases, secret, tmp_path)

    assert code == 0, report
    assert f"{len(OPERATIONS) - len(WITHOUT)} passed" in report, report
