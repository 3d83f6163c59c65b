# SPDX-License-Identifier: MIT
"""The HTTP and MUNGE clients against real sockets and programs that misbehave: an answer or one error, in bounded time."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carbon_collector import http, munge
from carbon_collector.errors import MungeError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """A server for one request that sends these pieces; `hold` keeps the connection open afterwards."""
    threads, listeners, over = [], [], threading.Event()

    def serve(*pieces: bytes, hold: bool = False) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):  # whoever asked may have gone
                connection.settimeout(5)
                connection.recv(1 << 16)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.01)
                if hold:
                    over.wait(5)

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    over.set()
    for thread in threads:
        thread.join()
    for listener in listeners:
        listener.close()


def ask(url: str, timeout_s: float = 5.0) -> http.Answer:
    """One request."""
    return http.request("POST", url, "/v1/segments", b"body", {"X": "y"}, timeout_s)


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ((OK + b"Content-Length: 5\r\n\r\nhello",), 200, b"hello"),
        ((OK + b"Content-Length: 5\r\n\r\nhello and more",), 200, b"hello and more"),
        ((OK + b"\r\nuntil the end",), 200, b"until the end"),
        ((b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n",), 503, b""),
        ((OK[:7], OK[7:] + b"CONTENT-LENGTH", b":2\r\n\r", b"\no", b"k"), 200, b"ok"),
        ((OK + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",), 200, b"abcde"),
    ],
)
def test_answers(answering: Callable[..., str], pieces: tuple[bytes, ...], status: int, body: bytes) -> None:
    """However it is cut and framed."""
    assert ask(answering(*pieces))[:2] == (status, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        OK + b"Content-Length: 50\r\n\r\nshort",
        OK + b"Content-Length: many\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcdefgh\r\n-3\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_no_answer(answering: Callable[..., str], answer: bytes) -> None:
    """Whatever is on the other side, it is one kind of error, with the URL in it."""
    url = answering(answer)
    with pytest.raises(RequestError, match=url):
        ask(url)


def test_a_long_answer_is_cut_off(answering: Callable[..., str]) -> None:
    """Whoever says how much it expects takes no more than that into memory."""
    url = answering(OK + b"Content-Length: 4000000\r\n\r\n" + b"x" * 4_000_000)
    with pytest.raises(RequestError, match="too large"):
        http.request("POST", url, "/v1/segments", b"body", {}, most=1 << 20)


@pytest.mark.parametrize("pieces", [(), (OK,), (OK + b"Content-Length: 5\r\n\r\nab",), tuple([b"H"] * 60)])
def test_a_slow_server_is_left(answering: Callable[..., str], pieces: tuple[bytes, ...]) -> None:
    """Silent, or a byte now and then: the deadline is for all of it."""
    url = answering(*pieces, hold=True)
    start = time.monotonic()
    with pytest.raises(RequestError, match="timed out"):
        ask(url, 0.2)

    assert time.monotonic() - start < 4  # the server would hold it for five seconds


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a", ("http", "a", 6829, "")),
        ("http://a:1/x/", ("http", "a", 1, "/x")),
        ("https://a", ("https", "a", 443, "")),
        ("http://[::1]:7", ("http", "::1", 7, "")),
        ("http://[::1]", ("http", "::1", 6829, "")),
    ],
)
def test_urls(url: str, parts: tuple[str, str, int, str]) -> None:
    """Host, port and prefix; IPv6 in brackets."""
    assert http.split_url(url) == parts


@pytest.mark.parametrize("url", ["", "a:6829", "ftp://a", "http://", "http://a:b", "http://:1"])
def test_what_is_no_url(url: str) -> None:
    """Said with an example."""
    with pytest.raises(RequestError, match="it looks like http://host:6829"):
        http.split_url(url)


def test_munge_without_munged(tmp_path: Path) -> None:
    """One line that says what to look at."""
    if not any(os.access(f"{folder}/munge", os.X_OK) for folder in munge.SEARCH):
        pytest.skip("munge is not installed (Debian: apt-get install munge)")
    with pytest.raises(MungeError, match="is munged running"):
        munge.encode("x", str(tmp_path / "socket"))


@pytest.mark.parametrize("said", ['munge: Error: Failed to access "/run/munge/munge.socket.2"', ""])
def test_a_munge_that_fails(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program said is in the line, and what to look at."""
    (tmp_path / "munge").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 6\n")
    (tmp_path / "munge").chmod(0o755)
    monkeypatch.setattr(munge, "SEARCH", (str(tmp_path),))
    with pytest.raises(MungeError, match=f"{re.escape(said) or 'no answer'}; is munged running"):
        munge.encode("x")


def test_a_munge_that_cannot_be_run_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the collector would run out of descriptors while someone repairs the installation."""
    (tmp_path / "munge").write_bytes(b"no program\0")
    (tmp_path / "munge").chmod(0o755)
    monkeypatch.setattr(munge, "SEARCH", (str(tmp_path),))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Exec format error"):
        munge.encode("x")

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_munge_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another remedy: the line says that it is not installed, and where it was looked for."""
    monkeypatch.setattr(munge, "SEARCH", (str(tmp_path),))
    with pytest.raises(MungeError, match=f"munge is not installed .*{re.escape(str(tmp_path))}"):
        munge.encode("x")


def test_a_get_signs_its_target() -> None:
    """The digest of nothing would fit every request."""
    assert munge.request_digest("GET", "/a?b", b"") == munge.digest(b"/a?b")
    assert munge.request_digest("POST", "/a", b"x") == munge.digest(b"x")
