# SPDX-License-Identifier: MIT
"""What a cgroup has used since it was made. Pure; `cgroups` reads it."""

from __future__ import annotations

from .lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any


class Usage(NamedTuple):
    """CPU time in microseconds and memory in bytes.

    cgroup v1 gives CPU time by socket; on v2 it is known in sum only, and `by_socket` is empty.
    """

    cpu_us: int
    by_socket: dict[int, int]
    memory: int


def save_usage(usage: Usage | None) -> list[Any] | None:
    """Return a usage as the state on disk holds it."""
    return None if usage is None else [usage.cpu_us, usage.by_socket, usage.memory]


def load_usage(saved: list[Any] | None) -> Usage | None:
    """Return the usage that `save_usage` saved. JSON has no integer keys, so sockets become integers again."""
    return None if saved is None else Usage(saved[0], {int(s): us for s, us in saved[1].items()}, saved[2])
