"""The lines and bars of the first page."""

from datetime import UTC, datetime

from api.console.figures import (
    ACTION_FILLS,
    actions_by_day,
    active,
    bars_of,
    days_until,
    in_all,
    line_of,
    points,
    statuses_by_minute,
    steps_of,
)
from domain.changes import Action, Tally

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
DAYS = ["2026-03-01", "2026-03-02", "2026-03-03"]


def tally(day: int, action: Action, changes: int = 1, *, before: str | None = None, after: str | None = None) -> Tally:
    return Tally(f"2026-03-{day:02}", "user", action, before, after, changes)


def test_the_last_day_is_today() -> None:
    assert days_until(NOW, 3) == DAYS


def test_a_line_is_computed_backwards_from_the_current_count() -> None:
    tallies = [tally(2, Action.CREATED, 5), tally(3, Action.DELETED, 2), tally(3, Action.UPDATED, 9)]
    assert line_of(7, steps_of(tallies, in_all("user")), DAYS) == points([4, 9, 7])
    assert line_of(7, steps_of(tallies, in_all("group")), DAYS) == points([7, 7, 7])


def test_suspensions_lower_the_number_of_active_users() -> None:
    tallies = [
        tally(2, Action.CREATED, 3, after="active"),
        tally(2, Action.CREATED, 1, after="suspended"),
        tally(3, Action.UPDATED, 2, before="active", after="suspended"),
        tally(3, Action.UPDATED, 4),
    ]
    assert steps_of(tallies, active) == {"2026-03-02": 3, "2026-03-03": -2}


def test_a_line_fills_its_box_and_a_constant_one_is_at_the_bottom() -> None:
    assert points([0, 10]) == "0.0,25.0 100.0,1.0"
    assert points([3, 3]) == "0.0,25.0 100.0,25.0"
    assert points([3]) == "0.0,25.0"


def test_the_highest_bar_has_the_full_height_and_its_parts_are_stacked() -> None:
    counts = actions_by_day(
        [tally(3, Action.CREATED, 3), tally(3, Action.DELETED, 1), tally(2, Action.CREATED, 2)], NOW
    )
    *_, yesterday, today = bars_of(counts, ACTION_FILLS, 100)
    assert (today.label, today.total) == ("2026-03-03", 4)
    assert [(each.name, each.top, each.height) for each in today.parts] == [("3 created", 25, 75), ("1 deleted", 0, 25)]
    assert [(each.top, each.height) for each in yesterday.parts] == [(50, 50)]
    assert bars_of({"0": {}}, ACTION_FILLS, 100)[0].parts == []


def test_minutes_are_labelled_by_their_age() -> None:
    assert statuses_by_minute([[0, 0, 3, 0, 0, 0], [0, 0, 0, 0, 1, 0]]) == {
        "1": {"0xx": 0, "1xx": 0, "2xx": 3, "3xx": 0, "4xx": 0, "5xx": 0},
        "0": {"0xx": 0, "1xx": 0, "2xx": 0, "3xx": 0, "4xx": 1, "5xx": 0},
    }
