# SPDX-License-Identifier: MIT
"""Finds the thermal design power of CPUs and accelerators by name, in two tables beside this module.

`tdp_cpu.csv`: the name as `plain` makes it, watts of a socket, cores, hardware threads, source. An empty number of
threads is not in the maker's list that was read: it is taken for two a core. AMD's first EPYCs have two figures, by
the speed of their memory: the higher one.

`accelerators.csv`: watts of a device as Slurm and NVML count devices; a board of two devices has half of the board's
watts in each. `aliases` are what drivers, GRES types and people call it. `document` is the document that gives the
figure, in few words; `source` says where exactly it was read. Watts that nobody published are empty.

The tables are read when they are asked, and not before.
"""

from __future__ import annotations

import os

from ..lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

MARKS = ("(r)", "(tm)", "®", "™")
WORDS = ("intel", "amd", "nvidia", "tesla", "cpu", "processor")
GIB_MW = 372.5
"""Memory, where its modules cannot be counted: milliwatts per GiB installed (Green Algorithms; CodeCarbon 2 says 375)."""
THREADS_A_CORE = 2
MIG_SLICES = 7
"""Compute slices of a GPU that is partitioned with MIG."""
_MIG = r"-(?:mig-)?([1-7])g-\d+gb(?:-.*)?$"
_ADDED = r"-\d+(?:gb?|gib|c|q)(?:-hbm\w*)?$"


class Cpu(NamedTuple):
    """One model of CPU: its TDP in watts, cores and hardware threads of a socket."""

    name: str
    watts: int
    cores: int
    threads: int
    source: str


class Accelerator(NamedTuple):
    """One model of accelerator. `watts`: of one device; None: not published. `kind`: gpu, gpu+cpu, npu, tpu, ..."""

    name: str
    full_name: str
    watts: float | None
    document: str
    kind: str = "gpu"
    aliases: tuple[str, ...] = ()
    devices: int = 1
    memory_gb: str = ""
    fp16_tflops: str = ""
    year: str = ""
    source: str = ""
    verified: bool = False
    note: str = ""


def cpu(names: list[str]) -> Cpu | None:
    """Return the first of these names that the table knows, whatever the kernel or the firmware adds to them."""
    wanted = [plain(name) for name in names]
    found = {row[0]: row for row in _rows("tdp_cpu.csv", 5) if row[0] in wanted}
    for name in wanted:
        if name in found:
            return _cpu(found[name])
    return None


def cpus() -> list[Cpu]:
    """Return every CPU of the table."""
    return [_cpu(row) for row in _rows("tdp_cpu.csv", 5)]


def accelerators() -> list[Accelerator]:
    """Return every accelerator of the table."""
    return read_accelerators(_text("accelerators.csv").splitlines())


def read_accelerators(lines: Iterable[str]) -> list[Accelerator]:
    """Return the accelerators of a CSV file with the columns `name` and `watts`, and any of the table's others.

    Raises ValueError that names the line.
    """
    import csv

    reader = csv.DictReader(lines)
    missing = {"name", "watts"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"line 1: no column {min(missing)!r}")
    return [
        _accelerator(reader.line_num, {key: (value or "").strip() for key, value in row.items() if key})
        for row in reader
    ]


def accelerator(name: str, table: list[Accelerator] | None = None) -> Accelerator | None:
    """Return the accelerator that a driver, a GRES type or a person calls so: `NVIDIA A100-SXM4-40GB`, `a100`, `rtx_3090`.

    A type of MIG (`a100_1g.5gb`) is its part of the GPU. None: the name says too little, or is not in the table.
    """
    import re  # half a megabyte that a node without accelerators does without

    known = accelerators() if table is None else table
    wanted = key(name)
    if part := re.search(_MIG, wanted):
        whole = accelerator(wanted[: part.start()], known)
        return whole and _slices(whole, int(part[1]))
    names = {key(text): one for one in reversed(known) for text in (one.full_name, *one.aliases, one.name)}
    while wanted not in names:
        shorter = re.sub(_ADDED, "", wanted)  # drivers add the memory: `v100-sxm2-32gb`
        if shorter == wanted:
            return None
        wanted = shorter
    return names[wanted]


def gpu_tdp(name: str) -> float | None:
    """Return the watts of a device by the name of its driver or its GRES type; None: not known, or not published."""
    found = accelerator(name)
    return found.watts if found else None


def plain(name: str) -> str:
    """`Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz` -> `xeon gold 6248`."""
    text = name.lower().partition("@")[0]
    for mark in MARKS:
        text = text.replace(mark, " ")
    return " ".join(word for word in text.split() if word not in WORDS and not word.endswith("-core"))


def key(name: str) -> str:
    """Return what is the same for all ways to write a name: `NVIDIA GeForce RTX 3090`, `nvidia_geforce_rtx_3090`."""
    import re  # as in `accelerator`

    words = re.sub(r"[\s_./()-]+", " ", plain(name.replace("_", " "))).split()
    return "-".join(word for word in words if word not in WORDS)


def _slices(whole: Accelerator, slices: int) -> Accelerator:
    watts = None if whole.watts is None else whole.watts * slices / MIG_SLICES
    return whole._replace(watts=watts, document=f"{slices} of {MIG_SLICES} slices; {whole.document}")


def _cpu(row: list[str]) -> Cpu:
    name, watts, cores, threads, source = row
    return Cpu(name, int(watts), int(cores), int(threads or THREADS_A_CORE * int(cores)), source)


def _accelerator(number: int, row: dict[str, str]) -> Accelerator:
    try:
        watts = float(row["watts"]) if row["watts"] else None
        devices = int(row.get("devices") or 1)
    except ValueError as err:
        raise ValueError(f"line {number}: {err}") from err
    if not row["name"] or (watts is not None and not 0 < watts < 100_000) or devices < 1:
        raise ValueError(f"line {number}: a row needs a name, and watts above 0 or none")
    return Accelerator(
        name=row["name"],
        full_name=row.get("full_name") or row["name"],
        watts=watts,
        document=row.get("document", ""),
        kind=row.get("kind") or "gpu",
        aliases=tuple(filter(None, row.get("aliases", "").split(";"))),
        devices=devices,
        memory_gb=row.get("memory_gb", ""),
        fp16_tflops=row.get("fp16_tflops", ""),
        year=row.get("year", ""),
        source=row.get("source", ""),
        verified=row.get("verified") == "yes",
        note=row.get("note", ""),
    )


def _text(table: str) -> str:
    """A table's text, from the file system or from within a zipapp."""
    loader: Any = __spec__.loader
    text: str = loader.get_data(os.path.join(os.path.dirname(__file__), table)).decode()
    return text


def _rows(table: str, columns: int) -> Iterator[list[str]]:
    return (line.split(",", columns - 1) for line in _text(table).splitlines()[1:])
