"""A client that is generated from openapi.json, as users generate one, works with the server."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from api.container import Container

OPENAPI: Final = Path(__file__).parents[3] / "openapi.json"
PACKAGE: Final = "generated_roster_client"

Call = Callable[[str], Any]


CONFIGURED: Final = """
post_hooks: []
content_type_overrides:  # files, which are sent as they are
  application/x-ndjson: application/octet-stream
  text/csv: application/octet-stream
"""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """The parts of the client by name, such as `api.users.create_user`. A warning of the generator is an error."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yaml"
    config.write_text(CONFIGURED)
    subprocess.run(
        [
            sys.executable, "-m", "openapi_python_client", "generate", "--path", OPENAPI, "--config", config,
            "--meta", "none", "--output-path", folder / PACKAGE, "--fail-on-warning",
        ],
        check=True, timeout=120, cwd=folder, capture_output=True,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield lambda name: import_module(f"{PACKAGE}.{name}")
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


@pytest.mark.heavy  # runs the generator as a program of its own
async def test_a_generated_client_creates_lists_and_patches_a_user(
    generated: Call,
    database_url: str,
    container_at: Callable[[str], Container],
    served: Callable[[Container], AbstractAsyncContextManager[Any]],
) -> None:
    models = generated("models")
    create, find, patch = (generated(f"api.users.{name}") for name in ("create_user", "list_users", "patch_user"))
    async with (
        served(container_at(database_url)) as server,
        generated("client").Client(server.url, raise_on_unexpected_status=True) as client,
    ):
        body = models.UserIn(name="Alice", email="alice@example.org")
        created = await create.asyncio_detailed(client=client, body=body, idempotency_key="create-alice")
        listed = await find.asyncio(client=client, filter_='email eq "ALICE@example.org"', limit=10)
        suspended = models.UserPatch(status=models.Status.SUSPENDED, email=None)
        version_1 = created.headers["etag"]
        patched = await patch.asyncio(1, client=client, body=suspended, if_match=version_1, fields="*")
        stale = await patch.asyncio(1, client=client, body=suspended, if_match=version_1)

    assert (created.status_code, created.parsed.id, created.parsed.name) == (201, 1, "Alice")
    assert created.parsed.username is generated("types").UNSET
    assert listed == [created.parsed]
    assert (patched.status, patched.email, patched.version) == (models.Status.SUSPENDED, None, 2)
    assert patched.created_at < patched.updated_at
    assert isinstance(stale, models.Problem)
    assert (stale.status, stale.code) == (412, "stale")
