"""A request that is repeated with its key is carried out once."""

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


def test_the_same_request_gets_its_stored_answer() -> None:
    raised = replay(KEY, "this request", "the answer")
    assert isinstance(raised, AlreadyDone)
    assert not isinstance(raised, Refusal)
    assert raised.answer == "the answer"


def test_another_request_with_the_same_key_is_refused_without_the_stored_answer() -> None:
    raised = replay(KEY, "another request", "the answer")
    assert isinstance(raised, IdempotencyKeyReused)
    assert "the answer" not in str(raised)
    assert raised.code == "idempotency_key_reused"


def test_shown_by_returns_the_committed_entity_and_refuses_other_results() -> None:
    alice = User(id=1, name="Alice", created_at=NOW, updated_at=NOW, version=1)
    assert shown_by(Committed(alice, 1)) == ("user", 1)
    for other in (None, (alice, True), "alice"):
        with pytest.raises(TypeError, match="idempotency key"):
            shown_by(Committed(other, 1))


def test_committed_has_no_change_by_default() -> None:
    assert Committed("result").seq is None


def test_answers_are_stored_for_a_day() -> None:
    assert timedelta(hours=24) == REMEMBERED_FOR


def test_a_second_request_with_the_same_key_is_refused_while_the_first_one_runs() -> None:
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


def test_keys_of_different_actors_are_independent() -> None:
    keys = InFlightKeys()
    other = IdempotencyKey("k2", "this request", repr)
    with keys.claim("alice", KEY), keys.claim("bob", KEY), keys.claim("alice", other), pytest.raises(InFlight):
        keys.claim("bob", KEY).__enter__()


def test_requests_without_a_key_are_independent() -> None:
    keys = InFlightKeys()
    with keys.claim("alice", None), keys.claim("alice", None), keys.claim("alice", KEY):
        """No claim refuses another."""
