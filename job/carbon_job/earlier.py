# SPDX-License-Identifier: MIT
"""Corrects a prediction by earlier runs of the same program. Pure arithmetic, no I/O.

An earlier run at the same share done gives two estimates of what is left. First, the rule's rest is multiplied by the
error that the rule made then (actual rest over the rule's rest), because it will probably make the same one again: a
cold first epoch, a final evaluation. Second, what was left then is taken as it was. The first depends on the rates of
this run, and is better if they are steady. The second does not, and is better if they are not. The two are averaged,
and the less certain one counts less. If they differ by more than their uncertainty explains, the earlier run was not of
the same program, and the second is not used.
"""

from __future__ import annotations

import math

from .lean import NamedTuple
from .prediction import MOST_STRETCHES, Cost, Stretch, coalesced

MOST_RUNS = 5
RUN_TO_RUN = 0.03
"""Relative difference of two runs of the same program: other nodes, other data (assumed; no figure of ours)."""
MOST_DEVIATIONS = 3.0


class Earlier(NamedTuple):
    """An earlier run, at the moment when it had done the same share as this one has now."""

    rule: Cost
    """The cost that the rule predicted for the rest."""
    rest: Cost
    """The actual cost of the rest, scaled to the epochs of this run."""


def corrected(rest: Cost, stretches: tuple[Stretch, ...], earlier: list[Earlier]) -> Cost:
    """Return the cost of the rest, from the rule's `rest` and up to five earlier runs, the newest first."""
    known = [run for run in earlier if min(*run.rule, *run.rest) > 0][:MOST_RUNS]
    if not known or min(rest) <= 0:
        return rest
    return Cost(
        _corrected(rest.energy_j, scatter(stretches, 0), [(run.rule.energy_j, run.rest.energy_j) for run in known]),
        _corrected(rest.seconds, scatter(stretches, 1), [(run.rule.seconds, run.rest.seconds) for run in known]),
    )


def _corrected(rest: float, noise: float, runs: list[tuple[float, float]]) -> float:
    by_rule = rest * math.exp(_middle([math.log(actual / rule) for rule, actual in runs]))
    rule_variance, run_variance = noise * noise, RUN_TO_RUN * RUN_TO_RUN
    most = MOST_DEVIATIONS * math.sqrt(2 * rule_variance + run_variance)
    apart = [math.log(actual / by_rule) for _, actual in runs if abs(math.log(actual / by_rule)) <= most]
    if not apart:
        return by_rule
    rule_variance *= 1 + 1 / len(runs)
    run_variance *= (1 + 1 / len(apart)) / 2
    return by_rule * math.exp(_middle(apart) * rule_variance / (rule_variance + run_variance))


def scatter(stretches: tuple[Stretch, ...], which: int) -> float:
    """Return the standard deviation of the logarithm of the stretches' rates, of energy (0) or time (1)."""
    pieces = coalesced([stretch for stretch in stretches if stretch.steps > 0], MOST_STRETCHES)
    logs = [math.log(piece.cost[which] / piece.steps) for piece in pieces if piece.cost[which] > 0]
    if len(logs) < 2:
        return RUN_TO_RUN
    mean = sum(logs) / len(logs)
    return math.sqrt(sum((log - mean) ** 2 for log in logs) / (len(logs) - 1))


def _middle(values: list[float]) -> float:
    """Return the median: the mean of the middle two if their number is even."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
