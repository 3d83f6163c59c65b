# SPDX-License-Identifier: MIT
"""Credentials of a real munged, read by libmunge: who made them, once, and a reason for whatever is none."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from carbon_acct import unmunge
from carbon_collector import munge
from carbon_collector.errors import MungeError


def test_a_credential_is_read_once(munge_socket: str) -> None:
    """It says who made it, where, and for what; the second time it is refused."""
    credential = munge.encode("a\\b ü\n", munge_socket)
    identity = unmunge.decode(credential, munge_socket)

    assert identity[:2] == (0, 0)
    assert identity.payload == "a\\b ü\n"
    with pytest.raises(MungeError, match=r"(?i)replayed"):
        unmunge.decode(credential, munge_socket)


def test_it_says_what_unmunge_says(munge_socket: str) -> None:
    """Host and address as the program names them, and the user who made it."""
    command = ["munge", "--string", "x", "--socket", munge_socket]
    made = [subprocess.run(command, check=True, capture_output=True, text=True, user=1).stdout for _ in range(2)]
    said = subprocess.run(
        ["unmunge", "--socket", munge_socket], input=made[0], capture_output=True, text=True, check=True
    )
    told = dict(line.split(":", 1) for line in said.stdout.splitlines() if ":" in line)
    identity = unmunge.decode(made[1].strip(), munge_socket)

    assert identity.uid == 1
    assert f"{identity.host} ({identity.address})" == told["ENCODE_HOST"].strip()


@pytest.mark.parametrize("credential", ["", "MUNGE:rubbish:", "MUNGE:AwQFAAD:", "x" * 30_000, "MUNGE:ä\x00:"])
def test_rubbish(credential: str, munge_socket: str) -> None:
    """Munged's reason, whatever comes."""
    with pytest.raises(MungeError, match=r"\w"):
        unmunge.decode(credential, munge_socket)


def test_of_many_threads_each_reads_its_own(munge_socket: str) -> None:
    """And of many that read the same one, one does."""
    payloads = [f"{number}" * 20 for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda text: munge.encode(text, munge_socket), payloads))
        read = list(pool.map(lambda text: unmunge.decode(text, munge_socket).payload, made))
        once = munge.encode("once", munge_socket)
        together = threading.Barrier(8)

        def one(_: int) -> bool:
            together.wait(10)
            try:
                return unmunge.decode(once, munge_socket).payload == "once"
            except MungeError:
                return False

        assert sum(pool.map(one, range(8))) == 1
    assert read == payloads


def test_without_munged(tmp_path: Path) -> None:
    """The reason names the socket."""
    with pytest.raises(MungeError, match=str(tmp_path)):
        unmunge.decode("MUNGE:x:", str(tmp_path / "socket"))


def test_without_libmunge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another remedy: the reason says that it is not installed."""
    monkeypatch.setattr(unmunge, "LIBRARY", "libmunge.so.none")
    unmunge._library.cache_clear()
    with pytest.raises(MungeError, match="libmunge is not installed"):
        unmunge.decode("MUNGE:x:")
