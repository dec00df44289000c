"""Deliveries: what became of a change on its way to a webhook, and when it is tried again."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, Protocol

from domain.changes import Change, document_of, plain
from domain.lists.fields import Field, Kind
from domain.lists.pages import Order, Position, Sort
from domain.references import Subject

RETRIED_AFTER_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long after each failed attempt the next one follows, by Standard Webhooks; the last one again and again."""

JITTER: Final = 0.1
"""The largest random part of a wait, up or down, so that messages that failed together are not sent together."""

MAX_RETRY_AFTER: Final = timedelta(hours=24)
"""The longest that a receiver can ask to be left alone."""

SET_ASIDE_AFTER: Final = timedelta(days=3)
"""How long a message may be refused before it is set aside."""

MAX_ANSWER: Final = 1024
"""How much of an answer is kept, in bytes of UTF-8."""

ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
GONE: Final = 410
LATER: Final = {408, 425, 429}
"""Refusals that are not about the message: the same one may be taken later."""

Random = Callable[[], float]
"""Returns a number from 0 up to 1."""


class DeliveryState(StrEnum):
    """What became of a change on its way to a webhook."""

    DELIVERED = "delivered"
    RETRYING = "retrying"
    """It failed, and is tried again. The changes of the same entity wait behind it."""

    ASKED = "asked"
    """Somebody asked to try it now."""

    SET_ASIDE = "set_aside"
    """The receiver has refused it for `SET_ASIDE_AFTER`. It is not tried again unless somebody asks."""


class Verdict(StrEnum):
    """What an answer means."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """No answer, or one that may be another later: redirects too, which are not followed."""

    REFUSED = "refused"
    """The receiver does not take this message."""

    GONE = "gone"
    """The receiver wants no messages any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from an attempt: a status, or an error if there was no answer. `text` is its beginning."""

    milliseconds: int
    status: int | None = None
    text: str = ""
    retry_after: str | None = None
    error: str | None = None

    @property
    def verdict(self) -> Verdict:
        if self.status is None or self.status in LATER:
            return Verdict.FAILED
        if self.status == GONE:
            return Verdict.GONE
        return {2: Verdict.DELIVERED, 4: Verdict.REFUSED}.get(self.status // 100, Verdict.FAILED)

    @property
    def beginning(self) -> str | None:
        """The first `MAX_ANSWER` bytes of the text, without what cannot be stored; None if there are none."""
        clean = self.text.replace("\x00", "\ufffd").encode(errors="replace")
        return clean[:MAX_ANSWER].decode(errors="ignore") or None

    def leaves_alone_until(self, at: datetime) -> datetime | None:
        """Until when the receiver asks for no messages at all (RFC 9110, section 10.2.3)."""
        if self.status not in {429, 503} or self.retry_after is None:
            return None
        if self.retry_after.isascii() and self.retry_after.isdigit():
            return at + min(timedelta(seconds=int(self.retry_after[:9])), MAX_RETRY_AFTER)
        try:
            asked = parsedate_to_datetime(self.retry_after)
        except ValueError:
            return None
        return min(max(at, asked.replace(tzinfo=asked.tzinfo or UTC)), at + MAX_RETRY_AFTER)


Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Answer]]
"""Sends a body with these headers to a URL. It raises nothing: it reports that there was no answer as an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A change on its way to a webhook, as its last attempt left it.

    If it `holds` its entity, the later changes of that one wait behind it: all that were read, and no others.
    `refused_since` is when the receiver first refused it.
    """

    webhook_id: int
    change: int
    kind: str
    entity_id: int
    action: str
    changed_at: datetime
    state: DeliveryState = DeliveryState.RETRYING
    attempts: int = 0
    at: datetime | None = None
    status: int | None = None
    error: str | None = None
    milliseconds: int | None = None
    answer: str | None = None
    next_at: datetime | None = None
    refused_since: datetime | None = None
    holds: bool = False

    @classmethod
    def of(cls, change: Change, webhook_id: int, *, holds: bool = False, next_at: datetime | None = None) -> "Delivery":
        return cls(
            webhook_id=webhook_id,
            change=change.seq,
            kind=change.kind,
            entity_id=change.entity_id,
            action=change.action,
            changed_at=change.at,
            next_at=next_at,
            holds=holds,
        )

    @property
    def subject(self) -> Subject:
        return (self.kind, self.entity_id)

    def answered(self, answer: Answer, at: datetime, random: Random) -> "Delivery":
        """What an attempt leaves: delivered, set aside, or to be tried again."""
        verdict, attempts = answer.verdict, self.attempts + 1
        refused_since = self.refused_since or (at if verdict is Verdict.REFUSED else None)
        state, next_at = DeliveryState.RETRYING, None
        if verdict is Verdict.DELIVERED:
            state = DeliveryState.DELIVERED
        elif verdict is Verdict.REFUSED and at - (refused_since or at) >= SET_ASIDE_AFTER:
            state = DeliveryState.SET_ASIDE
        else:
            next_at = answer.leaves_alone_until(at) or at + wait_after(attempts, random)
        return replace(
            self,
            state=state,
            attempts=attempts,
            at=at,
            status=answer.status,
            error=answer.error,
            milliseconds=answer.milliseconds,
            answer=answer.beginning,
            refused_since=refused_since,
            next_at=next_at,
            holds=self.holds and next_at is not None,
        )

    def asked(self, at: datetime) -> "Delivery":
        """The same, to be tried now, as if for the first time."""
        return replace(self, state=DeliveryState.ASKED, next_at=at, attempts=0, refused_since=None)


def wait_after(attempts: int, random: Random) -> timedelta:
    """How long to wait after so many failed attempts."""
    seconds = RETRIED_AFTER_S[min(attempts, len(RETRIED_AFTER_S)) - 1]
    return timedelta(seconds=seconds * (1 + JITTER * (2 * random() - 1)))


def message_of(change: Change) -> bytes:
    """The body of a message, in the envelope of Standard Webhooks."""
    message = {"type": f"{change.kind}.{change.action}", "timestamp": plain(change.at), "data": document_of(change)}
    return ENCODER.encode(message).encode()


def message_id(change: Change, webhook_id: int) -> str:
    """What names a message, in all of its attempts. Numbers are given out again after a restore, hence the time."""
    return f"msg_{webhook_id}_{change.seq}_{int(change.at.timestamp() * 1_000_000):x}"


CHANGE: Final = Field("change", Kind.INTEGER)
BY_CHANGE: Final = Sort((Order(CHANGE, descending=True),))
"""How lists of deliveries are sorted: the newest change first."""


class ReadDeliveries(Protocol):
    async def get(self, webhook_id: int, change: int) -> Delivery:
        """Raises `NotFound`."""
        ...

    async def list(
        self, webhook_id: int, *, state: DeliveryState | None = None, after: Position | None = None, limit: int
    ) -> Sequence[Delivery]:
        """At most `limit` deliveries of a webhook, sorted by `BY_CHANGE`. Raises `Malformed` for another position."""
        ...

    async def open(self, webhook_id: int) -> Sequence[Delivery]:
        """Those that are to be tried again, by the number of their change."""
        ...

    async def asked(self) -> Sequence[Delivery]:
        """Those of all webhooks that somebody asked to try now."""
        ...

    async def needed_from(self) -> int | None:
        """The number of the first change that an active webhook may not have delivered; None without such webhooks."""
        ...


class Deliveries(ReadDeliveries, Protocol):
    """What became of changes, within one unit of work. None of this is recorded as a change."""

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        """Store these in place of the ones before, by a few statements. Those of unknown webhooks are skipped."""
        ...

    async def trim(self, webhook_id: int, *, keep: int) -> None:
        """Remove all but the newest `keep` that were delivered, and as many that were set aside."""
        ...

    async def forget(self, before: datetime) -> None:
        """Remove those that were last tried before this time, except those that are to be tried again."""
        ...
