# SPDX-License-Identifier: MIT
"""What a figure was taken on: one line on the machine, without which no time and no memory means anything."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe() -> str:
    """Processor, CPUs, memory, kernel, Python, and how busy the machine was."""
    load = os.getloadavg()[0]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{_model()}, {os.cpu_count()} CPUs, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} at the start"
    )


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return " ".join(value.split())
    return platform.machine()
