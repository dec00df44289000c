from argparse import ArgumentTypeError
from collections import Counter

import pytest
from bench.operations import OPERATIONS, clients_compared, turns
from bench.options import several


def test_contenders_of_a_ratio_are_measured_in_every_round() -> None:
    times = Counter((turn.operation, turn.clients) for turn in turns(["get", "create"], 5))
    assert [times[each, clients_compared(each)] for each in ("get", "create")] == [5, 5]
    assert times["get", 1] == times["get", 64] == 3


def test_reads_come_before_writes() -> None:
    in_order = dict.fromkeys(turn.operation for turn in turns(["mixed", "create", "list", "get"], 2))
    assert list(in_order) == list(OPERATIONS)


def test_some_contenders_can_be_chosen() -> None:
    read = several(["floor", "tutorial", "roster"])
    assert read("roster,floor") == ["floor", "roster"]
    with pytest.raises(ArgumentTypeError, match="there is no flask"):
        read("flask")
