"""The outbox: what one webhook has to deliver, in which order, and when. It is in memory, and nothing here waits.

Changes that were read and not yet tried are *fresh*. Fresh changes of one entity are delivered one after the other,
those of different entities at the same time. When an attempt fails, the change becomes a delivery, which is tried again
later. This delivery *holds* its entity: the fresh changes of the entity are dropped. When the delivery is done, they
are read again, one after the other. So little is stored for a webhook: its position, and one delivery for each entity
with a failed change.

At every moment each change up to the position was delivered, was set aside, has a stored delivery, or waits for the
stored delivery of its entity.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from domain.changes import Change
from domain.delivery.deliveries import Answer, Delivery, DeliveryState, Random, Verdict
from domain.delivery.webhooks import Progress, Secret, Webhook
from domain.references import Subject
from services.delivery.ledger import Subscription

AT_ONCE: Final = 16
"""How many messages of one webhook are sent at the same time."""

AT_ONCE_WHILE_FAILING: Final = 1
"""The same while attempts fail, so that a receiver that hangs does not take all connections."""

MAX_FRESH: Final = 500
"""If there are so many fresh changes, no more are read."""

LOW: Final = 100
"""If there are fewer fresh changes, a webhook that is behind reads more."""

MAX_HELD: Final = 100
"""If so many entities wait for another attempt, the receiver counts as down, and no fresh changes are sent."""

BACK_AFTER: Final = timedelta(minutes=1)
"""If attempts failed for so long, the first success means that the receiver is back. Then everything that waits is sent
at once."""

ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
NOT_KEPT: Final = "The change is not kept any more."


class Attempt(NamedTuple):
    """A message to send now. `change` is None if the change has to be read again."""

    delivery: Delivery
    change: Change | None


class Outbox:
    def __init__(self, subscription: Subscription, now: datetime, *, at_once: bool) -> None:
        """With `at_once`, all open deliveries are due now, even if the receiver asked for silence, because somebody
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
    def is_idle(self) -> bool:
        """Whether there is nothing to send, now or later."""
        return not (self._fresh or self._waiting)

    @property
    def position(self) -> int:
        """The number up to which nothing is lost if the process dies after `news` was stored."""
        return next(iter(self._fresh)) - 1 if self._fresh else self.read_to

    def oldest(self) -> datetime | None:
        """The time of the oldest change that was read and is not delivered yet."""
        waits = [delivery.changed_at for delivery in self._waiting.values()]
        if self._fresh:
            waits.append(next(iter(self._fresh.values())).at)
        return min(waits, default=None)

    def add(self, changes: Iterable[Change], read_to: int) -> None:
        """Take changes that match the webhook's filter, in order. All other changes up to `read_to` do not match."""
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
        """Note that all changes up to this number that match were added."""
        if head > self.read_to:
            self.read_to = head
            self.has_news = True

    def ask(self, delivery: Delivery) -> None:
        """Send a delivery now, because somebody asked for it."""
        known = self._waiting.get(delivery.change)
        if known is None or known.state is not DeliveryState.ASKED:
            self._wait(delivery if known is None else replace(delivery, holds=known.holds))

    def take(self, now: datetime) -> Attempt | None:
        """The next message to send; None if there is nothing to send now."""
        at_once = AT_ONCE if self.failing_since is None else AT_ONCE_WHILE_FAILING
        if self.has_ended or len(self._under_way) >= at_once or now < self._not_before:
            return None
        return self._take_due(now) or self._take_fresh()

    def _take_due(self, now: datetime) -> Attempt | None:
        while self._due and self._due[0][0] <= now:
            at, seq = heapq.heappop(self._due)
            delivery = self._waiting.get(seq)
            if delivery is None or delivery.next_at != at:
                continue  # another attempt was made meanwhile
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
        """When the next message is due. None if there is none, or if it has to wait for the answer to another
        message."""
        if self._ready and not self._is_refused:
            return self._not_before
        return max(self._due[0][0], self._not_before) if self._due else None

    @property
    def _not_before(self) -> datetime:
        return self._silent_until or ALWAYS

    def answered(self, attempt: Attempt, answer: Answer, at: datetime, random: Random) -> bool:
        """Note the answer to an attempt. Returns whether the next change of the entity has to be looked up, for
        `go_on`."""
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
        """Note that the change of an attempt is no longer kept. Returns the same as `answered`."""
        if attempt.delivery.holds:
            return True
        self._settle_waiting(replace(attempt.delivery, state=DeliveryState.SET_ASIDE, next_at=None, error=NOT_KEPT))
        return False

    def go_on(self, attempt: Attempt, answer: Answer | None, at: datetime, random: Random, then: Change | None) -> None:
        """A delivery that held its entity is done. Continue with the next change of the entity, `then`, if there is
        one."""
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
        assert delivery.next_at is not None  # noqa: S101  # all callers ensure this
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
                if delivery.next_at is not None and delivery.next_at > at:
                    self._wait(replace(delivery, next_at=at))
        self.failing_since = None

    def news(self) -> tuple[Progress, Sequence[Delivery]]:
        """What has to be stored in one transaction: the progress, and the deliveries that have changed since the last
        call."""
        self.has_news = False
        noted, self._unsaved = list(self._unsaved.values()), {}
        return Progress(self.webhook.id, self.position, self.failing_since, self._silent_until), noted

    def not_stored(self, deliveries: Iterable[Delivery]) -> None:
        """The deliveries from `news` could not be stored. The next `news` returns them again, unless they have changed
        since."""
        self._unsaved = {**{each.change: each for each in deliveries}, **self._unsaved}
        self.has_news = True
