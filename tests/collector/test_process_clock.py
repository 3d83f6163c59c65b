# SPDX-License-Identifier: MIT
"""The node's wall clock is stepped and slewed under the real collector: durations and energies stay what they were.

The clock is a preloaded library (slurm/clock.c) that also shows the times of tickets as that clock would have
stamped them. It begins hours ago, so that no slot lies in the future of the aggregator's true clock.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from carbon_collector.units import SLOT_S, US_PER_S
from slurm.clock import Clock

from .process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from .process import Aggregator, Host

JOULE = 1_000_000
HOUR = 3600.0
DAY_SLOTS = 96

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: the clock cannot be built")


def started(host: Host, folder: Path, ago_s: float = 3 * HOUR, into_slot_s: float = 300) -> Clock:
    """Start the collector under a clock that shows a time long ago, so far into a slot."""
    clock = Clock(folder / "clock")
    clock.step(-ago_s)
    clock.step(into_slot_s - clock.time() % SLOT_S)
    host.start(env={"LD_PRELOAD": str(clock.library)})
    return clock


def work(host: Host, job: int, seconds: float, joules: int) -> None:
    """The job burns CPU time, the counters count, and the collector has seen both."""
    host.node.burn(str(job), job % 8, seconds)
    host.node.count(joules * JOULE)
    host.tick()


def begin(host: Host, job: int) -> None:
    """A job's prolog and its first step."""
    host.ticket("prolog", job)
    host.node.start_job(str(job))


def end(host: Host, job: int) -> None:
    """The end of a job's last step, and its epilog."""
    host.node.end_job(str(job))
    host.ticket("epilog", job)


def sums(got: Aggregator, job: int) -> dict[str, int]:
    """What the rows of a job add up to, in microseconds."""
    rows: list[dict[str, Any]] = got.of("job_slot", job)
    cpu = [row["components"]["cpu"]["metered_us"] for row in rows]
    return {"cpu": sum(row["cpu_us"] for row in rows), "alloc": sum(r["alloc_us"] for r in rows), "metered": sum(cpu)}


def told_seconds(got: Aggregator, job: int) -> int:
    """How long the job's sealed ledger says that it was there."""
    ledger = next(row for row in got.of("ledger", job) if row["closed"] is not None)
    return int(ledger["closed"] - ledger["opened"])


@pytest.mark.parametrize(
    "step_s",
    [
        pytest.param(HOUR, id="+1h"),
        pytest.param(-HOUR, id="-1h"),
        pytest.param(0.4 * HOUR, id="+24min"),
        pytest.param(-7.0, id="-7s"),
    ],
)
def test_a_stepped_clock_loses_and_doubles_nothing(host: Host, tmp_path: Path, step_s: float) -> None:
    """Jobs before, over and after the step are there once and wholly covered, with their CPU time and all the energy."""
    clock = started(host, tmp_path)
    started_s = time.monotonic()
    begin(host, 1)
    work(host, 1, 0.2, 3)
    begin(host, 2)
    work(host, 2, 0.1, 5)
    end(host, 1)
    clock.step(step_s)
    work(host, 2, 0.3, 7)
    begin(host, 3)
    work(host, 3, 0.4, 11)
    end(host, 2)
    end(host, 3)
    lasted_us = (time.monotonic() - started_s) * US_PER_S
    got = host.collect()

    assert got.energy("cpu") == got.energy("dram") == (3 + 5 + 7 + 11) * 2 * JOULE
    assert got.is_conserved()
    assert Counter(row["job_id"] for row in got.of("ledger")) == {1: 1, 2: 1, 3: 1}
    for job, cpu_us in ((1, 200_000), (2, 400_000), (3, 400_000)):
        found = sums(got, job)
        assert got.is_closed(job)
        assert found["cpu"] == cpu_us
        assert found["metered"] == found["alloc"] <= lasted_us
        assert told_seconds(got, job) <= lasted_us / US_PER_S + 1
    assert sum(row["elapsed_us"] for row in got.of("node_slot")) <= lasted_us + 2 * US_PER_S


def test_a_clock_set_back_into_sealed_slots_begins_a_new_stream(host: Host, tmp_path: Path) -> None:
    """An hour forward, an hour back: what was sealed of the first slot is not replaced by what comes later in it."""
    clock = started(host, tmp_path)
    begin(host, 1)
    work(host, 1, 0.1, 3)
    clock.step(HOUR)
    work(host, 1, 0.1, 5)
    eventually(lambda: host.aggregator.of("node_slot"), "the first slot is sealed")
    host.tick()
    clock.step(-HOUR)
    work(host, 1, 0.1, 7)
    end(host, 1)
    got = host.collect()

    assert "the clock was set back; a new stream of records begins" in host.said()
    assert len({key[0] for key in got.records()}) == 2
    assert got.energy("cpu") == got.energy("dram") == (3 + 5 + 7) * 2 * JOULE
    assert sums(got, 1)["cpu"] == 300_000
    assert sums(got, 1)["metered"] == sums(got, 1)["alloc"]
    assert got.is_conserved()


def test_a_step_between_a_ticket_and_its_reading(host: Host, tmp_path: Path) -> None:
    """A ticket's stamp is of the old clock, the reading's of the new one: the job was still there for as long as it was."""
    clock = started(host, tmp_path)
    started_s = time.monotonic()
    steps = {1: HOUR, 2: -HOUR, 3: 0.4 * HOUR, 4: -0.4 * HOUR}
    for job, step_s in steps.items():
        with host.frozen():
            host.ticket("prolog", job, wait=False)
            clock.step(step_s)
        host.node.start_job(str(job))
        work(host, job, 0.1, 1)
        with host.frozen():
            host.ticket("epilog", job, wait=False)
            clock.step(-2 * step_s)
        host.tick()
    lasted_us = (time.monotonic() - started_s) * US_PER_S
    got = host.collect()

    for job in steps:
        assert got.is_closed(job)
        assert 0 < sums(got, job)["metered"] == sums(got, job)["alloc"] <= lasted_us
        assert told_seconds(got, job) <= lasted_us / US_PER_S + 1
    assert got.energy("cpu") == len(steps) * 2 * JOULE
    assert got.is_conserved()


@pytest.mark.parametrize("seconds", [0.5, -0.5], ids=["fast", "slow"])
@pytest.mark.slow
def test_a_slewed_clock_at_the_border_of_a_slot(host: Host, tmp_path: Path, seconds: float) -> None:
    """NTP pulls the clock by half a second, over the border and back: one stream, nothing lost."""
    clock = started(host, tmp_path, into_slot_s=SLOT_S - 1.0)
    begin(host, 1)
    for _ in range(10):
        clock.slew(seconds / 10, over_s=0.2, every_s=0.02)
        work(host, 1, 0.01, 1)
    end(host, 1)
    got = host.collect()

    assert len({key[0] for key in got.records()}) == 1
    assert len(got.of("node_slot")) == 2
    assert got.energy("cpu") == 10 * 2 * JOULE
    assert sums(got, 1)["cpu"] == 100_000
    assert sums(got, 1)["metered"] == sums(got, 1)["alloc"]
    assert got.is_conserved()


@pytest.mark.slow
def test_a_day_without_an_aggregator(host: Host, tmp_path: Path) -> None:
    """The slots of a day pass, with jobs in them, while nobody answers: all of it comes later, once."""
    host.aggregator.stop()
    clock = started(host, tmp_path, ago_s=27 * HOUR)
    begin(host, 1000)
    for slot in range(DAY_SLOTS):
        begin(host, slot + 1)
        work(host, slot + 1, 0.02, 1)
        end(host, slot + 1)
        if slot == DAY_SLOTS // 2:
            host.kill()
            host.start(env={"LD_PRELOAD": str(clock.library)})
        clock.step(SLOT_S)
    end(host, 1000)
    assert len(host.spooled()) >= DAY_SLOTS
    assert host.aggregator.segments == {}
    host.aggregator.start()
    eventually(lambda: not host.spooled(), "everything shipped", patience_s=150)
    arrived = dict(host.aggregator.segments)
    got = host.collect()

    assert {name: got.segments[name] for name in arrived} == arrived
    assert got.energy("cpu") == got.energy("dram") == DAY_SLOTS * 2 * JOULE
    assert len({row["slot"] for row in got.of("node_slot")}) >= DAY_SLOTS
    assert all(got.is_closed(job) for job in (1000, *range(1, DAY_SLOTS + 1)))
    assert Counter(row["job_id"] for row in got.of("ledger")) == dict.fromkeys((1000, *range(1, DAY_SLOTS + 1)), 1)
    assert sum(row["cpu_us"] for row in got.of("job_slot")) == DAY_SLOTS * 20_000
    assert host.said().count("cannot ship") == 2
    assert got.is_conserved()
