# SPDX-License-Identifier: MIT
"""Energy and carbon of a program inside its Slurm job: per epoch, predicted early, limited in time."""

from __future__ import annotations

from .tracker import Tracker, track

__all__ = ["Tracker", "__version__", "track"]
__version__ = "0.1.0"
