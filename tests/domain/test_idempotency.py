"""A request that is sent again with its key is carried out once."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.errors import Refusal
from domain.idempotency import (
    REMEMBERED_FOR,
    AlreadyDone,
    Committed,
    IdempotencyKey,
    IdempotencyKeyReused,
    InFlight,
    InFlightKeys,
    replay,
    shown_by,
)
from domain.users import User

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = IdempotencyKey("k1", "this request", repr)


def test_the_same_request_is_given_its_answer_again() -> None:
    raised = replay(KEY, "this request", "the answer")
    assert isinstance(raised, AlreadyDone)
    assert not isinstance(raised, Refusal)
    assert raised.answer == "the answer"


def test_another_request_with_the_same_key_is_refused_and_told_nothing() -> None:
    raised = replay(KEY, "another request", "the answer")
    assert isinstance(raised, IdempotencyKeyReused)
    assert "the answer" not in str(raised)
    assert raised.code == "idempotency_key_reused"


def test_an_answer_shows_the_entity_that_was_committed() -> None:
    alice = User(id=1, name="Alice", created_at=NOW, updated_at=NOW, version=1)
    assert shown_by(Committed(alice, 1)) == ("user", 1)
    for other in (None, (alice, True), "alice"):
        with pytest.raises(TypeError, match="idempotency key"):
            shown_by(Committed(other, 1))


def test_a_result_was_committed_with_no_change_unless_it_says_so() -> None:
    assert Committed("result").seq is None


def test_answers_are_remembered_for_a_day() -> None:
    assert timedelta(hours=24) == REMEMBERED_FOR


def test_two_requests_with_one_key_are_not_under_way_at_once() -> None:
    keys = InFlightKeys()
    with keys.claim("alice", KEY):
        with pytest.raises(InFlight) as refused, keys.claim("alice", KEY):
            pytest.fail("the key is held")
        assert "under way" in refused.value.detail
        with pytest.raises(InFlight), keys.claim("alice", KEY):
            pytest.fail("a refused claim does not let go of the key")
    with keys.claim("alice", KEY):
        """It is free again."""


def test_a_key_is_free_again_after_a_failure() -> None:
    keys = InFlightKeys()
    with pytest.raises(KeyError), keys.claim("alice", KEY):
        raise KeyError
    with keys.claim("alice", KEY):
        """It is free again."""


def test_a_key_is_of_its_actor() -> None:
    keys = InFlightKeys()
    other = IdempotencyKey("k2", "this request", repr)
    with keys.claim("alice", KEY), keys.claim("bob", KEY), keys.claim("alice", other), pytest.raises(InFlight):
        keys.claim("bob", KEY).__enter__()


def test_requests_without_a_key_do_not_meet() -> None:
    keys = InFlightKeys()
    with keys.claim("alice", None), keys.claim("alice", None), keys.claim("alice", KEY):
        """None of them holds it."""
