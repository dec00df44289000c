"""What the sending process does with messages, without a process."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from api.delivery.process import Messages
from domain.delivery.deliveries import Answer


class Steps:
    """Notes what happens: posts, answers, and when other processes may run."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.answered = asyncio.Event()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.taken.append(f"post {body.decode()} to {url} with {dict(headers)}")
        return Answer(milliseconds=7, status=204)

    def put(self, number: int, *answer: object) -> None:
        self.taken.append(f"answer {number} {answer}")
        self.answered.set()

    def give_way(self) -> None:
        self.taken.append("give way")


async def test_other_processes_may_run_before_each_message_and_after_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: Any = Steps()
    monkeypatch.setattr("os.sched_yield", steps.give_way)

    Messages(steps.post, steps).begin(3, "http://a.example/", {"webhook-id": "m"}, "{}")
    await steps.answered.wait()

    assert steps.taken == [
        "give way",
        "post {} to http://a.example/ with {'webhook-id': 'm'}",
        "give way",
        "answer 3 (7, 204, '', None, None)",
    ]
