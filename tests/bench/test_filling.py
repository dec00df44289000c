from datetime import UTC, datetime

from bench.filling import COLUMNS, as_text, created_at, email_of, name_of, rows

from domain.values import fold

MANY = 20_000


def test_generated_names_and_addresses_are_unique() -> None:
    assert len({name_of(number) for number in range(1, MANY)}) == len({email_of(n) for n in range(1, MANY)}) == MANY - 1


def test_keys_are_folded_as_the_directory_folds_them() -> None:
    for values in rows(100):
        user = dict(zip(COLUMNS, values, strict=True))
        assert (user["name_key"], user["email_key"]) == (fold(user["name"]), fold(user["email"]))


def test_times_are_spread_in_the_order_of_ids() -> None:
    times = [created_at(number, 1000) for number in range(1, 1001)]
    assert times == sorted(set(times))
    assert (times[0].year, times[-1].year) == (2024, 2025)


def test_times_in_sqlite_are_text_of_one_width() -> None:
    assert as_text((1, datetime(2026, 1, 1, tzinfo=UTC))) == (1, "2026-01-01T00:00:00.000000+00:00")
