"""Deliveries: the attempts to send a change to a webhook, and the time of the next attempt."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, Protocol

from domain.changes import Change, document_of
from domain.lists.fields import Field, Kind
from domain.lists.pages import Order, Position, Sort
from domain.references import Subject
from domain.values import JsonObject

RETRIED_AFTER_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The waits after failed attempts, as Standard Webhooks recommends them. The last one repeats."""

JITTER: Final = 0.1
"""Each wait is randomly longer or shorter by up to this part of it. So messages that failed together are not sent again
together."""

MAX_RETRY_AFTER: Final = timedelta(hours=24)
"""The longest time for which a receiver can ask for no messages."""

SET_ASIDE_AFTER: Final = timedelta(days=3)
"""After this time, a message that the receiver refuses is set aside."""

MAX_ANSWER: Final = 1024
"""Bytes of an answer that are stored, in UTF-8."""

GONE: Final = 410
LATER: Final = {408, 425, 429}
"""Statuses that do not mean that the message is wrong: the receiver may accept the same message later."""

Random = Callable[[], float]
"""Returns a number from 0 up to 1."""


class DeliveryState(StrEnum):
    """The state of a delivery."""

    DELIVERED = "delivered"
    RETRYING = "retrying"
    """The last attempt failed, and there will be another one. Later changes of the same entity wait for it."""

    ASKED = "asked"
    """Somebody asked to send it again now."""

    SET_ASIDE = "set_aside"
    """The receiver has refused it for `SET_ASIDE_AFTER`. It is sent again only if somebody asks for it."""


class Verdict(StrEnum):
    """What an answer means."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """There was no answer, or a later attempt may get another one. Redirects, which are not followed, count as this."""

    REFUSED = "refused"
    """The receiver does not accept this message."""

    GONE = "gone"
    """The receiver wants no more messages."""


OF_CLASS: Final[Mapping[int, Verdict]] = {2: Verdict.DELIVERED, 4: Verdict.REFUSED}
"""What the first digit of a status means. All others mean `FAILED`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of an attempt: a status, or an error if there was no answer. `text` is the beginning of the body."""

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
        return OF_CLASS.get(self.status // 100, Verdict.FAILED)

    @property
    def beginning(self) -> str | None:
        """The first `MAX_ANSWER` bytes of the text, without characters that cannot be stored; None if it is empty."""
        clean = self.text.replace("\x00", "\ufffd").encode(errors="replace")
        return clean[:MAX_ANSWER].decode(errors="ignore") or None

    def leaves_alone_until(self, at: datetime) -> datetime | None:
        """The time until which the receiver asks for no messages (`Retry-After`, RFC 9110, section 10.2.3)."""
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
"""Sends a body with these headers to a URL. It raises nothing: a failure is an `Answer` with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A change that is sent to a webhook, in the state after its last attempt.

    If it `holds` its entity, all later changes of this entity that were read wait until it is done. `refused_since` is
    when the receiver first refused it.
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
        """The delivery after an attempt: delivered, set aside, or to be tried again."""
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
        """The same delivery, to be sent now, as if for the first time."""
        return replace(self, state=DeliveryState.ASKED, next_at=at, attempts=0, refused_since=None)


def wait_after(attempts: int, random: Random) -> timedelta:
    """The wait after this number of failed attempts."""
    seconds = RETRIED_AFTER_S[min(attempts, len(RETRIED_AFTER_S)) - 1]
    return timedelta(seconds=seconds * (1 + JITTER * (2 * random() - 1)))


def message_of(change: Change) -> JsonObject:
    """A message as JSON, in the envelope of Standard Webhooks."""
    document = document_of(change)
    return {"type": f"{change.kind}.{change.action}", "timestamp": document["at"], "data": document}


def message_id(change: Change, webhook_id: int) -> str:
    """The id of a message, which is the same in all attempts. It contains the time, because a database that was
    restored without a new epoch uses the same numbers again."""
    return f"msg_{webhook_id}_{change.seq}_{int(change.at.timestamp() * 1_000_000):x}"


CHANGE: Final = Field("change", Kind.INTEGER)
BY_CHANGE: Final = Sort((Order(CHANGE, descending=True),))
"""The order of lists of deliveries: the newest change first."""


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
        """The deliveries of a webhook that will be tried again, in the order of their changes."""
        ...

    async def asked(self) -> Sequence[Delivery]:
        """The deliveries of all webhooks that somebody asked to send again now."""
        ...

    async def needed_from(self) -> int | None:
        """The number of the first change that some active webhook may not have delivered yet; None if no webhook is
        active."""
        ...


class Deliveries(ReadDeliveries, Protocol):
    """The store of deliveries within one unit of work. Its writes are not recorded as changes."""

    async def put(self, deliveries: Sequence[Delivery]) -> None:
        """Store these deliveries, or replace stored ones, by a few statements. Deliveries of unknown webhooks are
        skipped."""
        ...

    async def trim(self, webhook_id: int, *, keep: int) -> None:
        """Keep the newest `keep` deliveries that were delivered, and the newest `keep` that were set aside. Remove the
        others."""
        ...

    async def forget(self, before: datetime) -> None:
        """Remove deliveries whose last attempt was before this time, except those that will be tried again."""
        ...
