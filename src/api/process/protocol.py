"""uvicorn's HTTP protocol, with bounds that uvicorn itself does not have."""

import asyncio
import json
import secrets
from typing import Final

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.process.transports import Joining
from api.web.problems import CODES, MEDIA_TYPE, title_of
from api.web.requests import BODY_TIMEOUT_S

log = structlog.get_logger("roster")

HEAD_TIMEOUT_S: Final = 10
"""Seconds within which the request line and headers have to arrive, from the start of the connection or from their
first byte."""

REST_TIMEOUT_S: Final = BODY_TIMEOUT_S + 5
"""Seconds within which the rest of a request has to arrive. A route that reads the body answers 408 before that."""

STALL_TIMEOUT_S: Final = 30
"""Seconds for which a client may read nothing of its answer."""

FIRST_REQUEST_S: Final = 0.5
"""How long a new connection may take to send its first request when the server stops: it may be on its way."""

MAX_HEAD_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 8 * 1024


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a time limit for each part of a request, and a size limit for the head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Joining(transport, self.loop))
        self._head_bytes = 0
        self._in_body = False
        self._is_last = False
        self._timer: asyncio.TimerHandle | None = None
        self._within_s = 0.0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._expect_more_within(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_more()
        self._watch_no_stall()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops. It has taken this connection: a client whose first request fails knows of no reason."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None and not self._is_last:
            self._is_last = True
            self.loop.call_later(FIRST_REQUEST_S, self.shutdown)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_stall()

    def resume_writing(self) -> None:
        self._watch_no_stall()
        super().resume_writing()

    def _watch_stall(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALL_TIMEOUT_S, self._cut_off_if_stalled, unsent)

    def _watch_no_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _cut_off_if_stalled(self, unsent: int) -> None:
        """Abort the connection. A close would wait for the client to read the rest, perhaps for ever."""
        if self.transport.get_write_buffer_size() < unsent:
            self._watch_stall()
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the head to the parser in small pieces, because the parser reports its length only at the end.

        Only what has not arrived by then is timed. Most requests arrive whole.
        """
        while data and not self._in_body and not self.transport.is_closing():
            piece, data = data[:PIECE_BYTES], data[PIECE_BYTES:]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._head_is_too_long():
                self._refuse(431, "headers_too_large", f"The headers hold at most {MAX_HEAD_BYTES} bytes.")
        if data and not self.transport.is_closing():
            super().data_received(data)
        if self._within_s and self._timer is None:
            self._expect_more_within(self._within_s)

    def _head_is_too_long(self) -> bool:
        return not self._in_body and self._head_bytes > MAX_HEAD_BYTES

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._within_s = HEAD_TIMEOUT_S

    def on_headers_complete(self) -> None:
        self._head_bytes = 0
        self._in_body = True
        self._expect_no_more()
        self._within_s = REST_TIMEOUT_S
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._in_body = False
        self._expect_no_more()
        super().on_message_complete()

    def _expect_more_within(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._give_up, seconds)

    def _expect_no_more(self) -> None:
        self._within_s = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, seconds: float) -> None:
        """Close the connection, unless a request is being answered."""
        if self._is_answering():
            self._expect_more_within(seconds)
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, CODES[400], msg)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Send a problem document for bytes that are not a complete request. It names no path.

        If an earlier request is not answered yet, nothing is sent, and its answer is the last one. Otherwise the client
        would take this document for that answer.
        """
        if self._is_answering() and (self.pipeline or self.cycle.response_started or not self.cycle.more_body):
            self.cycle.keep_alive = False
            return
        request_id = secrets.token_hex(16)
        document = {
            "type": f"urn:roster:problem:{code}",
            "title": title_of(status),
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request_id,
        }
        body = json.dumps(document).encode()
        head = (
            f"HTTP/1.1 {status} {title_of(status)}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        log.info("refused", request_id=request_id, status=status, client=self.client[0] if self.client else None)
