"""Sessions of the console, in signed cookies. A session ends with its key."""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from api.web.access import actor_of, is_local
from domain.keys import Key, Scope, Unauthenticated

COOKIE: Final = "roster_console"
LIFETIME_S: Final = 8 * 60 * 60
TOKEN_BYTES: Final = 18


@dataclass(frozen=True, slots=True)
class Session:
    """A session. `key` is None on this machine while there are no keys at all: then everything is allowed."""

    key: Key | None
    token: str
    """A random token in every form. Pages of other sites do not know it."""

    is_new: bool = False

    @property
    def scopes(self) -> Collection[Scope] | None:
        return None if self.key is None else self.key.scopes

    @property
    def actor(self) -> str:
        return f"console:{actor_of(self.key)}"

    def may(self, *scopes: str) -> bool:
        return self.scopes is None or all(scope in self.scopes for scope in scopes)

    def has_sent(self, token: str) -> bool:
        return hmac.compare_digest(self.token.encode(), token.encode(errors="replace"))


class Sessions:
    """Opens and reads sessions. `secret` signs the cookies. All processes of a server need the same secret."""

    def __init__(self, secret: str) -> None:
        self._signer = URLSafeTimedSerializer(
            secret, salt="roster console session", signer_kwargs={"digest_method": hashlib.sha256}
        )

    async def of(self, request: Request) -> Session | None:
        """The session of a request, or None. On this machine, while there are no keys, it is a new one if there is
        none."""
        authenticator = request.app.state.container.authenticator()
        kept = self._kept(request)
        if kept is not None and kept["key"] is not None:
            try:
                return Session(await authenticator.current(kept["key"]), kept["token"])
            except Unauthenticated:
                return None
        if await authenticator.needs_key() or not is_local(request):
            return None
        return new(None) if kept is None else Session(None, kept["token"])

    def keep(self, session: Session, request: Request, response: Response) -> None:
        kept = {"key": None if session.key is None else session.key.id, "token": session.token}
        response.set_cookie(
            COOKIE,
            str(self._signer.dumps(kept)),
            max_age=LIFETIME_S,
            path=request.scope.get("root_path", "") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )

    def _kept(self, request: Request) -> dict[str, Any] | None:
        try:
            kept = self._signer.loads(request.cookies.get(COOKIE, ""), max_age=LIFETIME_S)
        except BadSignature:  # this includes a cookie that is too old
            return None
        return dict(kept)


def new(key: Key | None) -> Session:
    return Session(key, secrets.token_urlsafe(TOKEN_BYTES), is_new=True)


def forget(request: Request, response: Response) -> None:
    response.delete_cookie(COOKIE, path=request.scope.get("root_path", "") or "/")
