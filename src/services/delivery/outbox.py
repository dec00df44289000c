"""What one webhook has to deliver, in which order, and when. All of it is in memory, and nothing here waits.

Changes that were read are *fresh*. Fresh changes of one entity are delivered in order and one at a time, those of
different entities side by side. When an attempt fails, its change becomes a delivery that is tried again by a
schedule, and *holds* its entity: the fresh changes of that entity are dropped, and read again one after the other when
it was delivered. So what is stored of a webhook is small: a position, and a delivery for each entity that is behind it.

At every moment each change up to the position was delivered, was set aside, or is behind a delivery that is stored.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from domain.changes import Change
from domain.deliveries import Answer, Delivery, DeliveryState, Random, Verdict
from domain.references import Subject
from domain.webhooks import Progress, Secret, Webhook
from services.delivery.ledger import Subscription

AT_ONCE: Final = 16
"""How many messages one webhook has under way."""

AT_ONCE_WHILE_FAILING: Final = 1
"""The same after an attempt that failed, until one succeeds: a receiver that hangs must not take all connections."""

MAX_FRESH: Final = 500
"""With so many fresh changes no more are read."""

LOW: Final = 100
"""With so few left, a webhook that is behind reads more."""

MAX_HELD: Final = 100
"""With so many entities that wait for another attempt nothing fresh is sent: the receiver is away."""

BACK_AFTER: Final = timedelta(minutes=1)
"""After failing for so long, the first success says that the receiver is back: all that waits is tried at once."""

ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
NOT_KEPT: Final = "The change is not kept any more."


class Attempt(NamedTuple):
    """What to send now. A change that was read before is read again, and so not given."""

    delivery: Delivery
    change: Change | None


class Outbox:
    def __init__(self, subscription: Subscription, now: datetime, *, at_once: bool = False) -> None:
        """With `at_once` all that is to be tried again is due now, whatever the receiver has asked for: somebody has
        changed the webhook."""
        self.webhook: Webhook = subscription.webhook
        self.secrets: Sequence[Secret] = subscription.secrets
        self.wanted = self.webhook.wanted
        self.read_to = self.webhook.position
        self.failing_since = self.webhook.failing_since
        self.has_ended = False
        self._fresh: OrderedDict[int, Change] = OrderedDict()
        self._lines: dict[Subject, deque[Change]] = {}
        self._ready: deque[Subject] = deque()
        self._under_way: set[Subject] = set()
        self._waiting: dict[int, Delivery] = {}
        self._held: dict[Subject, int] = {}
        self._due: list[tuple[datetime, int]] = []
        self._blocked: dict[Subject, list[int]] = {}
        self._unsaved: dict[int, Delivery] = {}
        self._silent_until = None if at_once else self.webhook.silent_until
        self.has_news = True
        """Whether there is something to store."""

        for delivery in subscription.open:
            self._wait(replace(delivery, next_at=now) if at_once else delivery)
        if not at_once:
            self._unsaved.clear()

    @property
    def has_room(self) -> bool:
        return len(self._fresh) < MAX_FRESH and not self._is_refused

    @property
    def _is_refused(self) -> bool:
        return len(self._held) >= MAX_HELD

    @property
    def is_low(self) -> bool:
        """Whether a webhook that is behind should read more."""
        return self.has_room and len(self._fresh) < LOW

    @property
    def is_sending(self) -> bool:
        return bool(self._under_way)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to send, now or later."""
        return not (self._fresh or self._under_way or self._waiting)

    @property
    def position(self) -> int:
        """Up to here nothing is missing from what is stored."""
        return next(iter(self._fresh)) - 1 if self._fresh else self.read_to

    def oldest(self) -> datetime | None:
        """Since when the oldest change that was read waits to be delivered."""
        waits = [delivery.changed_at for delivery in self._waiting.values()]
        if self._fresh:
            waits.append(next(iter(self._fresh.values())).at)
        return min(waits, default=None)

    def add(self, changes: Iterable[Change], read_to: int) -> None:
        """Take changes that the webhook wants, in order. All others up to `read_to` do not match."""
        for change in changes:
            subject = (change.kind, change.entity_id)
            if change.seq <= self.read_to or subject in self._held:
                continue
            self._fresh[change.seq] = change
            line = self._lines.setdefault(subject, deque())
            line.append(change)
            if len(line) == 1 and subject not in self._under_way:
                self._ready.append(subject)
        self.read_to = max(self.read_to, read_to)
        self.has_news = True

    def advance(self, head: int) -> None:
        """Nothing that was not added matches up to there."""
        if head > self.read_to:
            self.read_to = head
            self.has_news = True

    def ask(self, delivery: Delivery) -> None:
        """Try a delivery now, because somebody asked for it."""
        known = self._waiting.get(delivery.change)
        if known is None or known.state is not DeliveryState.ASKED:
            self._wait(delivery if known is None else replace(delivery, holds=known.holds))

    def take(self, now: datetime) -> Attempt | None:
        """What to send next; None if there is nothing now."""
        at_once = AT_ONCE if self.failing_since is None else AT_ONCE_WHILE_FAILING
        if self.has_ended or len(self._under_way) >= at_once or now < self._not_before:
            return None
        return self._take_due(now) or self._take_fresh()

    def _take_due(self, now: datetime) -> Attempt | None:
        while self._due and self._due[0][0] <= now:
            at, seq = heapq.heappop(self._due)
            delivery = self._waiting.get(seq)
            if delivery is None or delivery.next_at != at:
                continue  # it was tried meanwhile
            if delivery.subject in self._under_way:
                self._blocked.setdefault(delivery.subject, []).append(seq)
                continue
            self._under_way.add(delivery.subject)
            return Attempt(delivery, None)
        return None

    def _take_fresh(self) -> Attempt | None:
        while self._ready and not self._is_refused:
            subject = self._ready.popleft()
            if subject not in self._lines or subject in self._under_way:
                continue
            self._under_way.add(subject)
            change = self._lines[subject][0]
            return Attempt(Delivery.of(change, self.webhook.id), change)
        return None

    def wakes_at(self) -> datetime | None:
        """When the next message is due. None if there is none, or not before an answer to one that is under way."""
        if self._ready and not self._is_refused:
            return self._not_before
        return max(self._due[0][0], self._not_before) if self._due else None

    @property
    def _not_before(self) -> datetime:
        return self._silent_until or ALWAYS

    def answered(self, attempt: Attempt, answer: Answer, at: datetime, random: Random) -> bool:
        """Note what came of an attempt. True if the next change of the entity has to be looked up, for `go_on`."""
        outcome = attempt.delivery.answered(answer, at, random)
        if answer.verdict is Verdict.GONE:
            self.has_ended = True
        if (asked := answer.leaves_alone_until(at)) is not None:
            self._silent_until = max(self._not_before, asked)
        elif at >= self._not_before:
            self._silent_until = None
        self._note_health(answer.verdict is Verdict.DELIVERED, at)
        if attempt.change is not None:
            self._settle_fresh(attempt.change, outcome)
        elif attempt.delivery.holds and outcome.next_at is None:
            return True  # it stays under way until the next one is known
        else:
            self._settle_waiting(outcome)
        return False

    def is_lost(self, attempt: Attempt) -> bool:
        """The change of an attempt is not kept any more. As `answered`."""
        if attempt.delivery.holds:
            return True
        self._settle_waiting(replace(attempt.delivery, state=DeliveryState.SET_ASIDE, next_at=None, error=NOT_KEPT))
        return False

    def go_on(self, attempt: Attempt, answer: Answer | None, at: datetime, random: Random, then: Change | None) -> None:
        """A delivery that held its entity is done. Go on with the next change of the entity, if one was read."""
        if answer is not None:
            outcome = attempt.delivery.answered(answer, at, random)
        else:
            outcome = replace(
                attempt.delivery, state=DeliveryState.SET_ASIDE, next_at=None, holds=False, error=NOT_KEPT
            )
        del self._held[outcome.subject]
        self._settle_waiting(outcome)
        if then is not None and then.seq <= self.read_to:
            self._wait(Delivery.of(then, self.webhook.id, holds=True, next_at=at))

    def _settle_fresh(self, change: Change, outcome: Delivery) -> None:
        subject = outcome.subject
        self._under_way.discard(subject)
        line = self._lines[subject]
        if outcome.next_at is None:
            line.popleft()
            del self._fresh[change.seq]
            self._note(outcome)
        else:
            for each in line:
                del self._fresh[each.seq]
            line.clear()
            self._wait(replace(outcome, holds=True))
        if line:
            self._ready.append(subject)
        else:
            del self._lines[subject]
        self._unblock(subject)

    def _settle_waiting(self, outcome: Delivery) -> None:
        self._under_way.discard(outcome.subject)
        if outcome.next_at is None:
            self._waiting.pop(outcome.change, None)
            self._note(outcome)
        else:
            self._wait(outcome)
        if outcome.subject in self._lines:
            self._ready.append(outcome.subject)
        self._unblock(outcome.subject)

    def _wait(self, delivery: Delivery) -> None:
        assert delivery.next_at is not None  # noqa: S101  # whoever calls this sees to it
        self._waiting[delivery.change] = delivery
        if delivery.holds:
            self._held[delivery.subject] = delivery.change
        heapq.heappush(self._due, (delivery.next_at, delivery.change))
        self._note(delivery)

    def _unblock(self, subject: Subject) -> None:
        for seq in self._blocked.pop(subject, ()):
            if (delivery := self._waiting.get(seq)) is not None and delivery.next_at is not None:
                heapq.heappush(self._due, (delivery.next_at, seq))

    def _note(self, delivery: Delivery) -> None:
        self._unsaved[delivery.change] = delivery
        self.has_news = True

    def _note_health(self, is_good: bool, at: datetime) -> None:
        if not is_good:
            self.failing_since = self.failing_since or at
            return
        if self.failing_since is not None and at - self.failing_since >= BACK_AFTER:
            for delivery in list(self._waiting.values()):
                if delivery.next_at is not None and delivery.next_at > at and delivery.subject not in self._under_way:
                    self._wait(replace(delivery, next_at=at))
        self.failing_since = None

    def news(self) -> tuple[Progress, Sequence[Delivery]]:
        """What has to be stored, in one transaction: how far it has come, and what became of changes since."""
        self.has_news = False
        noted, self._unsaved = list(self._unsaved.values()), {}
        return Progress(self.webhook.id, self.position, self.failing_since, self._silent_until), noted

    def not_stored(self, deliveries: Iterable[Delivery]) -> None:
        """What `news` gave could not be stored: give it again, unless there is newer."""
        self._unsaved = {**{each.change: each for each in deliveries}, **self._unsaved}
        self.has_news = True
