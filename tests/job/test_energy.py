# SPDX-License-Identifier: MIT
"""Readings become energies: exact at readings, interpolated between, unknown where nobody knows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_job.energy import Curve, added, between
from carbon_job.live import Component, LiveError, Reading, parse
from carbon_job.timeline import Mark, Timeline, shares

V2 = (
    b'{"version": 2, "cluster": "c", "node": "n1", "job_id": 7, "run": "r", "sequence": 17, "time_us": 2000000,'
    b' "begin_us": 1000000, "held_us": 1000000, "simulated": true, "new_key": 1, "components": {'
    b'"cpu": {"energy_uj": 500000, "static_uj": 1, "metered_us": 1000000, "method": "counter"},'
    b'"dram": {"energy_uj": 100000, "metered_us": 900000, "method": "modelled", "missing": "began late"},'
    b'"gpu": {"missing": "nvml: driver not loaded"}}}'
)


def reading(time_s: float, uj: float | None, metered_s: float | None = None) -> Reading:
    """A reading of one component."""
    metered = time_s if metered_s is None else metered_s
    return Reading(time_s * 1e6, time_s * 1e6, {"cpu": Component(uj, metered * 1e6, "counter")})


def test_version_2_is_read() -> None:
    """Every field of the contract arrives; keys that are not known are passed over."""
    read = parse(V2)

    assert (read.node, read.run, read.sequence, read.simulated) == ("n1", "r", 17, True)
    assert (read.begin_us, read.time_us, read.held_us) == (1_000_000, 2_000_000, 1_000_000)
    assert read.components["cpu"] == Component(500_000, 1_000_000, "counter")
    assert read.components["dram"].missing == "began late"
    assert read.components["gpu"] == Component(None, 0, "", "nvml: driver not loaded")


def test_version_1_is_read() -> None:
    """A file without a version has energies alone: its coverage is not known, which is not the same as none."""
    first, second = (parse(b'{"job_id": 7, "run": "r", "at": %d, "cpu_uj": %d}' % pair) for pair in ((9, 5), (19, 30)))
    energy = between(first, second)

    assert (energy.energy_uj, energy.seconds, energy.coverage) == (25, 10, None)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"version": 2}', b'{"version": "x"}', b"\xff", V2[:50]])
def test_what_is_no_live_file_is_refused(content: bytes) -> None:
    """A torn or foreign file is an error that names the file, and never zeros."""
    with pytest.raises(LiveError, match=r"here: not a live file"):
        parse(content, "here")


def test_unknown_is_not_zero() -> None:
    """A component that nothing measures has no energy, lowers the coverage and says why."""
    first = parse(V2)
    energy = between(first, first._replace(time_us=3_000_000, held_us=2_000_000))

    assert energy.parts["gpu"].energy_uj is None
    assert energy.coverage == 0
    assert energy.missing["gpu"] == "nvml: driver not loaded"


def test_less_metered_is_less_covered() -> None:
    """Coverage is the metered time between two readings over the time held between them."""
    assert between(reading(0, 0, 0), reading(10, 100, 9)).coverage == pytest.approx(0.9)


def test_a_mark_lies_between_its_readings() -> None:
    """At a mark the counters stand in proportion; after the last reading nobody knows."""
    curve = Curve()
    curve.add(reading(10, 100))
    curve.add(reading(20, 300))
    state = curve.at(15e6)

    assert state is not None
    assert state.components["cpu"].energy_uj == 200
    assert curve.at(20.5e6) is None
    assert curve.at(9e6) is None


def test_an_old_reading_changes_nothing() -> None:
    """The same file read twice, or an older one, is not taken."""
    curve = Curve()

    assert [curve.add(reading(t, t)) for t in (10, 10, 9, 11)] == [True, False, False, True]


@given(
    st.lists(st.tuples(st.floats(0.01, 50), st.floats(0, 1e9)), min_size=2, max_size=20),
    st.lists(st.floats(0, 1), max_size=12),
    st.data(),
)
def test_epochs_and_the_rest_make_the_run(
    steps: list[tuple[float, float]], places: list[float], data: st.DataObject
) -> None:
    """Wherever marks are, epochs and what lies outside of them add up to what the counter counted."""
    curve, now_s, uj = Curve(), 0.0, 0.0
    curve.add(reading(0, 0))
    for seconds, more in steps:
        now_s, uj = now_s + seconds, uj + more
        curve.add(reading(now_s, uj))
    timeline, spans = Timeline(), []
    kinds = ["start", *(data.draw(st.sampled_from(["epoch", "end", "sample"])) for _ in places), "finish"]
    for kind, place in zip(kinds, [0.0, *sorted(places), 1.0], strict=True):
        time_s = place * now_s
        spans += timeline.take(Mark(kind, time_s * 1e6, time_s), curve.at(time_s * 1e6))
    run = spans[-1]
    progress = timeline.progress

    assert run.name == "run"
    assert run.energy.energy_uj == pytest.approx(uj, abs=1e-3 + uj * 1e-9)
    assert progress.spent.energy_j * 1e6 == pytest.approx(uj, abs=1e-3 + uj * 1e-9)
    assert sum(energy for _, energy in run.slots) == pytest.approx(uj, abs=1e-3 + uj * 1e-9)


def test_what_was_paused_counts_nowhere() -> None:
    """Between pause and resume neither energy nor time goes to any span."""
    timeline, spans = Timeline(), []
    for kind, time_s in (("start", 0), ("epoch", 1), ("pause", 3), ("resume", 8), ("end", 9), ("finish", 10)):
        spans += timeline.take(Mark(kind, time_s * 1e6, time_s), reading(time_s, time_s * 100))

    assert [(span.name, span.energy.seconds, span.energy.energy_uj) for span in spans] == [
        ("epoch", 3, 300),
        ("run", 5, 500),
    ]


def test_nested_spans_have_paths() -> None:
    """A phase in an epoch has its path; one left open ends with what is around it; a wrong end is passed over."""
    timeline, spans = Timeline(), []
    marks = [("start", ""), ("epoch", ""), ("begin", "a"), ("begin", "b"), ("close", "c"), ("close", "a"), ("cut", "")]
    for time_s, (kind, name) in enumerate(marks):
        spans += timeline.take(Mark(kind, time_s * 1e6, time_s, name=name), reading(time_s, time_s * 100))

    assert [(span.path, span.energy.energy_uj, span.complete) for span in spans] == [
        ("epoch/a/b", 200, True),
        ("epoch/a", 300, True),
        ("epoch", 500, False),
        ("run", 600, False),
    ]


@given(st.integers(0, 10**10), st.integers(0, 10**6))
def test_shares_of_slots_make_one(begin_s: int, seconds: int) -> None:
    """Slots are aligned to UTC, in order, and their shares add up."""
    found = shares(begin_s * 1e6, (begin_s + seconds) * 1e6)

    assert sum(share for _, share in found) == pytest.approx(1)
    assert all(slot % 900 == 0 for slot, _ in found)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0.1, 100), st.floats(0.1, 100))
def test_energies_add_up(one: float, two: float, first_s: float, second_s: float) -> None:
    """The sum of two spans has the sum of their energies and seconds, and a coverage between theirs."""
    left = between(reading(0, 0, 0), reading(first_s, one, first_s / 2))
    right = between(reading(0, 0, 0), reading(second_s, two))
    both = added(left, right)

    assert both.energy_uj == one + two
    assert both.seconds == left.seconds + right.seconds
    assert both.coverage is not None
    assert 0.5 - 1e-9 <= both.coverage <= 1
