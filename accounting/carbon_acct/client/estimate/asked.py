# SPDX-License-Identifier: MIT
"""Reads from sbatch's options what a job asks for: GPUs by type, CPUs, memory, the time limit, the tasks of an array.

It guesses nothing. What cannot be known before Slurm has chosen the nodes is None or left out, and a note says so.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}
MOST = 10**9
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)


@dataclass(frozen=True)
class Asked:
    """What a component of a job asks for. None: not asked for, or not known. `gpus`: number by type, "" for an unnamed
    type.
    """

    gpus: Mapping[str, int] = field(default_factory=dict)
    cpus: int | None = None
    memory_mib: float | None = None
    limit_s: int | None = None
    tasks: int = 1
    """The number of tasks of the array."""
    nodes: int = 1
    name: str = ""
    partition: str = ""
    account: str = ""
    whole_cores: bool = False
    """Whether a CPU that Slurm allocates is a whole core."""
    notes: tuple[str, ...] = ()

    @property
    def gpu_count(self) -> int:
        """Return the number of GPUs of all types."""
        return sum(self.gpus.values())


def asked(options: Mapping[str, str]) -> Asked:
    """Return what a component's options ask for. Raises UsageError that names the option."""
    notes: list[str] = []
    nodes, tasks = _nodes_and_tasks(options, notes)
    gpus = _gpus(options, nodes, tasks)
    total = sum(gpus.values())
    if "ntasks-per-gpu" in options and "ntasks" not in options:
        tasks = _count(options, "ntasks-per-gpu") * max(total, 1)
    cpus = _cpus(options, nodes, tasks, total)
    if "exclusive" in options:
        notes.append("--exclusive holds whole nodes: what was not asked for by number is not in it")
    return Asked(
        gpus=gpus,
        cpus=cpus,
        memory_mib=_memory(options, nodes, cpus or tasks, total),
        limit_s=limit_s(options["time"]) if options.get("time") else None,
        tasks=array_tasks(options["array"]) if "array" in options else 1,
        nodes=nodes,
        name=options.get("job-name", ""),
        partition=options.get("partition", ""),
        account=options.get("account", ""),
        whole_cores=options.get("threads-per-core") == "1" or options.get("hint") == "nomultithread",
        notes=tuple(notes),
    )


def limit_s(text: str) -> int | None:
    """Return the seconds of a time limit, or None for UNLIMITED. Raises UsageError.

    sbatch's forms are `90`, `90:00`, `1:30:00`, `1-2`, `1-2:30` and `1-2:30:00`.
    """
    if text.upper() in ("UNLIMITED", "INFINITE", "-1", "0"):
        return None
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--time {text}: not a time; it looks like 90, 1:30:00 or 1-12:00")
    days, *parts = match.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, (*numbers, 0)[:2]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def array_tasks(text: str) -> int:
    """Return the number of tasks of an array: `0-15%4,20-30:2,40`. Raises UsageError."""
    numbers: set[int] = set()
    for part in text.partition("%")[0].strip("[] ").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part.strip(), re.ASCII)
        if match is None or not int(match[3] or 1) or not int(match[1]) <= int(match[2] or match[1]) <= 4_000_001:
            raise UsageError(f"--array {text}: not a list of tasks; it looks like 0-15, 1,3,7 or 0-30:2%4")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1)))
    return len(numbers)


def size_mib(option: str, text: str) -> float | None:
    """Return the mebibytes of a size: `64G`. Raises UsageError.

    0 means all memory of a node, which is not known here, so it gives None.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if match is None:
        raise UsageError(f"--{option} {text}: not a size; it looks like 4000, 64G or 1T")
    return float(match[1]) * MIB[match[2].upper()] or None


def gpus_of_list(option: str, text: str) -> dict[str, int]:
    """Return the number of GPUs by type: `4`, `a100:4`, `a100:2,v100:1`. Raises UsageError."""
    found: dict[str, int] = {}
    for part in filter(None, (word.strip() for word in text.split(","))):
        kind, _, number = part.rpartition(":")
        if re.fullmatch(r"[-+]?[\d.]+", number) and not number.isdecimal():
            raise UsageError(f"--{option} {text}: {number} is not a number of GPUs")
        if not number.isdecimal():
            kind, number = part, "1"
        found[kind] = found.get(kind, 0) + _bounded(option, text, int(number))
    return found


def gpus_of_tres(option: str, text: str) -> tuple[dict[str, int], dict[str, str]]:
    """Return the number of GPUs by type, and the other resources by name. Raises UsageError.

    Examples are `gpu:a100:2,shard:1` and `cpu=4,gres/gpu:a100=1`.
    """
    gpus: dict[str, int] = {}
    rest: dict[str, str] = {}
    for word in filter(None, (re.sub(r"\(.*?\)", "", part).strip() for part in text.split(","))):
        bare = re.sub(r"^gres[:/]", "", word)
        match = re.fullmatch(r"gpu(?:[:](?!\d+$)([^:=]+))?(?:[:=](\d+))?", bare, re.ASCII)
        if match:
            kind = match[1] or ""
            gpus[kind] = gpus.get(kind, 0) + _bounded(option, text, int(match[2] or 1))
        else:
            name, _, value = bare.partition("=" if "=" in bare else ":")
            rest[name] = value
    return gpus, rest


def _gpus(options: Mapping[str, str], nodes: int, tasks: int) -> dict[str, int]:
    """Return the job's GPUs by type: those of --gpus, else the GPUs of each node, task or socket times their number."""
    if "gpus" in options:
        return _some(gpus_of_list("gpus", options["gpus"]), 1)
    sockets = nodes * (_count(options, "sockets-per-node") if "sockets-per-node" in options else 1)
    for name, times in (("gpus-per-node", nodes), ("gpus-per-task", tasks), ("gpus-per-socket", sockets)):
        if name in options:
            return _some(gpus_of_list(name, options[name]), times)
    named = (("tres-per-job", 1), ("gres", nodes), ("tres-per-node", nodes), ("tres-per-task", tasks))
    for name, times in (*named, ("tres-per-socket", sockets)):
        if name in options and (found := gpus_of_tres(name, options[name])[0]):
            return _some(found, times)
    return {}


def _some(gpus: Mapping[str, int], times: int) -> dict[str, int]:
    return {kind: number * times for kind, number in gpus.items() if number}


def _nodes_and_tasks(options: Mapping[str, str], notes: list[str]) -> tuple[int, int]:
    """Return the number of nodes and of tasks. A job that names neither has one of each."""
    per_node = _count(options, "ntasks-per-node") if "ntasks-per-node" in options else None
    tasks = _count(options, "ntasks") if "ntasks" in options else None
    nodes = None
    if "nodes" in options:
        least, dash, most = re.sub(r"[:,].*", "", options["nodes"]).partition("-")
        if not least.isdecimal() or (dash and most and not most.isdecimal()):
            raise UsageError(f"--nodes {options['nodes']}: not a number of nodes")
        nodes = max(1, _bounded("nodes", options["nodes"], int(least)))
        if dash and most != least:
            notes.append(f"--nodes {options['nodes']}: taken for {nodes}")
    if nodes is None:
        nodes = math.ceil(tasks / per_node) if tasks and per_node else 1
    return nodes, tasks or nodes * (per_node or 1)


def _cpus(options: Mapping[str, str], nodes: int, tasks: int, gpus: int) -> int | None:
    """Return the number of CPUs as far as it was asked for. A GPU job that names no CPUs has not asked for
    any: None.
    """
    tres = gpus_of_tres("tres-per-task", options.get("tres-per-task", ""))[1].get("cpu", "")
    cpus = None
    if "cpus-per-task" in options:
        cpus = tasks * _count(options, "cpus-per-task")
    elif tres.isdecimal():
        cpus = tasks * _bounded("tres-per-task", tres, int(tres))
    elif "cpus-per-gpu" in options:
        cpus = max(tasks, gpus * _count(options, "cpus-per-gpu"))
    elif not gpus and ({"ntasks", "nodes", "ntasks-per-node"} & options.keys()):
        cpus = tasks
    if "mincpus" in options:
        cpus = max(cpus or 0, nodes * _count(options, "mincpus"))
    return cpus


def _memory(options: Mapping[str, str], nodes: int, cpus: int, gpus: int) -> float | None:
    for name, times in (("mem-per-gpu", gpus), ("mem-per-cpu", cpus), ("mem", nodes)):
        if options.get(name):
            mib = size_mib(name, options[name])
            return None if mib is None else mib * times
    return None


def _count(options: Mapping[str, str], name: str) -> int:
    text = options[name].strip()
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"--{name} {text}: not a number")
    return _bounded(name, text, int(text))


def _bounded(option: str, text: str, number: int) -> int:
    if number > MOST:
        raise UsageError(f"--{option} {text}: too many")
    return number
