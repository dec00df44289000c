"""A connection to a receiver. asyncio moves the bytes, h11 knows HTTP/1.1."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, cast

import h11

MAX_HEAD: Final = 64 * 1024
"""Bytes of an answer before its body, including interim answers (1xx)."""

MAX_READ: Final = 64 * 1024
"""How many bytes of the body of an answer are read."""

MAX_BYTES: Final = MAX_HEAD + MAX_READ
"""How many bytes of an answer are read in all, with the sizes of its chunks and whatever else is around its body."""


class NotAnswered(ConnectionError):
    """The connection ended before the first byte of an answer."""

    def __init__(self) -> None:
        super().__init__("The receiver closed the connection without an answer.")


class Received(NamedTuple):
    """An answer, with the beginning of its body."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    """With names in lower case."""

    body: bytes


class Connection(asyncio.Protocol):
    """A connection for one request after the other. `ended` is called when either side has closed it."""

    def __init__(self, ended: Callable[["Connection"], None]) -> None:
        self._ended = ended
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._is_closed = False
        self._answer: asyncio.Future[Received] | None = None
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether it can carry another request."""
        return not self._is_closed and self._http.our_state is h11.IDLE

    async def exchange(self, request: h11.Request, body: bytes) -> Received:
        """Send a request and return the answer. If nothing is left of the exchange then, the connection stays open.

        Raises `NotAnswered`, another `OSError`, or the error of h11 for what is not HTTP.
        """
        self._head, self._body, self._bytes = None, bytearray(), 0
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(self._encoded(request, body))
            return await self._answer
        finally:
            self._answer = None
            if not self._begins_anew():
                self.close()

    def _encoded(self, request: h11.Request, body: bytes) -> bytes:
        send = self._http.send
        return send(request) + send(h11.Data(body)) + send(h11.EndOfMessage())

    def _begins_anew(self) -> bool:
        """Make the connection ready for the next request, if both sides are done with this one and want another."""
        http = self._http
        if not (http.our_state is http.their_state is h11.DONE) or http.trailing_data[0]:
            return False
        http.start_next_cycle()
        return True

    def close(self) -> None:
        """Close at once, because a receiver that reads nothing would delay an orderly end for ever."""
        self._is_closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        self._read(data)

    def eof_received(self) -> None:
        self._read(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closed = True
        if self._is_waiting:
            self._fail(exc if self._bytes and exc is not None else NotAnswered())
        self._ended(self)

    @property
    def _is_waiting(self) -> bool:
        return self._answer is not None and not self._answer.done()

    def _read(self, data: bytes) -> None:
        if not self._is_waiting:  # nobody has asked for this
            self.close()
        elif not self._bytes:
            self._fail(NotAnswered())
        else:
            try:
                self._http.receive_data(data)
                self._take_events()
            except h11.RemoteProtocolError as error:
                self._fail(error)

    def _take_events(self) -> None:
        while (event := self._http.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._finish()
                return
        if self._head is None and self._bytes > MAX_HEAD:
            raise h11.RemoteProtocolError("The head of the answer is too long.")
        if len(self._body) >= MAX_READ or self._bytes >= MAX_BYTES:
            self._finish()

    def _finish(self) -> None:
        assert self._head is not None  # noqa: S101  # h11 gives a head before everything else
        assert self._answer is not None  # noqa: S101  # checked before reading
        self._answer.set_result(Received(self._head.status_code, self._head.headers, bytes(self._body[:MAX_READ])))

    def _fail(self, error: Exception) -> None:
        assert self._answer is not None  # noqa: S101  # checked before
        self._answer.set_exception(error)
