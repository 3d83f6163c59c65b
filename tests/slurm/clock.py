# SPDX-License-Identifier: MIT
"""A wall clock that can be stepped, for every process that has clock.c preloaded, and for nobody else."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
HEAD = struct.Struct("qq")
STEP = struct.Struct("qq")
STEPS = 255


class Clock:
    """The library and its schedule in `folder`; `seen` is where the processes find that folder, if elsewhere."""

    def __init__(self, folder: Path, seen: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.library = (seen or folder) / "libclock.so"
        self._schedule = folder / "schedule"
        self._schedule.write_bytes(bytes(HEAD.size + STEPS * STEP.size))
        self._count = 0
        self.offset_s = 0.0
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-nonnull-compare", "-shared", "-fPIC"]
        path = f'-DSCHEDULE="{(seen or folder) / "schedule"}"'
        built = [*command, path, "-o", str(folder / "libclock.so"), str(SOURCE)]
        subprocess.run(built, check=True, capture_output=True, text=True)

    def step(self, seconds: float) -> None:
        """From now on the clock shows so much more (or less) than it would have."""
        self.offset_s += seconds
        with self._schedule.open("r+b", buffering=0) as file:
            step = STEP.pack(time.time_ns(), round(self.offset_s * 1e9))
            os.pwrite(file.fileno(), step, HEAD.size + self._count * STEP.size)
            self._count += 1
            os.pwrite(file.fileno(), HEAD.pack(self._count, 0), 0)  # last: now the step is there

    def slew(self, seconds: float, over_s: float, every_s: float = 0.1) -> None:
        """Let the clock run fast (or slow) for a while, as NTP does with what it does not step."""
        steps = max(1, round(over_s / every_s))
        for _ in range(steps):
            self.step(seconds / steps)
            time.sleep(every_s)

    def time(self) -> float:
        """What the clock shows now."""
        return time.time() + self.offset_s
