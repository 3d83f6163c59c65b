# SPDX-License-Identifier: MIT
"""The node itself: its CPUs and sockets, how busy they were, its memory, its boot."""

from __future__ import annotations

import os

from .topology import Topology
from .units import USER_HZ_US


def topology(sysfs: str) -> Topology:
    """Read the topology; where the kernel shows none (some virtual machines) all CPUs are on socket 0."""
    root = f"{sysfs}/devices/system/cpu"
    online = parse_cpu_list(read_text(f"{root}/online"))
    sockets = {cpu: read_text(f"{root}/cpu{cpu}/topology/physical_package_id") for cpu in online}
    return Topology({cpu: int(s) if s.isdigit() else 0 for cpu, s in sockets.items()})


def busy_us(procfs: str, topology: Topology) -> dict[int, int]:
    """CPU time used on each socket since boot, in microseconds: user, nice, system, irq, softirq, steal excluded.

    Guest time is inside user (proc(5)); steal was not spent by this host.
    """
    busy = dict.fromkeys(topology.socket_of.values(), 0)
    cpus = read_text(f"{procfs}/stat").partition("\nintr")[0].splitlines()[1:]  # a large node's interrupts are 20 KB
    for line in cpus:
        # One line a CPU: cpuN user nice system idle iowait irq softirq ...; the first, of them all, is left out.
        f = line.split(None, 8)
        socket = topology.socket_of.get(int(f[0][3:])) if f[0].startswith("cpu") else None
        if socket is not None:
            busy[socket] += int(f[1]) + int(f[2]) + int(f[3]) + int(f[6]) + int(f[7])
    return {socket: ticks * USER_HZ_US for socket, ticks in busy.items()}


def memory(procfs: str) -> tuple[int, int | None]:
    """Bytes of memory: all of it (0 if unknown), and what cannot be had without swapping, MemTotal - MemAvailable
    (kernel 3.14 and later).
    """
    found = {}
    for line in read_text(f"{procfs}/meminfo").splitlines():
        key, _, rest = line.partition(":")
        if key in ("MemTotal", "MemAvailable"):
            found[key] = int(rest.split()[0]) * 1024
    total = found.get("MemTotal", 0)
    return total, total - found["MemAvailable"] if len(found) == 2 else None


def boot_id(procfs: str) -> str:
    """The kernel's id of this boot; counters of different boots have nothing to do with each other."""
    return read_text(f"{procfs}/sys/kernel/random/boot_id") or "unknown"


def cpu_vendor(procfs: str) -> str:
    """`GenuineIntel`, `AuthenticAMD`, `HygonGenuine`; empty where the kernel does not say."""
    try:
        with open(f"{procfs}/cpuinfo", "rb") as file:
            lines = file.read(4096).decode("ascii", "replace").splitlines()  # the first CPU; there may be hundreds
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == "vendor_id"), "")


def parse_cpu_list(text: str) -> list[int]:
    """`0-3,8` -> [0, 1, 2, 3, 8]."""
    cpus: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if low.strip().isdigit():
            cpus += range(int(low), int(high) + 1) if dash else [int(low)]
    return cpus


def read_text(path: str) -> str:
    """Content of a small file of the kernel's, stripped; empty where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        data = bytearray()
        while chunk := os.read(fd, 1 << 16):
            data += chunk
        return data.decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(fd)
