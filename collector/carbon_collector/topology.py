# SPDX-License-Identifier: MIT
"""Knows which CPUs a node has, and the socket of each. Pure; `host.topology` reads it from sysfs."""

from __future__ import annotations


class Topology:
    """The CPUs that are online. `socket_of` maps each to its socket (physical_package_id); `online` is the kernel's
    list of them, by which a change is seen.
    """

    __slots__ = ("_on", "cpus", "online", "socket_of")

    def __init__(self, socket_of: dict[int, int], online: str = "") -> None:
        self.socket_of = socket_of
        self.online = online
        self.cpus = len(socket_of)
        """Number of CPUs as Linux counts them (hardware threads)."""
        # Counted once, because every reading asks several times a job: with 64 jobs on 64 CPUs counting took a
        # seventh of the collector's CPU time.
        self._on: dict[int, int] = {}
        for socket in socket_of.values():
            self._on[socket] = self._on.get(socket, 0) + 1

    def cpus_on(self, socket: int) -> int:
        """Return the number of CPUs of one socket; 0 for a socket without any."""
        return self._on.get(socket, 0)
