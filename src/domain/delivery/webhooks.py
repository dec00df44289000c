"""Webhooks: they send the feed of changes to a URL. Their fields, the rules of these fields, and the interface of their
store.

A webhook has a position in the feed. It needs no queue: it has to deliver the changes after its position.
"""

import base64
import hmac
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Protocol
from urllib.parse import urlsplit

from domain import changes
from domain.entities import Checked, Editable, Entity
from domain.errors import Fault, Invalid, Malformed
from domain.lists.filters import Filter
from domain.lists.terms import parse_filter
from domain.stores import ReadStore, Store
from domain.values import MAX_ID, OneOf, Rule

MAX_URL: Final = 2000
"""The most characters of a URL."""

SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # how every secret begins

RandomBytes = Callable[[int], bytes]
"""Returns that many random bytes, which cannot be guessed."""


class State(StrEnum):
    """Whether a webhook delivers. `FAILING` is never stored: it is shown in place of `ACTIVE`."""

    ACTIVE = "active"
    PAUSED = "paused"
    FAILING = "failing"
    """It is active, and its last attempt failed. Attempts continue."""

    DISABLED = "disabled"
    """The receiver has answered 410, so it wants no more messages. An administrator can resume the webhook."""


class Url(Rule):
    """An absolute http or https URL with a host, in ASCII, without credentials and without a fragment."""

    FORM: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]+")  # no blanks, no backslash

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield Fault(pointer, "wrong_type", "Must be a string.")
        elif len(value) > MAX_URL:
            yield Fault(pointer, "too_long", f"Must hold at most {MAX_URL} characters.")
        elif not self.FORM.fullmatch(value) or (fault := self._fault_in(value)) is None:
            yield Fault(pointer, "invalid", "Must be an absolute URL in ASCII, as in https://example.org/hooks.")
        elif fault:
            yield Fault(pointer, "not_allowed", fault)

    def _fault_in(self, value: str) -> str | None:
        """The fault in a URL: an empty text if there is none, and None if it is not a URL at all."""
        try:
            parts = urlsplit(value)
            is_whole = bool(parts.hostname) and parts.port != 0
        except ValueError:
            return None
        if not is_whole:
            return None
        if parts.scheme not in {"http", "https"}:
            return "Must be an https URL."
        if "@" in parts.netloc:
            return "Must not have credentials: they would be in the record of changes."
        return "Must not have a fragment." if "#" in value else ""


class ChangeFilter(Rule):
    """A filter over changes, in the language of all lists."""

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        if not isinstance(value, str):
            yield Fault(pointer, "wrong_type", "Must be a string.")
            return
        try:
            parse_filter(value, changes.FIELDS)
        except Malformed as malformed:
            where = "" if malformed.position is None else f" At character {malformed.position}."
            yield Fault(pointer, "invalid", f"{malformed.detail}{where}")


class SequenceNumber(Rule):
    """The number of a change, or 0."""

    def faults(self, pointer: str, value: object) -> Iterator[Fault]:
        if not isinstance(value, int) or isinstance(value, bool):
            yield Fault(pointer, "wrong_type", "Must be an integer.")
        elif not 0 <= value <= MAX_ID:
            yield Fault(pointer, "out_of_range", f"Must be from 0 to {MAX_ID}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookProfile:
    """Where a webhook delivers, and which changes. It begins with the change after its position."""

    url: Annotated[str, Url()]
    filter: Annotated[str | None, ChangeFilter()] = None
    state: Annotated[State, OneOf(State)] = State.ACTIVE
    position: Annotated[int, SequenceNumber()] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook(WebhookProfile, Checked):
    """A webhook to be created. Raises `Invalid` with every rule that it breaks."""

    def starting(self, head: int, since: int | None) -> "NewWebhook":
        """The same webhook with a position: `since`, or the last change (`head`). Raises `Invalid` if `since` is beyond
        `head`."""
        if since is not None and since > head:
            raise Invalid([Fault("/since", "out_of_range", "There are no changes up to this number yet.")])
        return replace(self, position=head if since is None else since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook(WebhookProfile, Entity, Editable):
    """A stored webhook, without its secret.

    Every change up to `position` was delivered, was set aside, or waits for another attempt. Until `silent_until` the
    receiver wants no messages. The deliverer stores these fields and `failing_since`, without a change in the record.
    """

    kind: ClassVar[str] = "webhook"
    created_from: ClassVar[type] = NewWebhook

    id: int
    created_at: datetime
    updated_at: datetime
    version: int
    rotated_at: datetime | None = None
    failing_since: datetime | None = None
    silent_until: datetime | None = None

    @property
    def shown_state(self) -> State:
        return State.FAILING if self.state is State.ACTIVE and self.failing_since else self.state

    @property
    def wanted(self) -> Filter | None:
        """The filter of the changes that it delivers."""
        return None if self.filter is None else parse_filter(self.filter, changes.FIELDS)

    def set_to(self, state: State) -> "Webhook":
        return replace(self, state=state)

    def rotated(self, at: datetime) -> "Webhook":
        return replace(self, rotated_at=at)


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret that signs messages, and the time until which it does. None: until it is replaced."""

    value: bytes
    until: datetime | None = None

    def is_valid_at(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    def __str__(self) -> str:
        """The form in which receivers configure it (Standard Webhooks): `whsec_` and the bytes in base64."""
        return SECRET_PREFIX + base64.b64encode(self.value).decode()

    def __repr__(self) -> str:
        return "Secret(…)"

    def sign(self, message: bytes) -> str:
        """A signature of version 1 of Standard Webhooks: an HMAC-SHA256."""
        return "v1," + base64.b64encode(hmac.digest(self.value, message, "sha256")).decode()


def headers_of(id: str, at: datetime, body: bytes, secrets: Sequence[Secret]) -> Mapping[str, str]:
    """The headers of one attempt to deliver a message. All attempts have the same id, and each has its own time."""
    timestamp = str(int(at.timestamp()))
    signed = f"{id}.{timestamp}.".encode() + body
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join([secret.sign(signed) for secret in secrets if secret.is_valid_at(at)]),
    }


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a webhook: its position, since when its attempts fail, and until when its receiver wants no
    messages."""

    webhook_id: int
    position: int
    failing_since: datetime | None = None
    silent_until: datetime | None = None


class ReadWebhooks(ReadStore[Webhook], Protocol):
    async def secrets(self, id: int) -> Sequence[Secret]:
        """The secrets of a webhook: the present one, and after a rotation also the one before. Empty if there is no
        webhook."""
        ...


class Webhooks(ReadWebhooks, Store[NewWebhook, Webhook], Protocol):
    """A store of webhooks within one unit of work. A new webhook has no secret yet.

    `save` does not change what the deliverer stores. When a webhook is removed, so are its secrets and deliveries.
    """

    async def keep_secrets(self, id: int, secrets: Sequence[Secret]) -> None:
        """Replace the secrets of a webhook. There are one or two, the newer one first."""
        ...

    async def note_progress(self, progress: Collection[Progress]) -> None:
        """Store the progress of webhooks, by one statement. This is not recorded as a change. Unknown ids are
        skipped."""
        ...
