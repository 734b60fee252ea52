"""Connections below requests and messages: what a client may send besides them, and how long it may do nothing."""

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

_PER_SECOND, _BURST = 1_000.0, 2_000.0
"""Frames that are no message of their own (pings, pongs, further pieces), and how many may come at once."""
_MAX_PIECES = 64
_PIECE_BYTES = 4_096
"""What is parsed before somebody else has a turn; hundreds of empty frames fit in it."""
_TOO_MANY_PIECES, _NOT_UTF8 = 1008, 1007
_BAD_REQUEST, _SERVICE_UNAVAILABLE = 400, 503


class PromptConnections(H11Protocol):
    """Cuts off who neither completes a request nor reads any of an answer for a while; uvicorn waits for ever."""

    patience_seconds = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look now and then whether anything goes on."""
        super().connection_made(transport)
        self._read = 0
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._timer.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._read += 1
        super().resume_writing()

    def _look_again(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(self.patience_seconds, self._look, self.cycle, self._read, unread)

    def _look(self, cycle: Any, read: int, unread: int) -> None:
        if self.transport.get_protocol() is not self:
            return  # it became a WebSocket
        if left := self.transport.get_write_buffer_size():
            stands_still = read == self._read and left >= unread > 0
        else:
            stands_still = cycle is self.cycle and (cycle is None or cycle.response_complete)
        if stands_still:
            self.transport.abort()
        else:
            self._look_again()


class BoundedFrames(WebSocketsSansIOProtocol):
    """Bounds what a client costs that sends frames and reads none; uvicorn answers pings however full its buffer is.

    Nothing is read while answers wait to be read or frames come too fast, and whoever does not let a connection end is
    cut off.
    """

    linger_seconds = 10.0
    """How long a client may take to answer a close, and to read what was sent before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread = bytearray()
        self._owed, self._counted_at = 0.0, time.monotonic()
        self._turn: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._pieces = 0

    def data_received(self, data: bytes) -> None:
        """Take what came and process as much of it as is allowed."""
        self._unread += data
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not processed."""
        self._unread.clear()
        for timer in (self._turn, self._end):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Go on when enough of the answers was read."""
        super().resume_writing()
        self._go_on()

    async def receive(self) -> Any:
        """Return the next message, and go on when it was the last one that waited."""
        message = await super().receive()
        self._go_on()
        return message

    async def send(self, message: Any) -> None:
        """Send a message of the application; after a close, the client has some seconds to answer it."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # with this answer, which uvicorn counts as none
        if self.close_sent:
            self._end_soon()
            self._go_on()

    def shutdown(self) -> None:
        """Close because the server ends."""
        super().shutdown()
        self._end_soon()

    def keepalive_timeout(self) -> None:
        """Close because the client does not answer pings."""
        super().keepalive_timeout()
        self._end_soon()

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        """Close after the application has ended."""
        super().on_task_complete(task)
        self._end_soon()

    def handle_events(self) -> None:
        """Process what was parsed; refuse a handshake that is none, which uvicorn leaves open without an answer."""
        super().handle_events()
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._reject(_BAD_REQUEST, "this is no handshake of a WebSocket\n")

    def handle_connect(self, event: Request) -> None:
        """Refuse a client when there are too many connections, as uvicorn does with requests of HTTP alone."""
        limit = self.config.limit_concurrency
        if limit is not None and len(self.connections) > limit:
            self._reject(_SERVICE_UNAVAILABLE, "too many connections; try again later\n")
        else:
            super().handle_connect(event)

    def handle_ping(self) -> None:
        """Answer, and count it."""
        self._owed += 1
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Count it, whether it was asked for or not."""
        self._owed += 1
        super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Add a piece to the message, unless it has too many."""
        self._owed += 1
        self._pieces += 1
        if self._pieces < _MAX_PIECES:
            super().handle_cont(event)
        elif not self.close_sent:
            self._fail(_TOO_MANY_PIECES, "too many pieces")

    def send_receive_event_to_app(self) -> None:
        """Hand a whole message to the application; text that is none closes the stream, without a traceback."""
        self._pieces = 0
        self._owed += self.close_sent  # then it is nobody's message
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                self._fail(_NOT_UTF8, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def _reject(self, status: int, reason: str) -> None:
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(self.conn.reject(status, reason).serialize())
        self.transport.close()

    def _fail(self, code: int, reason: str) -> None:
        self.frames = []
        self.conn.send_close(code, reason)
        self.handle_parser_exception()

    def _go_on(self) -> None:
        """Process what is allowed now, and read on only when all of it was."""
        while self._unread and not self._must_wait():
            piece = bytes(self._unread[:_PIECE_BYTES])
            del self._unread[:_PIECE_BYTES]
            super().data_received(piece)
        if self.transport.is_closing():
            self._unread.clear()
            self._end_soon()
        elif self._unread or self._must_wait():
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _must_wait(self) -> bool:
        if self._turn is not None or self.read_paused or not self.writable.is_set() or self.transport.is_closing():
            return True
        now = time.monotonic()
        self._owed = max(0.0, self._owed - _PER_SECOND * (now - self._counted_at))
        self._counted_at = now
        if self._owed > _BURST:
            self._turn = self.loop.call_later((self._owed - _BURST) / _PER_SECOND, self._have_turn)
        return self._turn is not None

    def _have_turn(self) -> None:
        self._turn = None
        self._go_on()

    def _end_soon(self) -> None:
        """Cut the client off in some seconds: closing waits until everything was read, which may be never."""
        if self._end is None and (self.close_sent or self.transport.is_closing()):
            self._end = self.loop.call_later(self.linger_seconds, self.transport.abort)
