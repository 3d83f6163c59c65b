# SPDX-License-Identifier: MIT
"""What a job pays for, seen in whole intervals: fairness, unknowns, gaps, clocks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution.advance import advance
from carbon_collector.attribution.books import Books
from carbon_collector.attribution.ledger import EPILOG, Ledger
from carbon_collector.meters.base import Reading
from carbon_collector.usage import Usage

from .world import DOMAINS, START_US, TOPOLOGY, Keeper, World, make_job

SECOND = 1_000_000
IDLE = {"package-0": 50, "package-1": 50, "dram-0": 5, "dram-1": 5, "GPU-a": 30, "GPU-b": 30}
LOADED = {"package-0": 150, "package-1": 150, "dram-0": 15, "dram-1": 15, "GPU-a": 300, "GPU-b": 30}


@pytest.fixture
def world() -> World:
    """A node that has been idle for a while."""
    return World()


@pytest.fixture
def keeper(world: World) -> Keeper:
    """Its collector, which has learned the idle power."""
    keeper = Keeper(world)
    keeper.step()
    for _ in range(3):
        world.run(10 * SECOND, IDLE)
        keeper.step()
    return keeper


def paid(keeper: Keeper, job_id: int, component: str, part: str = "energy_uj") -> int | None:
    """What a job came to."""
    rows = [r for _, r in keeper.records() if r["type"] == "job_slot" and r["job_id"] == job_id]
    known = [r["components"][component][part] for r in rows if component in r["components"]]
    known = [uj for uj in known if uj is not None]
    return sum(known) if known else None


def row_of(keeper: Keeper, job_id: int) -> dict[str, Any]:
    """The one row of a job."""
    [row] = [r for _, r in keeper.records() if r["type"] == "job_slot" and r["job_id"] == job_id]
    return row


def test_equal_jobs_pay_equally(world: World, keeper: Keeper) -> None:
    """The same CPUs, the same use, the same time: the same energy, up to a microjoule a split."""
    for job_id in (1, 2):
        keeper.open(make_job(job_id, cpus=2))
        world.start_job(str(job_id))
    keeper.step()
    for _ in range(10):
        world.run(10 * SECOND, LOADED, {str(j): {0: 10 * SECOND, 1: 5 * SECOND} for j in (1, 2)})
        keeper.step()
    one, two = paid(keeper, 1, "cpu"), paid(keeper, 2, "cpu")

    assert one is not None
    assert two is not None
    assert abs(one - two) <= 4 * 10
    assert one > 100 * 150 * SECOND // 2


def test_a_sleeper_that_reserves_the_rest_pays_static_power(world: World, keeper: Keeper) -> None:
    """Reserved is not free: 6 of 8 CPUs asleep pay 6/8 of the idle power, and none of the work."""
    keeper.open(make_job(1, cpus=2))
    keeper.open(make_job(2, cpus=6))
    for job_id in (1, 2):
        world.start_job(str(job_id))
    keeper.step()
    world.run(100 * SECOND, LOADED, {"1": {0: 100 * SECOND, 1: 100 * SECOND}})
    keeper.step()

    assert paid(keeper, 2, "cpu") == pytest.approx(100 * 100 * SECOND * 6 / 8, rel=0.001)
    assert paid(keeper, 2, "cpu") == paid(keeper, 2, "cpu", "static_uj")
    assert paid(keeper, 1, "cpu") == pytest.approx(100 * 100 * SECOND * 2 / 8 + 100 * 200 * SECOND, rel=0.001)


def test_a_job_of_no_use_and_no_reservation_pays_nothing(world: World, keeper: Keeper) -> None:
    """The null player, metered all the time: 0, and that is known."""
    keeper.open(make_job(1, cpus=0))
    keeper.open(make_job(2, cpus=8))
    world.start_job("2")
    keeper.step()
    world.run(100 * SECOND, LOADED, {"2": {0: 100 * SECOND, 1: 100 * SECOND}})
    keeper.step()

    assert paid(keeper, 1, "cpu") == 0
    assert row_of(keeper, 1)["components"]["cpu"]["metered_us"] == row_of(keeper, 1)["alloc_us"]


def test_a_node_that_is_never_idle_comes_out_right(world: World) -> None:
    """50 W, and 25 W for each busy CPU; never seen at rest. One job that comes and goes tells what rest would cost."""
    keeper = Keeper(world)
    for job_id in (1, 2):
        keeper.open(make_job(job_id, cpus=4))
        world.start_job(str(job_id))
    keeper.step()
    for interval in range(8):
        busy = {"1": 1, "2": 2 * (interval % 2)}
        power = 50 + 25 * sum(busy.values())
        used = {job: {0: cpus * 10 * SECOND, 1: cpus * 10 * SECOND} for job, cpus in busy.items()}
        world.run(10 * SECOND, {**LOADED, "package-0": power, "package-1": power}, used)
        keeper.step()
    before = paid(keeper, 1, "cpu")
    world.run(10 * SECOND, {**LOADED, "package-0": 125, "package-1": 125}, used)
    keeper.step()
    idle = keeper.books.idle_of("package-0").idle()

    assert idle.rule == "fit"
    assert idle.power_uw == pytest.approx(50 * SECOND, rel=0.001)
    assert (paid(keeper, 1, "cpu") or 0) - (before or 0) == pytest.approx(2 * 10 * (25 + 25) * SECOND, rel=0.001)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), min_size=4, max_size=24))
def test_idle_power_of_memory_is_where_no_memory_is_used(intervals: list[tuple[int, int]]) -> None:
    """8 W a module, and 1 W for each GiB in use, on a node that is never idle: whatever the CPUs did meanwhile, what is
    learned once use has varied is 8 W, and at no time more than was ever drawn.
    """
    world = World(memory_total=100 << 30)
    keeper = Keeper(world)
    keeper.open(make_job(1, cpus=4))
    world.start_job("1")
    keeper.step()
    for gib, cpus in intervals:
        world.memory["1"] = gib << 30
        watts = {"package-0": 50 + 25 * (1 + cpus), "dram-0": 8 + gib, "dram-1": 8 + gib}
        world.run(10 * SECOND, {**LOADED, **watts}, {"1": {0: (1 + cpus) * 10 * SECOND, 1: 10 * SECOND}})
        keeper.step()
        idle = keeper.books.idle_of("dram-0").idle()

        assert idle.rule in ("prior", "fit")
        assert idle.power_uw <= (8 + max(each for each, _ in intervals)) * SECOND
        assert idle.rule == "prior" or idle.power_uw == pytest.approx(8 * SECOND, rel=0.01)


def test_a_gpu_is_its_holders_and_else_idle(world: World, keeper: Keeper) -> None:
    """A device goes whole to the job that holds it, used or not; two holders share it; the other one is idle."""
    keeper.open(make_job(1, gpus=("GPU-a",)))
    keeper.step()
    world.run(10 * SECOND, LOADED)
    keeper.step()
    keeper.open(make_job(2, gpus=("GPU-a",)))
    keeper.step()
    world.run(10 * SECOND, LOADED)
    keeper.step()

    assert paid(keeper, 1, "gpu") == pytest.approx(10 * 300 * SECOND * 1.5, rel=1e-5)
    assert paid(keeper, 2, "gpu") == pytest.approx(10 * 300 * SECOND * 0.5, rel=1e-5)


def test_a_gpu_that_is_not_there_is_unknown(world: World, keeper: Keeper) -> None:
    """A device that NVML does not show: null and the reason, beside one that is metered."""
    keeper.open(make_job(1, gpus=("GPU-x",)))
    keeper.step()
    world.run(10 * SECOND, LOADED)
    keeper.step()
    share = row_of(keeper, 1)["components"]["gpu"]

    assert share == {
        "energy_uj": None,
        "static_uj": None,
        "metered_us": 0,
        "method": "missing",
        "reason": "GPU-x: no such device",
    }


def test_an_unknown_meter_is_null(world: World, keeper: Keeper) -> None:
    """A component that never gave a reading: null in the job's row and in the node's, with the reason."""
    for name in ("dram-0", "dram-1"):
        world.counters[name].readable = False
    for _ in range(3):  # longer than anybody waits for it
        world.run(61 * SECOND, IDLE)
        keeper.step()
    keeper.seal(slot=1 << 40)
    keeper.books.last_sealed = 0
    keeper.books.stream = "eeeeeeee"
    keeper.open(make_job(1, cpus=4))
    keeper.step()
    world.run(10 * SECOND, LOADED)
    keeper.step()
    rows = [r for stream, r in keeper.records() if stream == "eeeeeeee" and r["type"] != "ledger"]

    assert {r["type"] for r in rows} == {"job_slot", "node_slot"}
    assert all(r["components"]["dram"]["energy_uj"] is None for r in rows)
    assert all("input/output error" in r["components"]["dram"]["reason"] for r in rows)
    assert all(r["components"]["cpu"]["energy_uj"] is not None for r in rows)


def test_two_wraps_between_readings_are_not_guessed(world: World, keeper: Keeper) -> None:
    """package-1 turns in 164 s at 400 W: after 200 s nobody knows; package-0 is known all the same."""
    keeper.open(make_job(1, cpus=4))
    keeper.step()
    world.run(200 * SECOND, {**LOADED, "package-1": 400})
    keeper.step()
    share = row_of(keeper, 1)["components"]["cpu"]

    assert share["energy_uj"] > 0
    assert share["metered_us"] < SECOND
    assert share["reason"] == "package-1: gap of 200 s, in which the counter may have wrapped unseen"


def test_cpu_time_without_accounting_is_unknown(world: World) -> None:
    """Cgroup v1 without jobacct_gather/cgroup: null, not 0; the energy goes to whoever holds CPUs and the system."""
    books = Books("00000001", TOPOLOGY, DOMAINS, {})
    books.open(Ledger(make_job(1, cpus=4), "prolog", world.wall_us, world.mono_us))
    for _ in range(3):
        world.run(10 * SECOND, LOADED, {"system": {0: SECOND, 1: SECOND}})
        advance(books, world.snapshot()._replace(parent=None, jobs={}))
    [row] = books.job_rows.values()

    assert row.record(1)["cpu_us"] is None
    assert row.record(1)["components"]["cpu"]["static_uj"] > 0


def test_work_before_the_first_reading_does_not_count_against_neighbours(world: World) -> None:
    """A collector that comes late: what a job used before is in its CPU time, not in the first split."""
    keeper = Keeper(world)
    for job_id in (1, 2):
        keeper.open(make_job(job_id, cpus=4))
        world.start_job(str(job_id))
    world.run(1000 * SECOND, LOADED, {"1": {0: 1000 * SECOND, 1: 1000 * SECOND}})
    keeper.step()
    world.run(10 * SECOND, LOADED, {j: {0: 10 * SECOND, 1: 10 * SECOND} for j in ("1", "2")})
    keeper.step()
    one, two = paid(keeper, 1, "cpu"), paid(keeper, 2, "cpu")

    assert one is not None
    assert two is not None
    assert abs(one - two) <= 4
    cpu = {
        j: sum(r["cpu_us"] or 0 for _, r in keeper.records() if r.get("job_id") == j and "slot" in r) for j in (1, 2)
    }
    assert cpu == {1: 2020 * SECOND, 2: 20 * SECOND}


def test_an_epilog_alone_has_no_energy(world: World, keeper: Keeper) -> None:
    """It was never metered: null, not 0."""
    ledger = Ledger(make_job(1, cpus=8), EPILOG, world.wall_us, world.mono_us)
    keeper.books.open(ledger)
    keeper.books.close(ledger, world.wall_us, world.mono_us)
    world.run(SECOND, LOADED)
    keeper.step()

    assert paid(keeper, 1, "cpu") is None


@pytest.mark.parametrize("step_ms", [-1900, -900, -1, 1, 900, 1900])
def test_a_small_clock_step_changes_no_duration(world: World, keeper: Keeper, step_ms: int) -> None:
    """A job's time and its share are those of the monotonic clock, whatever NTP does in between."""
    keeper.open(make_job(1, cpus=8))
    keeper.step()
    world.run(SECOND // 2, LOADED)
    world.offset_us += step_ms * 1000
    keeper.step()

    assert row_of(keeper, 1)["alloc_us"] == row_of(keeper, 1)["components"]["cpu"]["metered_us"]
    assert row_of(keeper, 1)["alloc_us"] == SECOND // 2 + 2  # the readings themselves take a microsecond each
    assert (paid(keeper, 1, "cpu", "static_uj") or 0) > 40 * SECOND


def test_a_border_between_reading_and_sealing_begins_no_stream(world: World, keeper: Keeper) -> None:
    """A slot is sealed only when a reading lies beyond its border; a slewed clock does not go back into it."""
    to_border = 900 * SECOND - world.wall_us % (900 * SECOND)
    world.run(to_border - 1000, IDLE)
    keeper.step()
    keeper.seal()
    world.run(2000, IDLE)
    keeper.step()
    keeper.seal()
    world.offset_us -= 1500
    world.run(500, IDLE)
    keeper.step()

    assert keeper.books.stream == f"{1:08x}"


def test_a_clock_set_back_begins_a_new_stream(world: World, keeper: Keeper) -> None:
    """Rows of sealed slots are not replaced by smaller ones; old and new add up."""
    keeper.open(make_job(1, cpus=8))
    world.run(1000 * SECOND, {**IDLE, "package-1": 20, "dram-0": 5})
    keeper.step()
    keeper.seal()
    world.offset_us -= 3600 * SECOND
    world.run(10 * SECOND, LOADED)
    keeper.step()

    assert {stream for stream, _ in keeper.records()} == {f"{1:08x}", f"{2:08x}"}
    alloc = sum(r["alloc_us"] for _, r in keeper.records() if r["type"] == "job_slot")
    assert alloc == world.mono_us - keeper.lives[1, "restart:0"].start_us


def test_a_parent_read_once_as_nothing_is_not_made_anew(world: World, keeper: Keeper) -> None:
    """Its CPU time is not told twice."""
    keeper.open(make_job(1, cpus=8))
    keeper.step()
    world.start_job("1")
    world.run(10 * SECOND, LOADED, {"1": {0: SECOND, 1: 0}})
    keeper.step()
    world.run(10 * SECOND, LOADED)
    advance(keeper.books, world.snapshot()._replace(parent=None))
    keeper.seen["boot-1", world.mono_us] = {n: (c.total, c.breaks) for n, c in world.counters.items()}
    world.end_job("1")
    keeper.close(make_job(1))
    keeper.step()

    assert row_of(keeper, 1)["cpu_us"] == SECOND


def test_gone_domains_and_unread_ones_have_reasons(world: World) -> None:
    """A state that knows less than the node has now: the new domain counts from now on."""
    books = Books("00000001", TOPOLOGY, DOMAINS, {})
    first = world.snapshot()
    advance(books, first._replace(readings={"package-0": Reading(5, "")}))
    world.run(SECOND, LOADED)
    advance(books, world.snapshot()._replace(readings={"package-0": Reading(50_000_005, "")}))
    [row] = books.node_rows.values()
    components = row.record(1)["components"]

    assert components["cpu"]["energy_uj"] == 50_000_000
    assert components["cpu"]["metered_us"] == 0
    assert components["dram"] == {
        "energy_uj": None,
        "idle_uj": None,
        "system_uj": None,
        "metered_us": 0,
        "method": "missing",
        "reason": "dram-0: not read",
    }
    assert START_US > 0


def test_a_ledger_lives_as_long_as_its_rows(world: World, keeper: Keeper) -> None:
    """Tickets that a reading missed: the ledger begins and ends where the rows do, not a moment before."""
    for act in (keeper.open, keeper.close):
        world.run(10 * SECOND, IDLE)
        act(make_job(1, cpus=8))
        tickets, keeper.tickets = keeper.tickets, []
        world.run(SECOND, IDLE)
        keeper.step()
        keeper.tickets = tickets
        world.run(SECOND, IDLE)
        keeper.step()
    ledger = keeper.books.ledgers[1, "restart:0"]

    assert ledger.closed_us is not None
    assert ledger.close_mono_us is not None
    assert row_of(keeper, 1)["alloc_us"] == ledger.close_mono_us - ledger.open_mono_us
    assert row_of(keeper, 1)["alloc_us"] == ledger.closed_us - ledger.opened_us


@pytest.mark.parametrize("step_s", [900, -900])
@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
def test_a_ledger_is_told_by_the_clock_that_its_tickets_were_read_by(
    world: World, keeper: Keeper, step_s: int, late: bool
) -> None:
    """The clock is stepped between a ticket and its reading: Slurm would not know a job that began a quarter later."""
    for act in (keeper.open, keeper.close):
        world.run(10 * SECOND, IDLE)
        act(make_job(1, cpus=8))
        if late:
            tickets, keeper.tickets = keeper.tickets, []
            keeper.step()
            keeper.tickets = tickets
        world.offset_us += step_s * SECOND
        world.run(SECOND, IDLE)
        keeper.step()
        ledger = keeper.books.ledgers[1, "restart:0"]
        assert ledger.opened_us == ledger.open_mono_us + world.offset_us

    assert ledger.closed_us is not None
    assert ledger.close_mono_us is not None
    assert ledger.closed_us == ledger.close_mono_us + world.offset_us


def test_a_frozen_counter_is_unknown_in_short_looks_as_well(world: World, keeper: Keeper) -> None:
    """Once it stands still, a look of a tenth of a second that sees nothing is no 0; the first step of it is known again."""
    still = {**LOADED, "GPU-a": 0}
    keeper.open(make_job(1, gpus=("GPU-a",)))
    for elapsed_us in (10 * SECOND, SECOND // 10, SECOND // 10):
        world.run(elapsed_us, still)
        keeper.step()
        assert keeper.books.faults["GPU-a"] == "GPU-a: counter stands still"
    world.run(SECOND // 10, LOADED)
    keeper.step()
    keeper.seal()

    assert keeper.books.faults == {}
    assert paid(keeper, 1, "gpu") == 300 * SECOND // 10


def test_what_a_counter_counted_unseen_is_paid_by_who_was_there(world: World, keeper: Keeper) -> None:
    """A driver hangs for a few seconds: the holder of the GPU pays what it counted, though it has ended meanwhile, and
    its neighbour who came later does not. No gap is left.
    """
    keeper.open(make_job(1, gpus=("GPU-a",)))
    keeper.step()
    world.counters["GPU-a"].readable = False
    world.run(4 * SECOND, LOADED)
    keeper.close(make_job(1, gpus=("GPU-a",)))
    keeper.open(make_job(2, gpus=("GPU-a",)))
    keeper.step()
    keeper.seal()
    assert paid(keeper, 1, "gpu") == 0, "what it drew in the microsecond before"
    world.run(4 * SECOND, LOADED)
    keeper.step()
    world.counters["GPU-a"].readable = True
    world.run(2 * SECOND, LOADED)
    keeper.step()
    keeper.seal()

    assert paid(keeper, 1, "gpu") == pytest.approx(4 * 300 * SECOND, rel=1e-4)
    assert paid(keeper, 2, "gpu") == pytest.approx(6 * 300 * SECOND, rel=1e-4)
    for job_id in (1, 2):
        row = row_of(keeper, job_id)
        assert row["components"]["gpu"]["metered_us"] == row["alloc_us"]
    assert not keeper.books.ledgers.keys() & {(1, "restart:0")}, "nothing is kept back any more"


def test_nobody_waits_longer_than_a_minute_for_a_counter(world: World, keeper: Keeper) -> None:
    """Then it is a gap, rows are forgotten as ever, and what it counted meanwhile is nobody's."""
    keeper.open(make_job(1, gpus=("GPU-a",)))
    keeper.step()
    world.counters["GPU-a"].readable = False
    for _ in range(8):
        world.run(10 * SECOND, LOADED)
        keeper.step()
    assert keeper.books.overdue.waiting == []
    world.counters["GPU-a"].readable = True
    keeper.step()
    world.run(10 * SECOND, LOADED)
    keeper.step()
    keeper.seal()

    assert paid(keeper, 1, "gpu") == pytest.approx(10 * 300 * SECOND, rel=1e-4)
    row = row_of(keeper, 1)
    assert row["components"]["gpu"]["metered_us"] < row["alloc_us"]


def test_time_without_a_collector_is_not_the_next_jobs(world: World, keeper: Keeper) -> None:
    """Idle power that is off by a watt is 100 J in 100 s; the job whose prolog starts the collector is not to pay
    them: at most what its CPU time can have drawn. The sum stays exact.
    """
    warmer = {**IDLE, "package-0": 51, "package-1": 51}
    world.run(100 * SECOND, warmer)
    keeper.restart()
    keeper.books.new_process(set())
    keeper.open(make_job(1, cpus=2))
    world.start_job("1")
    world.run(SECOND // 2, LOADED, {"1": {0: SECOND // 2, 1: 0}})
    keeper.step()
    keeper.seal()

    dynamic = (paid(keeper, 1, "cpu") or 0) - (paid(keeper, 1, "cpu", "static_uj") or 0)
    assert 0 < dynamic <= 400 // 2 // 4 * SECOND // 2


def test_late_energy_of_one_domain_does_not_make_the_component_whole(world: World, keeper: Keeper) -> None:
    """One package never readable, the other away for a while: its energy is booked, and the component stays uncovered."""
    world.counters["package-1"].readable = False
    for _ in range(8):
        world.run(10 * SECOND, IDLE)
        keeper.step()
    keeper.open(make_job(1, cpus=4))
    keeper.step()
    world.counters["package-0"].readable = False
    world.run(10 * SECOND, LOADED)
    keeper.step()
    world.counters["package-0"].readable = True
    world.run(10 * SECOND, LOADED)
    keeper.step()
    keeper.seal()

    assert row_of(keeper, 1)["components"]["cpu"]["metered_us"] == 0
    assert paid(keeper, 1, "cpu") == pytest.approx(20 * 25 * SECOND, rel=1e-3)  # half of its idle power


def test_counters_that_fail_in_turn_hold_back_only_what_they_may_add_to(world: World, keeper: Keeper) -> None:
    """Else two bad sensors would make the state on disk grow for ever."""
    names = ("GPU-a", "GPU-b")
    for number in range(1, 60):
        job = make_job(number)
        keeper.open(job)
        world.counters[names[number % 2]].readable = False
        world.counters[names[1 - number % 2]].readable = True
        world.run(2 * SECOND, LOADED)
        keeper.step()
        keeper.close(job)
        keeper.step()
        keeper.seal()

    assert len(keeper.books.ledgers) <= 4
    assert len(keeper.books.job_rows) + len(keeper.books.node_rows) <= 8


def test_a_cgroup_that_no_ledger_has_is_nobodys_tail(world: World, keeper: Keeper) -> None:
    """On a site without a prolog the next job is there before it is known; what it used is not the last one's tail."""
    job = make_job(1, cpus=2)
    keeper.open(job)
    world.start_job("1")
    keeper.step()
    world.run(10 * SECOND, LOADED, {"1": {0: SECOND, 1: 0}})
    keeper.step()
    world.run(SECOND, LOADED, {"1": {0: SECOND, 1: 0}})
    world.end_job("1")
    keeper.close(job)
    world.start_job("2")
    world.run(8 * SECOND, LOADED, {"2": {0: 32 * SECOND, 1: 0}})
    keeper.step()
    keeper.seal()

    assert row_of(keeper, 1)["cpu_us"] == 2 * SECOND


def test_a_cpu_that_goes_offline_teaches_no_idle_power(world: World, keeper: Keeper) -> None:
    """Its line leaves /proc/stat, and a busy node seems to have done nothing; on its return, to have done years' work."""
    before = keeper.books.idle_of("package-0").idle()
    past_us = 50 * SECOND
    world.run(10 * SECOND, LOADED, {"system": {0: 100 * SECOND, 1: 0}})
    keeper.step()
    world.busy[0] -= past_us
    world.run(10 * SECOND, LOADED, {"system": {0: 30 * SECOND, 1: 0}})
    keeper.step()
    world.busy[0] += past_us * 100
    world.run(10 * SECOND, LOADED, {"system": {0: 30 * SECOND, 1: 0}})
    keeper.step()

    assert keeper.books.idle_of("package-0").idle() == before


@pytest.mark.parametrize("restart", [False, True], ids=["", "restart"])
@pytest.mark.parametrize("parent", [None, Usage(0, {0: 0, 1: 0}, 0)], ids=["no parent yet", "a parent"])
def test_a_job_that_is_ahead_of_its_parent_when_first_seen_is_counted_once(
    world: World, keeper: Keeper, parent: Usage | None, restart: bool
) -> None:
    """The parent's cgroup was read a moment before the job's; what it lacked then is no other job's tail later."""
    assert keeper.books.last is not None
    keeper.books.last = keeper.books.last._replace(parent=parent)
    keeper.open(make_job(1))
    world.start_job("1")
    world.run(SECOND, LOADED, {"1": {0: SECOND, 1: 0}})
    world.parent[0] -= SECOND
    keeper.step()
    world.parent[0] += SECOND
    if restart:
        keeper.restart()
    keeper.open(make_job(2))
    world.start_job("2")
    world.run(SECOND, LOADED, {"1": {0: SECOND // 2, 1: 0}, "2": {0: SECOND // 4, 1: 0}})
    for job_id in (1, 2):
        world.end_job(str(job_id))
        keeper.close(make_job(job_id))
    keeper.step()
    keeper.seal()
    used = {j: sum(r["cpu_us"] for _, r in keeper.records() if r.get("job_id") == j and "slot" in r) for j in (1, 2)}

    assert sum(used.values()) == 1_750_000
    assert used[1] >= SECOND
