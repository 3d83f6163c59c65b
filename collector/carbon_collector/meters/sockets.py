# SPDX-License-Identifier: MIT
"""Lists the CPU sockets that are online."""

from __future__ import annotations

from ..host import online_cpus, parse_cpu_list, read_text

ROOT = "devices/system/cpu"


def sockets(sysfs: str, procfs: str) -> list[int]:
    """Return the ids of the sockets (physical_package_id), in order. It reads two files a socket, not one a CPU: there
    may be hundreds.
    """
    found = set()
    left = online_cpus(sysfs, procfs)
    while left:
        topology = f"{sysfs}/{ROOT}/cpu{left[0]}/topology"
        text = read_text(f"{topology}/physical_package_id")
        found.add(int(text) if text.isdigit() else 0)
        here = {left[0], *parse_cpu_list(read_text(f"{topology}/core_siblings_list"))}
        left = [cpu for cpu in left if cpu not in here]
    return sorted(found)
