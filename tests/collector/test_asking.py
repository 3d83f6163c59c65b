# SPDX-License-Identifier: MIT
"""Asking for a reading: a byte in a job's FIFO has one taken within a second, and a flood of them gains nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from carbon_collector import daemon
from carbon_collector.asking import WAKE, Asking

from .process import Host, eventually

JOULE = 1_000_000
ALICE, BOB = 1000, 1001
HOUR_S = 3600.0
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a FIFO to another user")


def alone(body: Callable[[], None]) -> None:
    """Run a test's body in a process of one thread that blocks the signal, as all threads of the collector do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has other threads; the child needs none
        child = os.fork()
    if child == 0:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE})
            body()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child ends here, whatever it is
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0, "see the traceback of the child"


def woken(timeout_s: float = 0.0) -> int | None:
    """The si_code of a signal that waits."""
    found = signal.sigtimedwait({WAKE}, timeout_s)
    return None if found is None else found.si_code


def ask(path: Path) -> None:
    """As a job does it."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"!")
    os.close(fd)


@needs_root
def test_a_byte_wakes_once(tmp_path: Path) -> None:
    """The signal tells a FIFO from a prolog by its code; open and close alone wake nobody, and nothing wakes for ever."""

    def body() -> None:
        asking = Asking(str(tmp_path), 1.0)
        asking.keep({"7": ALICE})
        path = tmp_path / "7.ask"
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        assert woken(0.05) is None
        ask(path)

        assert (woken(20) or 0) > 0
        asking.stepped()
        assert woken(0.1) is None
        os.kill(os.getpid(), WAKE)
        assert woken(20) == 0
        assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (ALICE, 0o200)
        asking.keep({})
        assert list(tmp_path.iterdir()) == []

    alone(body)


@needs_root
def test_who_asks_too_soon_is_owed_a_step(tmp_path: Path) -> None:
    """After a step the door is shut: no further byte wakes anybody, and the step comes when the time is over."""

    def body() -> None:
        asking = Asking(str(tmp_path), HOUR_S)
        asking.keep({"7": ALICE, "8": BOB})
        assert asking.may_step()
        asking.stepped()
        assert asking.due_s() == float("inf")
        ask(tmp_path / "7.ask")
        assert woken(20) is not None
        assert not asking.may_step()

        for _ in range(100):
            ask(tmp_path / "7.ask")
            ask(tmp_path / "8.ask")
        assert woken(0.05) is None
        assert 0 < asking.due_s() <= HOUR_S
        asking._stepped_s -= HOUR_S  # the time is over
        asking.stepped()
        assert asking.due_s() == float("inf")
        ask(tmp_path / "8.ask")
        assert woken(20) is not None

    alone(body)


@needs_root
def test_off_makes_no_fifo(tmp_path: Path) -> None:
    """Where a site does not want it, nobody can ask."""
    Asking(str(tmp_path), float("inf")).keep({"7": ALICE})

    assert list(tmp_path.iterdir()) == []


def live(host: Host, job: int) -> dict[str, object]:
    """What a job's live file says."""
    return dict(json.loads((host.run_dir / f"live/{job}.json").read_text()))


@needs_root
def test_who_asks_gets_a_new_reading(host: Host) -> None:
    """Long before the next tick the file has what was counted until now; a second question waits for a second."""
    host.start(interval="60", idle_watts="9000")
    host.ticket("prolog", 7, SLURM_JOB_UID=str(ALICE))
    time.sleep(5)  # the readings of a young job are over
    path = host.run_dir / "live/7.ask"
    before = live(host, 7)
    host.node.count(20 * JOULE)
    start_s = time.monotonic()
    ask(path)
    first = eventually(lambda: (now := live(host, 7))["sequence"] != before["sequence"] and now, "the answer")
    took_s = time.monotonic() - start_s
    host.node.count(20 * JOULE)
    ask(path)
    second = eventually(lambda: (now := live(host, 7))["sequence"] != first["sequence"] and now, "the second")

    assert took_s < 20  # the next tick is a minute away
    assert 0.5 < time.monotonic() - start_s < 40
    energies = [one["components"]["cpu"]["energy_uj"] for one in (before, first, second)]
    assert energies[0] < energies[1] < energies[2]


@needs_root
@pytest.mark.slow
def test_a_flood_costs_nothing(host: Host) -> None:
    """Five seconds of a job's flood: some ten steps, hardly any CPU time, and the honest neighbour waits a second at most."""
    host.start(interval="60")
    for job, uid in ((7, ALICE), (8, BOB)):
        host.ticket("prolog", job, SLURM_JOB_UID=str(uid), SLURM_JOB_CPUS_PER_NODE="2")
    time.sleep(5)
    assert host.process is not None
    before, cpu_s, start_s = live(host, 8), cpu_seconds(host.process.pid), time.monotonic()
    code = (
        "import os, sys, time\n"
        "os.setuid(1000)\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)\n"
        "end = time.monotonic() + 5\n"
        "while time.monotonic() < end:\n"
        "    try: os.write(fd, b'!')\n"
        "    except BlockingIOError: time.sleep(0.001)\n"
    )
    with subprocess.Popen([sys.executable, "-ISc", code, "7.ask"], cwd=host.run_dir / "live") as flood:
        time.sleep(1.5)
        waits_s = [answer(host, 8) for _ in range(3)]
        assert flood.wait(20) == 0
    after, lasted_s = live(host, 8), time.monotonic() - start_s

    steps = int(str(after["sequence"])) - int(str(before["sequence"]))
    used_s = cpu_seconds(host.process.pid) - cpu_s
    print(f"a flood of 5 s: {steps} steps, {used_s:.2f} s of CPU time, neighbour waited {max(waits_s):.2f} s at most")
    assert 3 <= steps <= 4 + 2 * lasted_s  # two jobs, a step a second
    assert used_s < 0.05 * lasted_s + 0.25
    assert max(waits_s) < 20  # the next tick is a minute away
    assert host.collect().is_conserved()


def answer(host: Host, job: int) -> float:
    """Ask, and return how long the answer took."""
    before, start_s = live(host, job)["sequence"], time.monotonic()
    ask(host.run_dir / f"live/{job}.ask")
    eventually(lambda: live(host, job)["sequence"] != before, "an answer")
    return time.monotonic() - start_s


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_root
def test_another_user_gets_nothing(host: Host) -> None:
    """Neither file nor FIFO, neither reading, writing, linking nor listing; the owner cannot make his file writable."""
    host.start()
    host.ticket("prolog", 7, SLURM_JOB_UID=str(ALICE))
    folder = host.run_dir / "live"
    eventually((folder / "7.json").exists, "live energy")

    def as_user(uid: int, script: str) -> str:
        line = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/bin/sh", "-c", script]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        return "yes" if done.returncode == 0 else "no"

    deeds = {
        "cat 7.json": "yes",
        "timeout 1 sh -c 'printf x >7.ask'": "yes",
        "ls .": "no",
        "cat 7.ask": "no",
        "chmod 600 7.json": "no",
        "sh -c 'echo evil >>7.json'": "no",
        "rm -f 7.json": "no",
        "ln -s /etc/passwd 8.json": "no",
        f"ln 7.json {host.root}/hard": "no",
    }
    assert {deed: as_user(ALICE, deed) for deed in deeds} == deeds
    assert {as_user(BOB, deed) for deed in deeds} == {"no"}


def test_the_wait_knows_a_fifo_from_a_kill() -> None:
    """A prolog's signal is the same as that of a FIFO; the daemon waits for no other."""
    assert daemon.WAKE == WAKE == signal.SIGURG
