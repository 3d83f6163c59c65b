# SPDX-License-Identifier: MIT
"""Identifies the caller of a request: has munged check its credential, then reads its body within bounds.

The credential is checked first. No byte of a body is kept for a caller who is unknown, may not deliver or asks too
often. The first line of a segment says whose it is, so it is checked before the rest is read. Bodies are read without
holding a thread, are charged to their sender, and must arrive at a least rate, so a slow or broken client delays nobody
else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader
from starlette.requests import ClientDisconnect

from carbon_acct.access.munge import Identity, decode
from carbon_acct.api.budget import Budget
from carbon_acct.api.limits import Lanes, Limits, Rates, Shares, check_rate
from carbon_acct.errors import MungedError, RefusedError
from carbon_collector import munge
from carbon_collector.errors import MungeError

log = logging.getLogger("carbon_acct.api")

MAX_UNREAD_BYTES = 64 * 1024
"""The most bytes that are read of the body of a request that needs none."""
MAX_CREDENTIAL_BYTES = 32 * 1024
MAX_HEADER_BYTES = 4096
"""The most bytes of the first line of a segment, which names its node."""
LINGER_S = 2.0
"""The seconds for which the body of a refused request is read without being kept. A client that is still sending would
otherwise see a reset instead of the reason.
"""

SCHEME = APIKeyHeader(
    name="Authorization",
    scheme_name="munge",
    auto_error=False,
    description=(
        "`MUNGE <credential>`. The credential's payload is, in hexadecimal, the SHA-256 of the body; for a GET of the "
        "target, path and query as sent. munged takes a credential once, and within its time to live."
    ),
)


@dataclass
class Gate:
    """The state of the checks that every request passes: munged, and the limits."""

    munge_socket: str
    limits: Limits
    rates: Rates = field(default_factory=Rates)
    lanes: Lanes = field(init=False)
    requests: Shares = field(init=False)
    """The places of requests whose caller is known."""
    bodies: Budget = field(init=False)
    answers: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = Lanes()
        self.requests = Shares(self.limits.requests)
        self.bodies = Budget(self.limits.bodies, self.limits.bodies)
        self.answers = Budget(self.limits.answers, self.limits.answers_each)


@dataclass(frozen=True)
class Caller:
    """The maker of a request: its identity, and its address."""

    identity: Identity
    peer: str

    @property
    def key(self) -> Hashable:
        """Return the key under which a request is charged: the user wherever the request comes from, for root
        the host.
        """
        return self.identity.uid or self.identity.host


Check = Callable[[bytes], Awaitable[None]]
"""A function that judges the first line of a body before the rest of it is read. It raises RefusedError."""


async def identify(request: Request, _header: Annotated[str | None, Depends(SCHEME)]) -> AsyncIterator[Caller]:
    """Return the caller of a request that needs no body.

    Raises RefusedError: 401 for a bad credential, 503 if munged cannot be asked, 429 for too many requests, 408 and 413
    for the body. The body of a refused request is read for LINGER_S, without being kept.
    """
    async with _lingering(request):
        caller = await _known(request)
    with _inside(request, caller):
        gate: Gate = request.app.state.gate
        body = Body(gate.bodies, caller.key)
        try:
            digest = await _read(request, gate, body, MAX_UNREAD_BYTES)
        finally:
            body.charge.end()
        _check_digest(caller, munge.digest(_target(request)) if request.method == "GET" else digest)
        yield caller


async def identify_sender(
    request: Request, _header: Annotated[str | None, Depends(SCHEME)]
) -> AsyncIterator[tuple[Caller, Sender]]:
    """Return the caller of a request with a body, which is not read yet. Raises RefusedError as `identify` does."""
    async with _lingering(request):
        caller = await _known(request)
        if caller.identity.uid != 0:  # any user's: not logged
            raise RefusedError(403, f"only root delivers segments, this is uid {caller.identity.uid}", "not_root")
    with _inside(request, caller):
        yield caller, Sender(request, caller)


class Body:
    """The body of a request, as far as it has arrived, and its charge. `on_drop` is called when the budget drops it."""

    def __init__(self, budget: Budget, owner: Hashable) -> None:
        self.data = bytearray()
        self.charge = budget.open(owner, self._drop)
        self.is_dropped = False
        self.on_drop: Callable[[], object] = lambda: None

    def _drop(self) -> None:
        self.is_dropped = True
        self.on_drop()

    def check(self) -> None:
        """Raise RefusedError 503 for a body that was dropped."""
        if self.is_dropped:
            raise RefusedError(503, "too many segments are on their way; try again", "overloaded", 10)


@dataclass(frozen=True)
class Sender:
    """A caller whose body has not been read yet."""

    request: Request
    caller: Caller

    @contextlib.asynccontextmanager
    async def body(self, most: int, check: Check) -> AsyncIterator[Body]:
        """Yield the whole body, once `check` has accepted its first line. It is charged to its host as long as the
        block runs. Raises RefusedError.
        """
        gate: Gate = self.request.app.state.gate
        body = Body(gate.bodies, self.caller.identity.host)
        try:
            async with _lingering(self.request):
                digest = await _read(self.request, gate, body, most, check)
            _check_digest(self.caller, digest)
            yield body
        finally:
            body.charge.end()


async def _known(request: Request) -> Caller:
    gate: Gate = request.app.state.gate
    peer = request.client.host if request.client else ""
    identity = await _decode(gate, peer, request)
    check_rate(gate.rates, (identity.uid, identity.host), gate.limits.users if identity.uid else gate.limits.root)
    return Caller(identity, peer)


@contextlib.contextmanager
def _inside(request: Request, caller: Caller) -> Iterator[None]:
    """Count a request of this caller while it is served, and charge its connection to the caller from now on.

    Raises RefusedError 429 where the caller has too many requests at once.
    """
    shares = request.app.state.gate.requests
    shares.enter(caller.key)
    try:
        if (connection := request.scope.get("carbon.connection")) is not None:
            connection.judged()
        yield
    finally:
        shares.leave(caller.key)


def _check_digest(caller: Caller, digest: str) -> None:
    if caller.identity.payload != digest:
        raise RefusedError(401, "the credential belongs to another request", "other_request")


@contextlib.asynccontextmanager
async def _lingering(request: Request) -> AsyncIterator[None]:
    """Read the body of a refused request for LINGER_S, without keeping it, and raise the refusal again.

    An error while it is read is ignored: the refusal says why, the error does not.
    """
    try:
        yield
    except RefusedError:
        with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
            async with asyncio.timeout(LINGER_S):
                async for _ in request.stream():
                    pass
        raise


async def _decode(gate: Gate, peer: str, request: Request) -> Identity:
    credential = _credential(request)
    try:
        return await gate.lanes.credentials.run(peer, lambda: decode(credential, gate.munge_socket))
    except MungedError as err:
        log.warning("credentials cannot be checked: %s", err)
        raise RefusedError(503, "munged does not answer on the aggregator's host; its log says why", "munge") from err
    except MungeError as err:
        raise RefusedError(401, f"the credential is refused: {err}") from err


def _credential(request: Request) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.upper() != "MUNGE" or not credential.strip():
        raise RefusedError(401, "a credential is missing: Authorization: MUNGE <credential>", "no_credential")
    if len(credential) > MAX_CREDENTIAL_BYTES:
        raise RefusedError(401, "the credential is too large")
    return credential.strip()


async def _read(request: Request, gate: Gate, body: Body, most: int, check: Check | None = None) -> str:
    """Read the body and return its digest. Raises RefusedError 408, 413, 503 or 400.

    Only the time for which the sender is waited for counts as the sender's.
    """
    if (declared := request.headers.get("content-length", "")).isdigit() and int(declared[:18]) > most:
        raise RefusedError(413, f"the body is larger than {most} bytes")
    unjudged = check
    waited_s = 0.0
    asked = time.monotonic()
    try:
        async with asyncio.timeout(gate.limits.body_s):
            async for chunk in request.stream():
                waited_s += time.monotonic() - asked
                body.data += chunk
                body.charge.add(len(chunk))
                body.check()
                if len(body.data) > most:
                    raise RefusedError(413, f"the body is larger than {most} bytes")
                if unjudged and (b"\n" in chunk or len(body.data) > MAX_HEADER_BYTES):
                    await unjudged(bytes(body.data[: MAX_HEADER_BYTES + 1]).partition(b"\n")[0])
                    unjudged = None
                _check_pace(len(body.data), waited_s, gate.limits)
                asked = time.monotonic()
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {gate.limits.body_s:g} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "the body broke off", "broke_off") from None
    if unjudged:
        await unjudged(bytes(body.data))
    return hashlib.sha256(body.data).hexdigest()


def _check_pace(length: int, seconds: float, limits: Limits) -> None:
    """Raise RefusedError 408 for a body that arrives too slowly."""
    if length < (seconds - limits.grace_s) * limits.least_rate:
        raise RefusedError(408, f"the body comes too slowly, at less than {limits.least_rate / 1024:g} KiB/s")


def _target(request: Request) -> bytes:
    """Return path and query of the request, byte for byte as they were sent: the credential covers them."""
    query: bytes = request.scope["query_string"]
    target: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return target.partition(b"?")[0] + (b"?" + query if query else b"")


Authenticated = Annotated[Caller, Depends(identify)]
Delivering = Annotated[tuple[Caller, Sender], Depends(identify_sender)]
