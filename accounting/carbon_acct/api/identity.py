# SPDX-License-Identifier: MIT
"""Says who makes a request: reads its body within bounds and has munged check its credential.

Bodies are read without holding a thread, so a slow or broken client holds nobody else up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from carbon_acct.errors import RefusedError
from carbon_collector import munge
from carbon_collector.errors import MungeError

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_UNKEPT_BYTES = 4 * MAX_BODY_BYTES
BODY_TIMEOUT_S = 60.0
MAX_CREDENTIAL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Caller:
    """An authenticated request: who, from which address, with which body."""

    identity: munge.Identity
    peer: str
    body: bytes


async def read_body(request: Request) -> bytes:
    """The body. Raises RefusedError: 413 if it is too large, 408 if it does not come, 401 without a credential.

    What is refused is read to its end all the same, unkept and within bounds: a client that is still sending
    when the connection closes sees a reset, not the reason.
    """
    problem = _problem(request)
    body, length = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                length += len(chunk)
                if length > MAX_BODY_BYTES:
                    problem = problem or RefusedError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
                    body.clear()
                if length > MAX_UNKEPT_BYTES:
                    break
                if problem is None:
                    body += chunk
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {BODY_TIMEOUT_S:g} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "the body broke off") from None
    if problem is not None:
        raise problem
    return bytes(body)


def _problem(request: Request) -> RefusedError | None:
    """Who names nobody need not have 16 MiB kept first."""
    try:
        _credential(request)
    except RefusedError as err:
        return err
    return None


def identify(request: Request, body: Annotated[bytes, Depends(read_body)]) -> Caller:
    """The caller. Raises RefusedError 401 if munged refuses the credential, or it belongs to another request."""
    try:
        identity = munge.decode(_credential(request), request.app.state.munge_socket)
    except (MungeError, KeyError, ValueError) as err:
        raise RefusedError(401, f"the credential is refused: {err}") from err
    if identity.payload != _digest(request, body):
        raise RefusedError(401, "the credential belongs to another request")
    return Caller(identity, request.client.host if request.client else "", body)


def _credential(request: Request) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.upper() != "MUNGE" or not credential.strip():
        raise RefusedError(401, "a credential is missing: Authorization: MUNGE <credential>")
    if len(credential) > MAX_CREDENTIAL_BYTES:
        raise RefusedError(401, "the credential is too large")
    return credential.strip()


def _digest(request: Request, body: bytes) -> str:
    """As carbon_collector.munge.request_digest, on the target's bytes as they were sent."""
    if request.method != "GET":
        return munge.digest(body)
    query: bytes = request.scope["query_string"]
    target: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return munge.digest(target.partition(b"?")[0] + (b"?" + query if query else b""))


Authenticated = Annotated[Caller, Depends(identify)]
