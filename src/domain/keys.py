"""API keys: who may call, with which scopes, and until when. Only a hash of the secret is stored, outside of the
entity."""

import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Final, Protocol

from domain.entities import Checked, Entity
from domain.errors import Fault, Invalid, Refusal
from domain.stores import ReadStore, Store
from domain.values import Rule, Text, is_id

NAME: Final = Text(max=200)

FIRST_ID: Final = 1
RANDOM_LENGTH: Final = 32
"""Characters out of 62: 190 random bits."""

CHECKSUM_LENGTH: Final = 6
DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET: Final = re.compile(
    rf"rk_([1-9][0-9]{{0,15}})_([0-9A-Za-z]{{{RANDOM_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)

Randomness = Callable[[], str]
"""Returns `RANDOM_LENGTH` characters of `DIGITS` that cannot be guessed."""


class Scope(StrEnum):
    """What a key allows."""

    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    USERS_PURGE = "users:purge"
    GROUPS_READ = "groups:read"
    GROUPS_WRITE = "groups:write"
    CHANGES_READ = "changes:read"
    KEYS_ADMIN = "keys:admin"
    WEBHOOKS_ADMIN = "webhooks:admin"
    SCIM = "scim"


GIVEN_BY_SCIM: Final = frozenset({Scope.USERS_READ, Scope.USERS_WRITE, Scope.GROUPS_READ, Scope.GROUPS_WRITE})
"""The scopes that SCIM needs."""


def held_in_scim(held: Collection[Scope]) -> Collection[Scope]:
    """The scopes that a key has in a SCIM request. Elsewhere the scope `scim` allows nothing, because no operation asks
    for it."""
    return {*held, *GIVEN_BY_SCIM} if Scope.SCIM in held else held


class Unauthenticated(Refusal):
    """The key is missing or not valid. The message does not say which."""

    code = "unauthenticated"


class Forbidden(Refusal):
    """The caller lacks a scope, which the message names."""

    code = "forbidden"


class TooManyFailures(Refusal):
    code = "too_many_failures"


class LastAdminKey(Refusal):
    code = "last_admin_key"


def require_scopes(wanted: Iterable[Scope], held: Collection[Scope] | None) -> None:
    """Raises `Forbidden`, which names the first missing scope. If `held` is None, everything is allowed."""
    for scope in wanted:
        if held is not None and scope not in held:
            raise Forbidden(f"This needs the scope {scope}.")


def require_grantable(granted: Iterable[Scope], held: Collection[Scope] | None) -> None:
    """Raises `Forbidden`, which names the scopes that the caller cannot grant because it does not hold them."""
    if held is not None and (missing := [scope for scope in granted if scope not in held]):
        raise Forbidden(f"A key cannot grant a scope that it does not hold: {', '.join(missing)}.")


class Scopes(Rule):
    """At least one scope. Scopes are stored sorted and without duplicates."""

    def clean(self, value: Any) -> Any:
        return tuple(sorted(map(Scope, set(value)))) if set(value) <= set(Scope) else value

    def faults(self, pointer: str, value: Any) -> Iterator[Fault]:
        if not value:
            yield Fault(pointer, "too_short", "Name at least one scope.")
        if unknown := set(value) - set(Scope):
            known = ", ".join(Scope)
            yield Fault(pointer, "not_allowed", f"{len(unknown)} of these are unknown. Scopes are {known}.")


class Time(Rule):
    """A time. It has no bounds of its own: they depend on the present time."""

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:  # noqa: ARG002
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProfile:
    """What a client may set of a key."""

    name: Annotated[str, NAME]
    scopes: Annotated[tuple[Scope, ...], Scopes()]
    expires_at: Annotated[datetime | None, Time()] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey(KeyProfile, Checked):
    """A key to be created. Raises `Invalid` with every rule that it breaks."""

    def require_future(self, now: datetime) -> None:
        if self.expires_at is not None and self.expires_at <= now:
            raise Invalid([Fault("/expires_at", "out_of_range", "Must be in the future.")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(KeyProfile, Entity):
    """A stored key, without its secret."""

    kind: ClassVar[str] = "key"
    hidden_since: ClassVar[str] = "revoked_at"

    id: int
    created_at: datetime
    updated_at: datetime
    version: int
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def is_valid_at(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def rotated(self, at: datetime) -> "Key":
        return replace(self, rotated_at=at)

    def revoked(self, at: datetime) -> "Key":
        return replace(self, revoked_at=at)


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash of a secret, and the time until which it is valid. None: as long as its key."""

    hash: bytes
    until: datetime | None = None

    def is_valid_at(self, now: datetime) -> bool:
        return self.until is None or now < self.until


def write_secret(id: int, random: str) -> str:
    """The secret of a key: `rk_<id>_<random><checksum>`. Scanners for leaked secrets can recognise this form."""
    body = f"rk_{id}_{random}"
    return body + checksum(body)


def id_in(secret: str) -> int | None:
    """The id in a secret; None if its form or its checksum is wrong."""
    match = SECRET.fullmatch(secret)
    if match is None or checksum(secret[:-CHECKSUM_LENGTH]) != match[3] or not is_id(id := int(match[1])):
        return None
    return id


def checksum(body: str) -> str:
    number, written = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(DIGITS))
        written = DIGITS[digit] + written
    return written


def digest_of(secret: str) -> bytes:
    """One round of SHA-256 is enough, because the secret is random and too long to be guessed."""
    return sha256(secret.encode()).digest()


class ReadKeys(ReadStore[Key], Protocol):
    """A store of keys, to read. Revoked keys are hidden."""

    async def digests(self, id: int) -> Sequence[Digest]:
        """The hashes of a key's secrets: the present one, and after a rotation also the one before. Empty if there is
        no key.

        The call takes the same time whether the key exists or not.
        """
        ...

    async def any(self) -> bool:
        """Whether there ever was a key, including revoked ones."""
        ...


class Keys(ReadKeys, Store[NewKey, Key], Protocol):
    """A store of keys within one unit of work. A new key has no secret yet.

    `save` does not change when a key was used last.
    """

    async def add_first(self, new: NewKey) -> Key:
        """Add the first key of the directory, with the id `FIRST_ID`. Raises `Conflict` if there is one already."""
        ...

    async def keep_digests(self, id: int, digests: Sequence[Digest]) -> None:
        """Replace the hashes of a key's secrets. There are one or two, the newer one first."""
        ...

    async def touch(self, id: int, at: datetime) -> None:
        """Store when a key was last used. This is not recorded as a change."""
        ...

    async def has_other_admin(self, than: int, at: datetime) -> bool:
        """Whether another key is valid at this time and may administer keys. No other unit can change that before this
        one ends."""
        ...
