"""How one message is sent: the request, the answer, and the time-outs."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

import pytest
import trustme
from tests.api.delivery.conftest import NO_CONTENT, Receiver, posting, receiving

from api.delivery import poster
from api.delivery.connection import MAX_READ
from domain.delivery.deliveries import Answer, Verdict


async def here(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def test_the_body_is_posted_with_its_headers_and_the_connection_is_kept(receiver: Receiver) -> None:
    async with posting() as post:
        for number in (1, 2):
            answer = await post(receiver.url, {"webhook-id": f"msg_{number}"}, b'{"a":1}')
            assert (answer.status, answer.text, answer.error) == (204, "", None)
            assert answer.milliseconds >= 0
    assert receiver.connections == 1
    assert receiver.bodies == [b'{"a":1}'] * 2
    line, *headers = receiver.heads[0].decode().lower().strip().split("\r\n")
    assert line == "post /hooks?a=b http/1.1"
    sent = dict(header.split(": ", 1) for header in headers)
    assert sent.pop("user-agent").startswith("roster/")
    assert sent == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/json",
        "content-length": "7",
        "accept-encoding": "identity",
        "webhook-id": "msg_1",
    }


async def test_the_name_is_used_for_tls_and_host_and_the_certificate_is_checked() -> None:
    authority = trustme.CA()
    names: list[str | None] = []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.sni_callback = lambda _, name, __: names.append(name)
    authority.issue_cert("hooks.example").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    receiver = Receiver()
    async with receiving(receiver.handle, serving) as port:
        async with posting(allow_http=False, resolve=here, tls=trusting) as post:
            answer = await post(f"https://hooks.example:{port}/", {}, b"{}")
            wrong = await post(f"https://other.example:{port}/", {}, b"{}")
        async with posting(allow_http=False, resolve=here) as post:
            untrusted = await post(f"https://hooks.example:{port}/", {}, b"{}")
    assert answer.status == 204
    assert names == ["hooks.example", "other.example", "hooks.example"]
    assert f"host: hooks.example:{port}" in receiver.heads[0].decode().lower()
    assert [each.status for each in (wrong, untrusted)] == [None, None]
    assert "certificate" in (untrusted.error or "").lower()
    assert len(receiver.heads) == 1


async def test_no_redirect_is_followed(receiver: Receiver) -> None:
    receiver.answer = f"HTTP/1.1 307 X\r\nLocation: {receiver.url}\r\nContent-Length: 0\r\n\r\n".encode()
    async with posting() as post:
        answer = await post(receiver.url, {}, b"{}")
    assert (answer.status, answer.verdict, len(receiver.heads)) == (307, Verdict.FAILED, 1)


async def test_the_beginning_of_an_answer_and_retry_after_are_read(receiver: Receiver) -> None:
    receiver.answer = b"HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nno\xff"
    async with posting() as post:
        answer = await post(receiver.url, {}, b"{}")
    assert (answer.status, answer.retry_after, answer.text) == (503, "7", "no\ufffd")


class Endless:
    """Begins an answer that never ends."""

    def __init__(self, begin: bytes, more: bytes) -> None:
        self._begin = begin
        self._more = more
        self.written = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._begin)
        with suppress(ConnectionError):
            while True:
                writer.write(self._more)
                await writer.drain()
                self.written += len(self._more)

    async def answer(self) -> Answer:
        async with receiving(self.handle) as port, posting() as post:
            answer = await post(f"http://127.0.0.1:{port}/", {}, b"{}")
        assert self.written < 16 * 1024 * 1024  # what the sockets between them hold
        return answer


CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 4096),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"a" * 4096),
        (CHUNKED, b"1000\r\n" + b"a" * 4096 + b"\r\n"),
    ],
)
async def test_an_endless_body_is_read_up_to_64_kib(begin: bytes, more: bytes) -> None:
    answer = await Endless(begin, more).answer()
    assert (answer.status, len(answer.text)) == (200, MAX_READ)


async def test_an_endless_body_with_more_around_it_than_in_it_is_read_up_to_a_bound() -> None:
    answer = await Endless(CHUNKED, b"1;" + b"x" * 4096 + b"\r\na\r\n").answer()
    assert (answer.status, set(answer.text)) == (200, {"a"})
    assert len(answer.text) < 100


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 4096 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 4096),
        (b"", b"HTTP/1.1 103 Early Hints\r\nX: " + b"a" * 4096 + b"\r\n\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_an_endless_head_is_an_error(begin: bytes, more: bytes) -> None:
    answer = await Endless(begin, more).answer()
    assert answer.status is None
    assert "too long" in (answer.error or "")


async def test_interim_answers_are_ignored(receiver: Receiver) -> None:
    receiver.answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" + NO_CONTENT
    async with posting() as post:
        assert [(await post(receiver.url, {}, b"{}")).status for _ in range(2)] == [204, 204]
    assert receiver.connections == 1


async def test_a_receiver_that_reads_nothing_is_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poster, "TIMEOUT_S", 0.2)
    closed = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = cast("asyncio.Transport", writer.transport)
        transport.pause_reading()
        await closed.wait()

    async with receiving(ignore) as port, posting() as post:
        answer = await post(f"http://127.0.0.1:{port}/", {}, b"a" * 32 * 1024 * 1024)
        closed.set()
    assert answer.error == "There was no answer within 0.2 seconds."


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nX: "])
async def test_a_receiver_that_hangs_is_timed_out(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(poster, "TIMEOUT_S", 0.2)
    forever = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await forever.wait()
        writer.close()

    async with receiving(hang) as port, posting() as post:
        answer = await post(f"http://127.0.0.1:{port}/", {}, b"{}")
        forever.set()
    assert answer.status is None
    assert answer.error == "There was no answer within 0.2 seconds."
    assert answer.milliseconds >= 150


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
        b"\x00" * 50,
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_a_malformed_answer_is_an_error(sent: bytes) -> None:
    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()

    async with receiving(answer_and_close) as port, posting() as post:
        answer = await post(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert answer.status is None
    assert answer.error


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/"])
async def test_a_receiver_that_cannot_be_reached_is_an_error(url: str) -> None:
    async with posting() as post:
        answer = await post(url, {}, b"{}")
    assert answer.status is None
    assert answer.error


async def test_plain_http_is_allowed_for_private_addresses_only(receiver: Receiver) -> None:
    async with posting(allow_http=False) as post:
        answer = await post(receiver.url, {}, b"{}")
    assert answer.error == "Only https URLs are called."
    assert receiver.connections == 0


async def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with posting() as post:
        assert (await post(receiver.url, {}, b"{}")).status == 204
