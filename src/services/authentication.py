"""Authentication: finding the key of a secret, without a query for each request."""

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from domain.errors import Gone, NotFound
from domain.keys import Digest, Key, Unauthenticated, digest_of, id_in
from domain.work import Clock, RequestContext, UnitsOfWork, utc_now
from services.operations import retry

REMEMBERED_FOR_S: Final = 4.0
"""Seconds for which a key counts as valid without another query. A revocation by another process takes effect after
that."""

MAX_REMEMBERED: Final = 10_000
TOUCHED_EVERY: Final = timedelta(minutes=1)
"""The precision of `last_used_at`."""

NOT_VALID: Final = "The key is missing or not valid."
NO_LINK: Final = "This link is not valid. It works once, for half an hour."
NO_DIGEST: Final = Digest(bytes(32))
NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Remembered:
    key: Key
    until: float
    ends_at: datetime | None
    """When the key or this secret of it expires. None: never."""


class Authenticator:
    """Finds the keys of secrets, and remembers valid keys that were used recently.

    Wrong secrets are not remembered, so they cannot push valid keys out of the memory.
    """

    def __init__(self, units: UnitsOfWork, monotonic: Callable[[], float], clock: Clock = utc_now) -> None:
        self.units = units
        self._monotonic = monotonic
        self._clock = clock
        self._remembered: OrderedDict[bytes, Remembered] = OrderedDict()
        self._touched_at: OrderedDict[int, datetime] = OrderedDict()
        self._generation = 0
        self._needs_key = False
        self._looked_at = float("-inf")

    def forget(self) -> None:
        """Forget all keys, because this process changed one."""
        self._remembered.clear()
        self._generation += 1
        self._looked_at = float("-inf")

    async def needs_key(self) -> bool:
        """Whether requests need a key: they do if there is a key, or ever was one."""
        if not self._needs_key and self._monotonic() >= self._looked_at + REMEMBERED_FOR_S:
            generation, looked_at = self._generation, self._monotonic()
            self._needs_key = await self._has_keys() or self._needs_key
            if generation == self._generation:  # otherwise a key was changed meanwhile
                self._looked_at = looked_at
        return self._needs_key

    async def authenticate(self, secret: str) -> Key:
        """The valid key with this secret. Raises `Unauthenticated`, without the reason."""
        digest = digest_of(secret)
        remembered = self._remembered.get(digest)
        if remembered is None or self._monotonic() >= remembered.until:
            return await self._look_up(secret, digest)
        if remembered.ends_at is not None and self._clock() >= remembered.ends_at:
            raise Unauthenticated(NOT_VALID)
        return remembered.key

    @retry
    async def current(self, id: int) -> Key:
        """The key with this id, for a session that began with its secret. Raises `Unauthenticated` if the key was
        revoked or has expired."""
        async with self.units.reading() as work:
            try:
                key = await work.keys.get(id)
            except (NotFound, Gone):
                raise Unauthenticated(NOT_VALID) from None
        if not key.is_valid_at(self._clock()):
            raise Unauthenticated(NOT_VALID)
        return key

    async def redeem(self, token: str) -> Key | None:
        """Use up a link to the console and return its key; None if the directory has no keys.

        Raises `Unauthenticated` if the link or its key is not valid.
        """
        digest = digest_of(token)
        if not await self._has_link(digest):  # so that a wrong token does not open a writing unit
            raise Unauthenticated(NO_LINK)
        return await self._take_link(digest)

    @retry
    async def _has_link(self, digest: bytes) -> bool:
        async with self.units.reading() as work:
            return await work.links.find(digest) is not None

    @retry
    async def _take_link(self, digest: bytes) -> Key | None:
        async with self.units.writing(RequestContext(actor="console", request_id="-")) as work:
            link = await work.links.take(digest)
            if link is None or work.now >= link.until:
                raise Unauthenticated(NO_LINK)
            key = None if link.key_id is None else await work.keys.get(link.key_id, hidden=True)
            if not (key.is_valid_at(work.now) if key else not await work.keys.any()):
                raise Unauthenticated(NO_LINK)
            return (await work.commit(key)).result

    async def _look_up(self, secret: str, digest: bytes) -> Key:
        generation, looked_at = self._generation, self._monotonic()
        self._remembered.pop(digest, None)
        if (id := id_in(secret)) is None:
            raise Unauthenticated(NOT_VALID)
        key, kept = await self._key_with(digest, id)
        if not key.is_valid_at(now := self._clock()) or not kept.is_valid_at(now):
            raise Unauthenticated(NOT_VALID)
        if generation == self._generation:
            self._remember(digest, Remembered(key, looked_at + REMEMBERED_FOR_S, earlier(key.expires_at, kept.until)))
        await self._touch(key)
        return key

    def _remember(self, digest: bytes, remembered: Remembered) -> None:
        self._remembered[digest] = remembered
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _touch(self, key: Key) -> None:
        """Store the time of use in the background, at most once a minute, even if that fails."""
        now = self._clock()
        if now < max(key.last_used_at or NEVER, self._touched_at.get(key.id, NEVER)) + TOUCHED_EVERY:
            return
        self._touched_at[key.id] = now
        if len(self._touched_at) > MAX_REMEMBERED:
            self._touched_at.popitem(last=False)
        await self.units.later(partial(self._note_use, key), "noting the use of a key")

    @retry
    async def _key_with(self, digest: bytes, id: int) -> tuple[Key, Digest]:
        """The key with this id, if the digest is the hash of its secret. For an unknown id it takes the same time."""
        async with self.units.reading() as work:
            kept = [*await work.keys.digests(id), NO_DIGEST, NO_DIGEST][:2]
            matches = [each for each in kept if hmac.compare_digest(digest, each.hash)]
            if not matches:
                raise Unauthenticated(NOT_VALID)
            return await work.keys.get(id, hidden=True), matches[0]

    @retry
    async def _has_keys(self) -> bool:
        async with self.units.reading() as work:
            return await work.keys.any()

    @retry
    async def _note_use(self, key: Key) -> None:
        async with self.units.writing(RequestContext(actor=f"key:{key.id}", request_id="-")) as work:
            await work.keys.touch(key.id, work.now)
            await work.commit(None)


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """The earlier of two times. None means never."""
    return min((each for each in (one, other) if each is not None), default=None)
