"""Where ids and changes continue after a restore."""

from datetime import timedelta

from domain.epochs import MARGIN, ZERO, start_of_epoch


def test_an_epoch_begins_at_the_milliseconds_since_2020() -> None:
    assert start_of_epoch(5, ZERO + timedelta(days=1, milliseconds=MARGIN)) == 86_400_000 + MARGIN


def test_an_epoch_begins_beyond_the_highest_number_even_if_the_clock_is_wrong() -> None:
    assert start_of_epoch(5, ZERO - timedelta(days=1)) == 5 + MARGIN
    assert start_of_epoch(9_000_000, ZERO + timedelta(milliseconds=9_999_999)) == 9_000_000 + MARGIN
