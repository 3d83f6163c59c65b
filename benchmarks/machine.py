# SPDX-License-Identifier: MIT
"""What a figure was taken on: one line on the machine, without which no time and no memory means anything."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

TURNS, TRIES = 1_000_000, 5


def describe() -> str:
    """Processor, CPUs, memory, kernel, Python, how fast that was just now, and how busy the machine."""
    load = os.getloadavg()[0]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{_model()}, {os.cpu_count()} CPUs, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()} ({_turn_ns():.0f} ns an empty turn of a loop), load {load:.1f} at the start"
    )


def _turn_ns() -> float:
    """The same machine may be half as fast an hour later, when others want its processor: by this, times can be compared."""
    best = float("inf")
    for _ in range(TRIES):
        began = time.perf_counter()
        for _turn in range(TURNS):
            pass
        best = min(best, time.perf_counter() - began)
    return best / TURNS * 1e9


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return " ".join(value.split())
    return platform.machine()
