# SPDX-License-Identifier: MIT
"""Makes MUNGE credentials, which say who sends a request, on the trust that the cluster already has.

A request carries a credential whose payload is a digest of the request, so that a credential cannot be taken from one
request and put on another; munged itself refuses to decode one twice. The `munge` program makes it, not libmunge: it
costs a node a few milliseconds now and then, and no memory. The aggregator, which reads one with each request, asks
libmunge (carbon_acct.access.munge).
"""

from __future__ import annotations

import os
import select
import time

from .errors import MungeError
from .lean.signal import signal

try:  # hashlib loads OpenSSL: 4 MiB of resident memory on every node for one function
    from _sha256 import sha256
except ImportError:
    try:  # its name since Python 3.12
        from _sha2 import sha256
    except ImportError:
        from hashlib import sha256

TIMEOUT_S = 10.0
MAX_CREDENTIAL = 32 * 1024
"""Bytes of a credential."""
SEARCH = ("/usr/bin", "/usr/local/bin", "/opt/munge/bin", "/usr/sbin")


def digest(*parts: bytes) -> str:
    """Return the hexadecimal SHA-256 of the parts, one after the other: the payload of a credential."""
    found = sha256()
    for part in parts:
        found.update(part)
    return str(found.hexdigest())


def request_digest(method: str, target: str, body: bytes) -> str:
    """Return the digest that the credential of a request must carry: that of the body, or for a GET that of the target.

    `target` is the path with its query, as sent. A GET has no body, and the digest of nothing would fit every request.
    """
    return digest(body if method != "GET" else target.encode())


def encode(payload: str, socket: str = "", ttl_s: int = 0) -> str:
    """Make a credential for `payload` as the calling user, good for `ttl_s` seconds, or as long as munged likes (0).

    Raises MungeError.
    """
    args = ["munge", "--string", payload]
    if ttl_s:
        args += [f"--ttl={ttl_s}"]
    if socket:
        args += ["--socket", socket]
    status, out, err = _run(args)
    if status != 0 or not out.startswith(b"MUNGE:"):
        raise MungeError(f"munge cannot make a credential: {_line(err)}; is munged running?")
    return out.decode("ascii").strip()


def decode(credential: str, socket: str = "") -> tuple[int, str]:
    """Check a credential: the user id that made it, and its payload. Raises MungeError."""
    args = ["unmunge", "--numeric", "--keys=UID"]
    if socket:
        args += ["--socket", socket]
    status, out, err = _run(args, credential.encode("ascii", "replace")[:MAX_CREDENTIAL])
    head, _, payload = out.decode("utf-8", "replace").partition("\n\n")
    uid = head.partition(":")[2].strip()
    if status != 0 or not uid.isdigit():
        raise MungeError(f"a credential is refused: {_line(err)}")
    return int(uid), payload


def receipt(status: int, segment_digest: str) -> str:
    """Return what the credential of an answer to a segment carries: only who has seen the segment's own can make it."""
    return f"receipt {status} {segment_digest}"


def _line(err: bytes) -> str:
    text = err.decode("utf-8", "replace").strip()
    return text.splitlines()[0] if text else "no answer"


def _find(name: str) -> str:
    for folder in SEARCH:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    raise MungeError(f"{name} is not installed (looked in {', '.join(SEARCH)})")


def _run(args: list[str], given: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run a program with a deadline; `given` is its input, at most MAX_CREDENTIAL bytes. `subprocess` would cost a node 2 MiB of memory for this."""
    path = _find(args[0])
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    in_r, in_w = os.pipe()
    os.write(in_w, given)  # a pipe takes as much without a reader
    os.close(in_w)
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
        os.close(out_r)
        os.close(err_r)
        raise
    finally:
        os.close(in_r)
        os.close(out_w)
        os.close(err_w)
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
