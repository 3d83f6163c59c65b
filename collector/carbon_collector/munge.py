# SPDX-License-Identifier: MIT
"""MUNGE: who is speaking, on the trust that the cluster already has.

A request carries a credential whose payload is a digest of the request, so that a credential
cannot be taken from one request and put on another; munged itself refuses to decode one twice.
The `munge` and `unmunge` programs are used, not libmunge: they cost a few milliseconds, need no
binding on the node, and are what an administrator tests with.
"""

from __future__ import annotations

import os
import select
import time

from .errors import MungeError
from .lean.named import NamedTuple
from .lean.native import signal

try:  # hashlib loads OpenSSL: 4 MiB of resident memory on every node for one function
    from _sha256 import sha256
except ImportError:
    try:  # its name since Python 3.12
        from _sha2 import sha256
    except ImportError:
        from hashlib import sha256

TIMEOUT_S = 10.0
SEARCH = ("/usr/bin", "/usr/local/bin", "/opt/munge/bin", "/usr/sbin")


class Identity(NamedTuple):
    """Who made a credential: user and group id, and the host as munged names it (host name, address)."""

    uid: int
    gid: int
    host: str
    address: str
    payload: str


def digest(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`: what a credential's payload is."""
    return str(sha256(data).hexdigest())


def request_digest(method: str, target: str, body: bytes) -> str:
    """What the credential of a request must carry: the body's digest, or for a GET the target's.

    `target` is the path with its query, as sent. A GET has no body, and the digest of nothing would
    fit every request.
    """
    return digest(body if method != "GET" else target.encode())


def encode(payload: str, socket: str = "") -> str:
    """Make a credential for `payload` as the calling user. Raises MungeError."""
    args = ["munge", "--string", payload]
    if socket:
        args += ["--socket", socket]
    status, out, err = _run(args, b"")
    if status != 0 or not out.startswith(b"MUNGE:"):
        raise MungeError(f"munge cannot make a credential: {_line(err)}; is munged running?")
    return out.decode("ascii").strip()


def decode(credential: str, socket: str = "") -> Identity:
    """Check a credential with munged and say who made it. Raises MungeError with munged's reason."""
    args = ["unmunge"]
    if socket:
        args += ["--socket", socket]
    status, out, err = _run(args, credential.encode("ascii", "replace"))
    head, _, payload = out.decode("utf-8", "replace").partition("\n\n")
    pairs = (line.partition(":") for line in head.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    if status != 0:
        raise MungeError(fields.get("STATUS") or _line(err))
    host, _, address = fields["ENCODE_HOST"].partition(" ")
    return Identity(
        uid=_id(fields["UID"]),
        gid=_id(fields["GID"]),
        host=host,
        address=address.strip("()"),
        payload=payload.rstrip("\n"),
    )


def _id(field: str) -> int:
    """`alice (1000)` -> 1000; the name may itself hold brackets, the id is in the last pair."""
    return int(field[field.rindex("(") + 1 : field.rindex(")")])


def _line(err: bytes) -> str:
    text = err.decode("utf-8", "replace").strip()
    return text.splitlines()[0] if text else "no answer"


def _find(name: str) -> str:
    for folder in SEARCH:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    raise MungeError(f"{name} is not installed (looked in {', '.join(SEARCH)})")


def _run(args: list[str], stdin: bytes) -> tuple[int, bytes, bytes]:
    """Run a program with a deadline. `subprocess` would cost a node 2 MiB of memory for this."""
    path = _find(args[0])
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    try:
        pid = os.posix_spawn(
            path,
            args,
            {"PATH": "/usr/bin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, in_r, 0),
                (os.POSIX_SPAWN_DUP2, out_w, 1),
                (os.POSIX_SPAWN_DUP2, err_w, 2),
            ],
            setsigmask=[],  # the collector blocks the signals that it waits for
        )
    except OSError:
        for fd in (in_w, out_r, err_r):
            os.close(fd)
        raise
    finally:
        for fd in (in_r, out_w, err_w):
            os.close(fd)
    try:
        os.write(in_w, stdin)  # a credential is far smaller than a pipe's 64 KiB
    except BrokenPipeError:
        pass  # it died at once; its exit status says so
    finally:
        os.close(in_w)
    chunks: dict[int, bytes] = {out_r: b"", err_r: b""}
    open_fds = {out_r, err_r}
    deadline = time.monotonic() + TIMEOUT_S
    killed = False
    while open_fds:
        ready, _, _ = select.select(list(open_fds), [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            killed = True
            break
        for fd in ready:
            data = os.read(fd, 65536)
            chunks[fd] += data
            if not data:
                open_fds.discard(fd)
    os.close(out_r)
    os.close(err_r)
    _, wait_status = os.waitpid(pid, 0)
    if killed:
        raise MungeError(f"{args[0]} did not answer within {TIMEOUT_S:.0f} s; is munged hung?")
    return os.waitstatus_to_exitcode(wait_status), chunks[out_r], chunks[err_r]
