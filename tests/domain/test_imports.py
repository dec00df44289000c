"""The options of an import."""

import pytest

from domain.imports import Counts, Done, Outcome, Share


@pytest.mark.parametrize(("share", "of_200"), [(Share(10, is_percent=True), 20), (Share(10, is_percent=False), 10)])
def test_a_share_is_a_percentage_or_a_number(share: Share, of_200: int) -> None:
    assert share.of(200) == of_200


def test_a_share_is_rounded_down() -> None:
    assert Share(10, is_percent=True).of(19) == 1


@pytest.mark.parametrize(
    ("share", "text"),
    [(Share(10, is_percent=True), "10 %"), (Share(2.5, is_percent=True), "2.5 %"), (Share(10, is_percent=False), "10")],
)
def test_a_share_is_shown_as_a_percentage_or_a_number(share: Share, text: str) -> None:
    assert str(share) == text


def test_rows_that_an_earlier_run_stored_are_counted_by_their_result_and_apart() -> None:
    outcomes = [
        Outcome(line=1, done=Done.CREATED),
        Outcome(line=2, done=Done.REJECTED),
        Outcome(line=None, done=Done.DELETED),
    ]
    first = Counts().plus(outcomes)
    assert first == Counts(rows=2, created=1, rejected=1, deleted=1)
    assert first.plus(outcomes, again=True) == Counts(rows=4, created=2, rejected=2, deleted=2, again=2)
