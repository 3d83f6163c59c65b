# SPDX-License-Identifier: MIT
"""HTTP/1.1 by uvicorn and h11, with deadlines for clients that connect and send nothing, or send it byte by byte.

uvicorn waits for ever for the head of a request. Here the head has a deadline. Where too many connections wait, the
oldest connection of the address with the most is closed, so that a flood of connections keeps nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from carbon_acct.api.limits import Limits

KEEP_ALIVE_S = 5
LINGER_S = 2.0
STOP_S = 30


class Door:
    """The connections that have not sent the head of a request yet, oldest first."""

    def __init__(self, limits: Limits, refused: Callable[[str], None] = lambda _: None) -> None:
        self.limits = limits
        self.refused = refused
        self._waiting: OrderedDict[Guarded, str] = OrderedDict()
        self._of: dict[str, OrderedDict[Guarded, None]] = {}

    def enter(self, connection: Guarded, address: str) -> None:
        """Add a connection. The oldest of too many is closed."""
        self._waiting[connection] = address
        own = self._of.setdefault(address, OrderedDict())
        own[connection] = None
        if len(own) > self.limits.waiting_each:
            next(iter(own)).give_up("connections")
        elif len(self._waiting) > self.limits.waiting:
            next(iter(self._waiting)).give_up("connections")

    def leave(self, connection: Guarded) -> None:
        """Remove a connection, if it is there."""
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
    _dropping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Wait for the next head, once the request before it is answered."""
        if not self._dropping:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words are not for clients
        """Answer what is no HTTP, or too much before its body, as every other error is answered; and count it."""
        self.door.refused("http")
        headers, body = refusal(self.door.limits)
        with contextlib.suppress(h11.LocalProtocolError):  # an answer was on its way already
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        # A client that is still sending would see a reset, not the reason: what comes is taken, and dropped, for a while.
        self._dropping = True
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def give_up(self, kind: str) -> None:
        """Close a connection that has not sent a request."""
        self._stop_waiting()
        if not self.transport.is_closing():
            self.door.refused(kind)
            if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
                self.conn.send(h11.ConnectionClosed())
            self.transport.abort()

    def _watch(self) -> None:
        """Start or end the deadline. It runs from when the connection began to wait: bytes that trickle in do not move
        it.
        """
        idle = self.cycle is None or self.cycle.response_complete
        if not idle or self._dropping or self.transport.is_closing():
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.door.limits.head_s, self.give_up, "slow")
            self.door.enter(self, self.client[0] if self.client else "")

    def _stop_waiting(self) -> None:
        self.door.leave(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def refusal(limits: Limits) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of the answer to what is no request."""
    reason = f"not an HTTP request, or more than {limits.head_bytes // 1024} KiB before its body"
    body = json.dumps({"detail": reason}).encode()
    length = str(len(body)).encode()
    return [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")], body


class Bounded:
    """A layer that refuses heads that are too long. h11 refuses only those that are not complete by then."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        length = len(scope.get("raw_path", b"")) + len(scope.get("query_string", b""))
        length += sum(len(name) + len(value) for name, value in scope.get("headers", ()))
        if length <= self._door.limits.head_bytes:
            await self._app(scope, receive, send)
            return
        self._door.refused("http")
        headers, body = refusal(self._door.limits)
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def options(app: Any, limits: Limits, refused: Callable[[str], None] = lambda _: None) -> uvicorn.Config:
    """Return uvicorn's configuration: h11, guarded, without a log line for each request. `refused` counts closed
    connections.
    """
    door = Door(limits, refused)
    return uvicorn.Config(
        Bounded(app, door),
        http=type("Connection", (Guarded,), {"door": door}),
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
    """Have the kernel end connections whose clients read nothing of an answer, and allow many connections."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.send_s * 1000))
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # where that is forbidden, what there is must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
