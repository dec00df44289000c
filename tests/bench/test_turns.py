from argparse import ArgumentTypeError
from collections import Counter

import pytest
from bench.operations import OPERATIONS, clients_compared, turns
from bench.options import several


def test_what_ratios_are_taken_of_is_measured_in_every_round() -> None:
    times = Counter((turn.operation, turn.clients) for turn in turns(["get", "create"], 5))
    assert [times[each, clients_compared(each)] for each in ("get", "create")] == [5, 5]
    assert times["get", 1] == times["get", 64] == 3


def test_reads_come_before_writes() -> None:
    in_order = dict.fromkeys(turn.operation for turn in turns(["mixed", "create", "list", "get"], 2))
    assert list(in_order) == list(OPERATIONS)


def test_one_can_ask_for_some() -> None:
    read = several(["floor", "tutorial", "roster"])
    assert read("roster,floor") == ["floor", "roster"]
    with pytest.raises(ArgumentTypeError, match="there is no flask"):
        read("flask")
