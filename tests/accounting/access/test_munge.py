# SPDX-License-Identifier: MIT
"""Credentials of a real munged, read by libmunge: who made them, once, and a reason for whatever is none."""

from __future__ import annotations

import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from carbon_acct.access import munge as libmunge
from carbon_acct.errors import MungedError
from carbon_collector import munge
from carbon_collector.errors import MungeError


def test_a_credential_is_read_once(munge_socket: str) -> None:
    """It says who made it, where, and for what; the second time it is refused."""
    credential = munge.encode("a\\b ü\n", munge_socket)
    identity = libmunge.decode(credential, munge_socket)

    assert identity.uid == 0
    assert identity.payload == "a\\b ü\n"
    with pytest.raises(MungeError, match=r"(?i)replayed"):
        libmunge.decode(credential, munge_socket)


def test_it_says_what_unmunge_says(munge_socket: str) -> None:
    """Host and address as the program names them, and the user who made it."""
    command = ["munge", "--string", "x", "--socket", munge_socket]
    made = [subprocess.run(command, check=True, capture_output=True, text=True, user=1).stdout for _ in range(2)]
    said = subprocess.run(
        ["unmunge", "--socket", munge_socket], input=made[0], capture_output=True, text=True, check=True
    )
    told = dict(line.split(":", 1) for line in said.stdout.splitlines() if ":" in line)
    name, _, address = told["ENCODE_HOST"].strip().partition(" ")
    identity = libmunge.decode(made[1].strip(), munge_socket)

    assert identity.uid == 1
    assert f"({identity.address})" == address
    assert identity.host == (identity.address if name == "???" else name)


@pytest.mark.parametrize("payload", ["", "x" * 200_000])
def test_payloads(payload: str, munge_socket: str) -> None:
    """None, and a long one."""
    command = ["munge", "--socket", munge_socket]
    made = subprocess.run(command, check=True, capture_output=True, text=True, input=payload).stdout.strip()
    assert libmunge.decode(made, munge_socket).payload == payload


def test_an_address_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is its own name, and the resolver is asked once a minute, however long it takes to say no."""
    asked: list[str] = []

    def nobody(address: str) -> None:
        asked.append(address)
        raise socket.herror(1, "Unknown host")

    monkeypatch.setattr(socket, "gethostbyaddr", nobody)
    assert [libmunge._name("203.0.113.7", minute) for minute in (1, 1, 2)] == ["203.0.113.7"] * 3
    assert len(asked) == 2


@pytest.mark.parametrize("credential", ["", "MUNGE:rubbish:", "MUNGE:AwQFAAD:", "x" * 30_000, "MUNGE:ä\x00:"])
def test_rubbish(credential: str, munge_socket: str) -> None:
    """Munged's reason, whatever comes."""
    with pytest.raises(MungeError, match=r"\w") as err:
        libmunge.decode(credential, munge_socket)
    assert not isinstance(err.value, MungedError)


def test_of_many_threads_each_reads_its_own(munge_socket: str) -> None:
    """And of many that read the same one, one does."""
    payloads = [f"{number}" * 20 for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda text: munge.encode(text, munge_socket), payloads))
        read = list(pool.map(lambda text: libmunge.decode(text, munge_socket).payload, made))
        once = munge.encode("once", munge_socket)
        together = threading.Barrier(8)

        def one(_: int) -> bool:
            together.wait(10)
            try:
                return libmunge.decode(once, munge_socket).payload == "once"
            except MungeError:
                return False

        assert sum(pool.map(one, range(8))) == 1
    assert read == payloads


def test_without_munged(tmp_path: Path) -> None:
    """The reason names the socket: it is not the credential that is refused."""
    with pytest.raises(MungedError, match=str(tmp_path)):
        libmunge.decode("MUNGE:x:", str(tmp_path / "socket"))


@pytest.mark.slow
@pytest.mark.parametrize("listens", [False, True])
def test_a_munged_that_does_not_answer(listens: bool, tmp_path: Path) -> None:
    """Gone, or hung: it is given up."""
    with socket.socket(socket.AF_UNIX) as munged:
        munged.bind(str(tmp_path / "socket"))
        if listens:
            munged.listen()
        with pytest.raises(MungedError, match=r"\w"):
            libmunge.decode("MUNGE:x:", str(tmp_path / "socket"))


def test_without_libmunge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another remedy: the reason says that it is not installed."""
    monkeypatch.setattr(libmunge, "LIBRARIES", ("libmunge.so.none", "/nowhere/libmunge.so.none"))
    libmunge.load.cache_clear()
    with pytest.raises(MungedError, match=r"libmunge\.so\.2 is not installed"):
        libmunge.decode("MUNGE:x:")
