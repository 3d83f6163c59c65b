# SPDX-License-Identifier: MIT
"""What a job's live file shows of its neighbours (docs/adr/0008): measured here, so that the figures there stay true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.live import ROUNDING_UJ
from carbon_collector.live_facts import live_facts

from .world import Keeper, World, make_job

S = 1_000_000
IDLE_W = 40


def shown(keeper: Keeper, job: int) -> int:
    """Energy of the CPU in a job's live file, in microjoules."""
    energy = live_facts(keeper.books, "n1")[str(job)][1]["components"]["cpu"].get("energy_uj", 0)
    assert energy % ROUNDING_UJ == 0
    return int(energy)


def watts_seen(neighbours: int, neighbours_watts: int, seconds: int = 10) -> float:
    """Power by the file of a job with one busy CPU, beside `neighbours` busy CPUs that draw so much in all."""
    world = World()
    keeper = Keeper(world)
    keeper.books.set_idle_power({"package-0": IDLE_W, "package-1": IDLE_W})
    for number in range(1 + neighbours):
        keeper.open(make_job(number + 1, cpus=1))
        world.start_job(str(number + 1))
    keeper.step()
    before = shown(keeper, 1)
    own_watts = 10
    for _ in range(seconds):
        cpu = {str(number + 1): {0: S} for number in range(1 + neighbours)}
        world.run(S, {"package-0": IDLE_W + own_watts + neighbours_watts, "package-1": IDLE_W}, cpu)
        keeper.step()
    return (shown(keeper, 1) - before) / seconds / S


@pytest.mark.parametrize(("neighbours", "part"), [(1, 1 / 2), (3, 1 / 4)])
def test_a_change_of_the_neighbour_is_seen_by_ones_part_of_the_cpu_time(neighbours: int, part: float) -> None:
    """20 W more of the neighbours' move the own share by the own part of the socket's CPU time, and by no more."""
    change = watts_seen(neighbours, 50) - watts_seen(neighbours, 30)

    print(f"beside {neighbours} busy CPUs 20 W more show as {change:.2f} W")
    assert change == pytest.approx(20 * part, abs=0.1)


@given(st.integers(0, 3), st.integers(0, 60), st.integers(0, 60))
def test_nothing_finer_than_a_tenth_of_a_joule_is_shown(neighbours: int, one: int, other: int) -> None:
    """Whatever the neighbours draw: the file moves in steps of 0.1 J, and never by more than the own part of the change."""
    change = abs(watts_seen(neighbours, one, 1) - watts_seen(neighbours, other, 1))

    assert change <= abs(one - other) / (1 + neighbours) + 0.2
