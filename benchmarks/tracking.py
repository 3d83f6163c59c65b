# SPDX-License-Identifier: MIT
"""How well the energy of a training is predicted: ours beside the rules of other tools, on the same readings.

Simulated trainings in virtual time: nothing sleeps. `--write` makes the table of intervals that carbon_job ships, from
seeds that the printed figures do not use.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import machine
from table import percentile, render, verdict
from training import families, ours, rules

from carbon_job import intervals
from carbon_job.earlier import Earlier, corrected, scatter
from carbon_job.prediction import Cost, Progress, rest

EACH = 60
SETS = (0, 1000)
"""First seeds of two sets of trainings."""
MANY = (0, 1000, 2000, 3000, 4000, 5000)
"""First seeds of six sets: the 90th percentile of one set of 480 trainings scatters by several percent."""
CALIBRATION = 100_000
"""First seed of the trainings that the shipped table comes from."""
AFTER = (1, 2, 5)
EARLIER = (1, 2, 3, 4, 5)
BOUNDS = {1: 27.0, 2: 24.0, 5: 19.0}
"""Percent of the whole energy at the 90th percentile, without earlier runs."""
BOUND_EARLIER = 6.0
BOUND_ALIKE = 3.0
FEWEST = 60
"""Errors that a row of the table needs."""
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85)
TABLE = Path(intervals.__file__).with_name(intervals.TABLE)
HEAD = "# Actual over predicted rest, of simulated trainings: benchmarks/tracking.py --write\n"


class Case(NamedTuple):
    """One prediction: after so many epochs of a training, by a basis; ratios are actual rest over predicted rest."""

    family: str
    basis: str
    epochs: int
    share: float
    error: float
    """Percent of the whole energy."""
    ratio: float


def cases(first: int, each: int, after: tuple[int, ...] = ()) -> list[Case]:
    """Predict `each` trainings of every family, from seed `first` on, without and with one earlier run."""
    found = []
    for family in families.FAMILIES:
        for seed in range(first, first + each):
            nature = families.nature(family, seed)
            points = tuple(k for k in after or _grid(nature.epochs) if k < nature.epochs)
            found += _cases(families.run(nature, 0), families.run(nature, 1), points)
    return found


def _cases(now: families.Training, before: families.Training, points: tuple[int, ...]) -> list[Case]:
    known, then = ours.progress(now, points), ours.progress(before, points)
    found = []
    for epochs in points:
        progress = known[epochs]
        by_rule = _rest(progress)
        like = Earlier(_rest(then[epochs]), _actual(before, then[epochs]))
        noise = scatter(progress.stretches, 0)
        for runs, said in ((0, by_rule), (1, corrected(by_rule, progress.stretches, [like]))):
            whole = progress.spent.energy_j + said.energy_j
            found.append(
                Case(
                    now.family,
                    intervals.basis(epochs, runs, noise),
                    epochs,
                    epochs / now.epochs,
                    abs(whole / now.joules - 1) * 100,
                    _actual(now, progress).energy_j / said.energy_j,
                )
            )
    return found


def _rest(progress: Progress) -> Cost:
    said = rest(progress)
    if said is None:
        raise ValueError("an epoch has ended and nothing can be predicted")
    return said


def _actual(training: families.Training, progress: Progress) -> Cost:
    spent = progress.spent
    return Cost(training.joules - spent.energy_j, training.seconds - spent.seconds)


def _grid(epochs: int) -> tuple[int, ...]:
    """Epochs to predict after: the first ones, then shares of the whole."""
    return tuple(sorted({1, 2, 3, 5, *(max(1, round(epochs * share)) for share in SHARES[3:])}))


def theirs(first: int, each: int) -> dict[tuple[str, int], dict[str, list[float]]]:
    """Errors in percent of the other rules, by rule and epochs, by family."""
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for family in families.FAMILIES:
        for seed in range(first, first + each):
            training = families.run(families.nature(family, seed), 0)
            for name, rule in (("Carbontracker", rules.carbontracker), ("carbontracker-tui", rules.carbontracker_tui)):
                for epochs in AFTER:
                    error = abs(rule(training, epochs) / training.joules - 1) * 100
                    found.setdefault((name, epochs), {}).setdefault(family, []).append(error)
    return found


def table_of(found: list[Case]) -> list[intervals.Row]:
    """The table of intervals that these cases make."""
    rows = []
    for basis in sorted({case.basis for case in found}):
        edges = SHARES[:4] if basis.startswith("first") else SHARES
        for low, high in zip(edges, [*edges[1:], 1.0], strict=True):
            ratios = [case.ratio for case in found if case.basis == basis and low <= case.share < high]
            if len(ratios) >= FEWEST:
                rows.append(intervals.Row(basis, low, *intervals.quantiles(ratios)))
    return rows


def held(rows: list[intervals.Row], found: list[Case]) -> float:
    """Percent of the cases that lie in their interval."""
    inside = 0
    for case in found:
        low, high = intervals.bounds(rows, case.basis, case.share)
        inside += low <= case.ratio <= high
    return 100 * inside / len(found)


def errors_table(
    found: list[Case], others: dict[tuple[str, int], dict[str, list[float]]]
) -> tuple[list[list[str]], bool]:
    """Rows of median and 90th percentile, ours last, with verdicts; and whether all bounds hold."""
    rows, passed = [], True
    for epochs in AFTER:
        rows.append([f"after {epochs} epoch{'s' if epochs > 1 else ''}"])
        best = [float("inf"), float("inf")]
        for name in ("Carbontracker", "carbontracker-tui"):
            by_family = others[name, epochs]
            rows.append(_row(name, by_family, ""))
            errors = [error for some in by_family.values() for error in some]
            best = [min(best[0], percentile(errors, 50)), min(best[1], percentile(errors, 90))]
        for name, history in (("carbon_job", False), ("carbon_job, one earlier run", True)):
            mine = _by_family(
                [case for case in found if case.epochs == epochs and case.basis.startswith("history") == history]
            )
            errors = [error for some in mine.values() for error in some]
            median, tail = percentile(errors, 50), percentile(errors, 90)
            bound = BOUND_EARLIER if history else BOUNDS[epochs]
            good = tail <= bound and median <= best[0] and tail <= best[1]
            good = good and (history or epochs > 1 or percentile(mine["alike"], 90) <= BOUND_ALIKE)
            passed = passed and good
            rows.append(_row(name, mine, f"{verdict(tail, bound)} {bound:.0f}" if good else f"over {bound:.0f}"))
    return rows, passed


def _row(name: str, by_family: dict[str, list[float]], said: str) -> list[str]:
    errors = [error for some in by_family.values() for error in some]
    return [name, *(_pair(some) for some in (errors, *(by_family[family] for family in families.FAMILIES))), said]


def _pair(errors: list[float]) -> str:
    return f"{percentile(errors, 50):.1f} / {percentile(errors, 90):.0f}"


def _by_family(found: list[Case]) -> dict[str, list[float]]:
    by_family: dict[str, list[float]] = {}
    for case in found:
        by_family.setdefault(case.family, []).append(case.error)
    return by_family


def write() -> None:
    """Write the table that carbon_job ships."""
    lines = [
        f"{row.basis},{row.share:g},{row.low:.4f},{row.high:.4f}" for row in table_of(cases(CALIBRATION, 2 * EACH))
    ]
    TABLE.write_text(HEAD + "basis,share,low,high\n" + "\n".join(lines) + "\n", encoding="utf-8")


def first_epoch_table() -> list[list[str]]:
    """Rows of what one epoch tells without an earlier run, over all sets together: as it is, scaled, and for somebody who
    knew which first epochs are cold from their first to their last step. Nothing in such an epoch tells.
    """
    seen = []
    for family, seed in ((family, first + n) for first in MANY for family in families.FAMILIES for n in range(EACH)):
        nature = families.nature(family, seed)
        training = families.run(nature, 0)
        progress = ours.progress(training, (1,))[1]
        time, power, early = nature.cold
        cold = 1.0 if early else time * power
        seen.append((seed - seed % 1000, progress.spent.energy_j, _rest(progress).energy_j, training.joules, cold))
    rows = []
    for name, scale in (
        ("as it is", lambda _: 1.0),
        ("rest x 0.97", lambda _: 0.97),
        ("rest x 0.95", lambda _: 0.95),
        ("cold epochs known", lambda cold: 1 / cold),
    ):
        errors = [
            (first, 100 * abs((spent + left * scale(cold)) / whole - 1)) for first, spent, left, whole, cold in seen
        ]
        each = [f"{percentile([error for at, error in errors if at == first], 90):.1f}" for first in MANY]
        alls = [error for _, error in errors]
        rows.append([name, f"{percentile(alls, 50):.1f}", f"{percentile(alls, 90):.1f}", *each])
    return rows


def intervals_table(each: int) -> tuple[list[list[str]], bool]:
    """Rows of what the 90 % interval holds on held-out seeds and on a family left out; whether the first is right."""
    made, fresh = cases(CALIBRATION, 2 * each), [case for first in SETS for case in cases(first, each)]
    shipped = intervals.table()
    rows, passed = [], True
    for name, chosen in (
        ("all", fresh),
        ("without earlier runs", [case for case in fresh if not case.basis.startswith("history")]),
        ("with one earlier run", [case for case in fresh if case.basis.startswith("history")]),
    ):
        share = held(shipped, chosen)
        passed = passed and 85 <= share <= 95
        rows.append([f"held-out seeds, {name}", f"{share:.1f} %", "pass" if 85 <= share <= 95 else "over"])
    for family in families.FAMILIES:
        rest_of = table_of([case for case in made if case.family != family])
        left_out = [case for case in fresh if case.family == family]
        rows.append([f"left out: {family}", f"{held(rest_of, left_out):.1f} %", ""])
    return rows, passed


def main() -> int:
    """Print the tables; returns 1 where a bound is passed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help="make the shipped table of intervals anew")
    options.add_argument("--each", type=int, default=EACH, help="trainings of a family in a set")
    options.add_argument("--first-epoch", action="store_true", help="only what one epoch tells, over six sets of seeds")
    args = options.parse_args()
    if args.first_epoch:
        print("Error of the whole energy after one epoch, without an earlier run, in percent")
        print(render(["", "median", "p90", *(f"p90, seeds from {first}" for first in MANY)], first_epoch_table()))
        return 0
    if args.write:
        write()
        return 0
    print(machine.describe())
    fine = True
    for first in SETS:
        rows, passed = errors_table(cases(first, args.each, AFTER), theirs(first, args.each))
        print(f"\nError of the whole energy, median / 90th percentile in percent, seeds from {first} on")
        print(render(["", "all", *families.FAMILIES, "bound"], rows))
        fine = fine and passed
    rows, passed = intervals_table(args.each)
    print("\nWhat the 90 % interval of the rest holds")
    print(render(["", "holds", "85 to 95"], rows))
    return 0 if fine and passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
