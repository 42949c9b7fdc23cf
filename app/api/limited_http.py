"""uvicorn's HTTP protocol with bounds that hold before the application hears of a request.

    bytes ─▶ fed in pieces ─▶ 64 KiB without a header block, a bit of body or an end among them ─▶ 431, closed
                          ├─▶ not HTTP, more than 16 requests ahead of their answers ─▶ 400, closed
                          └─▶ a whole request ─▶ places left? ─▶ the application │ 503, closed
    10 s without a whole request ─▶ closed

For `uvicorn` on the command line: `--http app.api.limited_http:LimitedHttp`, the limit of connections is
`--limit-concurrency`. Nothing here is upgraded to a WebSocket.
"""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.events import TimerHandle
from typing import Any

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.answer_headers import OF_ALL, AnswerHeaders
from app.api.connection_places import places_of
from app.api.problems import MEDIA_TYPE, problem_body, problem_response
from app.api.until_closed import UntilClosed

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADER_FIELDS = 1000
"""More than any caller sends; a look for one header goes through all of them."""
MAX_AHEAD = 16
"""Requests that a caller may send before the first is answered."""
WHOLE_REQUEST_WITHIN_S = 10.0
LINGER_S = 1.0
"""How long a refused caller may go on sending: closed with bytes unread, it would never see why."""
PIECE_BYTES = 16 * 1024
ALWAYS_ANSWERED = "/healthz"

REASONS = {
    400: "this is not HTTP that can be read",
    431: f"the header block is larger than {MAX_HEADER_BYTES} bytes or has more than {MAX_HEADER_FIELDS} fields",
    503: "too many calls at once: try again in a moment",
}


_REQUEST_LINE = re.compile(rb"\A(?:\r?\n)*[A-Z]+ ([^ \r\n]*)")
_NOT_IN_ADDRESSES = re.compile(rb"[^\x21-\x7e]")


def _of_address(piece: bytes) -> str:
    """What to do about an address that the parser does not take; the byte is named where the request begins the piece.

    >>> _of_address("GET /products?q=Größe HTTP/1.1".encode())
    'the address has the byte 0xC3, which HTTP does not take as it is: percent-encode the address (%C3)'
    >>> _of_address(b"GET products HTTP/1.1")
    'HTTP does not take the address: it begins with a slash, and is percent-encoded'
    """
    line = _REQUEST_LINE.match(piece)
    found = _NOT_IN_ADDRESSES.search(line[1]) if line else None
    if found is None:
        return "HTTP does not take the address: it begins with a slash, and is percent-encoded"
    byte = f"{found[0][0]:02X}"
    return f"the address has the byte 0x{byte}, which HTTP does not take as it is: percent-encode the address (%{byte})"


class Refused(Exception):
    """Raised inside the parser's callbacks to end the parsing; the status is noted before."""


class LimitedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._places = places_of(server_state, config.limit_concurrency)
        self.limit_concurrency = None  # ours knows /healthz
        self._deadline: TimerHandle | None = None
        self._whole = False
        self._in_body = False
        self._deaf = False
        self._status = 400
        self._fields = 0
        self._header_bytes = 0
        self._bytes_without_progress = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place; somebody who waits longer makes room where there is none."""
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > self._places.limit:
            self.loop.call_soon(self._make_room)

    def _make_room(self) -> None:
        self._places.make_room(len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._forget_deadline()
        self._places.leave(self)
        super().connection_lost(exc)

    def hang_up(self) -> None:
        """Close at once, whatever is unsent."""
        self._places.leave(self)
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came, in pieces, so that what leads nowhere is noticed after a bounded number of bytes."""
        if self._deaf or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._whole = False
        for start in range(0, len(data), PIECE_BYTES):
            if not self._feed(data[start : start + PIECE_BYTES]):
                return
        if not self._whole:
            self._await_request()

    def _feed(self, piece: bytes) -> bool:
        """Say whether to go on."""
        self._bytes_without_progress += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._answer_without_upgrade()
            return False
        except httptools.HttpParserInvalidURLError:
            self._refuse(400, _of_address(piece))
            return False
        except httptools.HttpParserError:
            self._refuse(self._status)
            return False
        if self._bytes_without_progress > MAX_HEADER_BYTES:
            self._refuse(431)
            return False
        return True

    def _answer_without_upgrade(self) -> None:
        """The request is answered as any other; what follows it would be in another protocol."""
        self._deaf = True
        self._whole_request()
        self.cycle.more_body = False
        self.cycle.keep_alive = False
        self.cycle.message_event.set()

    def _should_upgrade_to_ws(self) -> bool:
        return False

    # the parser's callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._whole = False
        self._fields = self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, also of a body's trailer."""
        self._fields += 1
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES or self._fields > MAX_HEADER_FIELDS:
            self._status = 431
            raise Refused

    def on_headers_complete(self) -> None:
        """The application may begin."""
        self._bytes_without_progress = 0
        if len(self.pipeline) >= MAX_AHEAD:
            raise Refused
        super().on_headers_complete()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """A bit of the body."""
        self._bytes_without_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._bytes_without_progress = 0
        self._in_body = False
        self._whole_request()
        super().on_message_complete()

    # time

    def _await_request(self) -> None:
        if not self._owes_answer():
            self._places.wait(self)
        if self._deadline is None:
            self._deadline = self.loop.call_later(WHOLE_REQUEST_WITHIN_S, self._is_late)

    def _whole_request(self) -> None:
        self._whole = True
        self._forget_deadline()
        self._places.work(self)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        """Hang up, unless it is we who are late: with an earlier request's answer, or with reading."""
        self._deadline = None
        if self._owes_answer() or self.flow.read_paused:
            self._await_request()
        else:
            self.hang_up()

    def _owes_answer(self) -> bool:
        """Whether a whole request has no whole answer."""
        ours = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        return ours or bool(self.pipeline)

    # answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        at_once = cycle.scope["path"] == ALWAYS_ANSWERED or self._places.may_work(len(self.tasks))
        answering: ASGIApp = app if at_once else BUSY  # type: ignore[assignment]
        if cycle.scope["http_version"] == "1.0":
            answering = UntilClosed(answering, cycle)
        super()._start_asgi_task(cycle, answering)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """The next request may come."""
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None and not self.transport.is_closing():
            self._places.wait(self)

    def pause_writing(self) -> None:
        """The caller reads nothing."""
        super().pause_writing()
        self._places.stall(self)

    def resume_writing(self) -> None:
        """The caller reads again."""
        super().resume_writing()
        self._places.go_on(self)

    def _refuse(self, status: int, reason: str | None = None) -> None:
        """Say why, where no other answer is in the way, and close."""
        self._deaf = True
        if self._owes_answer() and not self.cycle.more_body:
            self.cycle.keep_alive = False  # the answers that are due, then the end
            return
        if self.pipeline or not self.transport.can_write_eof():
            self.hang_up()
            return
        if self._may_answer():
            self.transport.write(self._refusal(status, reason or REASONS[status]))
        self._linger()

    def _may_answer(self) -> bool:
        """Whether what we say now would be taken for the answer to what is refused.

        A cycle that was answered before its body came says for ever that there is more of it.
        """
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None:
            return True
        return not cycle.response_started if self._in_body else cycle.response_complete

    def _refusal(self, status: int, reason: str) -> bytes:
        body = json.dumps(problem_body(status, reason)).encode()
        own = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close", **OF_ALL}
        fields = [*self.server_state.default_headers, *((name.encode(), value.encode()) for name, value in own.items())]
        return STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + body

    def _linger(self) -> None:
        """Send the end, and hear what the caller still says for a moment."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._forget_deadline()
        self._places.wait(self)
        self._deadline = self.loop.call_later(LINGER_S, self.hang_up)


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    app: ASGIApp = problem_response(503, REASONS[503], headers={"Retry-After": "1", "Connection": "close"})
    await app(scope, receive, send)


BUSY = AnswerHeaders(_busy)
