"""Connections over which nobody asks for anything, or reads what they asked for: they keep no place from others."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


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
