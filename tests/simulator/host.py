# SPDX-License-Identifier: MIT
"""What else a node shows of itself: its CPUs with their sockets, /proc/cpuinfo, /proc/stat and /proc/meminfo.

CPU i is on socket i % 2. The CPUs of this machine are the first CPUs of every simulated node; the others
never work. The machine's own /proc/stat would not do: its busy time is that of all nodes.
"""

from __future__ import annotations

import time
from pathlib import Path

from .files import Text, put
from .hardware import SOCKETS, Node

MODEL = "Intel(R) Xeon(R) simulated CPU"
TICK_NS = 10_000_000
"""USER_HZ is 100."""


def make_cpus(root: Path, cpus: int, threads: int = 1) -> None:
    """Lay out /sys/devices/system/cpu; the threads of a core are as far apart as the kernel has them."""
    cores = cpus // threads
    for name in ("online", "possible", "present"):
        put(root / name, f"0-{cpus - 1}")
    put(root / "offline", "")
    put(root / "isolated", "")
    put(root / "kernel_max", str(cpus - 1))
    for cpu in range(cpus):
        topology = root / f"cpu{cpu}" / "topology"
        siblings = [other for other in range(cpus) if other % SOCKETS == cpu % SOCKETS]
        put(topology / "physical_package_id", str(cpu % SOCKETS))
        put(topology / "core_id", str(cpu % cores // SOCKETS))
        _put_cpus(topology, "thread_siblings", list(range(cpu % cores, cpus, cores)))
        _put_cpus(topology, "core_cpus", list(range(cpu % cores, cpus, cores)))
        _put_cpus(topology, "core_siblings", siblings)
        _put_cpus(topology, "package_cpus", siblings)


def _put_cpus(folder: Path, name: str, cpus: list[int]) -> None:
    mask = sum(1 << cpu for cpu in cpus)
    words = [f"{mask >> shift & 0xFFFFFFFF:08x}" for shift in range(max(cpus) // 32 * 32, -1, -32)]
    put(folder / name, ",".join(words))
    put(folder / f"{name}_list", ",".join(map(str, cpus)))


def make_cpuinfo(path: Path, cpus: int) -> None:
    """Write /proc/cpuinfo of hardware. The machine's own may be that of a virtual machine, which the node is not."""
    facts = (
        "vendor_id\t: GenuineIntel",
        "cpu family\t: 6",
        "model\t\t: 106",
        f"model name\t: {MODEL}",
        "flags\t\t: fpu sse2 ht",
    )
    blocks = ("\n".join((f"processor\t: {cpu}", *facts, f"physical id\t: {cpu % SOCKETS}", "")) for cpu in range(cpus))
    put(path, "\n".join(blocks))


class ProcStat:
    """/proc/stat of one node, numbers right-aligned so that its length never changes."""

    def __init__(self, path: Path, node: Node) -> None:
        self._file = Text(path)
        self._cpus = node.cpus
        self._btime = int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))

    def write(self, elapsed_ns: int, used_ns: dict[int, int], system_ns: int) -> None:
        """Show CPU time used by jobs on each CPU, and by the system on the first CPU of each socket."""
        ticks = elapsed_ns // TICK_NS
        rows = []
        for cpu in range(self._cpus):
            user = used_ns.get(cpu, 0) // TICK_NS
            system = system_ns // TICK_NS if cpu < SOCKETS else 0
            rows.append((user, system, max(0, ticks - user - system)))
        total = tuple(map(sum, zip(*rows, strict=True)))
        lines = ["cpu  " + _fields(*total)]
        lines += [f"cpu{cpu} " + _fields(*row) for cpu, row in enumerate(rows)]
        lines += ["intr 0", "ctxt 0", f"btime {self._btime}", "processes 1", "procs_running 1", "procs_blocked 0"]
        self._file.write("\n".join(lines) + "\n")


def _fields(user: int, system: int, idle: int) -> str:
    return f"{user:12d} 0 {system:12d} {idle:12d} 0 0 0 0 0 0"


class MemInfo:
    """/proc/meminfo of one node: what the collector and Slurm look at."""

    def __init__(self, path: Path, node: Node) -> None:
        self._file = Text(path)
        self._total_kib = node.memory_mib * 1024
        self._system_kib = node.system_mib * 1024

    def write(self, used_bytes: int) -> None:
        """Show that jobs use so many bytes."""
        free = max(0, self._total_kib - self._system_kib - used_bytes // 1024)
        names = {"MemTotal": self._total_kib, "MemFree": free, "MemAvailable": free, "Buffers": 0, "Cached": 0}
        self._file.write("".join(f"{name + ':':<15} {kib:8d} kB\n" for name, kib in names.items()))
