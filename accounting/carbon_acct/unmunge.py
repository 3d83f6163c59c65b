# SPDX-License-Identifier: MIT
"""Asks munged who made a credential, by libmunge, which is where munged and `unmunge` are.

A program for each request would cost the accounting host more than all else that a small request costs it (ADR 7).
The nodes and those who ask make their credentials with the `munge` program (carbon_collector.munge).
"""

from __future__ import annotations

import ctypes
import socket
from functools import lru_cache
from typing import Any, NamedTuple

from carbon_collector.errors import MungeError

LIBRARY = "libmunge.so.2"

# munge.h, munge_opt_t. libmunge itself says what its errors are.
OPT_ADDR4, OPT_SOCKET = 5, 8


class Identity(NamedTuple):
    """Who made a credential: user and group id, and the host as munged names it (host name, address)."""

    uid: int
    gid: int
    host: str
    address: str
    payload: str


def decode(credential: str, socket_path: str = "") -> Identity:
    """Check a credential with munged and say who made it. Raises MungeError with munged's reason.

    munged is waited for as long as libmunge does, a few seconds; other threads go on.
    """
    library = _library()
    context = library.munge_ctx_create()
    if not context:
        raise MungeError("no memory for a context of libmunge")
    try:
        if socket_path and library.munge_ctx_set(context, OPT_SOCKET, ctypes.c_char_p(socket_path.encode())):
            raise MungeError(_text(library.munge_ctx_strerror(context)))
        return _decoded(library, context, credential)
    finally:
        library.munge_ctx_destroy(context)


def _decoded(library: Any, context: int, credential: str) -> Identity:
    payload, length = ctypes.c_void_p(), ctypes.c_int()
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    given = credential.encode("ascii", "replace")
    out = map(ctypes.byref, (payload, length, uid, gid))
    try:
        error = library.munge_decode(given, context, *out)
        if error:  # of an expired or replayed credential the payload comes all the same
            reason = library.munge_ctx_strerror(context) or library.munge_strerror(error)
            raise MungeError(_text(reason))
        said = ctypes.string_at(payload, length.value).decode("utf-8", "replace") if payload else ""
    finally:
        library.free(payload)
    octets = (ctypes.c_ubyte * 4)()
    if library.munge_ctx_get(context, OPT_ADDR4, ctypes.byref(octets)):
        raise MungeError(_text(library.munge_ctx_strerror(context)))
    address = socket.inet_ntoa(bytes(octets))
    return Identity(uid.value, gid.value, _host(address), address, said)


def _host(address: str) -> str:
    """The name of an address, as `unmunge` looks it up; the address where it has none."""
    try:
        return socket.gethostbyaddr(address)[0]
    except OSError:
        return address


def _text(said: bytes | None) -> str:
    return (said or b"no answer").decode("utf-8", "replace")


@lru_cache
def _library() -> Any:
    """Libmunge. Raises MungeError where it is not installed."""
    try:
        library: Any = ctypes.CDLL(LIBRARY)
    except OSError as err:
        raise MungeError(f"libmunge is not installed: {err}") from err
    context, text = ctypes.c_void_p, ctypes.c_char_p
    library.munge_ctx_create.restype = context
    library.munge_ctx_destroy.argtypes = [context]
    library.munge_ctx_set.argtypes = [context, ctypes.c_int]  # what follows depends on the option
    library.munge_ctx_get.argtypes = [context, ctypes.c_int]
    library.munge_ctx_strerror.argtypes = [context]
    library.munge_ctx_strerror.restype = text
    library.munge_strerror.restype = text
    pointer = ctypes.c_void_p
    library.munge_decode.argtypes = [text, context, pointer, pointer, pointer, pointer]
    library.free.argtypes = [pointer]
    return library
