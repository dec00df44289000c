"""A browser, as far as HTTP goes."""

import re
from typing import Any

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from tests.api.conftest import Directory

from domain.keys import Scope
from domain.users import NewUser, User
from domain.work import RequestContext


class Browser:
    """A browser: it keeps cookies, follows redirects, and sends forms as pages do."""

    def __init__(self, directory: Directory, **options: Any) -> None:
        transport = ASGITransport(app=directory.app, client=("127.0.0.1", 50000))
        self.http = AsyncClient(transport=transport, base_url="http://localhost", follow_redirects=True, **options)

    async def see(self, path: str) -> Response:
        return await self.http.get(f"/console{path}")

    async def send(self, path: str, on: str, **fields: str) -> Response:
        """Sends a form of the page `on`."""
        [token, *_] = [*re.findall(r'name="token" value="([^"]*)"', (await self.see(on)).text), ""]
        return await self.http.post(f"/console{path}", data={"token": token, **fields})

    async def sign_in(self, secret: str, **fields: str) -> Response:
        return await self.http.post("/console/sign-in", data={"key": secret, **fields})


@pytest.fixture
def browser(directory: Directory) -> Browser:
    return Browser(directory)


async def add(directory: Directory, **profile: Any) -> User:
    users = directory.container.users(RequestContext(actor="hr", request_id="r1"))
    created: User = (await users.create(NewUser(**{"name": "Alice", **profile}))).result
    return created


async def get(directory: Directory, id: int) -> User:
    user: User = await directory.container.users(RequestContext(actor="t", request_id="r")).get(id, hidden=True)
    return user


async def signed_in(directory: Directory, *scopes: Scope) -> Browser:
    _, secret = await directory.key(*scopes)
    browser = Browser(directory)
    assert (await browser.sign_in(secret)).status_code == 200
    return browser
