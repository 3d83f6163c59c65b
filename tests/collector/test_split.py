# SPDX-License-Identifier: MIT
"""The split of one meter and its helpers: exact, symmetric, fair to who does nothing, additive over time."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution import slots
from carbon_collector.attribution.cpu_time import Presence, caught_up, cpu_times, growth, held, overlap, spread
from carbon_collector.attribution.split import CARRIED_US, Claim, apportion, split, static_part
from carbon_collector.topology import Topology
from carbon_collector.usage import Usage

AMOUNT = st.integers(0, 10**13)
WEIGHT = st.integers(0, 10**12)
CLAIMS = st.lists(st.builds(Claim, WEIGHT, WEIGHT), max_size=8)
SECOND = 1_000_000
TOPOLOGY = Topology({0: 0, 1: 1, 2: 0, 3: 1})


@given(AMOUNT, st.lists(WEIGHT, min_size=1, max_size=20).filter(any))
def test_apportioned_parts_are_exact_and_fair(total: int, weights: list[int]) -> None:
    """They sum to the total, none is off its true share by a whole unit, and no weight means no part."""
    parts = apportion(total, weights)

    assert sum(parts) == total
    assert all(abs(part * sum(weights) - total * w) < sum(weights) for part, w in zip(parts, weights, strict=True))
    assert all(part == 0 for part, w in zip(parts, weights, strict=True) if w == 0)


@given(AMOUNT, AMOUNT, WEIGHT, CLAIMS, WEIGHT)
def test_the_split_is_efficient(energy: int, idle: int, capacity: int, claims: list[Claim], system: int) -> None:
    """Jobs + idle + system = meter, exactly, whatever the inputs; nothing is negative; static is what was static."""
    static = min(energy, idle)
    parts = split(energy, static, capacity, claims, system)

    assert sum(parts.static) + sum(parts.dynamic) + parts.idle + parts.system == energy
    assert sum(parts.static) + parts.idle == static
    assert min([*parts.static, *parts.dynamic, parts.idle, parts.system]) >= 0


@given(AMOUNT, AMOUNT, WEIGHT, CLAIMS, WEIGHT, st.builds(Claim, WEIGHT, WEIGHT))
def test_the_split_is_symmetric(
    energy: int, idle: int, capacity: int, claims: list[Claim], system: int, twin: Claim
) -> None:
    """Two equal claims get the same, up to the one microjoule of rounding in each step."""
    parts = split(energy, min(energy, idle), capacity, [twin, *claims, twin], system)

    assert abs(parts.static[0] - parts.static[-1]) <= 1
    assert abs(parts.dynamic[0] - parts.dynamic[-1]) <= 1


@given(AMOUNT, AMOUNT, WEIGHT, CLAIMS, WEIGHT)
def test_who_holds_and_uses_nothing_pays_nothing(
    energy: int, idle: int, capacity: int, claims: list[Claim], system: int
) -> None:
    """A null player gets 0, also where nobody else is there, and changes nothing for the others."""
    static = min(energy, idle)
    parts = split(energy, static, capacity, [*claims, Claim(0, 0)], system)
    without = split(energy, static, capacity, claims, system)

    assert parts.static[-1] == parts.dynamic[-1] == 0
    assert (parts.static[:-1], parts.dynamic[:-1], parts.idle, parts.system) == without


@given(st.lists(AMOUNT, min_size=2, max_size=6), WEIGHT.filter(bool), CLAIMS, WEIGHT)
def test_the_split_is_additive_over_intervals(
    energies: list[int], capacity: int, claims: list[Claim], system: int
) -> None:
    """Interval by interval or in one, a job comes to the same, up to a microjoule a step and interval."""
    one = split(sum(energies), sum(e // 3 for e in energies), capacity, claims, system)
    many = [split(e, e // 3, capacity, claims, system) for e in energies]

    for i in range(len(claims)):
        assert abs(one.static[i] - sum(p.static[i] for p in many)) <= len(energies) + 1
        assert abs(one.dynamic[i] - sum(p.dynamic[i] for p in many)) <= len(energies) + 1


@given(AMOUNT, st.integers(0, 1 << 60), st.integers(0, 10**10))
def test_the_static_part_is_bounded(energy: int, idle_uw: int, elapsed: int) -> None:
    """S = min(E, P0 dt): never more than was counted, never negative."""
    static, carried = static_part(energy, idle_uw, elapsed)

    assert 0 <= static <= energy
    assert 0 <= carried <= idle_uw * CARRIED_US // 1_000_000
    assert static_part(energy, 0, elapsed) == (0, 0)


@given(st.lists(st.floats(-0.09, 0.09), min_size=1, max_size=90))
def test_noise_of_a_meter_is_no_use(noise: list[float]) -> None:
    """A component that does nothing, read with noise: what is dynamic at the end is the most by which the meter was ever
    ahead of the truth, not the noise of every second reading.
    """
    carried = dynamic = 0
    total = highest = 0
    for each in noise:
        energy = int(100_000_000 * 10 * (1 + each))
        static, carried = static_part(energy, 100_000_000, 10_000_000, carried)
        dynamic += energy - static
        total += energy - 1_000_000_000
        highest = max(highest, total)

    assert dynamic == highest


@given(st.integers(0, 2 * 10**15), st.integers(0, 3 * 3600 * SECOND), AMOUNT)
def test_an_interval_is_cut_at_the_borders_of_slots(start: int, length: int, amount: int) -> None:
    """The pieces follow each other, cover the interval, lie each in its slot, and share an amount exactly."""
    pieces = slots.cut(start, start + length)

    assert pieces[0][1] == start
    assert pieces[-1][2] == start + length
    assert all(a[2] == b[1] for a, b in itertools.pairwise(pieces))
    assert all(slot % 900 == 0 and slot * SECOND <= s <= e <= (slot + 900) * SECOND for slot, s, e in pieces)
    assert sum(slots.share_out(amount, pieces)) == amount
    assert len(pieces) <= length // slots.SLOT_US + 2


def test_an_empty_interval_is_one_empty_piece() -> None:
    """What was counted in it has to go somewhere: to the only piece."""
    pieces = slots.cut(900 * SECOND, 900 * SECOND)

    assert pieces == [(900, 900 * SECOND, 900 * SECOND)]
    assert slots.share_out(5, pieces) == [5]
    assert slots.share_out(5, [(0, 1, 1), (900, 1, 1)]) == [0, 5]


@st.composite
def intervals(draw: st.DrawFn) -> tuple[list[Presence], Usage, Usage, int]:
    """Jobs that stay, that went, that came; the parent; how much CPU time there truly was."""
    jobs, total, seen = [], {0: 0, 1: 0}, {0: 0, 1: 0}
    for _ in range(draw(st.integers(0, 5))):
        before = {s: draw(st.integers(0, 10**9)) for s in (0, 1)}
        used = {s: draw(st.integers(0, 10**8)) for s in (0, 1)}
        after = {s: before[s] + used[s] for s in (0, 1)}
        gone = draw(st.booleans())
        for s in (0, 1):
            seen[s] += before[s]
            total[s] += used[s]
        start = draw(st.integers(0, 10**7))
        end = draw(st.integers(start, 10**7))
        usage = Usage(sum(after.values()), after, 0)
        was = Usage(sum(before.values()), before, 0)
        holds = held(draw(st.integers(0, 64)), (), TOPOLOGY)
        jobs.append(Presence(start, end, holds, (), None if gone else usage, was, gone))
    parent_before = Usage(sum(seen.values()), seen, 0)
    now = {s: seen[s] + total[s] for s in (0, 1)}
    return jobs, Usage(sum(now.values()), now, 0), parent_before, sum(total.values())


@given(intervals(), st.fixed_dictionaries({0: st.integers(0, 10**9), 1: st.integers(0, 10**9)}))
def test_cpu_time_is_conserved(case: tuple[list[Presence], Usage, Usage, int], busy: dict[int, int]) -> None:
    """What the parent grew by is what the jobs used; a job that stays has its own, who went share the rest."""
    jobs, parent, before, total = case
    times = cpu_times(jobs, parent, before, busy, TOPOLOGY).used

    assert sum(sum(t.values()) for t in times) == total
    for job, used in zip(jobs, times, strict=True):
        if job.usage is not None and job.before is not None:
            assert sum(used.values()) == job.usage.cpu_us - job.before.cpu_us


@given(st.lists(st.integers(0, 10**8), min_size=2, max_size=2), st.integers(0, 10**8))
def test_tails_go_by_cpus_and_time(lives: list[int], missing: int) -> None:
    """Two jobs that went share what nobody else used by CPUs held x time alive; nobody else gets any."""
    holds = [held(cpus, (), TOPOLOGY) for cpus in (1, 3, 8)]
    gone = [Presence(0, life, has, (), None, Usage(0, {}, 0), True) for life, has in zip(lives, holds, strict=False)]
    stays = Presence(0, 10**8, holds[2], (), Usage(7, {}, 0), Usage(7, {}, 0), False)
    times = cpu_times([*gone, stays], Usage(missing + 7, {}, 0), Usage(7, {}, 0), {0: 1, 1: 0}, TOPOLOGY).used

    weights = [max(1, lives[0]), 3 * max(1, lives[1])]
    assert [sum(t.values()) for t in times] == [*apportion(missing, weights), 0]


def test_a_parent_that_was_not_read_gives_nobody_anything() -> None:
    """Without the parent only what a job's own cgroup shows is known."""
    was = Usage(5, {}, 0)
    jobs = [Presence(0, 9, {}, (), None, was, True), Presence(0, 9, {}, (), Usage(8, {}, 0), was, False)]

    assert [sum(t.values()) for t in cpu_times(jobs, None, was, {0: 1, 1: 1}, TOPOLOGY).used] == [0, 3]


def test_a_parent_that_seems_to_fall_a_little_was_not_made_anew() -> None:
    """Its two files are read one after the other: a job that went must not get what all jobs used since boot."""
    gone = [Presence(0, 9, {}, (), None, Usage(5, {}, 0), True)]
    before = Usage(1_000_000, {}, 0)

    for now, tail in ((999_990, 0), (1_000_030, 30), (30, 30)):
        times = cpu_times(gone, Usage(now, {}, 0), before, {0: 1, 1: 1}, TOPOLOGY).used
        assert [sum(t.values()) for t in times] == [tail]


@given(st.integers(0, 10**12), st.fixed_dictionaries({0: WEIGHT, 1: WEIGHT}))
def test_cpu_time_is_spread_over_sockets_exactly(used: int, busy: dict[int, int]) -> None:
    """v2 gives one number: it goes where the node was busy, else by CPUs; none is lost."""
    assert sum(spread(Usage(used, {}, 0), (), busy, TOPOLOGY).values()) == used
    assert spread(Usage(used, {0: 3}, 0), (), busy, TOPOLOGY) == {0: 3}


def test_cpu_time_stays_on_the_sockets_of_the_cpuset() -> None:
    """A job that is confined to one socket used nothing on the other, however busy that was."""
    first = next(cpu for cpu, socket in TOPOLOGY.socket_of.items() if socket == 1)

    assert spread(Usage(7, {}, 0), (first,), {0: 100, 1: 1}, TOPOLOGY) == {1: 7}


def test_what_is_held_follows_the_cpuset_where_it_confines() -> None:
    """By cpuset where that is the job's own, else spread like the node's CPUs; nothing where nothing is known."""
    on_one = tuple(cpu for cpu, socket in TOPOLOGY.socket_of.items() if socket == 1)
    everywhere = tuple(TOPOLOGY.socket_of)
    half = {s: 1000 * len(on_one) * TOPOLOGY.cpus_on(s) // TOPOLOGY.cpus for s in (0, 1)}

    assert held(len(on_one), on_one, TOPOLOGY) == {0: 0, 1: 1000 * len(on_one)}
    assert held(len(on_one), everywhere, TOPOLOGY) == half
    assert held(len(on_one), on_one[:-1], TOPOLOGY) == half
    assert held(None, (), TOPOLOGY) == {0: 0, 1: 0}
    assert held(None, on_one, TOPOLOGY) == {0: 0, 1: 1000 * len(on_one)}


def test_a_cgroup_made_anew_counts_from_nothing() -> None:
    """Its count went down: everything it shows is new."""
    assert growth(Usage(5, {0: 5}, 1), Usage(9, {0: 9}, 1)) == (Usage(5, {0: 5}, 1), True)
    assert growth(Usage(9, {0: 9}, 1), Usage(5, {0: 5}, 1)) == (Usage(4, {0: 4}, 1), False)
    assert growth(Usage(9, {0: 9}, 1), None) == (Usage(9, {0: 9}, 1), False)


def test_overlap() -> None:
    """Length of what two intervals have in common."""
    assert [overlap(0, 10, 5, 20), overlap(0, 5, 5, 9), overlap(3, 4, 0, 9), overlap(7, 3, 0, 9)] == [5, 0, 1, 0]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)), min_size=1, max_size=8), st.integers(0, 10**5))
def test_a_parent_that_is_read_before_its_job_counts_nothing_twice(steps: list[tuple[int, int]], tail: int) -> None:
    """However far the job was ahead of its parent at each reading, the first included: it used what it used."""
    parent = Usage(0, {}, 0)
    used = charged = 0
    job = Presence(0, SECOND, {0: 1000}, (0,), None, None, gone=False)
    for growth_us, ahead_us in steps:
        used += growth_us
        now = Usage(max(parent.cpu_us, used - min(ahead_us, growth_us)), {}, 0)
        job = job._replace(before=job.usage, usage=Usage(used, {}, 0))
        charged += sum(cpu_times([job], now, parent, {0: SECOND}, TOPOLOGY).used[0].values())
        parent = caught_up(now, parent, [growth(Usage(used, {}, 0), job.before)[0]])
    gone = job._replace(before=job.usage, usage=None, gone=True)
    charged += sum(cpu_times([gone], Usage(used + tail, {}, 0), parent, {0: SECOND}, TOPOLOGY).used[0].values())

    assert charged == used + tail
