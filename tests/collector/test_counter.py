# SPDX-License-Identifier: MIT
"""Wrap, reset or gap; and what is learned of idle power."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carbon_collector.attribution.counter import SLACK_UJ, Counter, delta
from carbon_collector.attribution.idle_power import MEAN_OF, MOVED_DOWN, MOVED_UP, IdlePower

RAPL = Counter(262_143_328_850, 400)
AMD = Counter(65_532_610_987, 500)
NVML = Counter(0, 2_000)
SECOND = 1_000_000
JOULE = 1_000_000


@given(st.sampled_from((RAPL, AMD)), st.integers(0, 10**11), st.integers(1, 120 * SECOND), st.integers(1, 400))
def test_what_can_be_known_is_exact(counter: Counter, before: int, elapsed: int, watts: int) -> None:
    """Up to one wrap between readings: the energy to the microjoule."""
    before %= counter.range_uj
    energy = watts * elapsed

    assert delta(counter, before, (before + energy) % counter.range_uj, elapsed).energy_uj == energy


@given(st.sampled_from((RAPL, AMD, NVML)), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**10))
def test_no_energy_is_invented(counter: Counter, before: int, now: int, elapsed: int) -> None:
    """Whatever the registers show: nothing negative, nothing the hardware cannot draw, and a reason for every gap."""
    found = delta(counter, before, now, elapsed)

    if found.energy_uj is None:
        assert found.reason
    else:
        assert found.reason == ""
        assert 0 <= found.energy_uj <= counter.max_watts * elapsed + SLACK_UJ


@pytest.mark.parametrize(
    ("counter", "before", "now", "elapsed", "reason"),
    [
        (AMD, 0, 100 * JOULE, 132 * SECOND, "may have wrapped unseen"),
        (RAPL, 200_000 * JOULE, 0, 10 * SECOND, "reset"),
        (NVML, 5_000 * JOULE, 4_000 * JOULE, 10 * SECOND, "reset"),
        (NVML, 0, 30_000 * JOULE, 10 * SECOND, "jumped forward"),
        (RAPL, 7, 7, 10 * SECOND, "stands still"),
        (RAPL, 300_000 * JOULE, 1, 10 * SECOND, "reset"),
    ],
)
def test_a_gap_says_why(counter: Counter, before: int, now: int, elapsed: int, reason: str) -> None:
    """Two wraps, a driver reset, nonsense, a frozen counter, a register beyond its range: unknown, with the reason."""
    found = delta(counter, before, now, elapsed)

    assert found.energy_uj is None
    assert reason in found.reason


def test_a_moment_without_a_step_is_no_frozen_counter() -> None:
    """Two readings within a counter's own step: 0, and that is known."""
    assert delta(RAPL, 7, 7, 900_000).energy_uj == 0


@given(st.integers(1, 300), st.integers(0, 60), st.lists(st.integers(1, 16), min_size=3, max_size=20, unique=True))
def test_the_fit_is_exact_on_a_line(p0: int, per_cpu: int, busy: list[int]) -> None:
    """Power = P0 + k x busy CPUs, never quiet: the intercept is P0."""
    idle = IdlePower(0.3)
    for cpus in busy:
        idle.learn((p0 + per_cpu * cpus) * 10 * JOULE, 10 * SECOND, cpus * 10 * SECOND, 16)
    found = idle.idle()

    assert found.rule == "fit"
    assert found.power_uw == pytest.approx(p0 * 1e6, rel=1e-6, abs=1000)


@given(st.lists(st.tuples(st.integers(0, 10**11), st.integers(0, 10**8), st.integers(0, 10**9)), max_size=30))
@example([(0, 20_000, 8945), (518, 20_000, 1)])
def test_idle_power_is_bounded(seen: list[tuple[int, int, int]]) -> None:
    """Never negative, never above the highest power seen; saved and loaded it is the same."""
    idle = IdlePower(0.3)
    highest = 0
    for energy, elapsed, busy in seen:
        idle.learn(energy, elapsed, busy, 16)
        highest = max(highest, energy * SECOND // max(1, elapsed))
    found = idle.idle()

    assert found.power_uw >= 0
    assert found.rule == "unknown" or found.power_uw <= highest + 1
    assert IdlePower(0.3, idle.save()).idle() == found


def test_idle_power_in_order_of_trust() -> None:
    """A setting, a quiet stretch, a line, an assumption about the line, nothing."""
    idle = IdlePower(0.3)
    assert idle.idle().rule == "unknown"
    idle.learn(900 * JOULE, 10 * SECOND, 80 * SECOND, 16)
    assert idle.idle() == (pytest.approx(90e6 * 0.3 / (0.3 + 0.7 * 8 / 16), rel=1e-6), "prior")
    idle.learn(700 * JOULE, 10 * SECOND, 40 * SECOND, 16)
    assert idle.idle() == (pytest.approx(50e6, rel=1e-6), "fit")
    idle.learn(500 * JOULE, 10 * SECOND, 0, 16)
    assert idle.idle() == (50_000_000, "quiet")
    idle.learn(1, 1, 0, 16)
    assert idle.idle() == (50_000_000, "quiet")
    idle.setting_uw = 7
    assert idle.idle() == (7, "setting")


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.01, 0.03]), st.integers(20, 300))
def test_noise_does_not_bias_idle_power(seed: int, noise: float, watts: int) -> None:
    """A meter with 0, 1 or 3 % of noise a reading: after ten minutes of quiet the idle power is right within what the
    mean of so many readings is, and not the lowest of them, which is 2 and 6 % too low.
    """
    random = Random(seed)
    idle = IdlePower(0.3)
    for _ in range(MEAN_OF):
        idle.learn(int(watts * 10 * JOULE * random.gauss(1, noise)), 10 * SECOND, 0, 16)

    assert idle.idle().rule == "quiet"
    assert idle.idle().power_uw == pytest.approx(watts * 1e6, rel=6 * noise / MEAN_OF**0.5 + 1e-6)


def test_idle_power_follows_a_component_that_changes() -> None:
    """Lower after some readings, however long it was higher; higher only after minutes of it, for a burst is no level."""
    idle = IdlePower(0.3)
    seen = []
    for watts in (*[100] * 70, 60, 100, *[60] * MOVED_DOWN, *[100] * (MOVED_UP - 1), 60, *[100] * MOVED_UP):
        idle.learn(watts * 10 * JOULE, 10 * SECOND, 0, 16)
        seen.append(round(idle.idle().power_uw / 1e6))

    fallen = 72 + MOVED_DOWN - 1
    assert seen[:fallen] == [100] * fallen
    assert seen[fallen : fallen + MOVED_UP] == [60] * MOVED_UP
    assert seen[-1] == 100


def test_the_little_use_of_a_quiet_stretch_is_taken_off() -> None:
    """Half a percent of the CPUs busy draws something: by the assumed slope it is no idle power."""
    idle = IdlePower(0.3)
    idle.learn(int((50 + 117 * 0.005) * 10 * JOULE), 10 * SECOND, int(0.005 * 160 * SECOND), 16)

    assert idle.idle() == (pytest.approx(50e6, rel=1e-3), "quiet")


@given(st.integers(1, 40), st.floats(0.0, 0.009), st.integers(1, 64))
def test_a_little_use_is_taken_off_by_the_slope_that_use_has_shown(per_cpu: int, use: float, cpus: int) -> None:
    """A stretch with a few thousandths of use leaves idle power within half a percent, whatever a busy CPU draws up to
    three times the assumed watts.
    """
    p0 = 60
    idle = IdlePower(0.3)
    assumed = p0 * 0.7 / 0.3 / cpus
    watts = min(float(per_cpu), 2.5 * assumed)
    for busy in (0.1 * cpus, 0.5 * cpus + 1, 0.9 * cpus + 2):
        for _ in range(40):
            idle.learn(int((p0 + watts * busy) * 10 * JOULE), 10 * SECOND, int(busy * 10 * SECOND), cpus)
    for _ in range(20):
        idle.learn(int((p0 + watts * use * cpus) * 10 * JOULE), 10 * SECOND, int(use * cpus * 10 * SECOND), cpus)

    assert idle.idle().rule == "quiet"
    assert idle.idle().power_uw == pytest.approx(p0 * 1e6, rel=0.005)


def test_what_jobs_use_otherwise_is_not_idle() -> None:
    """Memory that a sleeping job holds draws watts without CPU time: its module is not quiet meanwhile."""
    idle = IdlePower(0.3)
    for _ in range(5):
        idle.learn(80 * JOULE, 10 * SECOND, 0, 16)
    for _ in range(100):
        idle.learn(85 * JOULE, 10 * SECOND, 0, 16, is_used=True)

    assert idle.idle() == (8_000_000, "quiet")
