# SPDX-License-Identifier: MIT
"""Very many tickets at once: linear, in bounded steps, with readings between them, and SIGTERM is heeded."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_collector import intake
from carbon_collector.intake import Intake
from carbon_collector.log import Log

from .process import PATIENCE_S, Host, eventually
from .test_asking import cpu_seconds

JOULE = 1_000_000


def put(folder: Path, kind: str, job: int, at_ns: int, **env: str) -> Path:
    """A ticket as the prolog leaves it, of a given instant."""
    values = {"KIND": kind, "SLURM_CLUSTER_NAME": "tiny", "SLURM_JOB_ID": str(job), "SLURM_JOB_UID": "65534"}
    values |= {"SLURM_NODELIST": "n1", "SLURM_JOB_CPUS_PER_NODE": "1", "SLURMD_NODENAME": "n1", **env, "END": "1"}
    path = folder / f"{kind}.{job}.{os.getpid()}"
    path.write_bytes(b"".join(f"{key}={value}\0".encode() for key, value in values.items()))
    os.utime(path, ns=(at_ns, at_ns))
    return path


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["prolog", "epilog"])), max_size=30), st.integers(1, 7))
def test_oldest_first_whatever_the_steps(tickets: list[tuple[int, str]], at_once: int) -> None:
    """In the order of their instants, the prolog before the epilog of one instant; no step takes more than it may."""
    import tempfile

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(intake, "AT_ONCE", at_once)
        for job, (at_s, kind) in enumerate(tickets, 1):
            put(folder, kind, job, at_s * 10**9 + 10**18)
        taking = Intake(name, Log("/dev/null"))
        found = []
        while step := taking.take("n1"):
            assert len(step) <= at_once
            found += step
            for one in step:
                taking.drop(one.path)
        assert not taking.is_behind()

    keys = [(one.wall_us, one.kind == "epilog") for one in found]
    assert keys == sorted(keys)
    assert len(found) == len(tickets)


@pytest.mark.slow
def test_many_jobs_are_taken_in_linearly_with_readings_between(host: Host) -> None:
    """Four times as many tickets take about four times the CPU time; the state stays small; every ledger is shipped."""
    counts, took_s = (1000, 4000), []
    first = 1
    for count in counts:
        host.start()
        now_ns = time.time_ns()
        folder = host.run_dir / "tickets"
        with host.frozen():
            for number in range(count):
                for kind in ("prolog", "epilog"):
                    start = str(now_ns // 10**9)
                    put(folder, kind, first + number, now_ns + number * 1000, SLURM_JOB_START_TIME=start)
        assert host.process is not None
        start_s, before_s, sizes, instants = time.monotonic(), cpu_seconds(host.process.pid), [], set()
        host.wake()
        while any(folder.iterdir()):
            assert time.monotonic() - start_s < 200
            sizes.append(len(host.state_bytes()))
            instants.add(host.last()["mono_us"])
            time.sleep(0.02)
        took_s.append(cpu_seconds(host.process.pid) - before_s)
        first += count
        host.stop()
        # Of a busy machine's readings this process sees a few only.
        wanted = min(count * 2 // intake.AT_ONCE // 2, len(sizes) // 8)
        assert len(instants) >= wanted, "no readings between the steps"
    print(f"{counts} jobs: {took_s} s of CPU time, state {max(sizes) >> 10} KiB at most")
    got = host.collect()

    assert took_s[1] < 4 * took_s[0] * 1.8 + 1
    assert len(got.of("ledger")) == sum(counts)
    assert got.is_conserved()


@pytest.mark.slow
def test_sigterm_is_heeded_meanwhile(host: Host) -> None:
    """In a second or so, not after the last ticket; what was taken in is shipped or spooled, the rest waits on disk."""
    host.start()
    folder = host.run_dir / "tickets"
    with host.frozen():
        for number in range(6000):
            put(folder, "prolog", number + 1, time.time_ns())
        assert host.process is not None
    host.wake()
    eventually(lambda: len(list(folder.iterdir())) < 6000, "it has begun")
    start_s = time.monotonic()
    code = host.kill(signal.SIGTERM)

    assert code == 0
    assert time.monotonic() - start_s < PATIENCE_S
    assert any(folder.iterdir()), "it was done before it was told to stop; make it more tickets"
