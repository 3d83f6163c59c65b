# SPDX-License-Identifier: MIT
"""Checks MUNGE credentials by asking munged through libmunge, as `unmunge` does.

A program for each request would cost the accounting host as much as all else that a small request costs it (ADR 7).
Nodes and users make their credentials with the `munge` program (carbon_collector.munge), not here.
"""

from __future__ import annotations

import ctypes
import socket
import time
from functools import lru_cache
from typing import Any, NamedTuple

from carbon_acct.errors import MungedError
from carbon_collector.errors import MungeError

LIBRARIES = (
    "libmunge.so.2",
    *(f"{place}/{folder}/libmunge.so.2" for place in ("/usr/local", "/opt/munge") for folder in ("lib64", "lib")),
)
"""The names under which the library is looked for: where the loader looks, then beside the programs that munge.SEARCH
finds.
"""

# munge.h: munge_opt_t, and of munge_err_t those that say nothing of the credential.
OPT_ADDR4, OPT_SOCKET = 5, 8
NOT_ASKED = {1: "SNAFU", 5: "NO_MEMORY", 6: "SOCKET", 7: "TIMEOUT"}

NAME_S = 60
"""The time in seconds for which the name of an address is cached."""


class Identity(NamedTuple):
    """The maker of a credential: the user id, the host's name as this host resolves it, and the address that munged
    states.
    """

    uid: int
    host: str
    address: str
    payload: str


def decode(credential: str, socket_path: str = "") -> Identity:
    """Check a credential with munged and return who made it. Other threads go on meanwhile.

    Raises MungeError with munged's reason, and MungedError where munged cannot be asked. Where munged takes the
    question and does not answer, that takes about ten seconds.
    """
    library = load()
    context = library.munge_ctx_create()
    if not context:
        raise MungedError("no memory for a context of libmunge")
    try:
        if socket_path:
            library.munge_ctx_set(context, OPT_SOCKET, ctypes.c_char_p(socket_path.encode()))
        return _decoded(library, context, credential)
    finally:
        library.munge_ctx_destroy(context)


def encode(payload: str, socket_path: str = "") -> str:
    """Make a credential as this process's user. Raises MungedError."""
    library = load()
    context = library.munge_ctx_create()
    if not context:
        raise MungedError("no memory for a context of libmunge")
    made, given = ctypes.c_void_p(), payload.encode()
    try:
        if socket_path:
            library.munge_ctx_set(context, OPT_SOCKET, ctypes.c_char_p(socket_path.encode()))
        if library.munge_encode(ctypes.byref(made), context, given, len(given)):
            raise MungedError(library.munge_ctx_strerror(context).decode("utf-8", "replace"))
        return ctypes.string_at(made).decode("ascii")
    finally:
        _free()(made)
        library.munge_ctx_destroy(context)


def _decoded(library: Any, context: int, credential: str) -> Identity:
    payload, length = ctypes.c_void_p(), ctypes.c_int()
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()
    given = credential.encode("ascii", "replace")
    out = map(ctypes.byref, (payload, length, uid, gid))
    try:
        error = library.munge_decode(given, context, *out)
        if error:  # the payload of an expired or replayed credential comes all the same
            reason = library.munge_ctx_strerror(context).decode("utf-8", "replace")
            raise (MungedError if error in NOT_ASKED else MungeError)(reason)
        said = ctypes.string_at(payload, length.value).decode("utf-8", "replace") if payload else ""
    finally:
        _free()(payload)
    octets = (ctypes.c_ubyte * 4)()
    library.munge_ctx_get(context, OPT_ADDR4, ctypes.byref(octets))
    address = socket.inet_ntoa(bytes(octets))
    return Identity(uid.value, _name(address, int(time.monotonic() / NAME_S)), address, said)


@lru_cache(maxsize=20_000)
def _name(address: str, _minute: int) -> str:
    """Return the name of an address by the host's resolver, or the address where it has none. The result is cached for
    a minute.
    """
    try:
        return socket.gethostbyaddr(address)[0]
    except OSError:
        return address


@lru_cache
def load() -> Any:
    """Return libmunge, with the argument types of the functions that are used here. Raises MungedError where it is not
    installed.
    """
    library: Any = _first_of(LIBRARIES)
    handle, text, any_pointer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    library.munge_ctx_create.restype = handle
    library.munge_ctx_destroy.argtypes = [handle]
    library.munge_ctx_set.argtypes = [handle, ctypes.c_int]  # what follows depends on the option: it is variadic in C
    library.munge_ctx_get.argtypes = [handle, ctypes.c_int]
    library.munge_ctx_strerror.argtypes = [handle]
    library.munge_ctx_strerror.restype = text
    library.munge_encode.argtypes = [any_pointer, handle, text, ctypes.c_int]
    library.munge_decode.argtypes = [text, handle, any_pointer, any_pointer, any_pointer, any_pointer]
    return library


def _first_of(libraries: tuple[str, ...]) -> Any:
    for name in libraries:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise MungedError("libmunge.so.2 is not installed (Debian: libmunge2, Red Hat: munge-libs)")


@lru_cache
def _free() -> Any:
    """Return the free() of this process, which may not be the one that libmunge links to: a site may load another
    allocator before the C library's.
    """
    free: Any = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    return free
