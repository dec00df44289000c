"""The requests of the last hour."""

import pytest
from tests.conftest import MovedTime

from api.monitoring.hour import LastHour


@pytest.fixture
def hour(time: MovedTime) -> LastHour:
    return LastHour(time.monotonic)


def test_requests_are_counted_by_minute_and_status_and_forgotten_after_an_hour(time: MovedTime, hour: LastHour) -> None:
    hour.ended("get_user", 200, 0.001)
    hour.ended("get_user", 404, 0.001)
    time.pass_by(60)
    hour.ended("get_user", 0, 0.001)
    assert list(hour.per_minute()[-2:]) == [[0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0]]
    assert len(hour.per_minute()) == 60
    time.pass_by(59 * 60)
    assert sum(map(sum, hour.per_minute())) == 1
    time.pass_by(60)
    assert sum(map(sum, hour.per_minute())) == 0
    assert hour.p95_s() is None


def test_a_minute_is_reset_after_an_hour(time: MovedTime, hour: LastHour) -> None:
    hour.ended("get_user", 200, 5)
    time.pass_by(60 * 60)
    hour.ended("get_user", 200, 0.001)
    assert sum(map(sum, hour.per_minute())) == 1
    assert (hour.p95_s() or 0) < 0.002


def test_the_95th_percentile_is_at_most_a_quarter_too_high(hour: LastHour) -> None:
    for _ in range(95):
        hour.ended("get_user", 200, 0.010)
    for _ in range(5):
        hour.ended("get_user", 200, 3)
    assert 0.010 <= (hour.p95_s() or 0) <= 0.0125
    hour.ended("get_user", 200, 3)
    assert 3 <= (hour.p95_s() or 0) <= 3.75


def test_waits_for_changes_count_as_requests_but_not_as_slow_ones(hour: LastHour) -> None:
    hour.ended("get_user", 200, 0.001)
    for _ in range(50):
        hour.ended("console_new_changes", 200, 25)
    assert sum(map(sum, hour.per_minute())) == 51
    assert (hour.p95_s() or 0) < 0.002


def test_very_slow_requests_are_counted(hour: LastHour) -> None:
    hour.ended("get_user", 200, 1000)
    assert (hour.p95_s() or 0) > 20
