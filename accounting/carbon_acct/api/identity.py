# SPDX-License-Identifier: MIT
"""Identifies the caller of a request: has munged check its credential, then reads its body within bounds.

The credential comes first. No byte of a body is kept from a caller who has none, may not deliver, or asks too often.
Bodies are read without holding a thread, so a slow or broken client delays nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader
from starlette.requests import ClientDisconnect

from carbon_acct.access.munge import Identity, decode
from carbon_acct.api.limits import Lanes, Limits, Rates, check_rate
from carbon_acct.errors import MungedError, RefusedError
from carbon_collector import munge
from carbon_collector.errors import MungeError

log = logging.getLogger("carbon_acct.api")

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_UNKEPT_BYTES = 128 * 1024 * 1024
MAX_CREDENTIAL_BYTES = 32 * 1024

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
    """The checks that every request passes: munged, and the limits."""

    munge_socket: str
    limits: Limits
    rates: Rates = field(default_factory=Rates)
    lanes: Lanes = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.limits)


@dataclass(frozen=True)
class Caller:
    """An authenticated request: its maker, its address and its body."""

    identity: Identity
    peer: str
    body: bytes


async def identify(request: Request, _header: Annotated[str | None, Depends(SCHEME)]) -> Caller:
    """Return the caller.

    Raises RefusedError: 401 for a bad credential, 503 if munged cannot be asked, 429 for too many requests, 408 and 413
    for the body. A refused request is read to its end all the same, within bounds and without keeping it: a client that
    is still sending when the connection closes sees a reset, not the reason.
    """
    gate: Gate = request.app.state.gate
    peer = request.client.host if request.client else ""
    try:
        identity = await _decode(gate, peer, request)
        check_rate(gate.rates, (identity.uid, identity.host), gate.limits.users if identity.uid else gate.limits.root)
    except RefusedError:
        with contextlib.suppress(RefusedError):  # the first reason is the one that helps
            await _read(request, gate.limits.body_s, keep=False)
        raise
    # Only root has a body to send that anybody reads.
    body, digest = await _read(request, gate.limits.body_s, keep=identity.uid == 0)
    if identity.payload != (digest if request.method != "GET" else munge.digest(_target(request))):
        raise RefusedError(401, "the credential belongs to another request", "other_request")
    return Caller(identity, peer, body)


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


async def _read(request: Request, seconds: float, keep: bool) -> tuple[bytes, str]:
    """Return the body and its digest. The body is empty unless it is to be kept. Raises RefusedError 408, 413 or 400."""
    body, length, digest = bytearray(), 0, hashlib.sha256()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                length += len(chunk)
                if length > MAX_UNKEPT_BYTES:
                    break
                if length > MAX_BODY_BYTES:
                    body.clear()
                elif keep:
                    body += chunk
                digest.update(chunk)
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {seconds:g} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "the body broke off", "broke_off") from None
    if length > MAX_BODY_BYTES:
        raise RefusedError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body), digest.hexdigest()


def _target(request: Request) -> bytes:
    """Return path and query, in the bytes that were sent."""
    query: bytes = request.scope["query_string"]
    target: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return target.partition(b"?")[0] + (b"?" + query if query else b"")


Authenticated = Annotated[Caller, Depends(identify)]
