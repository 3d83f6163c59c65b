# SPDX-License-Identifier: MIT
"""Reads the node itself: its CPUs and sockets, how busy they were, its memory, its boot. It reads no meter."""

from __future__ import annotations

import os

from .lean.typing import NamedTuple
from .topology import Topology
from .units import USER_HZ_US

CPUS = "devices/system/cpu"
"""Folder of the CPUs in sysfs."""
MEMORY = {"MemTotal", "MemAvailable", "HugePages_Total", "HugePages_Free", "Hugepagesize", "Hugetlb"}
"""Lines of /proc/meminfo that are read."""


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
    """Return the CPU time used on each socket since boot, in microseconds."""
    return by_socket(busy_cpus(procfs, topology), topology)


def _cpu_lines(procfs: str) -> list[str]:
    """Return the lines of /proc/stat for single CPUs. The sum before them is left out, and so are 20 KB of a large
    node's interrupts.
    """
    return [line for line in read_text(f"{procfs}/stat").partition("\nintr")[0].splitlines()[1:] if line[:3] == "cpu"]


class Memory(NamedTuple):
    """Bytes of a node's memory: all of it (0 if unknown), what cannot be had without swapping (MemTotal - MemAvailable,
    kernel 3.14 and later; `None` if unknown), and huge pages in use, and whether there are any at all.
    """

    total: int
    used: int | None
    huge: int
    has_huge: bool


def memory(procfs: str) -> Memory:
    """Return how much memory there is and how much of it is in use."""
    found = {}
    for line in read_text(f"{procfs}/meminfo").splitlines():
        key, _, rest = line.partition(":")
        if key in MEMORY:
            found[key] = int(rest.split()[0])
    total = found.get("MemTotal", 0) * 1024
    used = total - found["MemAvailable"] * 1024 if "MemTotal" in found and "MemAvailable" in found else None
    in_use = found.get("HugePages_Total", 0) - found.get("HugePages_Free", 0)
    # `Hugetlb` counts pages of every size; without that line (before Linux 4.20) there may be some.
    return Memory(total, used, in_use * found.get("Hugepagesize", 0) * 1024, found.get("Hugetlb", 1) > 0)


def counts_huge_pages(procfs: str) -> bool:
    """Return whether the memory of a cgroup includes its huge pages (the mount option memory_hugetlb_accounting)."""
    return "memory_hugetlb_accounting" in read_text(f"{procfs}/mounts")


def busy_cpus(procfs: str, topology: Topology) -> dict[int, int]:
    """Return the CPU time used on each CPU since boot, in microseconds: user, nice, system, irq, softirq; without steal.

    Guest time is inside user (proc(5)); steal was not spent by this host.
    """
    busy = {}
    for line in _cpu_lines(procfs):
        f = line.split(None, 8)  # cpuN user nice system idle iowait irq softirq ...
        cpu = int(f[0][3:])
        if cpu in topology.socket_of:
            busy[cpu] = (int(f[1]) + int(f[2]) + int(f[3]) + int(f[6]) + int(f[7])) * USER_HZ_US
    return busy


def by_socket(busy: dict[int, int], topology: Topology) -> dict[int, int]:
    """Return the sums of `busy_cpus` over the CPUs of each socket."""
    sums = dict.fromkeys(topology.socket_of.values(), 0)
    for cpu, us in busy.items():
        sums[topology.socket_of[cpu]] += us
    return sums


def boot_id(procfs: str) -> str:
    """Return the kernel's id of this boot. Counters of different boots have nothing to do with each other."""
    return read_text(f"{procfs}/sys/kernel/random/boot_id") or "unknown"


def cpu_vendor(procfs: str) -> str:
    """Return the maker of the CPU: `GenuineIntel`, `AuthenticAMD`, `HygonGenuine`; empty if the kernel does not state
    it.
    """
    return cpu_facts(procfs).get("vendor_id", "")


def is_guest(procfs: str) -> bool:
    """Return whether the node is a virtual machine, as its CPUs say."""
    return "hypervisor" in cpu_facts(procfs).get("flags", "").split()


def cpu_facts(procfs: str) -> dict[str, str]:
    """Return what /proc/cpuinfo states about the first CPU. There may be hundreds, so the others are not read."""
    try:
        with open(f"{procfs}/cpuinfo", "rb") as file:
            text = file.read(8192).decode("ascii", "replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def parse_cpu_list(text: str) -> list[int]:
    """Return the numbers of a list of CPUs: `0-3,8` -> [0, 1, 2, 3, 8]."""
    cpus: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if low.strip().isdigit():
            cpus += range(int(low), int(high) + 1) if dash else [int(low)]
    return cpus


def read_text(path: str) -> str:
    """Return the content of a small file of the kernel's, stripped; empty if it cannot be read."""
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
