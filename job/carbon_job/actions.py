# SPDX-License-Identifier: MIT
"""Sends a signal to the step in which the program runs, when a limit says so. It does not decide when:
`limits` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from .place import Place

TIMEOUT_S = 30.0


def signal_step(place: Place, number: int, kill: Callable[[int], None] | None) -> None:
    """Send signal `number` to all tasks of the step. If the program is alone, or scancel fails, send it to the program
    itself.
    """
    if place.step and place.tasks > 1 and _scancel(place.step, number):
        return
    if kill is not None:
        kill(number)
    else:
        os.kill(os.getpid(), number)


def _scancel(step: str, number: int) -> bool:
    import subprocess

    try:
        done = subprocess.run(
            ["scancel", f"--signal={number}", step],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
