"""A server checks keys before it listens: it seeds the first key, or refuses to be open to other machines."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dependency_injector import providers
from pydantic import SecretStr

import api.process.server
import api.process.workers
from api.container import Container
from api.process.server import serve_alone
from api.process.startup import require_key_unless_local
from api.process.workers import serve_with_workers
from api.settings import Settings
from domain.errors import NotReady
from domain.keys import FIRST_ID, NewKey, Scope, write_secret
from domain.work import RequestContext
from repositories.fake import MemoryUnitsOfWork

SECRET = write_secret(FIRST_ID, "s" * 32)
PUBLIC = ["0.0.0.0", "::", "", "192.0.2.1", "roster.example", "localhost.evil.example", "::ffff:192.0.2.1"]
AT_HOME = ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"]

Prepare = Callable[..., Container]


@pytest.fixture
def prepared() -> Prepare:
    """A container of a server that is about to listen, always on the same directory."""
    units = MemoryUnitsOfWork()
    return lambda **settings: Container(settings=providers.Object(Settings(**settings)), units=providers.Object(units))


def service(container: Container) -> Any:
    return container.keys(RequestContext(actor="tester", request_id="r1"))


async def ids(container: Container) -> list[int]:
    return [key.id for key in (await service(container).list(limit=10)).items]


@pytest.mark.parametrize("host", AT_HOME)
async def test_loopback_hosts_need_no_key(prepared: Prepare, host: str) -> None:
    await require_key_unless_local(prepared(host=host))


@pytest.mark.parametrize("host", PUBLIC)
async def test_without_a_key_other_hosts_are_refused_with_what_to_do(prepared: Prepare, host: str) -> None:
    with pytest.raises(NotReady) as refused:
        await require_key_unless_local(prepared(host=host))

    for word in ("roster keys create admin --all-scopes", "127.0.0.1", "ROSTER_BOOTSTRAP_KEY", host):
        assert word in str(refused.value)


@pytest.mark.parametrize("host", PUBLIC)
async def test_with_a_key_every_host_is_allowed(prepared: Prepare, host: str) -> None:
    key, _ = (await service(prepared()).create(NewKey(name="n", scopes=(Scope.KEYS_ADMIN,)))).result
    await require_key_unless_local(prepared(host=host))
    await service(prepared()).revoke(key.id, force=True)
    await require_key_unless_local(prepared(host=host))  # locked, though nobody may come in


async def test_a_missing_key_is_refused_before_the_socket_is_opened(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.process.server, "listen", lambda settings: pytest.fail("it listens"))

    with pytest.raises(NotReady, match="Without any key"):
        await serve_alone(Settings(host="0.0.0.0", port=0, database_url=sqlite_url))

    with pytest.raises(NotReady, match="Without any key"):  # and nothing stays open of the first
        await serve_alone(Settings(host="0.0.0.0", port=0, database_url=sqlite_url))


def test_with_workers_a_missing_key_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(container: Container) -> None:
        raise NotReady("Without any key.")

    monkeypatch.setattr(api.process.workers, "require_key_unless_local", refuse)
    monkeypatch.setattr(api.process.workers, "listen", lambda settings: pytest.fail("it listens"))
    monkeypatch.setattr(
        api.process.workers,
        "Container",
        lambda **parts: Container(**parts, units=providers.Object(MemoryUnitsOfWork())),
    )
    monkeypatch.setattr(os, "environ", dict(os.environ))

    with pytest.raises(NotReady, match="Without any key"):
        serve_with_workers(Settings(host="0.0.0.0", workers=2, database_url="postgresql://u@localhost/none"))


def from_environment(secret: str, folder: Path) -> dict[str, object]:
    return {"bootstrap_key": secret}


def from_file(secret: str, folder: Path) -> dict[str, object]:
    (folder / "secret").write_text(f"{secret}\n")
    return {"bootstrap_key_file": folder / "secret"}


either_way = pytest.mark.parametrize("given", [from_environment, from_file])


@either_way
async def test_the_first_key_is_seeded_once(prepared: Prepare, given: Any, tmp_path: Path) -> None:
    container = prepared(host="0.0.0.0", **given(SECRET, tmp_path))

    for _ in range(2):
        await require_key_unless_local(container)

    assert await ids(container) == [FIRST_ID]
    key = await container.authenticator().authenticate(SECRET)
    assert set(key.scopes) == set(Scope)
    async with container.units().reading() as work:
        assert [(change.actor, change.entity_id) for change in await work.changes.list(limit=9)] == [("bootstrap", 1)]


@either_way
async def test_another_bootstrap_key_changes_nothing_later(prepared: Prepare, given: Any, tmp_path: Path) -> None:
    await require_key_unless_local(prepared(**given(SECRET, tmp_path)))
    container = prepared(**given(write_secret(FIRST_ID, "t" * 32), tmp_path))

    await require_key_unless_local(container)

    assert await ids(container) == [FIRST_ID]
    assert (await container.authenticator().authenticate(SECRET)).id == FIRST_ID


BAD = ["hunter2", "rk_1_hunter2", write_secret(2, "s" * 32), SECRET[:-1], SECRET + "x", "Bearer " + SECRET]


@either_way
@pytest.mark.parametrize("secret", ["", " ", *BAD])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_bad_bootstrap_key_is_refused_and_not_shown(
    prepared: Prepare, given: Any, tmp_path: Path, secret: str, host: str
) -> None:
    container = prepared(host=host, **given(secret, tmp_path))

    with pytest.raises(NotReady) as refused:
        await require_key_unless_local(container)

    assert str(refused.value) == "The bootstrap key has the wrong form. Make one: roster keys generate"
    assert refused.value.__cause__ is None
    assert await ids(container) == []


async def test_a_key_file_that_is_not_text_is_refused_with_its_name(prepared: Prepare, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe" * 10)

    with pytest.raises(NotReady, match="secret cannot be read as text"):
        await require_key_unless_local(prepared(bootstrap_key_file=tmp_path / "secret"))


def test_settings_do_not_show_the_bootstrap_key() -> None:
    settings = Settings(bootstrap_key=SecretStr(SECRET))

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.bootstrap_secret() == SECRET


def test_the_environment_of_a_worker_has_the_bootstrap_key() -> None:
    assert Settings(bootstrap_key=SecretStr(SECRET)).environment()["ROSTER_BOOTSTRAP_KEY"] == SECRET
    assert "ROSTER_BOOTSTRAP_KEY" not in Settings().environment()
