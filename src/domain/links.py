"""Links that sign somebody in to the console, once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

VALID_FOR: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Link:
    """A link: the hash of its token, the key whose scopes the session gets, and the time until which it is valid.

    `key_id` is None for a directory without keys.
    """

    digest: bytes
    key_id: int | None
    until: datetime


class ReadLinks(Protocol):
    async def find(self, digest: bytes) -> Link | None: ...


class Links(ReadLinks, Protocol):
    async def add(self, link: Link) -> None:
        """Store a link, and remove expired links."""
        ...

    async def take(self, digest: bytes) -> Link | None:
        """Remove the link and return it. If several units take it at the same time, only one gets it."""
        ...
