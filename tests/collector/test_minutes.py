# SPDX-License-Identifier: MIT
"""Power by minute on the node. That the minutes of every row add up, whatever happens, is in test_books_lives.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution.minutes import COUNT, Minutes
from carbon_collector.spool import coarsen

from .node import FileNode
from .process import Host, eventually, stopping
from .world import Keeper, World, make_job

if TYPE_CHECKING:
    from pathlib import Path

    from .process import Aggregator

SECOND = 1_000_000
SLOT_US = 900 * SECOND
LATER = 1 << 40
WATTS = {"package-0": 100, "package-1": 60, "dram-0": 10, "dram-1": 10, "GPU-a": 300}


def at(second: int) -> World:
    """A node so far into a slot."""
    world = World()
    world.offset_us += second * SECOND - world.wall_us % SLOT_US
    return world


def minutes_of(keeper: Keeper, component: str) -> dict[int, int | None]:
    """The microjoules of a job that was alone, by the minute's first second since the epoch."""
    found: dict[int, int | None] = {}
    for _, record in keeper.records():
        if record["type"] == "job_slot":
            values = record["components"][component].get("minute_uj") or [None] * COUNT
            found |= {record["slot"] + 60 * i: uj for i, uj in enumerate(values)}
    return found


@given(
    second=st.integers(0, 899),
    before=st.integers(0, 30 * SECOND),
    lengths=st.lists(st.integers(1, 150 * SECOND), min_size=1, max_size=12),
    readable=st.lists(st.booleans(), min_size=12, max_size=12),
    after=st.integers(0, 30 * SECOND),
)
def test_no_energy_outside_of_the_job(
    second: int, before: int, lengths: list[int], readable: list[bool], after: int
) -> None:
    """A minute in which the job was not there has no energy, however long the readings' intervals are, and whether a
    counter could be read or caught up later.
    """
    world = at(second)
    keeper = Keeper(world)
    keeper.step()
    world.run(before, WATTS)
    keeper.open(make_job(1, cpus=8))
    begin_us = world.wall_us
    for length, is_readable in zip(lengths, readable, strict=False):
        world.counters["package-0"].readable = is_readable
        world.run(length, WATTS)
        keeper.step()
    world.run(before, WATTS)
    end_us = world.wall_us
    keeper.close(make_job(1))
    world.run(after, WATTS)
    world.counters["package-0"].readable = True
    keeper.step()
    for component in ("cpu", "dram"):
        for start, uj in minutes_of(keeper, component).items():
            assert not uj or (start * SECOND <= end_us and (start + 60) * SECOND > begin_us)


@given(
    second=st.integers(0, 899),
    lengths=st.lists(st.tuples(st.integers(SECOND, 25 * SECOND), st.booleans()), min_size=20, max_size=40),
    long=st.integers(120 * SECOND, 150 * SECOND),
)
def test_steady_power_is_a_flat_line(second: int, lengths: list[tuple[int, bool]], long: int) -> None:
    """A job that holds a node of steady power has the same energy in each whole minute: also where an interval is longer
    than that, and where a counter was unreadable for some seconds and its energy came late.
    """
    world = at(second)
    keeper = Keeper(world)
    keeper.step()
    keeper.open(make_job(1, cpus=8))
    world.start_job("1")
    keeper.step()
    begin_us = world.wall_us
    was_readable = True
    for length, is_readable in [*lengths, (long, True), (SECOND, True)]:
        was_readable = world.counters["package-0"].readable = is_readable or not was_readable
        world.run(length, WATTS, {"1": {0: 4 * length, 1: 4 * length}})
        keeper.step()
    whole = {
        start: uj
        for start, uj in minutes_of(keeper, "cpu").items()
        if start * SECOND >= begin_us and (start + 60) * SECOND <= world.wall_us
    }
    assert whole
    for uj in whole.values():
        # Each reading costs the world a microsecond in which nothing is counted.
        assert uj is not None
        assert abs(uj - 60 * 160 * SECOND) <= 160 * 64


def test_only_complete_rows_tell_their_minutes() -> None:
    """The row of a slot that goes on is sealed without minutes, and with them when the slot has ended; the row of a node
    that has crashed once more, although nothing else of it has changed.
    """
    world = at(30)
    keeper = Keeper(world)
    keeper.open(make_job(1, cpus=8))
    keeper.step()
    world.run(700 * SECOND, WATTS)
    keeper.step()
    keeper.seal()

    def sealed() -> list[dict[str, Any]]:
        rows = [record for _, record in keeper.store.values() if record["type"] == "job_slot"]
        return [row["components"]["dram"] for row in sorted(rows, key=lambda row: row["slot"])]

    assert "minute_uj" not in sealed()[0]
    world.run(200 * SECOND, WATTS)
    keeper.step()
    keeper.seal()
    first, second = sealed()
    assert first["minute_uj"].count(None) == 0
    assert sum(first["minute_uj"]) == first["energy_uj"]
    assert "minute_uj" not in second
    world.reboot()
    keeper.restart()
    keeper.step()
    keeper.seal()
    third = sealed()[1]
    assert sum(filter(None, third["minute_uj"])) == third["energy_uj"] == second["energy_uj"]


def test_a_setting_that_changes_leaves_no_half_line() -> None:
    """A row that was begun, or gone on with, while minutes were not wanted has none; the next one has."""
    world = at(0)
    keeper = Keeper(world)
    keeper.step()
    keeper.open(make_job(1, cpus=8))
    for minutes in (Minutes(), None, Minutes()):
        keeper.books.minutes = minutes
        assert ("minutes" in keeper.books.save()) == (minutes is not None)
        world.run(200 * SECOND, WATTS)
        keeper.step()
    world.run(SLOT_US, WATTS)
    keeper.step()
    found = minutes_of(keeper, "dram")
    slots = [list(found.values())[i : i + COUNT] for i in (0, COUNT)]
    assert slots[0] == [None] * COUNT
    assert all(slots[1][:10])


def test_a_state_without_minutes_is_taken_up() -> None:
    """A collector that is upgraded, or switched, takes up the state of the one before it, and so does an older one."""
    keeper = Keeper(at(0))
    keeper.open(make_job(1, cpus=8))
    keeper.step()
    keeper.world.run(30 * SECOND, WATTS)
    keeper.step()
    state = json.loads(keeper.disk)
    assert state.pop("minutes")
    keeper.disk = json.dumps(state)
    keeper.restart()
    keeper.world.run(30 * SECOND, WATTS)
    keeper.step()
    assert set(minutes_of(keeper, "cpu").values()) == {None}


def test_merged_rows_lose_their_minutes() -> None:
    """Rows that differ in their minutes become one row of an hour, which has none."""
    share = {"energy_uj": 15, "static_uj": 0, "metered_us": SLOT_US, "method": "counter"}
    head = {"type": "job_slot", "revision": 1, "job_id": 1, "run": "restart:0", "opened": 0}
    nodes, jobs = [], []
    for n in range(4):
        values = [0] * 15
        values[n] = 15
        parts = {"cpu": {**share, "minute_uj": values}}
        jobs.append({**head, "slot": n * 900, "alloc_us": 1, "cpu_us": 1, "simulated": False, "components": parts})
        nodes.append({"type": "node_slot", "revision": 1, "slot": n * 900, "components": {"cpu": {**share}}})
    lines = coarsen.merge([coarsen.written(one) for one in (*jobs, *nodes)], coarsen.HOUR, lambda _: True, 2)
    (merged,) = [json.loads(line.data) for line in lines if line.kind == coarsen.JOB]
    assert merged["slots"] == 4
    assert merged["components"]["cpu"] == {**share, "energy_uj": 60, "metered_us": 4 * SLOT_US}


def test_a_collector_that_is_killed_keeps_the_minutes(tmp_path: Path, aggregator: Aggregator) -> None:
    """With power_minutes = yes the real collector delivers minutes that add up, also over a kill -9; without it, none."""
    with stopping(Host(tmp_path, FileNode(tmp_path / "node", cgroup="v2"), aggregator)) as host:
        host.start(power_minutes="yes")
        host.ticket("prolog", 7)
        host.node.start_job("7")
        host.node.burn("7", 0, 0.3)
        host.node.count(30 * SECOND)
        host.tick()
        host.kill()
        host.start()
        host.node.count(20 * SECOND)
        host.ticket("epilog", 7)
        eventually(lambda: aggregator.is_closed(7), "the job is sealed")
        host.stop()
        host.start(power_minutes="no")
        host.ticket("prolog", 8)
        host.node.count(20 * SECOND)
        host.ticket("epilog", 8)
        host.collect()
    shares = [share for row in aggregator.of("job_slot", 7) for share in row["components"].values()]
    assert any(share["energy_uj"] for share in shares)
    for share in shares:
        assert sum(uj or 0 for uj in share.get("minute_uj", [])) == (share["energy_uj"] or 0)
        assert ("minute_uj" in share) == (share["energy_uj"] is not None)
    assert not any("minute_uj" in share for row in aggregator.of("job_slot", 8) for share in row["components"].values())
