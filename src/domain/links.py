"""Links that sign somebody in to the console, once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

VALID_FOR: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Link:
    """The hash of its token, whose scopes the session will have, and until when it is valid.

    `key_id` is None for a directory without keys, which needs none.
    """

    digest: bytes
    key_id: int | None
    until: datetime


class ReadLinks(Protocol):
    async def find(self, digest: bytes) -> Link | None: ...


class Links(ReadLinks, Protocol):
    async def add(self, link: Link) -> None:
        """Keep a link, and remove those that are not valid any more."""
        ...

    async def take(self, digest: bytes) -> Link | None:
        """The link, which is removed. Of several units that take it at once, one gets it."""
        ...
