# SPDX-License-Identifier: MIT
"""Limits on the energy and the carbon of a run: when one is passed, and what is done then. Once."""

from __future__ import annotations

import signal
from typing import NamedTuple

FIGURES = ("expected", "upper", "spent")


class Figures(NamedTuple):
    """What a limit is held to, in joules or grams; None where it is not known."""

    spent: float | None
    expected: float | None
    upper: float | None


class Action(NamedTuple):
    """What happens when a limit is passed."""

    kind: str
    """`warn`, `signal` or `stop`."""
    signal: int = 0


def action(text: str) -> Action:
    """Read `warn`, `stop` or `signal:SIG`. Raises ValueError."""
    kind, _, name = text.partition(":")
    if text in ("warn", "stop"):
        return Action(text)
    if kind == "signal":
        upper = name.upper()
        names = signal.Signals.__members__
        if upper.isdigit() and int(upper) in {int(known) for known in signal.Signals}:
            return Action("signal", int(upper))
        full = upper if upper.startswith("SIG") else f"SIG{upper}"
        if full in names:
            return Action("signal", int(names[full]))
    raise ValueError(f"{text!r} is none of warn, stop and signal:SIG (signal:USR1)")


def passed(figures: Figures, limit: float | None, figure: str, provisional: bool) -> bool:
    """Whether the figure is beyond the limit. What is spent always counts; a provisional prediction does not."""
    if limit is None:
        return False
    if figures.spent is not None and figures.spent > limit:
        return True
    value = {"spent": figures.spent, "expected": figures.expected, "upper": figures.upper}[figure]
    return value is not None and value > limit and (figure == "spent" or not provisional)
