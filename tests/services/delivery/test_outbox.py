"""What the outbox of one webhook sends next, what it holds back, and what it has to store. Nothing here waits."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from tests.services.virtual_time import START

from domain.changes import Action, Change
from domain.delivery.deliveries import RETRIED_AFTER_S, Answer, Delivery, DeliveryState
from domain.delivery.webhooks import Progress, Secret, Webhook
from services.delivery.ledger import Subscription
from services.delivery.outbox import (
    AT_ONCE,
    BACK_AFTER,
    LOW,
    MAX_FRESH,
    MAX_HELD,
    NOT_KEPT,
    Attempt,
    Outbox,
)

HOOK: Final = 7
OK: Final = Answer(milliseconds=1, status=204)
FAILED: Final = Answer(milliseconds=1, status=500)
GONE: Final = Answer(milliseconds=1, status=410)
FIRST_RETRY_S, SECOND_RETRY_S = RETRIED_AFTER_S[:2]
ALICE, BOB, CAROL = 1, 2, 3


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def middle() -> float:
    """A random number that adds nothing to the waits."""
    return 0.5


def change(seq: int, entity: int = ALICE) -> Change:
    return Change(
        kind="user",
        entity_id=entity,
        version=1,
        action=Action.UPDATED,
        actor="tester",
        request_id="r1",
        at=later(seq - 1000),
        before=None,
        after=None,
        subjects=(("user", entity),),
        seq=seq,
    )


def waiting(
    seq: int,
    entity: int = ALICE,
    *,
    due_s: float = 0,
    holds: bool = True,
    state: DeliveryState = DeliveryState.RETRYING,
) -> Delivery:
    """A stored delivery that will be retried."""
    return replace(Delivery.of(change(seq, entity), HOOK, holds=holds, next_at=later(due_s)), state=state)


def asked(seq: int, entity: int = ALICE, *, due_s: float = 0) -> Delivery:
    """A delivery that was requested again."""
    return waiting(seq, entity, due_s=due_s, holds=False, state=DeliveryState.ASKED)


class Sending:
    """An outbox, and a sender that sends its messages and gives it the answers."""

    def __init__(self, *open: Delivery, at_once: bool = False, now_s: float = 0, **of_webhook: Any) -> None:
        webhook = Webhook(
            id=HOOK, url="https://example.org/", created_at=START, updated_at=START, version=1, **of_webhook
        )
        self.outbox = Outbox(Subscription(webhook, [Secret(b"s")], open), later(now_s), at_once=at_once)
        self.sent: dict[int, Attempt] = {}

    def send(self, at_s: float = 0) -> list[int]:
        """Sends everything that may be sent now. Returns the numbers of the changes."""
        taken = []
        while (attempt := self.outbox.take(later(at_s))) is not None:
            taken.append(attempt.delivery.change)
            self.sent[attempt.delivery.change] = attempt
        return taken

    def answer(self, seq: int, answer: Answer = OK, at_s: float = 0) -> bool:
        return self.outbox.answered(self.sent[seq], answer, later(at_s), middle)

    def go_on(self, seq: int, then: Change | None, answer: Answer | None = OK, at_s: float = 0) -> None:
        self.outbox.go_on(self.sent[seq], answer, later(at_s), middle, then)

    def add(self, *changes: Change, read_to: int | None = None) -> None:
        self.outbox.add(changes, changes[-1].seq if read_to is None else read_to)

    def has_news(self) -> bool:
        return self.outbox.has_news

    def stored(self) -> tuple[Progress, list[Delivery]]:
        progress, deliveries = self.outbox.news()
        return progress, list(deliveries)

    def noted(self) -> dict[int, Delivery]:
        return {each.change: each for each in self.stored()[1]}


def users(count: int, *, since: int = 0) -> list[Change]:
    """One change for each of this many users."""
    return [change(since + number, entity=number) for number in range(1, count + 1)]


def many(count: int) -> list[Delivery]:
    """For each of this many users one delivery that holds it."""
    return [waiting(number, entity=number, due_s=9999) for number in range(1, count + 1)]


# What is read


def test_a_new_outbox_begins_at_the_position_of_its_webhook_and_has_nothing_to_send() -> None:
    sending = Sending(position=5, failing_since=later(-9), silent_until=later(9))
    box = sending.outbox
    assert (box.read_to, box.position, box.is_idle, box.has_ended, box.oldest(), box.wakes_at()) == (
        5,
        5,
        True,
        False,
        None,
        None,
    )
    assert sending.send(at_s=99) == []
    assert sending.has_news()
    assert sending.stored() == (Progress(HOOK, 5, later(-9), later(9)), [])
    assert not sending.has_news()


def test_an_outbox_has_the_filter_and_the_secrets_of_its_webhook() -> None:
    box = Sending(filter='kind eq "user"').outbox
    assert box.wanted == box.webhook.wanted
    assert box.wanted is not None
    assert box.secrets == [Secret(b"s")]


def test_changes_that_were_read_before_are_not_read_again() -> None:
    sending = Sending(position=5)
    sending.add(change(5, ALICE), change(6, BOB))
    sending.add(change(6, BOB), change(7, CAROL))
    assert sending.send() == [6, 7]


def test_the_end_of_the_read_changes_never_goes_back() -> None:
    sending = Sending(position=5)
    sending.outbox.add([], 9)
    assert (sending.outbox.read_to, sending.outbox.position) == (9, 9)
    sending.outbox.add([], 8)
    sending.outbox.advance(8)
    assert sending.outbox.read_to == 9


def test_reading_on_is_progress_to_store_even_if_nothing_matches() -> None:
    sending = Sending(position=5)
    sending.stored()
    sending.outbox.add([], 9)
    assert sending.has_news()
    assert sending.stored() == (Progress(HOOK, 9), [])


def test_advancing_is_progress_to_store_only_if_the_position_changed() -> None:
    sending = Sending(position=5)
    sending.stored()
    sending.outbox.advance(5)
    assert not sending.has_news()
    sending.outbox.advance(6)
    assert sending.has_news()
    assert sending.outbox.read_to == 6


def test_an_outbox_has_room_until_it_holds_the_maximum_of_fresh_changes() -> None:
    sending = Sending()
    sending.add(*users(LOW - 1))
    assert (sending.outbox.is_low, sending.outbox.has_room) == (True, True)
    sending.add(change(LOW, LOW))
    assert (sending.outbox.is_low, sending.outbox.has_room) == (False, True)
    sending.add(*users(MAX_FRESH - 1))
    assert sending.outbox.has_room
    sending.add(change(MAX_FRESH, MAX_FRESH))
    assert not sending.outbox.has_room


def test_a_receiver_that_is_down_gets_no_fresh_changes_and_no_more_are_read() -> None:
    nearly, down = Sending(*many(MAX_HELD - 1), position=999), Sending(*many(MAX_HELD), position=999)
    assert (nearly.outbox.has_room, nearly.outbox.is_low) == (True, True)
    assert (down.outbox.has_room, down.outbox.is_low) == (False, False)
    for each in (nearly, down):
        each.add(change(1000, 1000))
    assert (nearly.send(), down.send()) == ([1000], [])
    assert nearly.outbox.wakes_at() == down.outbox.wakes_at() == later(9999)


# What is sent


def test_changes_of_one_entity_are_sent_one_by_one_and_those_of_others_concurrently() -> None:
    sending = Sending()
    sending.add(change(1, ALICE), change(2, ALICE), change(3, BOB), change(4, ALICE))
    assert sending.send() == [1, 3]
    assert sending.answer(1) is False
    assert sending.send() == [2]
    sending.answer(2)
    assert sending.send() == [4]
    sending.answer(4)
    sending.answer(3)
    assert sending.send() == []
    assert sending.outbox.is_idle


def test_a_change_that_arrives_while_one_of_its_entity_is_sent_waits_for_it() -> None:
    sending = Sending()
    sending.add(change(1))
    assert sending.send() == [1]
    sending.add(change(2))
    assert sending.send() == []
    sending.answer(1)
    assert sending.send() == [2]


def test_an_attempt_has_its_change_and_a_delivery_that_is_not_stored_yet() -> None:
    sending = Sending()
    sending.add(change(1))
    sending.send()
    assert sending.sent[1] == Attempt(Delivery.of(change(1), HOOK), change(1))


def test_several_messages_are_sent_at_once_and_a_single_one_while_attempts_fail() -> None:
    well, failing = Sending(), Sending(failing_since=START)
    for each in (well, failing):
        each.add(*users(AT_ONCE + 1))
    assert well.send() == list(range(1, AT_ONCE + 1))
    assert failing.send() == [1]
    failing.answer(1)
    assert len(failing.send()) == AT_ONCE


def test_nothing_is_sent_before_the_time_in_retry_after() -> None:
    sending = Sending(waiting(1, ALICE), position=1, silent_until=later(60))
    sending.add(change(2, BOB))
    assert sending.send(at_s=59.9) == []
    assert sending.outbox.wakes_at() == later(60)
    assert sending.send(at_s=60) == [1, 2]


def test_an_outbox_that_has_ended_sends_nothing() -> None:
    sending = Sending(waiting(1, ALICE))
    sending.add(change(2, BOB))
    sending.outbox.has_ended = True
    assert sending.send() == []


def test_a_receiver_that_is_gone_ends_the_outbox() -> None:
    sending = Sending()
    sending.add(change(1, ALICE), change(2, BOB))
    sending.send()
    sending.answer(1, FAILED)
    assert not sending.outbox.has_ended
    sending.answer(2, GONE)
    assert sending.outbox.has_ended


def test_deliveries_are_sent_when_they_are_due_and_before_fresh_changes() -> None:
    sending = Sending(waiting(1, ALICE, due_s=5), waiting(2, BOB, due_s=3), position=9)
    assert sending.outbox.wakes_at() == later(3)
    assert sending.send(at_s=2.9) == []
    sending.add(change(10, CAROL))
    assert sending.send(at_s=5) == [2, 1, 10]
    assert sending.sent[1] == Attempt(waiting(1, ALICE, due_s=5), None)


def test_an_outbox_wakes_at_once_for_fresh_changes_and_later_for_later_deliveries() -> None:
    sending = Sending(waiting(1, ALICE, due_s=5), position=9)
    sending.add(change(10, BOB))
    woken = sending.outbox.wakes_at()
    assert woken is not None
    assert woken < START
    sending.send()
    assert sending.outbox.wakes_at() == later(5)


def test_an_outbox_does_not_wake_before_the_time_in_retry_after() -> None:
    assert Sending(waiting(1, due_s=5), silent_until=later(60)).outbox.wakes_at() == later(60)
    assert Sending(waiting(1, due_s=90), silent_until=later(60)).outbox.wakes_at() == later(90)


# What a failure holds back


def test_a_failed_change_holds_its_entity_and_is_stored() -> None:
    sending = Sending()
    sending.add(change(1, ALICE), change(2, ALICE), change(3, BOB))
    sending.send()
    assert sending.answer(1, FAILED) is False
    sending.answer(3)
    sending.add(change(4, ALICE))
    assert sending.send() == []
    progress, deliveries = sending.stored()
    assert progress == Progress(HOOK, 4)
    kept, delivered = sorted(deliveries, key=lambda each: each.change)
    assert (kept.change, kept.holds, kept.state, kept.next_at) == (
        1,
        True,
        DeliveryState.RETRYING,
        later(FIRST_RETRY_S),
    )
    assert (delivered.change, delivered.holds, delivered.state) == (3, False, DeliveryState.DELIVERED)
    assert not sending.outbox.is_idle
    assert sending.send(at_s=FIRST_RETRY_S) == [1]


def held_and_delivered(read_to: int = 9) -> Sending:
    """The delivery of change 1 held Alice, and has just arrived."""
    sending = Sending(waiting(1), position=read_to)
    assert sending.send() == [1]
    sending.stored()
    assert sending.answer(1) is True
    return sending


def test_an_entity_stays_held_until_its_next_change_is_known() -> None:
    sending = held_and_delivered()
    sending.add(change(10))
    assert sending.send() == []
    assert sending.noted() == {}
    assert not sending.outbox.is_idle


def test_the_next_change_of_a_held_entity_is_delivered_and_holds_it_again() -> None:
    sending = held_and_delivered(read_to=9)
    sending.go_on(1, then=change(9), at_s=3)
    assert sending.send(at_s=2.9) == []
    assert sending.send(at_s=3) == [9]
    assert sending.sent[9] == Attempt(Delivery.of(change(9), HOOK, holds=True, next_at=later(3)), None)
    noted = sending.noted()
    assert (noted[1].state, noted[1].status, noted[1].holds) == (DeliveryState.DELIVERED, 204, False)
    assert noted[9] == sending.sent[9].delivery
    sending.add(change(10))
    sending.answer(9)
    assert sending.send(at_s=3) == []


def test_a_next_change_that_was_not_read_yet_arrives_as_a_fresh_one() -> None:
    sending = held_and_delivered(read_to=9)
    sending.go_on(1, then=change(10))
    assert sending.send() == []
    sending.add(change(10))
    assert sending.send() == [10]
    assert sending.sent[10].change == change(10)


def test_an_entity_without_a_next_change_is_free_again() -> None:
    sending = held_and_delivered()
    sending.go_on(1, then=None)
    assert sending.outbox.is_idle
    assert sending.outbox.oldest() is None
    sending.add(change(10))
    assert sending.send() == [10]


def test_a_held_delivery_that_fails_again_waits_longer() -> None:
    sending = Sending(replace(waiting(1), attempts=1))
    sending.send()
    assert sending.answer(1, FAILED) is False
    assert sending.outbox.wakes_at() == later(SECOND_RETRY_S)
    assert sending.send(at_s=SECOND_RETRY_S - 1) == []
    assert sending.send(at_s=SECOND_RETRY_S) == [1]
    noted = sending.noted()[1]
    assert (noted.attempts, noted.holds) == (2, True)


def test_a_change_that_was_removed_is_set_aside_and_later_ones_are_sent() -> None:
    sending = Sending(waiting(1), position=9)
    sending.send()
    assert sending.outbox.is_lost(sending.sent[1]) is True
    assert sending.send() == []
    sending.go_on(1, then=change(8), answer=None)
    assert sending.send() == [8]
    aside = sending.noted()[1]
    assert aside == replace(waiting(1), state=DeliveryState.SET_ASIDE, next_at=None, holds=False, error=NOT_KEPT)


def test_a_delivery_that_holds_nothing_is_set_aside_only_if_its_change_was_removed() -> None:
    sending = Sending(asked(1), position=9)
    sending.send()
    assert sending.outbox.is_lost(sending.sent[1]) is False
    assert sending.noted() == {1: replace(asked(1), state=DeliveryState.SET_ASIDE, next_at=None, error=NOT_KEPT)}
    assert sending.outbox.is_idle
    sending.add(change(10))
    assert sending.send() == [10]


# What somebody asks for


def test_a_requested_delivery_is_sent_and_no_next_change_is_looked_up() -> None:
    sending = Sending(position=9)
    sending.outbox.ask(asked(1))
    assert sending.send() == [1]
    assert sending.answer(1) is False
    assert sending.noted()[1].state is DeliveryState.DELIVERED
    assert sending.outbox.is_idle


def test_a_requested_delivery_that_fails_is_retried_and_holds_nothing() -> None:
    sending = Sending(position=9)
    sending.outbox.ask(asked(1))
    sending.send()
    sending.answer(1, FAILED)
    sending.add(change(10))
    assert sending.send() == [10]
    sending.answer(10)
    assert sending.send(at_s=FIRST_RETRY_S) == [1]
    assert not sending.sent[1].delivery.holds


def test_a_waiting_delivery_that_is_requested_is_sent_now_and_still_holds_its_entity() -> None:
    sending = Sending(waiting(1, due_s=300), position=9)
    sending.outbox.ask(asked(1))
    assert sending.send() == [1]
    assert sending.answer(1) is True


def test_a_requested_delivery_is_noted_once() -> None:
    sending = Sending(position=9)
    sending.outbox.ask(asked(1))
    sending.stored()
    sending.outbox.ask(asked(1, due_s=-9))
    assert not sending.has_news()
    assert sending.send(at_s=-1) == []
    assert sending.send() == [1]


def test_the_earlier_time_of_a_requested_delivery_no_longer_counts() -> None:
    """The delivery has succeeded, or has another time."""
    arrived = Sending(waiting(1, ALICE, due_s=3), waiting(2, BOB, due_s=3), position=9)
    arrived.outbox.ask(asked(1, ALICE))
    assert arrived.send() == [1]
    arrived.answer(1)
    arrived.go_on(1, then=None)
    assert arrived.send(at_s=3) == [2]

    failed = Sending(waiting(1, due_s=3), position=9)
    failed.outbox.ask(asked(1))
    failed.send()
    failed.answer(1, FAILED)
    assert failed.send(at_s=3) == []
    assert failed.outbox.wakes_at() == later(FIRST_RETRY_S)
    assert failed.send(at_s=FIRST_RETRY_S) == [1]


def test_a_requested_delivery_waits_for_messages_of_its_own_entity_only() -> None:
    sending = Sending(position=9)
    sending.add(change(10, ALICE), change(11, ALICE))
    assert sending.send() == [10]
    for each in (asked(1, ALICE), asked(2, ALICE), asked(3, BOB)):
        sending.outbox.ask(each)
    assert sending.send() == [3]
    sending.answer(10)
    assert sending.send() == [1]
    sending.answer(1)
    assert sending.send() == [2]
    sending.answer(2)
    assert sending.send() == [11]


def test_a_delivery_that_is_requested_while_it_is_sent_is_not_sent_twice() -> None:
    sending = Sending(waiting(1), position=9)
    assert sending.send() == [1]
    sending.outbox.ask(asked(1))
    assert sending.send() == []
    sending.answer(1)
    sending.go_on(1, then=None)
    assert sending.send() == []
    assert sending.outbox.is_idle


def test_a_fresh_change_waits_for_a_delivery_of_its_entity_and_is_sent_once() -> None:
    sending = Sending(position=9)
    sending.add(change(10))
    sending.outbox.ask(asked(1))
    attempt = sending.outbox.take(START)
    assert attempt is not None
    assert attempt.delivery.change == 1
    sending.outbox.answered(attempt, OK, START, middle)  # before the outbox is asked for more
    assert sending.send() == [10]
    sending.answer(10)
    assert sending.send() == []


def test_a_fresh_change_during_a_delivery_of_its_entity_waits_and_is_sent_once() -> None:
    sending = Sending(position=9)
    sending.outbox.ask(asked(1))
    assert sending.send() == [1]
    sending.add(change(10), change(11))
    assert sending.send() == []
    sending.answer(1)
    assert sending.send() == [10]
    sending.answer(10)
    assert sending.send() == [11]


# How the receiver is


def test_an_outbox_knows_since_when_attempts_fail_until_one_succeeds() -> None:
    sending = Sending()
    sending.add(*users(3))
    sending.send()
    sending.answer(1, FAILED, at_s=1)
    sending.answer(2, FAILED, at_s=2)
    assert sending.stored()[0].failing_since == later(1)
    sending.answer(3, OK, at_s=3)
    assert sending.stored()[0].failing_since is None


@pytest.mark.parametrize(("failing_s", "is_back"), [(BACK_AFTER.total_seconds(), True), (59.9, False)])
def test_all_waiting_deliveries_are_due_when_the_receiver_is_back_after_a_while(
    failing_s: float, is_back: bool
) -> None:
    sending = Sending(
        waiting(1, ALICE), waiting(2, BOB, due_s=300), waiting(3, CAROL, due_s=0.5), failing_since=later(-failing_s)
    )
    assert sending.send() == [1]
    sending.stored()
    sending.answer(1)
    sending.go_on(1, then=None)
    noted = sending.noted()
    assert noted.keys() == ({1, 2, 3} if is_back else {1})
    assert sending.send() == ([2, 3] if is_back else [])
    if is_back:
        assert sending.sent[2].delivery == waiting(2, BOB, due_s=0)


def test_a_delivery_that_is_due_is_not_changed_when_the_receiver_is_back() -> None:
    sending = Sending(waiting(1, ALICE), waiting(2, BOB, due_s=5), failing_since=later(-999))
    sending.send()
    sending.stored()
    sending.answer(1, at_s=5)
    assert sending.noted() == {}


def test_a_delivery_whose_entity_is_being_sent_is_due_too_when_the_receiver_is_back() -> None:
    sending = Sending(waiting(5, ALICE, due_s=300), asked(1, ALICE), position=9, failing_since=later(-999))
    assert sending.send() == [1]
    sending.answer(1)
    assert sending.send() == [5]


def says_when(seconds: int) -> Answer:
    return Answer(milliseconds=1, status=503, retry_after=str(seconds))


def test_a_receiver_gets_nothing_until_the_time_in_retry_after() -> None:
    sending = Sending()
    sending.add(change(1, ALICE), change(2, BOB))
    sending.send()
    sending.answer(1, says_when(60))
    sending.answer(2, says_when(30))
    assert sending.stored()[0].silent_until == later(60)
    assert sending.send(at_s=59) == []


def test_an_answer_to_an_earlier_message_does_not_end_the_wait_of_retry_after() -> None:
    sending = Sending()
    sending.add(change(1, ALICE), change(2, BOB), change(3, CAROL))
    sending.send()
    sending.answer(1, says_when(60))
    sending.answer(2, OK, at_s=59)
    assert sending.stored()[0].silent_until == later(60)
    sending.answer(3, OK, at_s=60)
    assert sending.stored()[0].silent_until is None


def test_an_outbox_that_begins_at_once_ignores_due_times_and_retry_after() -> None:
    sending = Sending(waiting(1, ALICE, due_s=300), at_once=True, now_s=5, silent_until=later(900))
    assert sending.stored() == (Progress(HOOK, 0), [waiting(1, ALICE, due_s=5)])
    assert sending.send(at_s=4.9) == []
    assert sending.send(at_s=5) == [1]


def test_stored_deliveries_do_not_have_to_be_stored_again() -> None:
    assert Sending(waiting(1, due_s=300), silent_until=later(900)).stored() == (
        Progress(HOOK, 0, silent_until=later(900)),
        [],
    )


# What is stored


def test_the_position_is_before_the_first_change_that_was_not_delivered() -> None:
    sending = Sending(position=9)
    sending.outbox.add([change(11, ALICE), change(12, BOB)], 15)
    sending.send()
    assert sending.outbox.position == 10
    sending.answer(12)
    assert sending.outbox.position == 10
    sending.answer(11)
    assert sending.outbox.position == 15


def test_the_oldest_change_is_the_earliest_of_waiting_and_fresh_ones() -> None:
    sending = Sending(waiting(5, ALICE, due_s=300), position=9)
    assert sending.outbox.oldest() == change(5).at
    sending.add(change(10, BOB), change(11, CAROL))
    assert sending.outbox.oldest() == change(5).at
    fresh = Sending(position=9)
    fresh.add(change(10, BOB), change(11, CAROL))
    assert fresh.outbox.oldest() == change(10).at


def taken_by(deliveries: Iterable[Delivery]) -> dict[int, DeliveryState]:
    return {each.change: each.state for each in deliveries}


def test_an_answer_is_to_be_stored_until_it_is_stored() -> None:
    sending = Sending()
    sending.add(change(1, ALICE), change(2, BOB))
    sending.send()
    sending.stored()
    sending.answer(1)
    assert sending.has_news()
    assert taken_by(sending.stored()[1]) == {1: DeliveryState.DELIVERED}
    assert not sending.has_news()
    sending.answer(2, FAILED)
    assert taken_by(sending.stored()[1]) == {2: DeliveryState.RETRYING}


def test_deliveries_that_could_not_be_stored_are_stored_later_unless_they_changed() -> None:
    sending = Sending(waiting(1, ALICE), waiting(2, BOB))
    sending.send()
    sending.answer(1, FAILED)
    sending.answer(2, FAILED)
    _, noted = sending.stored()
    assert taken_by(noted) == {1: DeliveryState.RETRYING, 2: DeliveryState.RETRYING}
    assert sending.send(at_s=FIRST_RETRY_S) == [1]
    sending.answer(1, OK, at_s=FIRST_RETRY_S)
    sending.go_on(1, then=None, at_s=FIRST_RETRY_S)
    sending.outbox.not_stored(noted)
    assert taken_by(sending.stored()[1]) == {1: DeliveryState.DELIVERED, 2: DeliveryState.RETRYING}


def test_progress_that_could_not_be_stored_is_stored_later() -> None:
    sending = Sending(position=9)
    sending.stored()
    sending.outbox.not_stored([])
    assert sending.has_news()
