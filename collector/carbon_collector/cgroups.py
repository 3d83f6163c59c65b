# SPDX-License-Identifier: MIT
"""Slurm's cgroups: which jobs are here, and the CPU time and memory of each.

v1 is `<controller>/slurm[_<node>]/uid_<uid>/job_<id>`, v2 `<slice>/[<node>_]slurmstepd.scope/job_<id>`, from
Slurm 26.05 on `.../<SLUID>`. The parent keeps the CPU time of jobs whose own directory is gone, which is how
the last moments of a job are found: its directory no longer exists when the epilog runs.
"""

from __future__ import annotations

import os

from .host import parse_cpu_list, read_text
from .lean.typing import NamedTuple
from .ticket import is_sluid
from .topology import Topology
from .usage import Usage

SCOPE = "slurmstepd.scope"


class Found(NamedTuple):
    """A job's directory: `name` is the numeric JobID or the SLUID; `uid` is known in v1 only."""

    name: str
    uid: int | None
    path: str


class Cgroups:
    """The cgroups of one node. `root` is the cgroup file system, `node` Slurm's name of the node."""

    def __init__(self, root: str, node: str, topology: Topology) -> None:
        self.root = root
        self.topology = topology
        self.version = 0
        self.rename(node)

    def rename(self, node: str) -> None:
        """Look for the jobs of a node with another NodeName from now on."""
        self._names = (f"slurm_{node}", "slurm")
        self._scopes = (f"{node}_{SCOPE}", SCOPE)
        self._parent = ""

    def parent(self) -> str:
        """Directory that holds the jobs, with CPU accounting; empty while Slurm has not made it."""
        if not self._parent or not os.path.isdir(self._parent):
            self._parent, self.version = self._find()
        return self._parent

    def jobs(self) -> dict[str, Found]:
        """The job directories that exist now, by their name."""
        parent = self.parent()
        if not parent:
            return {}
        if self.version == 1:
            users = [e for e in _dirs(parent) if e.startswith("uid_")]
            pairs = [(user, job) for user in users for job in _dirs(f"{parent}/{user}") if job.startswith("job_")]
            return {j[4:]: Found(j[4:], int(u[4:]), f"{parent}/{u}/{j}") for u, j in pairs if u[4:].isdigit()}
        names = _dirs(parent)
        found = [(n[4:], n) for n in names if n.startswith("job_")] + [(n, n) for n in names if is_sluid(n)]
        return {name: Found(name, None, f"{parent}/{entry}") for name, entry in found}

    def usage(self, path: str) -> Usage | None:
        """What a cgroup has used since it was made, children that are gone included; `None` once it is gone."""
        if self.version == 1:
            per_cpu = read_text(f"{path}/cpuacct.usage_percpu").split()
            if not per_cpu:
                return None
            by_socket = dict.fromkeys(self.topology.socket_of.values(), 0)
            for cpu, text in enumerate(per_cpu):
                # A CPU that the topology does not show still did the work; keep it, on the first socket.
                socket = self.topology.socket_of.get(cpu, min(by_socket, default=0))
                by_socket[socket] = by_socket.get(socket, 0) + int(text) // 1000
            return Usage(sum(by_socket.values()), by_socket, self._memory_v1(path))
        stat = read_text(f"{path}/cpu.stat")
        if not stat:
            return None
        usage = int(dict(line.split() for line in stat.splitlines()).get("usage_usec", 0))
        memory = read_text(f"{path}/memory.current")
        return Usage(usage, {}, int(memory) if memory.isdigit() else 0)

    def parent_usage(self) -> Usage | None:
        """CPU time of all jobs of this node, those that are gone included; slurmstepd's own child taken off."""
        parent = self.parent()
        whole = self.usage(parent) if parent else None
        own = self.usage(f"{parent}/system") if whole else None
        if whole is None or own is None:
            return whole
        by_socket = {s: us - own.by_socket.get(s, 0) for s, us in whole.by_socket.items()}
        return Usage(whole.cpu_us - own.cpu_us, by_socket, 0)

    def cpuset(self, found: Found) -> list[int]:
        """CPUs that the job is confined to; empty where nothing says."""
        if self.version == 2:
            return parse_cpu_list(read_text(f"{found.path}/cpuset.cpus.effective"))
        return parse_cpu_list(read_text(f"{self._under('cpuset', found.path)}/cpuset.cpus"))

    def memory_limit(self, found: Found) -> int | None:
        """Bytes that the job may use, which is what Slurm gave it (ConstrainRAMSpace); `None` where nothing says."""
        if self.version == 2:
            text = read_text(f"{found.path}/memory.max")
        else:
            text = read_text(f"{self._under('memory', found.path)}/memory.limit_in_bytes")
        return int(text) if text.isdigit() else None

    def files(self, found: Found) -> dict[str, str]:
        """Return the files that a job's figures are read from: `cpu`, `memory`, `cpuset`, whether or not they exist."""
        path = found.path
        if self.version == 2:
            names = {"cpu": "cpu.stat", "memory": "memory.current", "cpuset": "cpuset.cpus.effective"}
            return {kind: f"{path}/{name}" for kind, name in names.items()}
        memory, cpuset = self._under("memory", path), self._under("cpuset", path)
        return {
            "cpu": f"{path}/cpuacct.usage_percpu",
            "memory": f"{memory}/memory.usage_in_bytes",
            "cpuset": f"{cpuset}/cpuset.cpus",
        }

    def has_processes(self, path: str) -> bool:
        """Whether anything runs in the cgroup or below it. Directories without are left over or being made."""
        if read_text(f"{path}/cgroup.procs"):
            return True
        return any(self.has_processes(f"{path}/{name}") for name in _dirs(path))

    def job_of(self, pid: str, procfs: str) -> str:
        """Name of the job that a process belongs to, from its cgroup; empty for none."""
        for part in read_text(f"{procfs}/{pid}/cgroup").replace("\n", "/").split("/"):
            if is_sluid(part) or (part.startswith("job_") and part[4:].isdigit()):
                return part[4:] if part.startswith("job_") else part
        return ""

    def job_id_of_sluid(self, path: str, procfs: str) -> int | None:
        """The JobID behind a SLUID directory, from its slurmstepd's title: `slurmstepd: [3385.extern]`."""
        for step in _dirs(path):
            for pid in read_text(f"{path}/{step}/slurm/cgroup.procs").split():
                title = read_text(f"{procfs}/{pid}/cmdline")
                number = title.partition("[")[2].partition(".")[0]
                if title.startswith("slurmstepd") and number.isdigit():
                    return int(number)
        return None

    def _find(self) -> tuple[str, int]:
        for controller in ("cpuacct", "cpu,cpuacct", "cpuacct,cpu"):
            for name in self._names:
                path = f"{self.root}/{controller}/{name}"
                if os.path.isdir(path):
                    return path, 1
        for folder in (f"{self.root}/system.slice", self.root, *self._slices()):
            for name in self._scopes:
                if os.path.isdir(f"{folder}/{name}"):
                    return f"{folder}/{name}", 2
        return "", 0

    def _slices(self) -> list[str]:
        """Other slices, two levels deep: CgroupSlice= of Slurm 25.11, and containers' own roots."""
        first = [f"{self.root}/{name}" for name in _dirs(self.root)]
        return first + [f"{folder}/{name}" for folder in first for name in _dirs(folder)]

    def _memory_v1(self, path: str) -> int:
        text = read_text(f"{self._under('memory', path)}/memory.usage_in_bytes")
        return int(text) if text.isdigit() else 0

    def _under(self, controller: str, path: str) -> str:
        """The same cgroup under another controller of v1."""
        return f"{self.root}/{controller}/{path[len(self.root) + 1 :].partition('/')[2]}"


def _dirs(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
