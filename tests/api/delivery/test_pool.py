"""Connections to receivers are kept for the next message, but only if it is certain what comes next on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import pytest
from tests.api.delivery.conftest import NO_CONTENT, posting, receiving

from api.delivery import pool
from api.delivery.connection import NotAnswered

Outcome = tuple[int | None, str | None]
Send = Callable[[bytes], Awaitable[Outcome]]


class Reply(NamedTuple):
    """What a receiver does with a request: it writes, and then it may close the connection."""

    text: bytes = b""
    closes: bool = False


OK: Final = Reply(NO_CONTENT)
OK_AND_CLOSE: Final = Reply(NO_CONTENT, closes=True)
CLOSE: Final = Reply(closes=True)

DELIVERED: Final = (204, None)
UNANSWERED: Final = (None, str(NotAnswered()))


class Scripted:
    """Replies to the requests of each connection by a script."""

    def __init__(self, *scripts: Sequence[Reply]) -> None:
        self._scripts = iter(scripts)
        self._come = asyncio.Semaphore(0)
        self._closed = asyncio.Semaphore(0)
        self.bodies: list[list[bytes]] = []
        """For each connection the bodies that have come. They have one byte each."""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies: list[bytes] = []
        self.bodies.append(bodies)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            for reply in next(self._scripts):
                await reader.readuntil(b"\r\n\r\n")
                bodies.append(await reader.readexactly(1))
                self._come.release()
                writer.write(reply.text)
                if reply.closes:
                    break
            else:
                await reader.read()
        writer.close()
        self._closed.release()

    async def one_has_come(self) -> None:
        await self._come.acquire()

    async def one_is_closed(self) -> None:
        await self._closed.acquire()
        await asyncio.sleep(0.01)  # until the sender knows it, which is likely, not certain


@asynccontextmanager
async def sending_to(receiver: Scripted) -> AsyncIterator[Send]:
    async with asyncio.timeout(30), receiving(receiver.handle) as port, posting() as post:

        async def send(body: bytes) -> Outcome:
            answer = await post(f"http://127.0.0.1:{port}/", {}, body)
            return answer.status, answer.error

        yield send


async def test_a_connection_carries_one_message_after_the_other() -> None:
    receiver = Scripted([OK, OK, OK])
    async with sending_to(receiver) as send:
        assert [await send(b"1"), await send(b"2"), await send(b"3")] == [DELIVERED] * 3
    assert receiver.bodies == [[b"1", b"2", b"3"]]


async def test_messages_at_the_same_time_have_a_connection_each() -> None:
    receiver = Scripted([OK], [OK], [OK])
    async with sending_to(receiver) as send:
        assert list(await asyncio.gather(send(b"1"), send(b"2"), send(b"3"))) == [DELIVERED] * 3
    assert sorted(receiver.bodies) == [[b"1"], [b"2"], [b"3"]]


async def test_a_message_on_a_connection_that_closes_at_that_moment_is_sent_on_a_new_one() -> None:
    receiver = Scripted([OK, CLOSE], [OK, OK])
    async with sending_to(receiver) as send:
        assert [await send(b"1"), await send(b"2"), await send(b"3")] == [DELIVERED] * 3
    assert receiver.bodies == [[b"1", b"2"], [b"2", b"3"]]


async def test_a_message_is_sent_at_most_twice() -> None:
    receiver = Scripted([OK, CLOSE], [CLOSE])
    async with sending_to(receiver) as send:
        assert [await send(b"1"), await send(b"2")] == [DELIVERED, UNANSWERED]
    assert receiver.bodies == [[b"1", b"2"], [b"2"]]


async def test_a_receiver_that_closes_a_new_connection_without_an_answer_has_failed() -> None:
    receiver = Scripted([CLOSE])
    async with sending_to(receiver) as send:
        assert await send(b"1") == UNANSWERED
    assert receiver.bodies == [[b"1"]]


async def test_a_message_whose_answer_has_begun_is_not_sent_a_second_time() -> None:
    receiver = Scripted([OK, Reply(b"HTTP/1.1 2", closes=True)])
    async with sending_to(receiver) as send:
        assert await send(b"1") == DELIVERED
        status, error = await send(b"2")
    assert status is None
    assert error != str(NotAnswered())
    assert receiver.bodies == [[b"1", b"2"]]


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    receiver = Scripted([OK_AND_CLOSE], [OK])
    async with sending_to(receiver) as send:
        assert await send(b"1") == DELIVERED
        await receiver.one_is_closed()
        assert await send(b"2") == DELIVERED
    assert receiver.bodies == [[b"1"], [b"2"]]


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 204 No Content\r\n\r\n",
        NO_CONTENT + NO_CONTENT,  # an answer that nobody has asked for must not become that to the next message
        NO_CONTENT + b"x",
    ],
)
async def test_a_connection_is_not_used_again_after(last: bytes) -> None:
    receiver = Scripted([Reply(last)], [OK])
    async with sending_to(receiver) as send:
        assert [await send(b"1"), await send(b"2")] == [DELIVERED] * 2
    assert receiver.bodies == [[b"1"], [b"2"]]


async def test_an_answer_that_comes_between_two_messages_closes_the_connection() -> None:
    written = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n1")
        writer.write(NO_CONTENT)
        await asyncio.sleep(0.01)
        writer.write(NO_CONTENT)
        assert await reader.read() == b""
        writer.close()
        written.set()

    async with asyncio.timeout(30), receiving(talk) as port, posting() as post:
        assert (await post(f"http://127.0.0.1:{port}/", {}, b"1")).status == 204
        await written.wait()


async def test_a_connection_that_is_not_used_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_S", 0.01)
    receiver = Scripted([OK], [OK])
    async with sending_to(receiver) as send:
        assert list(await asyncio.gather(send(b"1"), send(b"2"))) == [DELIVERED] * 2
        await receiver.one_is_closed()
        await receiver.one_is_closed()


async def test_the_number_of_kept_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_IDLE", 1)
    receiver = Scripted([OK, OK], [OK, OK])
    async with sending_to(receiver) as send:
        assert list(await asyncio.gather(send(b"1"), send(b"1"))) == [DELIVERED] * 2
        await receiver.one_is_closed()
        assert await send(b"2") == DELIVERED
    assert sorted(receiver.bodies) == [[b"1"], [b"1", b"2"]]


async def test_the_number_of_messages_being_sent_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "AT_ONCE", 2)
    receiver = Scripted(*[[OK] * 6] * 2)
    async with sending_to(receiver) as send:
        assert list(await asyncio.gather(*[send(b"1") for _ in range(6)])) == [DELIVERED] * 6
    assert len(receiver.bodies) == 2


async def test_a_cancelled_message_closes_its_connection() -> None:
    receiver = Scripted([Reply()], [OK])
    async with sending_to(receiver) as send:
        cancelled = asyncio.ensure_future(send(b"1"))
        await receiver.one_has_come()
        cancelled.cancel()
        await receiver.one_is_closed()
        assert await send(b"2") == DELIVERED
    assert receiver.bodies == [[b"1"], [b"2"]]
