"""Operations on API keys."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from domain.errors import Conflict, Contended, Fault, Invalid, NotFound
from domain.idempotency import Committed
from domain.keys import (
    FIRST_ID,
    Digest,
    Key,
    Keys,
    LastAdminKey,
    NewKey,
    Randomness,
    Scope,
    digest_of,
    id_in,
    require_grantable,
    write_secret,
)
from domain.links import VALID_FOR, Link
from domain.lists.pages import Page, Position
from domain.work import RequestContext, UnitsOfWork
from services.operations import Service, operation

MAX_OVERLAP: Final = timedelta(days=30)
DEFAULT_OVERLAP: Final = timedelta(hours=24)


class KeyService(Service):
    """`forget` is called after a key was changed, so that the authenticator looks keys up again."""

    def __init__(
        self, units: UnitsOfWork, randomness: Randomness, forget: Callable[[], None], context: RequestContext
    ) -> None:
        super().__init__(units, context)
        self._randomness = randomness
        self._forget = forget

    @operation(Scope.KEYS_ADMIN)
    async def create(self, new: NewKey) -> Committed[tuple[Key, str]]:
        """Create a key. Its secret cannot be shown again. Raises `Forbidden` if the caller does not hold a granted
        scope."""
        require_grantable(new.scopes, self.context.scopes)
        async with self.units.writing(self.context) as work:
            new.require_future(work.now)
            key = await work.keys.add(new)
            secret = write_secret(key.id, self._randomness())
            await work.keys.keep_digests(key.id, [Digest(digest_of(secret))])
            committed = await work.commit((key, secret))
        self._forget()
        return committed

    @operation(Scope.KEYS_ADMIN)
    async def seed(self, secret: str) -> Committed[Key] | None:
        """Create the first key, with all scopes and the given secret. Returns None if there is a key already.

        Raises `Invalid` if the secret does not have the form that `write_secret` gives to the secret of a first key.
        """
        if id_in(secret) != FIRST_ID:
            raise Invalid([Fault("/secret", "invalid", "Must be the secret of a first key.")])
        async with self.units.writing(self.context) as work:
            if await work.keys.any():
                return None
            key = await add_unless_overtaken(work.keys, NewKey(name="bootstrap", scopes=tuple(Scope)))
            await work.keys.keep_digests(key.id, [Digest(digest_of(secret))])
            committed = await work.commit(key)
        self._forget()
        return committed

    @operation(Scope.KEYS_ADMIN)
    async def get(self, id: int) -> Key:
        async with self.units.reading() as work:
            return await work.keys.get(id, hidden=True)

    @operation(Scope.KEYS_ADMIN)
    async def list(self, *, after: Position | None = None, limit: int) -> Page[Key]:
        async with self.units.reading() as work:
            return Page.of(await work.keys.list(after=after, limit=limit + 1), limit)

    @operation(Scope.KEYS_ADMIN)
    async def rotate(self, id: int, *, overlap: timedelta = DEFAULT_OVERLAP) -> Committed[tuple[Key, str]]:
        """Give a key a new secret. During the overlap the old secret is valid too.

        Raises `Invalid` if the overlap is longer than `MAX_OVERLAP`.
        """
        if not timedelta(0) <= overlap <= MAX_OVERLAP:
            raise Invalid([Fault("/overlap", "out_of_range", f"Must be at most {MAX_OVERLAP.days} days.")])
        async with self.units.writing(self.context) as work:
            key = require_valid(await work.keys.get(id, hidden=True))
            require_grantable(key.scopes, self.context.scopes)
            before = [Digest(each.hash, work.now + overlap) for each in (await work.keys.digests(id))[:1]]
            secret = write_secret(id, self._randomness())
            key = await work.keys.save(key.rotated(work.now))
            await work.keys.keep_digests(id, [Digest(digest_of(secret)), *before])
            committed = await work.commit((key, secret))
        self._forget()
        return committed

    @operation(Scope.KEYS_ADMIN)
    async def revoke(self, id: int, *, force: bool = False) -> Committed[Key]:
        """Revoke a key. Revoking the last key that may administer keys needs `force`."""
        async with self.units.writing(self.context) as work:
            key = require_valid(await work.keys.get(id, hidden=True))
            is_admin = Scope.KEYS_ADMIN in key.scopes
            if is_admin and not force and not await work.keys.has_other_admin(than=id, at=work.now):
                raise LastAdminKey("This is the last key that may administer keys.")
            revoked = await work.keys.save(key.revoked(work.now))
            committed = await work.commit(revoked)
        self._forget()
        return committed

    @operation(Scope.KEYS_ADMIN)
    async def link(self, id: int | None) -> Committed[str]:
        """Create a link that signs in to the console once, with the scopes of a key. Returns its token.

        In a directory without keys the id is None. Raises `Invalid` if the id is None and there are keys. Raises
        `Forbidden` if the key holds a scope that the caller does not hold.
        """
        async with self.units.writing(self.context) as work:
            if id is not None:
                require_grantable(require_valid(await work.keys.get(id, hidden=True)).scopes, self.context.scopes)
            elif await work.keys.any():
                raise Invalid([Fault("/key", "required", "Name the key whose scopes the link shall have.")])
            token = self._randomness()
            await work.links.add(Link(digest_of(token), id, work.now + VALID_FOR))
            return await work.commit(token)


async def add_unless_overtaken(keys: Keys, new: NewKey) -> Key:
    """Add the first key. Raises `Contended` if another process just added one, so that the operation runs again."""
    try:
        return await keys.add_first(new)
    except Conflict as conflict:
        raise Contended("Another process seeded it first.") from conflict


def require_valid(key: Key) -> Key:
    """Raises `NotFound` for a revoked key."""
    if key.is_hidden:
        raise NotFound("There is no key with this id.")
    return key
