# SPDX-License-Identifier: MIT
"""Thermal design power of CPUs and GPUs by name: two tables beside this module, read only when they are asked.

`tdp_cpu.csv`: name as `plain` makes it, watts, cores, hardware threads and where the figures are from; `tdp_gpu.csv`
the same without cores. AMD's first EPYCs have two figures, by the speed of their memory: the higher one.
"""

from __future__ import annotations

import os

from ..lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MARKS = ("(r)", "(tm)", "®", "™")
WORDS = ("intel", "amd", "nvidia", "tesla", "cpu", "processor")


class Cpu(NamedTuple):
    """One model of CPU: its TDP in watts, cores and hardware threads of a socket."""

    name: str
    watts: int
    cores: int
    threads: int
    source: str


def cpu(names: list[str]) -> Cpu | None:
    """The first of these names that the table knows, whatever the kernel or the firmware adds to them."""
    wanted = [plain(name) for name in names]
    found = {row[0]: row for row in _rows("tdp_cpu.csv", 5) if row[0] in wanted}
    for name in wanted:
        if name in found:
            _, watts, cores, threads, source = found[name]
            return Cpu(name, int(watts), int(cores), int(threads), source)
    return None


def gpu_tdp(name: str) -> int | None:
    """Watts of a GPU by the name that its driver gives it: `NVIDIA A100-SXM4-40GB`, `AMD Instinct MI250X`."""
    wanted = plain(name)
    known = [row for row in _rows("tdp_gpu.csv", 3) if _is(wanted, row[0])]
    return int(max(known, key=lambda row: len(row[0]))[1]) if known else None


def plain(name: str) -> str:
    """`Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz` -> `xeon gold 6248`."""
    text = name.lower().partition("@")[0]
    for mark in MARKS:
        text = text.replace(mark, " ")
    return " ".join(word for word in text.split() if word not in WORDS and not word.endswith("-core"))


def _is(name: str, known: str) -> bool:
    """Drivers add the memory: `v100-sxm2-32gb`, `gh200 480gb`; a `ti` is another device."""
    rest = name[len(known) :]
    return name.startswith(known) and (not rest or rest[0] == "-" or (rest[0] == " " and rest[1:2].isdigit()))


def _rows(table: str, columns: int) -> Iterator[list[str]]:
    """Rows of a table, from the file system or from within a zipapp."""
    loader: Any = __spec__.loader
    lines = loader.get_data(os.path.join(os.path.dirname(__file__), table)).decode().splitlines()
    return (line.split(",", columns - 1) for line in lines[1:])
