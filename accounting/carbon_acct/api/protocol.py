# SPDX-License-Identifier: MIT
"""HTTP/1.1 by uvicorn and h11, with deadlines for clients that connect and send nothing, or send byte by byte.

uvicorn waits for ever for the head of a request, and for its body. Here a connection has deadlines, and is charged to
its address until its caller is known. When too many connections wait, the oldest one of the address that has most of
them is closed, so that a flood of them keeps nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import resource
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from carbon_acct.api.budget import Budget, Charge
from carbon_acct.api.limits import Limits

KEEP_ALIVE_S = 5
AT_ONCE = 128
"""The number of connections that are accepted before any is looked at. The kernel holds as many more."""

RESERVED = AT_ONCE + 192
"""The number of file descriptors for the database, Slurm's programs, the log, and connections that are being closed."""

SEND_BUFFER = 256 * 1024
"""The bytes of an answer that the kernel holds for a connection."""

RESET = struct.pack("ii", 1, 0)
"""The SO_LINGER of a connection that is to be reset when it is closed."""

END_OF_HEAD = re.compile(rb"\n\r?\n")
IN_CHUNKS = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)

LINGER_S = 2.0
STOP_S = 30


class Door:
    """The connections whose caller is not known, because no head of a request has arrived or been judged yet."""

    def __init__(self, limits: Limits, refused: Callable[[str], None] = lambda _: None) -> None:
        self.limits = limits
        self.refused = refused
        self.waiting = Budget(limits.waiting, limits.waiting_each)
        self.connections: dict[Any, Guarded] = {}
        """All open connections, by the addresses of both ends."""

    def enter(self, connection: Guarded) -> Charge:
        """Add a connection, and return its charge. If there are too many, the oldest one of the address that has most
        is closed.
        """
        charge = self.waiting.open(network_of(connection.client), lambda: connection.give_up("connections"))
        charge.add(1)
        return charge

    def connection_of(self, scope: Scope) -> Guarded | None:
        """Return the connection on which a request came."""
        return self.connections.get((scope.get("client"), scope.get("server")))


def network_of(client: tuple[str, int] | None) -> str:
    """Return what a connection is charged to: its address, or for IPv6 its /64, because one host may have every address
    in it.
    """
    address = client[0] if client else ""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.IPv6Network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


class Guarded(H11Protocol):
    """A connection with two deadlines: for the head of each request, and for the time until its caller is known.

    `door` is the server's (see `options`).
    """

    door: Door
    _deadline: asyncio.TimerHandle | None = None
    _charge: Charge | None = None
    _dropping = False
    _judged = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first head."""
        super().connection_made(transport)
        self.door.connections[self.client, self.server] = self
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Pass data on, and start the deadline for the next head if the request before it is answered."""
        if not self._dropping:
            super().data_received(data)
            self._watch()

    def handle_events(self) -> None:
        """Look at a head before h11 does: it takes as long for a short line as for a long one, and nobody is known yet."""
        if self._dropping:
            return
        if self.conn.their_state is h11.IDLE and not is_served(self.conn.trailing_data[0], self.door.limits.head_lines):
            self.send_400_response("")
        else:
            super().handle_events()

    def on_response_complete(self) -> None:
        """Start the deadline for the next head."""
        super().on_response_complete()
        self._judged = False
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline."""
        self._stop_waiting()
        if self.door.connections.get((self.client, self.server)) is self:
            del self.door.connections[self.client, self.server]
        super().connection_lost(exc)

    def judged(self) -> None:
        """Charge what the connection holds to its caller, who is known from now on."""
        self._judged = True
        self._stop_waiting()

    def abort(self) -> None:
        """Close the connection now, and drop what has not been sent."""
        self._stop_waiting()
        with contextlib.suppress(OSError):  # else the kernel goes on sending what it has
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words are not for clients
        """Answer what is no HTTP, or has too large a head, in the form of every other error, and count it."""
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
        """Close the connection, because its caller is not known in time, and count it."""
        self._stop_waiting()
        if not self.transport.is_closing():
            self.door.refused(kind)
            if self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE:
                self.conn.send(h11.ConnectionClosed())
            self.abort()

    def _watch(self) -> None:
        """Start or stop the deadline. It runs from when the connection began to wait, so a byte now and then does not
        extend it.

        Once the head has arrived, another deadline runs for the answer, and then for its reader.
        """
        if self._judged or self._dropping or self.transport.is_closing():
            self._stop_waiting()
            return
        if self._charge is None:
            self._charge = self.door.enter(self)
        idle = self.cycle is None or self.cycle.response_complete
        if self._deadline is None or idle != self._for_head:
            self._for_head = idle
            self._stop_clock()
            limits = self.door.limits
            self._deadline = self.loop.call_later(limits.head_s if idle else limits.send_s, self.give_up, "slow")

    _for_head = True

    def _stop_waiting(self) -> None:
        if self._charge is not None:
            self._charge.end()
            self._charge = None
        self._stop_clock()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def is_served(received: bytes, most_lines: int) -> bool:
    """Return whether a head, or what has come of one, has few lines and no body in chunks, whose trailers could have
    any number of lines.
    """
    end = END_OF_HEAD.search(received)
    head = received[: end.start()] if end else received
    return head.count(b"\n") < most_lines and not (end and IN_CHUNKS.search(head))


def refusal(limits: Limits) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of the answer to bytes that are no request."""
    most = f"more than {limits.head_bytes // 1024} KiB or {limits.head_lines} lines before its body"
    reason = f"not an HTTP request, or {most}, or a body in chunks"
    body = json.dumps({"detail": reason}).encode()
    length = str(len(body)).encode()
    return [(b"content-type", b"application/json"), (b"content-length", length), (b"connection", b"close")], body


class Bounded:
    """A layer that refuses heads that are too long. h11 refuses a long head only if it is still incomplete."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request. The scope gives its connection to the application as `carbon.connection`."""
        scope["carbon.connection"] = self._door.connection_of(scope)
        length = len(scope.get("raw_path", b"")) + len(scope.get("query_string", b""))
        length += sum(len(name) + len(value) for name, value in scope.get("headers", ()))
        if length <= self._door.limits.head_bytes:
            await self._app(scope, receive, send)
            return
        self._door.refused("http")
        headers, body = refusal(self._door.limits)
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def options(
    app: Any, limits: Limits, refused: Callable[[str], None] = lambda _: None, proxies: Sequence[str] = ()
) -> uvicorn.Config:
    """Return uvicorn's configuration: h11, guarded, and without a log line for each request. `refused` counts closed
    connections.
    """
    door = Door(limits, refused)
    served: Any = ProxyHeadersMiddleware(app, trusted_hosts=list(proxies)) if proxies else app
    return uvicorn.Config(
        Bounded(served, door),
        http=type("Connection", (Guarded,), {"door": door}),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a connection's own address says who may speak for a node; only `proxies` may change it
        h11_max_incomplete_event_size=limits.head_bytes,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=AT_ONCE,
        timeout_graceful_shutdown=STOP_S,
    )


def prepare(listener: socket.socket, limits: Limits) -> Limits:
    """Set the listener so that the kernel ends connections whose clients read nothing, and allow many connections.

    Returns the limits, reduced to the file descriptors that there are.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.send_s * 1000))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # where that is forbidden, what there is must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    half = max(16, (soft - RESERVED) // 2)
    return replace(limits, waiting=min(limits.waiting, half), requests=min(limits.requests, half))
