# SPDX-License-Identifier: MIT
"""Sends one HTTP request and reads one answer, with a deadline for both together. It does no more than this project
needs.

`http.client` pulls in `email` and `ssl`, which would double the collector's memory and `carbon-acct`'s start-up time.
TLS is loaded only for an https URL.
"""

from __future__ import annotations

import time

from . import __version__, munge
from .errors import RequestError
from .lean.socket import socket
from .lean.typing import NamedTuple

MAX_ANSWER = 512 * 1024 * 1024
"""Bytes: an answer with the jobs of a year. Who expects less says so."""


class Answer(NamedTuple):
    """The answer to a request: HTTP status and body."""

    status: int
    body: bytes


def signed_request(
    method: str,
    url: str,
    target: str,
    body: bytes = b"",
    timeout_s: float = 30.0,
    munge_socket: str = "",
    most: int = MAX_ANSWER,
) -> Answer:
    """Send a request to the aggregator at `url` with a MUNGE credential of the calling user.

    `target` is the path with its query. Raises MungeError and RequestError (no answer, or one of more than `most` bytes).
    """
    credential = munge.encode(munge.request_digest(method, target, body), munge_socket)
    return request(method, url, target, body, {"Authorization": f"MUNGE {credential}"}, timeout_s, most)


def request(
    method: str,
    url: str,
    target: str,
    body: bytes,
    headers: dict[str, str],
    timeout_s: float = 30.0,
    most: int = MAX_ANSWER,
) -> Answer:
    """Send one request and read the whole answer. Raises RequestError where there is none."""
    return exchange(method, url, target, body, headers, timeout_s, most)[0]


def exchange(
    method: str,
    url: str,
    target: str,
    body: bytes,
    headers: dict[str, str],
    timeout_s: float = 30.0,
    most: int = MAX_ANSWER,
    ca: str = "",
) -> tuple[Answer, dict[str, str]]:
    """Send one request and read the whole answer and its headers, by their names in lower case. Raises RequestError.

    `ca`: file of the certificates that a server must have or be signed by, whatever host they name; empty: the system's.
    """
    scheme, host, port, prefix = split_url(url)
    deadline = time.monotonic() + timeout_s
    lines = [f"{method} {prefix}{target} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
    lines += [f"User-Agent: carbon-acct/{__version__}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    message = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
    try:
        connection = _connect(scheme, host, port, timeout_s, ca)
        try:
            _send(connection, message)
            return _read_answer(connection, deadline, most)
        finally:
            connection.close()
    except (OSError, ValueError, IndexError) as err:
        raise RequestError(f"no answer from {url}: {err or type(err).__name__}") from err


def _send(connection: socket.socket, message: bytes) -> None:
    """Send all of it. A server that refuses a request before its end may close: its answer, then, says why."""
    try:
        connection.sendall(message)
    except (BrokenPipeError, ConnectionResetError):
        pass


def split_url(url: str) -> tuple[str, str, int, str]:
    """Return the parts of a URL: `http://host:6829/prefix` -> (scheme, host, port, prefix). Raises RequestError on
    anything else.
    """
    scheme, sep, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    prefix = f"/{path}".rstrip("/") if slash else ""
    host, port = authority, ""
    if authority.startswith("["):  # an IPv6 address
        host, _, port = authority[1:].partition("]")
        port = port.lstrip(":")
    elif ":" in authority:
        host, _, port = authority.rpartition(":")
    number = port or ("443" if scheme == "https" else "6829")
    if not sep or scheme not in ("http", "https") or not host or not number.isdigit():
        raise RequestError(f"not a URL of an aggregator: {url!r}; it looks like http://host:6829")
    return scheme, host, int(number), prefix


def _connect(scheme: str, host: str, port: int, timeout_s: float, ca: str) -> socket.socket:
    if scheme == "https":
        import socket as wrapped
        import ssl

        connection = wrapped.create_connection((host, port), timeout=timeout_s)
        context = ssl.create_default_context(cafile=ca or None)
        context.check_hostname = not ca
        try:
            return context.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise
    return _plain(host, port, timeout_s)


def _plain(host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a connection to the first of the host's addresses that answers. Raises OSError."""
    # As bytes: a text, whatever is in it, would go through the IDNA codec, and that costs a node a megabyte.
    name = host.encode() if host.isascii() else host
    error = OSError("the host has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout_s)
            connection.connect(address)
        except OSError as err:
            connection.close()
            error = err
        else:
            return connection
    raise error


def _read_answer(connection: socket.socket, deadline: float, most: int) -> tuple[Answer, dict[str, str]]:
    data = bytearray()
    while b"\r\n\r\n" not in data:
        if not _receive(connection, data, deadline, most):
            raise ValueError("the connection closed before an answer")
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    status_line, *header_lines = head.decode("latin-1").split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in header_lines)}
    body = bytearray(rest)
    if "content-length" in headers:
        length = int(headers["content-length"])
        while len(body) < length:
            if not _receive(connection, body, deadline, most):
                raise ValueError(f"the answer broke off after {len(body)} of {length} bytes")
    else:
        while _receive(connection, body, deadline, most):
            pass
    final = bytes(body)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        final = _unchunk(final)
    return Answer(int(status_line.split()[1]), final), headers


def _receive(connection: socket.socket, data: bytearray, deadline: float, most: int) -> bool:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    if len(data) > most:
        raise ValueError("the answer is too large")
    connection.settimeout(left)
    chunk = connection.recv(1 << 16)
    data += chunk
    return bool(chunk)


def _unchunk(data: bytes) -> bytes:
    out = bytearray()
    while True:
        size_line, _, rest = data.partition(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        if size < 0:
            raise ValueError("a chunk of negative size")
        if size == 0:
            return bytes(out)
        if len(rest) < size + 2:
            raise ValueError("the answer broke off in a chunk")
        out += rest[:size]
        data = rest[size + 2 :]
