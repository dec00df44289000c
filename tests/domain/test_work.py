"""The last change that a request has seen."""

import pytest

from domain.work import RequestContext


@pytest.mark.parametrize(("before", "seq", "after"), [(None, 5, None), (0, 5, 5), (7, 5, 7), (5, 5, 5)])
def test_a_request_can_require_a_replica_with_a_newer_change(before: int | None, seq: int, after: int | None) -> None:
    context = RequestContext(actor="tester", request_id="r1", min_seq=before)
    context.require_seq(seq)
    assert context.min_seq == after
