# SPDX-License-Identifier: MIT
"""Checks limits on the energy and the carbon of a run, and reads what is to be done when one is passed, once.

It does nothing itself: `actions` sends the signal.
"""

from __future__ import annotations

from .lean import NamedTuple

FIGURES = ("expected", "upper", "spent")


class Figures(NamedTuple):
    """The figures that are compared with a limit, in joules or grams; None if one is not known."""

    spent: float | None
    expected: float | None
    upper: float | None


class Action(NamedTuple):
    """The action when a limit is passed."""

    kind: str
    """The kind of action: `warn`, `signal` or `stop`."""
    signal: int = 0


def action(text: str) -> Action:
    """Return the action that a text describes: `warn`, `stop` or `signal:SIG`. Raises ValueError."""
    kind, _, name = text.partition(":")
    if text in ("warn", "stop"):
        return Action(text)
    if kind == "signal":
        import signal

        upper = name.upper()
        names = signal.Signals.__members__
        if upper.isdigit() and int(upper) in {int(known) for known in signal.Signals}:
            return Action("signal", int(upper))
        full = upper if upper.startswith("SIG") else f"SIG{upper}"
        if full in names:
            return Action("signal", int(names[full]))
    raise ValueError(f"{text!r} is none of warn, stop and signal:SIG (signal:USR1)")


def passed(figures: Figures, limit: float | None, figure: str, provisional: bool) -> bool:
    """Return whether a limit is passed: by what is spent, or by `figure` unless that is a provisional prediction."""
    if limit is None:
        return False
    if figures.spent is not None and figures.spent > limit:
        return True
    value = {"spent": figures.spent, "expected": figures.expected, "upper": figures.upper}[figure]
    return value is not None and value > limit and (figure == "spent" or not provisional)
