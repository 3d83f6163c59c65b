# SPDX-License-Identifier: MIT
"""The node itself: its CPUs and sockets, how busy they were, its memory, its boot."""

from __future__ import annotations

import os

from .topology import Topology
from .units import USER_HZ_US

CPUS = "devices/system/cpu"


def topology(sysfs: str, procfs: str) -> Topology:
    """Read the topology; where the kernel shows none (a masked sysfs, some virtual machines) all CPUs are on socket 0."""
    root = f"{sysfs}/{CPUS}"
    text = read_text(f"{root}/online")
    sockets = {
        cpu: read_text(f"{root}/cpu{cpu}/topology/physical_package_id") for cpu in online_cpus(sysfs, procfs, text)
    }
    return Topology({cpu: int(s) if s.isdigit() else 0 for cpu, s in sockets.items()}, text)


def is_current(topology: Topology, sysfs: str) -> bool:
    """Return whether the same CPUs are online still: threads and CPUs are switched on and off while a node runs."""
    return read_text(f"{sysfs}/{CPUS}/online") == topology.online


def online_cpus(sysfs: str, procfs: str, text: str | None = None) -> list[int]:
    """Return the CPUs that are online: by sysfs, whose `text` may be known already, else by /proc/stat's lines."""
    listed = parse_cpu_list(read_text(f"{sysfs}/{CPUS}/online") if text is None else text)
    return listed or [int(name[3:]) for line in _cpu_lines(procfs) if (name := line.partition(" ")[0])[3:].isdigit()]


def busy_us(procfs: str, topology: Topology) -> dict[int, int]:
    """CPU time used on each socket since boot, in microseconds: user, nice, system, irq, softirq, steal excluded.

    Guest time is inside user (proc(5)); steal was not spent by this host.
    """
    busy = dict.fromkeys(topology.socket_of.values(), 0)
    for line in _cpu_lines(procfs):
        # cpuN user nice system idle iowait irq softirq ...
        f = line.split(None, 8)
        socket = topology.socket_of.get(int(f[0][3:]))
        if socket is not None:
            busy[socket] += int(f[1]) + int(f[2]) + int(f[3]) + int(f[6]) + int(f[7])
    return {socket: ticks * USER_HZ_US for socket, ticks in busy.items()}


def _cpu_lines(procfs: str) -> list[str]:
    """Lines of /proc/stat, one a CPU; the first, of them all, is left out, and so are 20 KB of a large node's interrupts."""
    return [line for line in read_text(f"{procfs}/stat").partition("\nintr")[0].splitlines()[1:] if line[:3] == "cpu"]


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
    return cpu_facts(procfs).get("vendor_id", "")


def is_guest(procfs: str) -> bool:
    """Return whether the node is a virtual machine, as its CPUs say."""
    return "hypervisor" in cpu_facts(procfs).get("flags", "").split()


def cpu_facts(procfs: str) -> dict[str, str]:
    """What /proc/cpuinfo says of the first CPU; there may be hundreds."""
    try:
        with open(f"{procfs}/cpuinfo", "rb") as file:
            text = file.read(8192).decode("ascii", "replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


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
