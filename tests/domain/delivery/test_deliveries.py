"""What an answer means, when a message is retried, and what is kept of the answer."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from domain.changes import Action, Change
from domain.delivery.deliveries import (
    MAX_ANSWER,
    RETRIED_AFTER_S,
    SET_ASIDE_AFTER,
    Answer,
    Delivery,
    DeliveryState,
    Verdict,
    message_id,
)

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHANGE: Final = Change(
    seq=7,
    kind="user",
    entity_id=1,
    version=1,
    action=Action.CREATED,
    actor="a",
    request_id="r",
    at=NOON,
    before=None,
    after={},
    subjects=(("user", 1),),
)
NEW: Final = Delivery.of(CHANGE, 3)


def answer(status: int | None, *, retry_after: str | None = None, text: str = "") -> Answer:
    return Answer(milliseconds=5, status=status, retry_after=retry_after, text=text)


def middle() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED), (204, Verdict.DELIVERED), (299, Verdict.DELIVERED),
        (100, Verdict.FAILED), (199, Verdict.FAILED), (300, Verdict.FAILED), (301, Verdict.FAILED),
        (308, Verdict.FAILED), (400, Verdict.REFUSED), (404, Verdict.REFUSED), (499, Verdict.REFUSED),
        (408, Verdict.FAILED), (425, Verdict.FAILED), (429, Verdict.FAILED), (410, Verdict.GONE),
        (500, Verdict.FAILED), (503, Verdict.FAILED), (999, Verdict.FAILED), (None, Verdict.FAILED),
    ],
)  # fmt: skip
def test_only_a_2xx_is_success(status: int | None, verdict: Verdict) -> None:
    assert answer(status).verdict is verdict


def test_a_delivery_is_retried_by_the_schedule_and_then_once_a_day() -> None:
    delivery, at = NEW, NOON
    for seconds in (*RETRIED_AFTER_S, 86400, 86400):
        delivery = delivery.answered(answer(500), at, middle)
        assert delivery.next_at == at + timedelta(seconds=seconds)
        at = delivery.next_at
    assert delivery.attempts == len(RETRIED_AFTER_S) + 2


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 270), (0.999999999, 330)])
def test_waits_are_randomised(random: float, seconds: int) -> None:
    delivery = NEW.answered(answer(500), NOON, middle).answered(answer(500), NOON, lambda: random)
    assert delivery.next_at is not None
    assert round((delivery.next_at - NOON).total_seconds()) == seconds


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (429, "30", 30), (503, "0", 0), (503, "30", 30), (503, "999999999999999999999", 86400),
        (429, "Thu, 01 Jan 2026 12:00:20 GMT", 20), (429, "Thu, 01 Jan 2026 11:00:00 GMT", 0),
        (429, "Thu, 01 Jan 2099 11:00:00 GMT", 86400), (429, "Thu, 01 Jan 2026 12:00:20 -0000", 20),
        (429, "soon", 5), (429, "-1", 5), (429, "", 5), (429, "٣", 5), (500, "30", 5), (404, "30", 5), (503, None, 5),
    ],
)  # fmt: skip
def test_a_retry_follows_retry_after_in_both_of_its_forms(status: int, text: str | None, seconds: int) -> None:
    delivery = NEW.answered(answer(status, retry_after=text), NOON, middle)
    assert delivery.next_at == NOON + timedelta(seconds=seconds)


def test_a_delivery_is_set_aside_after_three_days_of_refusals() -> None:
    first = NEW.answered(answer(404), NOON, middle)
    assert (first.state, first.refused_since) == (DeliveryState.RETRYING, NOON)
    failed = first.answered(answer(500), NOON + SET_ASIDE_AFTER, middle)
    assert failed.state is DeliveryState.RETRYING
    early = failed.answered(answer(404), NOON + SET_ASIDE_AFTER - timedelta(seconds=1), middle)
    assert early.state is DeliveryState.RETRYING
    aside = early.answered(answer(404), NOON + SET_ASIDE_AFTER, middle)
    assert (aside.state, aside.next_at, aside.holds) == (DeliveryState.SET_ASIDE, None, False)
    again = aside.asked(NOON).answered(answer(404), NOON + SET_ASIDE_AFTER, middle)
    assert again.state is DeliveryState.RETRYING


def test_a_delivery_that_only_fails_is_never_set_aside() -> None:
    delivery = NEW
    for day in range(100):
        delivery = delivery.answered(answer(500), NOON + timedelta(days=day), middle)
        assert delivery.next_at is not None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", None), ("ok", "ok"), ("a" * 2000, "a" * MAX_ANSWER), ("é" * 2000, "é" * (MAX_ANSWER // 2)),
        ("a" + "é" * 2000, "a" + "é" * (MAX_ANSWER // 2 - 1)), ("\x00", "\ufffd"), ("\ud800", "?"),
    ],
)  # fmt: skip
def test_the_beginning_of_an_answer_is_kept_in_a_form_that_can_be_stored(text: str, kept: str | None) -> None:
    assert NEW.answered(answer(200, text=text), NOON, middle).answer == kept


def test_the_id_of_a_message_depends_on_its_change_its_webhook_and_its_time() -> None:
    assert message_id(CHANGE, 3) == "msg_3_7_64752550bf000"
    assert "." not in message_id(CHANGE, 3)
