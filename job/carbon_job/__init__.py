# SPDX-License-Identifier: MIT
"""Tracks the energy and carbon of a program inside its Slurm job: per epoch, predicted early, limited in time.

It reads the live file that carbon-collector writes for the job's owner; it measures nothing itself. Modules are
imported when the first tracker is made, so that `import carbon_job` costs a program next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .tracker import Tracker

__all__ = ["Tracker", "__version__", "track"]
__version__ = "0.2.0"


def track(epochs: int | None = None, steps: int | None = None, **options: Any) -> Tracker:
    """Make the tracker of a run of `epochs` epochs with `steps` steps each, both None where not known.

    Options, all of them keywords:
    `name` of the program, by which earlier runs are found (else the job's name).
    `quiet` True: print nothing. `out`: a stream for the lines (else standard error).
    `log`: a file to which results are appended as JSON lines (else the environment's CARBON_JOB_LOG).
    `zone` of the grid, `intensity` in g/kWh instead of the aggregator's, `pue` (else [site] pue, else 1).
    `max_energy` ("2kWh", or joules), `max_carbon` ("500g", or grams), held to the `limit`: "expected", "upper" or
    "spent". `on_limit`: "warn", "signal:SIG" (to the step), "stop" (`checkpoint()` is called, and a loop over the
    tracker ends after its epoch), or a callable that is given the reason. Once.
    `until`: without epochs, predict up to the job's time limit ("timelimit"), or for a run of that time ("12h", or
    seconds).
    `reduce`: a callable that returns the sum of a float over all ranks; every rank calls it at every epoch.
    `history` False: neither read nor keep earlier runs.

    It never raises: a wrong option ends the tracking with one line on standard error, and the program goes on.
    """
    from .tracker import Tracker

    return Tracker(epochs, steps, **options)


def __getattr__(name: str) -> Any:
    if name == "Tracker":
        from .tracker import Tracker

        return Tracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
