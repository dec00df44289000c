"""What a secret looks like, and the rules of keys."""

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.keys import (
    DIGITS,
    RANDOM_LENGTH,
    Digest,
    Forbidden,
    Key,
    NewKey,
    Scope,
    digest_of,
    held_in_scim,
    id_in,
    require_scopes,
    write_secret,
)
from domain.values import MAX_ID

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

ids = st.integers(1, MAX_ID)
randoms = st.text(DIGITS, min_size=RANDOM_LENGTH, max_size=RANDOM_LENGTH)
secrets = st.builds(write_secret, ids, randoms)


@given(id=ids, random=randoms)
def test_id_in_returns_the_id_of_a_written_secret(id: int, random: str) -> None:
    secret = write_secret(id, random)

    assert id_in(secret) == id
    assert re.fullmatch(rf"rk_{id}_{random}[0-9A-Za-z]{{6}}", secret)


@given(secret=secrets, place=st.integers(0), character=st.one_of(st.sampled_from(DIGITS + "_-"), st.characters()))
def test_a_secret_with_one_changed_character_is_not_accepted(secret: str, place: int, character: str) -> None:
    place %= len(secret)
    changed = secret[:place] + character + secret[place + 1 :]

    assert id_in(changed) is None or changed == secret


@pytest.mark.parametrize("secret", [write_secret(1, "a" * RANDOM_LENGTH), write_secret(MAX_ID, "Zz9" * 10 + "00")])
def test_changing_any_single_digit_makes_a_secret_invalid(secret: str) -> None:
    changed = [secret[:place] + digit + secret[place + 1 :] for place in range(len(secret)) for digit in DIGITS]

    assert {id_in(each) for each in changed if each != secret} == {None}


@given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1")), st.from_regex(r"rk_\d+_\w+")))
def test_a_text_that_is_not_a_secret_has_no_id(text: str) -> None:
    assert id_in(text) is None


@pytest.mark.parametrize("id", ["0", "01", "-1", "1.0", "", "９", str(MAX_ID + 1), "9" * 40])  # noqa: RUF001
def test_a_secret_with_an_invalid_id_is_not_accepted(id: str) -> None:
    secret = write_secret(0, "a" * RANDOM_LENGTH).replace("rk_0_", f"rk_{id}_")
    assert id_in(secret) is None


@given(secrets)
def test_a_secret_with_blanks_around_it_is_not_accepted(secret: str) -> None:
    assert [id_in(each) for each in (f" {secret}", f"{secret}\n", f"{secret} ", secret.upper())] == [None] * 4


def test_a_secret_cannot_be_guessed() -> None:
    assert len(set(DIGITS)) == len(DIGITS)
    assert RANDOM_LENGTH * math.log2(len(DIGITS)) >= 160


def test_secrets_that_differ_have_digests_that_differ() -> None:
    one, other = (digest_of(write_secret(1, digit * RANDOM_LENGTH)) for digit in "ab")

    assert one != other
    assert len(one) == 32


def test_an_invalid_key_reports_every_fault() -> None:
    with pytest.raises(Invalid) as refused:
        NewKey(name=" ", scopes=())

    assert [fault.pointer for fault in refused.value.faults] == ["/name", "/scopes"]


def test_an_unknown_scope_is_refused_and_not_repeated_in_the_message() -> None:
    with pytest.raises(Invalid) as refused:
        NewKey(name="n", scopes=("users:read", "users:steal"))  # type: ignore[arg-type]

    [fault] = refused.value.faults
    assert (fault.pointer, fault.code) == ("/scopes", "not_allowed")
    assert "steal" not in fault.detail


def test_scopes_are_kept_without_duplicates_in_a_fixed_order() -> None:
    new = NewKey(name="n", scopes=(Scope.USERS_WRITE, Scope.CHANGES_READ, Scope.USERS_WRITE))

    assert new.scopes == (Scope.CHANGES_READ, Scope.USERS_WRITE)
    assert NewKey(name="n", scopes=tuple(Scope)).scopes == tuple(sorted(Scope))


@pytest.mark.parametrize(("seconds", "lawful"), [(-1, False), (0, False), (1, True)])
def test_a_key_expires_in_the_future(seconds: int, lawful: bool) -> None:
    new = NewKey(name="n", scopes=(Scope.USERS_READ,), expires_at=NOON + timedelta(seconds=seconds))

    if lawful:
        new.require_future(NOON)
    else:
        with pytest.raises(Invalid):
            new.require_future(NOON)


def test_a_key_is_valid_until_it_expires_or_is_revoked() -> None:
    key = Key(id=1, name="n", scopes=(Scope.USERS_READ,), created_at=NOON, updated_at=NOON, version=1)
    expiring = replace(key, expires_at=NOON + timedelta(seconds=1))

    assert key.is_valid_at(datetime.max.replace(tzinfo=UTC))
    assert expiring.is_valid_at(NOON)
    assert not expiring.is_valid_at(NOON + timedelta(seconds=1))
    assert not key.revoked(NOON).is_valid_at(NOON)
    assert not expiring.revoked(NOON).is_valid_at(NOON)


def test_a_digest_is_valid_until_its_end() -> None:
    digest = Digest(b"", NOON)

    assert Digest(b"").is_valid_at(NOON)
    assert digest.is_valid_at(NOON - timedelta(seconds=1))
    assert not digest.is_valid_at(NOON)


def test_the_first_scope_that_is_not_held_is_named() -> None:
    with pytest.raises(Forbidden, match="needs the scope users:write") as refused:
        require_scopes([Scope.USERS_READ, Scope.USERS_WRITE, Scope.USERS_READ], {Scope.USERS_READ})

    assert refused.value.detail.endswith(" users:write.")
    require_scopes([Scope.USERS_READ], {Scope.USERS_READ})


@pytest.mark.parametrize("held", [(), [], set()])
def test_a_caller_without_scopes_may_do_nothing(held: list[Scope]) -> None:
    with pytest.raises(Forbidden):
        require_scopes([Scope.USERS_READ], held)


def test_the_scope_scim_adds_only_the_scopes_that_scim_needs() -> None:
    allowed = {Scope.USERS_READ, Scope.USERS_WRITE, Scope.GROUPS_READ, Scope.GROUPS_WRITE}
    assert set(held_in_scim([Scope.SCIM])) - {Scope.SCIM} == allowed
    assert set(held_in_scim([Scope.SCIM, Scope.CHANGES_READ])) - {Scope.SCIM} == {*allowed, Scope.CHANGES_READ}


@pytest.mark.parametrize("held", [[], [Scope.USERS_READ], [each for each in Scope if each is not Scope.SCIM]])
def test_a_key_without_the_scope_scim_has_the_same_scopes_in_scim(held: list[Scope]) -> None:
    assert held_in_scim(held) == held


def test_scopes_of_none_mean_every_scope() -> None:
    require_scopes(Scope, None)


def test_a_key_shows_when_it_was_rotated_and_revoked() -> None:
    key = Key(id=1, name="n", scopes=(Scope.USERS_READ,), created_at=NOON, updated_at=NOON, version=1)

    assert key.rotated(NOON) == replace(key, rotated_at=NOON)
    assert key.revoked(NOON) == replace(key, revoked_at=NOON)
    assert key.revoked(NOON).is_hidden
    assert not key.rotated(NOON).is_hidden
    assert (key.expires_at, key.last_used_at) == (None, None)


def test_the_refusal_of_unknown_scopes_counts_them_and_names_the_valid_ones() -> None:
    with pytest.raises(Invalid) as refused:
        NewKey(name="n", scopes=("users:read", "x", "y", "y"))  # type: ignore[arg-type]

    [fault] = refused.value.faults
    assert "2 of these are unknown" in fault.detail
    assert all(scope in fault.detail for scope in Scope)


def test_a_key_may_expire_at_any_time_or_never() -> None:
    never = NewKey(name="n", scopes=(Scope.USERS_READ,))

    never.require_future(NOON)
    assert never.expires_at is None
    assert NewKey(name="n", scopes=(Scope.USERS_READ,), expires_at=NOON).expires_at == NOON


def test_an_expiry_in_the_past_is_refused_with_its_pointer() -> None:
    with pytest.raises(Invalid) as refused:
        NewKey(name="n", scopes=(Scope.USERS_READ,), expires_at=NOON).require_future(NOON)

    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [("/expires_at", "out_of_range")]


@pytest.mark.parametrize(("digit", "checksum"), [("a", "0m7BBz"), ("0", "1Aoxm0")])
def test_the_form_of_secrets_does_not_change(digit: str, checksum: str) -> None:
    """Scanners for lost secrets rely on it, and the secrets that are in use."""
    assert write_secret(1, digit * RANDOM_LENGTH) == f"rk_1_{digit * RANDOM_LENGTH}{checksum}"
