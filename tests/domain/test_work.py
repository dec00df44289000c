"""What a request has seen."""

import pytest

from domain.work import RequestContext


@pytest.mark.parametrize(("before", "seq", "after"), [(None, 5, None), (0, 5, 5), (7, 5, 7), (5, 5, 5)])
def test_a_request_that_may_use_replicas_reads_only_what_is_new_enough(
    before: int | None, seq: int, after: int | None
) -> None:
    context = RequestContext(actor="tester", request_id="r1", min_seq=before)
    context.require_seq(seq)
    assert context.min_seq == after
