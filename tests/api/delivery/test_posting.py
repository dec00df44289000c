"""The sending process: it starts when it is needed, is replaced when it ends, and ends with the server."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.api.delivery.conftest import NO_CONTENT, Receiver, receiving

from api.delivery import posting
from api.delivery.posting import NO_PROCESS, Posting

pytestmark = [pytest.mark.heavy, pytest.mark.bound(60)]
"""Each test starts a sending process, which most of them kill or freeze."""


@pytest.fixture
async def post() -> AsyncIterator[Posting]:
    post = Posting(allow_private=True)
    yield post
    await post.close()


class Hesitant:
    """Answers when a test lets it. It counts the received messages, and those whose sender has gone."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.got = 0
        self.gone = 0
        self.news = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"{}")
            self.got += 1
            self.news.set()
            ended = asyncio.ensure_future(reader.read())
            answers = asyncio.ensure_future(self.may_answer.wait())
            await asyncio.wait([ended, answers], return_when=asyncio.FIRST_COMPLETED)
            if self.may_answer.is_set():
                writer.write(NO_CONTENT)
            else:
                self.gone += 1
                self.news.set()
            answers.cancel()
            await ended
        writer.close()

    async def until(self, *, got: int, gone: int = 0) -> None:
        while (self.got, self.gone) != (got, gone):
            self.news.clear()
            await self.news.wait()


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


def pid_of(post: Posting) -> int:
    assert post.pid is not None
    return post.pid


def environment_of(pid: int) -> bytes:
    file = Path(f"/proc/{pid}/environ")
    if not file.exists():
        pytest.skip("only Linux shows the environment of a process")
    return file.read_bytes()


async def test_a_process_is_started_with_the_first_message_and_sends_all(receiver: Receiver, post: Posting) -> None:
    assert post.pid is None
    answers = await asyncio.gather(
        *[post(receiver.url, {"webhook-id": f"m{n}"}, b'{"a":"\xc3\xa4"}') for n in range(40)]
    )
    assert [(answer.status, answer.error) for answer in answers] == [(204, None)] * 40
    assert receiver.bodies == [b'{"a":"\xc3\xa4"}'] * 40
    pid = pid_of(post)
    assert (await post(receiver.url, {}, b"{}")).status == 204
    assert pid_of(post) == pid


async def test_the_whole_answer_is_returned(receiver: Receiver, post: Posting) -> None:
    receiver.answer = b"HTTP/1.1 503 Later\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\na\x00b\xffc"
    answer = await post(receiver.url, {}, b"{}")
    assert (answer.status, answer.retry_after, answer.beginning) == (503, "7", "a\ufffdb\ufffdc")


async def test_messages_of_a_killed_process_are_sent_by_another(post: Posting) -> None:
    hesitant = Hesitant()
    async with receiving(hesitant.handle) as port:
        answers = [asyncio.ensure_future(post(url(port), {}, b"{}")) for _ in range(3)]
        await hesitant.until(got=3)
        killed = pid_of(post)
        os.kill(killed, signal.SIGKILL)
        await hesitant.until(got=6, gone=3)
        hesitant.may_answer.set()
        assert [(await answer).status for answer in answers] == [204] * 3
        assert pid_of(post) != killed


async def test_a_frozen_sending_process_is_replaced(
    post: Posting, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await post(receiver.url, {}, b"{}")).status == 204
    await asyncio.sleep(0)  # nothing is owed any more, so that the next message sets the time
    frozen = pid_of(post)
    os.kill(frozen, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(posting, "ANSWERS_WITHIN_S", 0.1)
        first = asyncio.ensure_future(post(receiver.url, {}, b"{}"))
        await asyncio.sleep(0)  # its time is set
    assert (await first).status == 204
    assert pid_of(post) != frozen


async def test_cancelling_the_task_cancels_its_message(post: Posting) -> None:
    hesitant = Hesitant()
    async with receiving(hesitant.handle) as port:
        answer = asyncio.ensure_future(post(url(port), {}, b"{}"))
        await hesitant.until(got=1)
        answer.cancel()
        await hesitant.until(got=1, gone=1)
        hesitant.may_answer.set()
        assert (await post(url(port), {}, b"{}")).status == 204


async def test_signals_that_reach_every_process_do_not_end_it(post: Posting, receiver: Receiver) -> None:
    assert (await post(receiver.url, {}, b"{}")).status == 204
    pid = pid_of(post)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert (await post(receiver.url, {}, b"{}")).status == 204
    assert pid_of(post) == pid


async def test_the_sending_process_has_no_settings_of_the_server(
    post: Posting, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROSTER_BOOTSTRAP_KEY", "a secret")
    assert (await post(receiver.url, {}, b"{}")).status == 204
    environment = environment_of(pid_of(post))
    assert b"PATH=" in environment
    assert b"ROSTER_" not in environment


async def test_private_addresses_are_refused_in_the_sending_process(receiver: Receiver) -> None:
    post = Posting(allow_private=False)
    refused = await post(receiver.url.replace("http:", "https:"), {}, b"{}")
    await post.close()
    assert refused.error == "The host has an address that is not public."
    assert receiver.connections == 0


async def test_close_ends_the_process_and_the_next_message_starts_another(receiver: Receiver, post: Posting) -> None:
    await post.close()
    assert (await post(receiver.url, {}, b"{}")).status == 204
    pid = pid_of(post)
    await post.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (await post(receiver.url, {}, b"{}")).status == 204


async def test_a_sending_process_that_keeps_ending_is_reported_as_the_answer(
    post: Posting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    answer = await post("http://127.0.0.1:1/", {}, b"{}")
    assert (answer.status, answer.error) == (None, NO_PROCESS)


async def test_a_sending_process_that_cannot_be_started_is_reported_as_the_answer(
    post: Posting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/file")
    answer = await post("http://127.0.0.1:1/", {}, b"{}")
    assert (answer.status, answer.error) == (None, NO_PROCESS)
