# SPDX-License-Identifier: MIT
"""What a process costs: its memory now, and the CPU time that it and its children used in a window."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess

MIB = 1024.0
_CPUCLOCK_SCHED = 2


class Memory(NamedTuple):
    """MiB of a process tree: resident, its proportional share of what is shared, and the most the root ever had."""

    rss: float
    pss: float
    peak: float


class Window:
    """CPU time of a process from now to its end, with the children that it waited for.

    The process's own CPU clock counts nanoseconds, those of threads that have ended too; /proc counts the children's time
    in steps of 10 ms. (The resource usage that wait4(2) returns has the kernel's work in it to take the process apart,
    which is a tenth of what the collector may use in a minute.)
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._before_s = _own_cpu_s(process.pid)
        self._children_s = _children_cpu_s(process.pid)

    def close(self) -> tuple[float, Memory]:
        """Kill the process; returns the seconds of CPU time in the window, and its memory at the end."""
        memory = memory_of(self.process.pid)
        own_s = _own_cpu_s(self.process.pid) - self._before_s
        children_s = _children_cpu_s(self.process.pid) - self._children_s
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return own_s + children_s, memory


def memory_of(pid: int) -> Memory:
    """Memory of a process and its descendants."""
    tree = _tree(pid)
    rollups = [_fields(f"/proc/{each}/smaps_rollup") for each in tree]
    peak = _fields(f"/proc/{pid}/status").get("VmHWM", 0) / MIB
    return Memory(sum(r.get("Rss", 0) for r in rollups) / MIB, sum(r.get("Pss", 0) for r in rollups) / MIB, peak)


def _own_cpu_s(pid: int) -> float:
    """Seconds on a CPU of all threads, in nanoseconds: the clock of clock_getcpuclockid(3), whose number is made so."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def _children_cpu_s(pid: int) -> float:
    """Seconds that waited-for children used, in steps of 10 ms (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> list[int]:
    below: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):  # a child belongs to the thread that started it
        with contextlib.suppress(OSError):
            below += [int(word) for word in path.read_text().split()]
    return [pid, *(deep for child in below for deep in _tree(child))]


def _fields(path: str) -> dict[str, int]:
    """`Rss:   123 kB` -> {"Rss": 123}."""
    found = {}
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        key, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[key] = int(words[0])
    return found
