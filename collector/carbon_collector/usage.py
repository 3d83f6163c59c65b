# SPDX-License-Identifier: MIT
"""Defines what a cgroup has used since it was made. Pure; `cgroups` reads it."""

from __future__ import annotations

from .lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any


class Usage(NamedTuple):
    """CPU time in microseconds and memory in bytes, `None` where the cgroup does not show it.

    cgroup v1 gives CPU time by socket; on v2 it is known in sum only, and `by_socket` is empty. `inode` is that of the
    directory, 0 where it is not known: a cgroup that was made anew has another.
    """

    cpu_us: int
    by_socket: dict[int, int]
    memory: int | None
    inode: int = 0


def save_usage(usage: Usage | None) -> list[Any] | None:
    """Return a usage as the state on disk holds it."""
    return None if usage is None else list(usage)


def load_usage(saved: list[Any] | None) -> Usage | None:
    """Return the usage that `save_usage` saved. JSON has no integer keys, so sockets become integers again."""
    if saved is None:
        return None
    cpu_us, by_socket, *rest = saved
    return Usage(cpu_us, {int(s): us for s, us in by_socket.items()}, *rest)
