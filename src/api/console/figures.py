"""The figures of the first page: the numbers of people and groups, their development, and the changes of each day."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.changes import Action, Tally
from domain.users import Status

DAYS: Final = 30
BARS: Final = 14
WIDTH: Final = 100
HEIGHT: Final = 24

ACTION_FILLS: Final[Mapping[str, int]] = {action: number for number, action in enumerate(Action, 1)}
STATUS_FILLS: Final[Mapping[str, int]] = {"2xx": 1, "3xx": 2, "4xx": 5, "5xx": 3, "0xx": 6}
"""The number of a colour for each class of status. 0xx are requests that got no answer."""

STEPS: Final[Mapping[Action, int]] = {
    Action.CREATED: 1, Action.RESTORED: 1, Action.DELETED: -1, Action.ENDED: -1,
}  # fmt: skip
"""The effect of an action on the number of entities. An erasure counts as none, because most erased entities were
deleted before."""


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    count: int
    line: str
    """The points of a line: the count on each of the last days."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: what it counts, the number of its colour, its distance from the top, and its height."""

    name: str
    fill: int
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The counts of a day or a minute, in parts from bottom to top."""

    label: str
    total: int
    parts: Sequence[Segment]


def days_until(now: datetime, many: int = DAYS) -> list[str]:
    return [f"{now - timedelta(days=back):%Y-%m-%d}" for back in range(many - 1, -1, -1)]


def line_of(count: int, steps: Mapping[str, int], days: Sequence[str]) -> str:
    """The points of a line, computed backwards from the present count."""
    values = [count]
    for day in reversed(days[1:]):
        values.append(values[-1] - steps.get(day, 0))
    return points(values[::-1])


def points(values: Sequence[float]) -> str:
    least, most = min(values), max(values)
    height = HEIGHT / (most - least) if most > least else 0
    step = WIDTH / max(1, len(values) - 1)
    return " ".join(f"{n * step:.1f},{HEIGHT - (value - least) * height + 1:.1f}" for n, value in enumerate(values))


def steps_of(tallies: Iterable[Tally], step: Callable[[Tally], int]) -> Counter[str]:
    """The effect of these changes on the count, for each day."""
    steps: Counter[str] = Counter()
    for tally in tallies:
        steps[tally.day] += step(tally) * tally.changes
    return steps


def in_all(kind: str) -> Callable[[Tally], int]:
    return lambda tally: STEPS.get(tally.action, 0) if tally.kind == kind else 0


def active(tally: Tally) -> int:
    if tally.kind != "user":
        return 0
    if tally.action is Action.UPDATED:
        return (tally.after == Status.ACTIVE) - (tally.before == Status.ACTIVE)
    return 0 if tally.after == Status.SUSPENDED else STEPS.get(tally.action, 0)


def created(tally: Tally) -> int:
    return int(tally.kind == "user" and tally.action is Action.CREATED)


def bars_of(counts: Mapping[str, Mapping[str, int]], fills: Mapping[str, int], height: float) -> Sequence[Bar]:
    """A bar for each label. The bar with the highest count has the full height."""
    most = max((sum(each.values()) for each in counts.values()), default=0)
    scale = height / max(1, most)
    return [Bar(label, sum(each.values()), parts_of(each, fills, scale, height)) for label, each in counts.items()]


def parts_of(counts: Mapping[str, int], fills: Mapping[str, int], scale: float, height: float) -> Sequence[Segment]:
    parts, top = [], height
    for name, fill in fills.items():
        if count := counts.get(name, 0):
            top -= count * scale
            parts.append(Segment(f"{count:,} {name}", fill, top, count * scale))
    return parts


def actions_by_day(tallies: Iterable[Tally], now: datetime) -> Mapping[str, Mapping[str, int]]:
    counts: dict[str, Counter[str]] = {day: Counter() for day in days_until(now, BARS)}
    for tally in tallies:
        if tally.day in counts:
            counts[tally.day][tally.action] += tally.changes
    return counts


def statuses_by_minute(minutes: Sequence[Sequence[int]]) -> Mapping[str, Mapping[str, int]]:
    """The numbers of requests by the class of the status, for each number of minutes ago."""
    ago = range(len(minutes) - 1, -1, -1)
    return {
        str(each): {f"{digit}xx": count for digit, count in enumerate(statuses)}
        for each, statuses in zip(ago, minutes, strict=True)
    }
