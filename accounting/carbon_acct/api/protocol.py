# SPDX-License-Identifier: MIT
"""HTTP/1.1 by uvicorn and h11, with an end to clients that connect and say nothing, or say it byte by byte.

uvicorn waits for ever for the head of a request. Here it has a deadline; and where too many connections wait, the
oldest of the address that has most reason to go is closed, so that a flood of them keeps nobody out.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from carbon_acct.api.limits import Limits

KEEP_ALIVE_S = 5
STOP_S = 30


class Door:
    """Connections that have yet to send the head of a request, oldest first."""

    def __init__(self, limits: Limits, refused: Callable[[str], None] = lambda _: None) -> None:
        self.limits = limits
        self.refused = refused
        self._waiting: OrderedDict[Guarded, str] = OrderedDict()
        self._of: dict[str, OrderedDict[Guarded, None]] = {}

    def enter(self, connection: Guarded, address: str) -> None:
        """A connection waits from now on; the oldest of too many is closed."""
        self._waiting[connection] = address
        own = self._of.setdefault(address, OrderedDict())
        own[connection] = None
        if len(own) > self.limits.waiting_each:
            next(iter(own)).give_up("connections")
        elif len(self._waiting) > self.limits.waiting:
            next(iter(self._waiting)).give_up("connections")

    def leave(self, connection: Guarded) -> None:
        """A connection no longer waits; harmless if it did not."""
        address = self._waiting.pop(connection, None)
        if address is None:
            return
        own = self._of[address]
        del own[connection]
        if not own:
            del self._of[address]


class Guarded(H11Protocol):
    """A connection with a deadline for each head of a request. `door` is the server's (see `options`)."""

    door: Door
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait for the next head, once the request before it is answered."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """As above."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Count what is no HTTP."""
        self.door.refused("http")
        super().send_400_response(msg)

    def give_up(self, kind: str) -> None:
        """Close a connection that has not sent a request."""
        self._stop_waiting()
        if not self.transport.is_closing():
            self.door.refused(kind)
            if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
                self.conn.send(h11.ConnectionClosed())
            self.transport.abort()

    def _watch(self) -> None:
        """The deadline runs from when the connection began to wait: bytes that trickle in do not move it."""
        idle = (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing()
        if not idle:
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.door.limits.head_s, self.give_up, "slow")
            self.door.enter(self, self.client[0] if self.client else "")

    def _stop_waiting(self) -> None:
        self.door.leave(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def options(app: Any, limits: Limits, refused: Callable[[str], None] = lambda _: None) -> uvicorn.Config:
    """How uvicorn serves the app: h11, guarded, without a log line a request. `refused` counts closed connections."""
    return uvicorn.Config(
        app,
        http=type("Connection", (Guarded,), {"door": Door(limits, refused)}),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )


def prepare(listener: socket.socket, limits: Limits) -> None:
    """Have the kernel end connections whose clients take nothing of an answer, and let there be many connections."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.send_s * 1000))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
