# SPDX-License-Identifier: MIT
"""Predictions: exact where every epoch is alike, corrected by earlier runs, with an interval."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_job import history, intervals
from carbon_job.earlier import Earlier, corrected
from carbon_job.outlook import Outlook
from carbon_job.prediction import Cost, EpochCost, Progress, Stretch, coalesced, rest, rest_until, steady

NOTHING = Cost(0.0, 0.0)


def alike(done: int, epochs: int, each: float = 100.0, steps: int = 10, **more: object) -> Progress:
    """A training whose epochs take `each` joules and a tenth of that in seconds."""
    cost = Cost(each, each / 10)
    stretches = (
        tuple(Stretch(steps / 2, cost.times(0.5), epoch) for epoch in range(done) for _ in range(2)) if steps else ()
    )
    made = Progress(epochs, steps, (EpochCost(cost, steps, {}),) * done, None, Cost(5, 1), NOTHING, stretches)
    return made._replace(**more)


@given(st.integers(1, 50), st.integers(0, 50), st.floats(0.1, 1e9), st.sampled_from([0, 7, 1000]))
def test_alike_is_exact(done: int, more: int, each: float, steps: int) -> None:
    """Where every epoch costs the same the rest is exact, with steps and without."""
    left = rest(alike(done, done + more, each, steps))

    assert left is not None
    assert left.energy_j == pytest.approx(each * more)
    assert left.seconds == pytest.approx(each * more / 10)


def test_nothing_is_said_where_nothing_is_known() -> None:
    """Without a number of epochs, or before the first one is over and without steps, there is no prediction."""
    assert rest(alike(3, 0)) is None
    assert rest(alike(0, 10)) is None


def test_an_open_epoch_tells_by_its_steps() -> None:
    """With steps a quarter of the first epoch is enough."""
    open_epoch = EpochCost(Cost(25, 2.5), 2.5, {})
    left = rest(alike(0, 4, open=open_epoch, stretches=(Stretch(2.5, Cost(25, 2.5), 0),)))

    assert left == Cost(pytest.approx(375), pytest.approx(37.5))


def test_a_first_epoch_that_stands_out_is_left_out() -> None:
    """An epoch that waited for its input says nothing of those to come."""
    epochs = [EpochCost(Cost(joules, joules / 10), 0, {}) for joules in (300, 100, 100)]

    assert rest(alike(0, 10, steps=0)._replace(done=tuple(epochs))) == Cost(pytest.approx(700), pytest.approx(70))


def test_a_rate_that_comes_back_counts() -> None:
    """Neighbours that come and go are averaged; a slow begin that never comes back is not."""
    coming = tuple(Stretch(1, Cost(joules, 1), 0) for joules in [10, 20] * 16)
    cold = tuple(Stretch(1, Cost(joules, 1), 0) for joules in [30] * 8 + [10] * 24)

    assert steady(coming).energy_j == pytest.approx(15, rel=0.05)
    assert steady(cold).energy_j == 10


def test_phases_come_as_often_as_they_did() -> None:
    """A validation every second epoch is expected every second epoch, at its own cost."""
    plain = EpochCost(Cost(100, 10), 0, {})
    checked = plain._replace(phases={"validation": (1, Cost(30, 3))})
    left = rest(alike(0, 10, steps=0)._replace(done=(plain, checked) * 2))

    assert left == Cost(pytest.approx(6 * 100 + 3 * 30), pytest.approx(6 * 10 + 3 * 3))


def test_until_the_time_limit() -> None:
    """Without epochs the rest is the time left at the steady power."""
    left = rest_until(alike(0, 0, times=(Stretch(10, Cost(1000, 10), 0),)), 60)

    assert left == Cost(pytest.approx(6000), 60)


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 1e6)), max_size=300), st.integers(1, 64))
def test_coalescing_loses_nothing(pieces: list[tuple[float, float]], most: int) -> None:
    """Fewer stretches hold the same steps and joules, in the same order."""
    stretches = [Stretch(steps, Cost(joules, joules), 0) for steps, joules in pieces]
    fewer = coalesced(stretches, most)

    assert len(fewer) <= max(most, 1)
    assert sum(s.steps for s in fewer) == pytest.approx(sum(s.steps for s in stretches))
    assert sum(s.cost.energy_j for s in fewer) == pytest.approx(sum(s.cost.energy_j for s in stretches))


@given(st.floats(1, 1e9), st.floats(0.2, 5), st.floats(0.5, 2))
def test_one_earlier_run_corrects(left: float, missed: float, size: float) -> None:
    """What the rule missed in an earlier run it is taken to miss again, in a run of any size; steady rates."""
    rule = Cost(left, left)
    stretches = tuple(Stretch(1, Cost(10, 10), 0) for _ in range(8))
    said = corrected(rule, stretches, [Earlier(rule.times(size), rule.times(size * missed))])

    assert said.energy_j == pytest.approx(left * missed)


def test_earlier_rest_counts_where_rates_scatter() -> None:
    """With neighbours on the node, what was left in the earlier run is worth more than this run's rate."""
    stretches = tuple(Stretch(1, Cost(joules, joules), 0) for joules in [10, 14] * 8)
    said = corrected(Cost(120, 120), stretches, [Earlier(Cost(100, 100), Cost(100, 100))])

    assert 100 < said.energy_j < 105


def test_the_history_comes_back(tmp_path: Path) -> None:
    """A run that was kept is found by its key, the newest first, and serves at the same share."""
    where = str(tmp_path / "state" / "runs.jsonl")
    for total in (100.0, 200.0):
        points = (history.Point(0.1, Cost(20, 2), Cost(90, 9), Cost(95, 9)),)
        history.save(where, history.Run("bert", 10, Cost(total, 10), points))
    history.save(where, history.Run("other", 10, Cost(1, 1), ()))
    runs = history.load(where, "bert")

    assert [run.total.energy_j for run in runs] == [200, 100]
    assert history.earlier(runs[1:], 20, 0.1) == [Earlier(Cost(180, 18), Cost(160, 16))]
    assert history.earlier(runs, 10, 0.5) == []
    assert history.errors(runs[1:], 0.1) == [(80 / 95, 8 / 9)]


def test_the_history_is_bounded_and_survives_damage(tmp_path: Path) -> None:
    """More runs than fit push the oldest out; a damaged line costs itself alone; no file is no history."""
    where = str(tmp_path / "runs.jsonl")

    assert history.load(where, "a") == []
    for number in range(history.MOST_RUNS + 30):
        history.save(where, history.Run("a", 10, Cost(number + 1, 1), ()))
    with Path(where).open("ab") as file:
        file.write(b'{"key": "a", "torn\n\xff\n[]\n')
    history.save(where, history.Run("a", 10, Cost(999, 1), ()))
    runs = history.load(where, "a")

    assert runs[0].total.energy_j == 999
    assert len(runs) <= history.MOST_RUNS
    assert Path(where).stat().st_mode & 0o077 == 0


def test_an_outlook_learns(tmp_path: Path) -> None:
    """A run that ended is kept; the next one of the same key rests on it and is not provisional."""
    where = str(tmp_path / "runs.jsonl")
    first = Outlook("a", where)
    before = first.predict(alike(1, 10), 0)
    first.keep(alike(10, 10, each=150.0))  # the later epochs cost more
    after = Outlook("a", where).predict(alike(1, 10), 0)

    assert before is not None
    assert (before.provisional, before.runs, before.energy_j) == (True, 0, pytest.approx(1005))
    assert after is not None
    assert (after.provisional, after.runs) == (False, 1)
    assert after.energy_j == pytest.approx(105 + 1505 - 105, rel=0.1)
    assert after.lower_j < after.energy_j < after.upper_j
    assert after.upper_j - after.lower_j < before.upper_j - before.lower_j


def test_a_time_is_predicted_for_good_from_a_twentieth_on() -> None:
    """A run without epochs draws little while it loads: before 5 % of its time no limit acts on what is predicted."""
    for now_s, provisional in ((1.0, True), (49.0, True), (51.0, False), (900.0, False)):
        spent = Cost(100 * now_s, now_s)
        progress = alike(0, 0, times=(Stretch(now_s, spent, 0),), before=spent)
        said = Outlook("a", "", until_s=1000.0).predict(progress, now_s)

        assert said is not None
        assert (said.energy_j, said.provisional) == (pytest.approx(100_000), provisional)


def test_a_run_that_was_cut_off_is_not_kept(tmp_path: Path) -> None:
    """Half of the epochs are no earlier run."""
    outlook = Outlook("a", str(tmp_path / "runs.jsonl"))
    outlook.keep(alike(5, 10))

    assert not (tmp_path / "runs.jsonl").exists()


@given(st.lists(st.floats(0.01, 100), min_size=8, max_size=60))
def test_own_errors_hold_nine_of_ten(ratios: list[float]) -> None:
    """The interval of own errors holds at least 90 % of them (all of eight), and the prediction itself."""
    low, high = intervals.own(ratios)
    inside = sum(low * (1 - 1e-9) <= ratio <= high * (1 + 1e-9) for ratio in ratios)

    assert inside >= math.floor(0.9 * len(ratios))
    assert low <= 1 <= high


def test_the_shipped_table_is_whole() -> None:
    """Every basis has a row from the start on, and bounds on both sides of the prediction."""
    rows = intervals.table()
    for name in ("first", "rate", "history"):
        for more in ("", "-unsteady"):
            low, high = intervals.bounds(rows, name + more, 0.0)
            assert 0.3 < low < 1 < high < 3
