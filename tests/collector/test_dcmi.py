# SPDX-License-Identifier: MIT
"""The whole node's meter: DCMI through a stand-in for the kernel's IPMI driver, compiled here and preloaded."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.meters import dcmi, polled

from .bmc import Bmc
from .process import Host, eventually

JOULE = 1_000_000
WATTS = 400
COMPONENTS = ("cpu", "dram", "other")
BLOCKED = 1 << 14 | 1 << 22 | 1 << 1
"""SIGTERM, SIGURG and SIGINT as /proc/<pid>/status shows them: bit n - 1."""


@pytest.fixture
def bmc(host: Host) -> Bmc:
    """The BMC of the host."""
    return Bmc(host)


def whole(row: dict[str, Any]) -> int:
    """Everything that a node's slot has, in microjoules."""
    return sum(row["components"][name]["energy_uj"] or 0 for name in COMPONENTS)


def test_other_is_what_the_node_draws_beyond_its_parts(bmc: Bmc) -> None:
    """Sockets + memory + other = the BMC's watts x time, to some percent; by cores held; to the microjoule conserved."""
    bmc.does(f"watts {WATTS}")
    host = bmc.start()
    bmc.run(2)
    got = host.collect()

    assert got.is_conserved()
    for row in got.of("node_slot"):
        other = row["components"]["other"]
        assert other["method"] == "integrated"
        assert whole(row) == pytest.approx(WATTS * other["metered_us"], rel=0.03)
    # Fans and losses are there for whoever holds the node: the job holds 4 of its 8 CPUs.
    assert got.energy("other", 1) == pytest.approx((got.energy("other") or 0) / 2, rel=0.03)


def test_other_is_never_negative(bmc: Bmc) -> None:
    """Sockets that run ahead of a slow BMC take nothing from anybody: it is made up for when the BMC has caught up."""
    bmc.does(f"watts {WATTS}")
    host = bmc.start()
    host.tick()
    host.node.count(20 * JOULE)  # 80 J, a fifth of a second's worth of the node
    host.tick()
    bmc.run(2, joules_each=0)
    got = host.collect()

    assert got.is_conserved()
    for row in [*got.of("node_slot"), *got.of("job_slot")]:
        assert row["components"]["other"]["energy_uj"] >= 0
    for row in got.of("node_slot"):
        assert whole(row) == pytest.approx(WATTS * row["components"]["other"]["metered_us"], rel=0.03)


def test_a_bmc_that_shows_less_than_its_parts_leaves_the_rest_unknown(bmc: Bmc) -> None:
    """kepler#1466, #1674: the node's meter says 150 W where RAPL counts 400. The parts are what they are, and the rest is
    not 0 J metered: it is unknown, and the reason says that the meters contradict each other.
    """
    bmc.hurry()
    bmc.does("watts 150")
    host = bmc.start()
    end_s = time.monotonic() + 3
    last_s = time.monotonic()
    while time.monotonic() < end_s:
        time.sleep(0.1)
        now_s = time.monotonic()
        host.node.count(int(100 * JOULE * (now_s - last_s)))
        last_s = now_s
        host.tick()
    got = host.collect()
    [row] = got.of("node_slot")
    other = row["components"]["other"]

    assert row["components"]["cpu"]["metered_us"] == row["elapsed_us"]
    assert other["metered_us"] < 0.3 * row["elapsed_us"]
    assert other["reason"] in ("dcmi: shows less yet than the parts inside it", "dcmi: readable only since now")
    assert got.is_conserved()


@pytest.mark.parametrize("what", ["hang", "stuck"])
def test_a_bmc_that_hangs_harms_nothing(bmc: Bmc, what: str) -> None:
    """The sockets go on being read, nothing waits, it is no meter before it has answered, and the collector ends when
    told to.
    """
    bmc.does(what)
    host = bmc.start()
    start_s = time.monotonic()
    for _ in range(5):
        host.node.count(JOULE)
        host.tick()
    took_s = time.monotonic() - start_s
    ended = host.kill(signal.SIGTERM)
    got = host.collect()

    assert took_s < 5 * 5  # were each to wait for the BMC, it would be for ever
    assert ended == 0
    assert got.energy("cpu") == 10 * JOULE
    assert all("other" not in row["components"] for row in got.of("job_slot", 1))
    assert got.is_conserved()


@pytest.mark.slow
def test_a_bmc_that_goes_away_comes_back(bmc: Bmc) -> None:
    """Its last power is held for a moment; then other is unknown, nothing is invented, and it goes on from its return."""
    bmc.hurry()
    bmc.does(f"watts {WATTS}")
    host = bmc.start()
    bmc.run(0.5)
    bmc.does("gone")
    eventually(lambda: (host.tick() or host.last()["readings"]["dcmi"]) is None, "dcmi is unknown")
    bmc.run(1)
    bmc.does(f"watts {WATTS}")
    eventually(lambda: (host.tick() or host.last()["readings"]["dcmi"]) is not None, "dcmi is known")
    bmc.run(1)
    got = host.collect()

    assert got.is_conserved()
    known_us = sum(row["components"]["other"]["metered_us"] for row in got.of("node_slot"))
    elapsed_us = sum(row["elapsed_us"] for row in got.of("node_slot"))
    assert 1_500_000 < known_us < elapsed_us - 900_000
    assert 0 < (got.energy("other") or 0) < WATTS * known_us
    assert "no such device" in host.said()
    assert "dcmi: is read again" in host.said()


@pytest.mark.parametrize("what", ["code 193", "idle 0", "watts 0", "short", "gone"])
def test_a_bmc_without_a_power_reading_is_no_meter(bmc: Bmc, what: str) -> None:
    """The node then has no `other` at all: every job's quality is judged by what its node can know."""
    bmc.does(what)
    host = bmc.start()
    host.node.count(JOULE)
    host.tick()
    got = host.collect()

    assert all("other" not in row["components"] for row in got.of("job_slot", 1))
    assert got.energy("cpu") == 2 * JOULE


def test_no_thread_of_a_meter_takes_the_collectors_signals(bmc: Bmc) -> None:
    """A SIGTERM that a meter's thread took would end the process without its last reading."""
    bmc.does(f"watts {WATTS}")
    host = bmc.start()
    assert host.process is not None
    main = str(host.process.pid)  # it waits for them, and then has them unblocked
    tasks = [task for task in Path(f"/proc/{main}/task").iterdir() if task.name != main]
    masks = [int((task / "status").read_text().partition("SigBlk:")[2].split()[0], 16) for task in tasks]

    assert len(masks) == 3  # the shipper's, the BMC's and that of who asks it
    assert all(mask & BLOCKED == BLOCKED for mask in masks)


def reading(watts: int, state: int = 0x40, code: int = 0, group: int = 0xDC) -> bytes:
    """A BMC's answer."""
    return dcmi.ANSWER.pack(code, group, watts, 1, watts, watts, 1_700_000_000, 1000, state)


@pytest.mark.parametrize(
    ("data", "watts", "why"),
    [
        (reading(342), 342, ""),
        (reading(342) + b"\0\0", 342, ""),
        (reading(50_000), 50_000, ""),
        (reading(0), None, "0 W cannot be"),
        (reading(65_535), None, "65535 W cannot be"),
        (reading(342, state=0), 342, ""),
        (reading(0, state=0), None, "power measurement is not active"),
        (reading(342, code=0xC1), None, "completion code 0xc1 (no such command)"),
        (b"\xc9", None, "completion code 0xc9 (see IPMI 2.0, table 5-2)"),
        (reading(342, group=0), None, "the answer is no power reading"),
        (reading(342)[:-1], None, "the answer is no power reading"),
        (b"", None, "the answer is no power reading"),
    ],
)
def test_what_an_answer_says(data: bytes, watts: int | None, why: str) -> None:
    """Watts that can be believed, or why not."""
    found = dcmi.understand(data)

    assert found.reason == why
    assert watts is None or found.watts == watts


def test_a_bmc_that_does_not_measure_and_never_moves_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Witherspoon's and Ampere's BMCs measure though they say "deactivated" (openbmc/openbmc#3257,
    phosphor-host-ipmid#167): their figure is taken while it moves. One that shows the same for ten minutes, and that
    it does not measure, is no meter; one that says that it measures is.
    """
    said: list[dcmi.Answer] = []
    monkeypatch.setattr(dcmi.Dcmi, "_work", lambda _: None)
    meter = dcmi.Dcmi("", 10.0)
    for minute, watts in enumerate([319, 320, *[319] * 12]):
        said.append(meter._judged(dcmi.understand(reading(watts, state=0)), minute * 60.0))

    assert [answer.reason for answer in said[:12]] == [""] * 12
    assert said[-1].reason == "power measurement is not active, and its figure does not move"
    assert meter._judged(dcmi.understand(reading(319)), 9e9).reason == ""
    assert meter._judged(dcmi.understand(reading(321, state=0)), 9e9).reason == ""


@given(st.binary(max_size=40))
def test_no_answer_harms(data: bytes) -> None:
    """Whatever a BMC says is watts within reason, or a reason."""
    found = dcmi.understand(data)

    assert found.reason or 0 < found.watts <= dcmi.MAX_WATTS


EVENTS = st.lists(st.tuples(st.sampled_from(["see", "read"]), st.integers(0, 40), st.integers(1, 5000)), max_size=40)


@given(EVENTS)
def test_a_held_power_is_counted_once(events: list[tuple[str, int, int]]) -> None:
    """Between two readings that are known the energy is the sum of watts x time, however often it was read."""
    held, longest_us = polled.Held(30), 30
    now = seen = 1
    power, truth, known = 0, 0, False
    last: tuple[int, int] | None = None
    gap = False
    for what, later, watts in events:
        now += later
        fresh = known and now - seen <= longest_us
        truth += power * later
        if what == "see":
            gap |= known and not fresh
            held.see(watts, now)
            power, seen, known = watts, now, True
            continue
        energy = held.energy_uj(now)
        assert (energy is not None) == (fresh and not gap)
        if energy is not None and last is not None:
            assert energy - last[0] == truth - last[1]
        gap = gap and not fresh
        last = None if energy is None else (energy, truth)
