# SPDX-License-Identifier: MIT
"""What goes wrong around the collector: it is killed, its folders vanish or fill up, nobody answers, two of it start."""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carbon_collector import live, settings, state
from carbon_collector.attribution.counter import WENT_DOWN
from carbon_collector.collector import SHOW_S, Collector
from carbon_collector.log import Log

from .process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .process import Host

JOULE = 1_000_000


def test_killed_at_any_moment_nothing_is_lost(host: Host) -> None:
    """Kill -9 again and again, tickets and energy in between: every joule arrives once, and every job is whole."""
    chance = random.Random(7)
    host.start()
    for round_ in range(8):
        job = round_ // 2 + 1
        if round_ % 2 == 0:
            host.ticket("prolog", job, wait=False)
            host.node.start_job(str(job))
        host.node.burn(str(job), job, 0.05)
        host.node.count(3 * JOULE)
        if round_ % 2 == 1:
            host.node.end_job(str(job))
            host.ticket("epilog", job, wait=False)
        time.sleep(chance.random() * 0.02)
        host.kill()
        host.node.count(2 * JOULE)
        host.start()
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == got.energy("dram") == 8 * 5 * 2 * JOULE
    assert all(got.is_closed(job) for job in (1, 2, 3, 4))
    assert sum(row["cpu_us"] for row in got.of("job_slot")) == 400_000
    assert got.is_conserved()


@pytest.mark.parametrize("state", [b"", b"torn", b"0" * 64 + b"\n{}", b"\xff\xfe"])
def test_a_torn_state_is_set_aside(host: Host, state: bytes) -> None:
    """It says so in one line, keeps the file for a person, and starts a new stream."""
    host.start()
    host.stop()
    (host.state_dir / "state.json").write_bytes(state)
    host.start()
    host.node.count(JOULE)
    host.tick()
    got = host.collect()

    assert "the state is lost and starts anew" in host.said()
    assert (host.state_dir / "state.json.bad").read_bytes() == state
    assert got.energy("cpu") == 2 * JOULE


def test_a_state_of_another_version_is_set_aside(host: Host) -> None:
    """A checksum that fits does not make it ours."""
    from carbon_collector.munge import digest

    body = json.dumps({"version": 99})
    host.state_dir.mkdir()
    (host.state_dir / "state.json").write_text(f"{digest(body.encode())}\n{body}")
    host.start()
    host.stop()

    assert f"version 99 is not {state.VERSION}" in host.said()


def test_a_wiped_run_directory_is_made_again(host: Host) -> None:
    """The collector goes on, prologs find it again, and nothing is lost or doubled."""
    host.start()
    host.ticket("prolog", 1)
    with host.frozen():  # it writes into the folder
        shutil.rmtree(host.run_dir)
    host.node.count(JOULE)
    pid_file = host.run_dir / "collector.pid"
    eventually(pid_file.exists, "the address is published again")
    host.ticket("epilog", 1)
    got = host.collect()

    assert got.is_closed(1)
    assert got.energy("cpu") == 2 * JOULE


def test_a_wiped_state_and_spool_are_made_again(host: Host) -> None:
    """An administrator tidies up: what is in memory is not lost."""
    host.start()
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.tick()
    with host.frozen():
        shutil.rmtree(host.spool_dir)
        (host.state_dir / "state.json").unlink()
    host.ticket("epilog", 1)
    got = host.collect()

    assert got.is_closed(1)
    assert got.energy("cpu") == 2 * JOULE


def test_the_aggregator_is_away_and_comes_back(host: Host) -> None:
    """Segments wait in order; every one arrives; the log says it twice, not at every attempt."""
    host.aggregator.stop()
    host.start()
    for job in (1, 2):
        host.ticket("prolog", job)
        host.node.count(JOULE)
        host.ticket("epilog", job)
    eventually(lambda: host.spooled() and "cannot ship" in host.said(), "a segment that waits")
    host.aggregator.start()
    eventually(lambda: not host.spooled(), "everything shipped")
    got = host.collect()

    assert got.energy("cpu") == 4 * JOULE
    assert host.said().count("cannot ship") == 1
    assert host.said().count("shipping again") == 1


def test_an_aggregator_that_has_more_to_do_than_it_can_is_told_less_often(host: Host) -> None:
    """While it has not yet answered, nothing is sealed only to show what runs; once it has, that goes on."""
    collector = Collector(settings.load(str(host.configure())), host.node.name, Log(str(host.root / "log")))
    collector.shipper.start()
    host.ticket("prolog", 1, wait=False)
    collector.step()

    def sealed() -> int:
        collector.step()
        collector._flushed_s -= SHOW_S
        collector.flush_if_due()
        return len(host.spooled())

    host.aggregator.has_time.clear()
    assert sealed() == 1
    eventually(lambda: host.aggregator.posts == 1, "it is told")
    assert [sealed(), sealed()] == [1, 1]
    host.aggregator.has_time.set()
    eventually(lambda: not collector.shipper.is_behind(), "it has answered")
    assert host.spooled() == []
    sealed()
    eventually(lambda: host.aggregator.posts == 2, "it is told again")


def test_the_second_aggregator_takes_over(host: Host) -> None:
    """The first of the list that takes a segment has it; one that answers nonsense is passed over."""
    host.aggregator.answer = None
    host.start(aggregators=f"http://127.0.0.1:1, {host.aggregator.url}/nowhere, {host.aggregator.url}")
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.ticket("epilog", 1)
    eventually(lambda: host.aggregator.segments and not host.spooled(), "shipped to the third")

    assert all("AssertionError" in problem for problem in host.aggregator.problems)
    host.aggregator.problems.clear()


@pytest.mark.parametrize(
    ("status", "body", "kept"),
    [
        (403, b'{"detail": "not your node"}', "refused"),
        (413, b'{"detail": "too large"}', "refused"),
        (422, b"<html>", "spool"),
        (503, b'{"detail": "no database"}', "spool"),
        (401, b"", "spool"),
        (404, b"", "spool"),
        (200, b"<html>welcome</html>", "spool"),
        (200, b"[]", "spool"),
        (200, b'{"ok": true}', "spool"),
        (200, b'{"refused": []}', "spool"),
        (200, b'{"segment": "x", "accepted": 1, "refused": 7}', "spool"),
        (200, b'{"segment": "x", "accepted": 1, "refused": [{"line": 2, "reason": "forged"}]}', "refused"),
    ],
)
def test_only_an_acknowledged_segment_is_forgotten(host: Host, status: int, body: bytes, kept: str) -> None:
    """Refused for good: kept aside and said. Anything that is no aggregator's answer: kept, and tried again."""
    host.aggregator.answer = (status, body)
    host.start()
    host.ticket("prolog", 1)
    host.ticket("epilog", 1)
    eventually(lambda: host.aggregator.posts, "an attempt")
    where = host.spool_dir if kept == "spool" else host.spool_dir / "refused"
    eventually(lambda: list(where.glob("*.jsonl")), f"the segment is kept in {kept}")
    eventually(lambda: "ship" in host.said() or "refused" in host.said(), "a line in the log")
    host.stop()

    kept_segments = list((host.spool_dir / "refused").glob("*.jsonl")) + list(host.spool_dir.glob("*.jsonl"))
    assert sum(b'"ledger"' in path.read_bytes() for path in kept_segments) >= 1
    assert host.aggregator.segments == {}


@pytest.mark.parametrize("status", [200, 422])
@pytest.mark.parametrize("forged", ["no credential", "another segment's"])
def test_whatever_listens_on_the_port_is_not_believed(host: Host, status: int, forged: str) -> None:
    """An answer that the aggregator's user did not make to this very segment has the node forget nothing."""
    good = b'{"segment": "x", "accepted": 1, "refused": [], "detail": "no"}'
    host.aggregator.answer = (status, good)
    host.aggregator.signs = forged == "another segment's"
    host.aggregator.signs_for = "0" * 64
    host.start()
    host.ticket("prolog", 1)
    host.ticket("epilog", 1)
    says = {"no credential": "carries no credential", "another segment's": "to something else"}
    eventually(lambda: says[forged] in host.said(), "a line in the log")
    assert host.spooled()
    assert not list((host.spool_dir / "refused").glob("*.jsonl"))
    host.aggregator.answer, host.aggregator.signs, host.aggregator.signs_for = None, True, ""
    eventually(lambda: host.aggregator.segments and not host.spooled(), "shipped to the real one")


def test_a_segment_that_cannot_be_read_stops_no_other(host: Host) -> None:
    """A directory with a segment's name, a foreign file: the rest goes on."""
    (host.spool_dir / "0.jsonl").mkdir(parents=True)
    host.start()
    host.ticket("prolog", 1)
    host.ticket("epilog", 1)
    eventually(lambda: host.aggregator.is_closed(1), "shipped past it")
    host.stop()

    assert "0.jsonl cannot be read and stays" in host.said()


def test_live_energy_is_its_owners_alone(host: Host) -> None:
    """One file a job that its user may read, there across a kill, gone with the job; nobody lists the folder."""
    if os.getuid() != 0:
        pytest.skip("only root can let another user read a file")
    host.start()
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.tick()
    path = host.run_dir / "live/1.json"
    eventually(path.exists, "live energy")

    assert os.getxattr(path, live.ACCESS) == live.readable_by(1000)
    assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (0, 0o640)  # the group's bits are the list's mask
    assert (path.parent.stat().st_mode & 0o7777, host.run_dir.stat().st_mode & 0o7777) == (0o711, 0o711)
    assert ((host.run_dir / "tickets").stat().st_mode & 0o7777) == 0o700
    assert json.loads(path.read_text())["run"] == "restart:0"
    (path.parent / "7.json").write_text("of a job that is long gone")
    host.kill()
    host.start()
    assert path.exists()
    eventually(lambda: not (path.parent / "7.json").exists(), "what no job has is gone")
    assert path.exists()
    host.ticket("epilog", 1)
    eventually(lambda: not path.exists(), "it is gone with the job")


def test_it_leaves_when_there_is_nothing_to_do(host: Host) -> None:
    """After the last row is acknowledged and `linger` is over: exit 0, no address left, an empty spool."""
    host.start(linger="0.3")
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.ticket("epilog", 1)
    assert host.process is not None
    assert host.process.wait(10) == 0

    assert (host.run_dir / "collector.pid").read_bytes() == b""
    assert host.spooled() == []
    assert host.aggregator.is_closed(1)
    assert host.aggregator.energy("cpu") == 2 * JOULE


def test_a_wrap_that_its_last_reading_shows_is_not_lost(host: Host) -> None:
    """A collector that leaves reads once more before; one that a later prolog starts knows the energy in between."""
    for zone in host.node.energy:
        host.node.set_energy(zone, int((host.node.zone(zone) / "max_energy_range_uj").read_text()) - 2 * JOULE)
    host.start(linger="3", interval="60")
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.ticket("epilog", 1)
    eventually(lambda: host.aggregator.is_closed(1), "the segment has come")
    with host.frozen():
        time.sleep(3.1)
        host.node.count(2 * JOULE)
    assert host.process is not None
    assert host.process.wait(30) == 0
    host.start()
    host.ticket("prolog", 2)
    host.node.count(JOULE)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == got.energy("dram") == 8 * JOULE
    assert WENT_DOWN not in str(got.of("node_slot"))
    assert got.is_conserved()


def cpu_ticks(host: Host) -> int:
    """Hundredths of a second of CPU time that the collector has used."""
    assert host.process is not None
    with Path(f"/proc/{host.process.pid}/stat").open(encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_torn_ticket_does_not_make_it_spin(host: Host) -> None:
    """A prolog that died while writing: the collector waits for the rest without burning CPU."""
    host.start(linger="0.1", interval="0.5")
    (host.run_dir / "tickets/prolog.1.1").write_bytes(b"KIND=prolog\0")
    time.sleep(0.3)
    before = cpu_ticks(host)
    time.sleep(0.4)

    assert cpu_ticks(host) - before < 10
    assert host.aggregator.posts < 10


@pytest.mark.slow
def test_it_stays_as_long_as_a_job_does(host: Host) -> None:
    """`linger` begins when there is nothing left to do."""
    host.start(linger="0.2")
    host.ticket("prolog", 1)
    time.sleep(0.6)
    assert host.process is not None
    assert host.process.poll() is None
    host.ticket("epilog", 1)
    assert host.process.wait(10) == 0
    assert host.aggregator.is_closed(1)


def test_a_second_collector_waits_for_the_first(host: Host) -> None:
    """The prolog that comes while one leaves starts another; it takes over, and takes up its state."""
    host.start()
    host.ticket("prolog", 1)
    first = host.process
    assert first is not None
    config = host.root / "carbon-acct.conf"
    second = subprocess.Popen([*first.args[:-1], str(config)], stderr=subprocess.DEVNULL)  # type: ignore[misc, list-item]
    host.process = second
    time.sleep(0.3)
    first.terminate()
    first.wait(10)
    eventually(lambda: (host.run_dir / "collector.pid").read_text() == f"{second.pid}\n", "it took over")
    host.ticket("epilog", 1)
    got = host.collect()

    assert got.is_closed(1)
    assert len({key[0] for key in got.records()}) == 1


def test_a_prolog_at_the_moment_of_leaving_is_served(host: Host) -> None:
    """Whenever its ticket comes, it is taken in: by the collector that was about to go, or by the next."""
    host.start(linger="0.05")
    for job in range(1, 6):
        host.ticket("prolog", job, wait=False)
        time.sleep(0.013 * job)
        host.ticket("epilog", job, wait=False)
        time.sleep(0.05)
        if host.process is None or host.process.poll() is not None:
            host.start()
    assert host.process is not None
    if host.process.poll() is not None and list((host.run_dir / "tickets").iterdir()):
        host.start(linger="forever")
    eventually(lambda: not list((host.run_dir / "tickets").iterdir()), "all tickets taken in")
    got = host.collect()

    assert [got.is_closed(job) for job in range(1, 6)] == [True] * 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of 256 KiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    mounted: list[Path] = []

    def make(name: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        if libc.mount(b"tmpfs", bytes(path), b"tmpfs", 0, b"size=256k") != 0:
            pytest.skip(f"a small file system cannot be mounted: {os.strerror(ctypes.get_errno())} (root is needed)")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        libc.umount2(bytes(path), 2)


def fill(folder: Path) -> Path:
    """Take all the space there is."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


@pytest.mark.parametrize("which", ["spool", "state", "run"])
@pytest.mark.slow
def test_a_full_disk_delays_and_loses_nothing(host: Host, small_disk: Callable[[str], Path], which: str) -> None:
    """Spool, state or run directory full: it says so once, does not spin, goes on in memory, catches up when there is space."""
    folder = small_disk(which)
    host.start()
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.tick()
    eventually(lambda: not host.spooled(), "nothing under way that would make room when it is acknowledged")
    ballast = fill(folder)
    if which == "run":
        time.sleep(3 * 0.1)
    else:
        host.ticket("epilog", 1, wait=False)
        needle = "cannot write to" if which == "spool" else "cannot save the state"
        eventually(lambda: needle in host.said(), "a line in the log")
    host.node.count(JOULE)
    time.sleep(0.3)
    assert host.process is not None
    assert host.process.poll() is None
    ballast.unlink()
    if which == "run":
        host.ticket("epilog", 1)
    eventually(lambda: host.aggregator.is_closed(1), f"the job arrives; {host.said()}")
    got = host.collect()

    assert got.energy("cpu") == 4 * JOULE
    assert got.is_conserved()
    assert len(host.said().splitlines()) < 8


def test_a_spool_at_its_limit_keeps_rows_in_memory(host: Host) -> None:
    """More than [collector] spool_limit: nothing is dropped, the state has it, a restart still has it."""
    host.aggregator.stop()
    host.start(spool_limit="0")
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.ticket("epilog", 1)
    eventually(lambda: "the spool holds more than 0 MiB" in host.said(), "a line in the log")
    host.kill(signal.SIGKILL)
    host.start(spool_limit="1")
    eventually(host.spooled, "a segment")
    got = host.collect()

    assert got.is_closed(1)
    assert got.energy("cpu") == 2 * JOULE


def reboot(host: Host) -> None:
    """Power fails and comes back: another boot id, counters at zero, no cgroup and no run directory."""
    host.kill()
    shutil.rmtree(host.run_dir)
    for job in list(host.node.job_cpu):
        host.node.end_job(job)
    host.node.set_boot_id("22222222-2222-2222-2222-222222222222")
    for zone in host.node.energy:
        host.node.set_energy(zone, 0)
    host.start()


def test_a_reboot_invents_nothing_and_ends_what_was_open(host: Host) -> None:
    """Counters at zero are no energy and no wrap; the open run keeps what it had, and is over."""
    host.start()
    host.ticket("prolog", 1)
    host.node.start_job("1")
    host.node.burn("1", 0, 0.5)
    host.node.count(5 * JOULE)
    host.tick()
    reboot(host)
    host.node.count(3 * JOULE)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == (5 + 3) * 2 * JOULE
    assert [row["cpu_us"] for row in got.of("job_slot", 1)] == [500_000]
    assert got.is_closed(1)
    assert got.is_conserved()


@pytest.mark.slow
def test_what_slurm_says_late_of_a_reboot_does_not_hide_the_next_run(host: Host) -> None:
    """Before Slurm 23.02 the epilog of a run that a reboot has ended comes with the restart count of the next run."""
    host.start()
    host.ticket("prolog", 1)
    host.node.count(JOULE)
    host.tick()
    reboot(host)
    host.ticket("prolog", 2)
    host.ticket("epilog", 2)
    eventually(lambda: host.aggregator.is_closed(2), "what the reboot ended is sealed and forgotten")
    host.ticket("epilog", 1, SLURM_JOB_RESTART_COUNT="1")
    host.ticket("prolog", 3)
    host.ticket("epilog", 3)
    eventually(lambda: host.aggregator.is_closed(3), "the epilog is dealt with")
    host.ticket("prolog", 1, SLURM_JOB_RESTART_COUNT="1")
    host.node.start_job("1")
    host.node.burn("1", 0, 0.5)
    host.node.count(7 * JOULE)
    host.tick()
    host.ticket("epilog", 1, SLURM_JOB_RESTART_COUNT="1")
    got = host.collect()

    assert sorted(row["run"] for row in got.of("ledger", 1)) == ["restart:0", "restart:1"]
    second = [row for row in got.of("job_slot", 1) if row["run"] == "restart:1"]
    assert sum(row["cpu_us"] for row in second) == 500_000
    assert got.is_conserved()
