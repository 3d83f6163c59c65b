# SPDX-License-Identifier: MIT
"""Reads Slurm's cgroups: which jobs are here, and the CPU time and memory of each.

v1 is `<controller>/slurm[_<node>]/uid_<uid>/job_<id>`, v2 `<slice>/[<node>_]slurmstepd.scope/job_<id>`, from Slurm
26.05 on `.../<SLUID>`. Where slurmd runs in a container or a pod these lie below the cgroup of that, at any depth. The
parent keeps the CPU time of jobs whose own directory is gone. The last moments of a job are found by it, because the
directory no longer exists when the epilog runs.
"""

from __future__ import annotations

import os
import time

from .host import parse_cpu_list, read_text
from .lean.typing import NamedTuple
from .ticket import is_sluid
from .topology import Topology
from .usage import Usage

TRACKERS = ("freezer", "memory", "cpuset", "devices")
"""Controllers of v1 of which one at least has a cgroup of each job with a step, whatever accounts for CPU time."""
SCOPE = "slurmstepd.scope"
"""Name of the cgroup of all jobs on v2."""
CPUACCT = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu")
"""Names of the controller of CPU time on v1."""


SEARCH_S = (0.25, 300.0)
"""Shortest and longest pause between two searches of the whole tree for jobs that have no cgroup where it was looked."""
MOST_FOLDERS = 20_000
"""Most directories that a search looks into."""


class Found(NamedTuple):
    """A job's directory: `name` is the numeric JobID or the SLUID; `uid` is known in v1 only."""

    name: str
    uid: int | None
    path: str
    inode: int = 0


class Cgroups:
    """The cgroups of one node. `root` is the cgroup file system, `node` Slurm's name of the node."""

    def __init__(self, root: str, node: str, topology: Topology) -> None:
        self.root = root
        self.topology = topology
        self.version = 0
        self.has_huge_pages = True
        self._huge: dict[str, list[str]] = {}
        self._pause_s = SEARCH_S[0]
        self.rename(node)

    def rename(self, node: str) -> None:
        """Look for the jobs of a node with another NodeName from now on."""
        self._names = (f"slurm_{node}", "slurm")
        self._scopes = (f"{node}_{SCOPE}", SCOPE)
        self._parents: list[str] = []
        self._searched_s = 0.0

    def parents(self) -> list[str]:
        """Return the directories that hold the jobs, with CPU accounting; none while Slurm has not made them."""
        if not self._parents or not all(os.path.isdir(path) for path in self._parents):
            self._parents, self.version = self._at_usual_places()
            if not self._parents:
                self.search()
        return self._parents

    def search(self, is_urgent: bool = False) -> None:
        """Search the whole tree for directories that hold jobs, unless that was done a moment ago.

        `is_urgent`: a job has just come. Otherwise pauses between searches grow.
        """
        now_s = time.monotonic()
        if is_urgent:
            self._pause_s = SEARCH_S[0]
        if now_s < self._searched_s + self._pause_s:
            return
        self._searched_s = now_s
        self._pause_s = min(2 * self._pause_s, SEARCH_S[1])
        found, version = self._anywhere()
        if found:
            self._parents, self.version = found, version

    def jobs(self) -> dict[str, Found]:
        """Return the job directories that exist now, by their name."""
        found: dict[str, Found] = {}
        for parent in self.parents():
            if self.version == 2:
                for entry, inode in _dirs(parent):
                    name = entry[4:] if entry.startswith("job_") else entry if is_sluid(entry) else ""
                    if name:
                        found[name] = Found(name, None, f"{parent}/{entry}", inode)
                continue
            users = [user for user, _ in _dirs(parent) if user.startswith("uid_") and user[4:].isdigit()]
            for user in users:
                for entry, inode in _dirs(f"{parent}/{user}"):
                    if entry.startswith("job_"):
                        found[entry[4:]] = Found(entry[4:], int(user[4:]), f"{parent}/{user}/{entry}", inode)
        if len(self._huge) > len(found):
            paths = {job.path for job in found.values()}
            self._huge = {path: names for path, names in self._huge.items() if path in paths}
        return found

    def usage(self, job: Found) -> Usage | None:
        """Return what a job has used since its cgroup was made, children that are gone included; `None` once it is gone.

        The memory is read first: its cgroup may be removed in between, and that is not a missing controller.
        """
        memory = self._memory(job.path)
        used = self._cpu(job.path)
        if used is None:
            return None
        if memory is None and self.version == 1 and any(map(self._has_memory_on_v1, self.parents())):
            memory = 0
        return used._replace(memory=memory, inode=job.inode)

    def cpu_usage(self, job: Found) -> Usage | None:
        """Return the CPU time that a job has used, without its memory, as fast as can be; `None` once its cgroup is gone."""
        used = self._cpu(job.path)
        return None if used is None else used._replace(inode=job.inode)

    def _has_memory_on_v1(self, parent: str) -> bool:
        """Return whether the parent has a directory in the memory controller. A job may lack its own only because it
        has just begun or ended.
        """
        return os.path.isdir(self._under("memory", parent))

    def _cpu(self, path: str) -> Usage | None:
        if self.version == 1:
            per_cpu = read_text(f"{path}/cpuacct.usage_percpu").split()
            if not per_cpu:
                return None
            by_socket = dict.fromkeys(self.topology.socket_of.values(), 0)
            for cpu, text in enumerate(per_cpu):
                # A CPU that the topology does not show still did the work; keep it, on the first socket.
                socket = self.topology.socket_of.get(cpu, min(by_socket, default=0))
                by_socket[socket] = by_socket.get(socket, 0) + int(text) // 1000
            return Usage(sum(by_socket.values()), by_socket, None)
        stat = read_text(f"{path}/cpu.stat")
        if not stat:
            return None
        return Usage(int(dict(line.split() for line in stat.splitlines()).get("usage_usec", 0)), {}, None)

    def _memory(self, path: str) -> int | None:
        """Return the bytes in use in a cgroup; `None` where it has no memory controller."""
        if self.version == 2:
            text = read_text(f"{path}/memory.current")
        else:
            text = read_text(f"{self._under('memory', path)}/memory.usage_in_bytes")
        return int(text) + self._huge_pages(path) if text.isdigit() else None

    def _huge_pages(self, path: str) -> int:
        """Return the bytes of a cgroup's huge pages, which its memory does not include.

        Since Linux 6.7 it does if the file system is mounted with memory_hugetlb_accounting.
        """
        if not self.has_huge_pages:
            return 0
        if path not in self._huge:
            folder, end = (path, ".current") if self.version == 2 else (self._under("hugetlb", path), ".usage_in_bytes")
            self._huge[path] = [f"{folder}/{name}" for name in _files(folder) if _is_huge(name, end)]
        return sum(int(text) for text in map(read_text, self._huge[path]) if text.isdigit())

    def shows_huge_pages(self) -> bool:
        """Return whether the cgroups of the jobs show their huge pages; Slurm itself does not enable that controller."""
        return any(self._huge.values())

    def parent_usage(self) -> Usage | None:
        """Return the CPU time of all jobs of this node, with those that are gone, without slurmstepd's own child."""
        usages = [used for used in map(self._parent_usage, self.parents()) if used is not None]
        if not usages:
            return None
        by_socket = {s: sum(used.by_socket.get(s, 0) for used in usages) for s in usages[0].by_socket}
        return Usage(sum(used.cpu_us for used in usages), by_socket, 0, sum(used.inode for used in usages))

    def _parent_usage(self, parent: str) -> Usage | None:
        whole = self._cpu(parent)
        if whole is None:
            return None
        try:
            inode = os.stat(parent).st_ino
        except OSError:
            return None
        own = self._cpu(f"{parent}/system")
        if own is None:
            return whole._replace(inode=inode)
        by_socket = {s: us - own.by_socket.get(s, 0) for s, us in whole.by_socket.items()}
        return Usage(whole.cpu_us - own.cpu_us, by_socket, 0, inode)

    def confined_without_accounting(self, job_id: str) -> Found | None:
        """Return the cpuset cgroup (v1) of a job on a node whose CPU time no cgroup accounts for."""
        for name in self._names if not self.parents() else ():
            parent = f"{self.root}/cpuset/{name}"
            for user, _ in _dirs(parent):
                path = f"{parent}/{user}/job_{job_id}"
                if os.path.isdir(path):
                    return Found(job_id, None, path)
        return None

    def unaccounted(self, jobs: set[str]) -> set[str]:
        """Return which of these jobs (JobIDs, without a cgroup that accounts for CPU time) have other cgroups on v1.

        JobAcctGatherType was changed since the kernel started: in cpuacct the directory of the jobs is left, and empty.
        """
        seen: set[str] = set()
        for parent in self._other_parents() if jobs and self.version == 1 else ():
            for user, _ in _dirs(parent):
                seen.update(name[4:] for name, _ in _dirs(f"{parent}/{user}") if name.startswith("job_"))
        return seen & jobs

    def _other_parents(self) -> list[str]:
        return [f"{self.root}/{controller}/{name}" for controller in TRACKERS for name in self._names]

    def cpuset(self, found: Found) -> list[int]:
        """Return the CPUs that the job is confined to; none where nothing says."""
        if self.version == 2:
            return parse_cpu_list(read_text(f"{found.path}/cpuset.cpus.effective"))
        return parse_cpu_list(read_text(f"{self._under('cpuset', found.path)}/cpuset.cpus"))

    def memory_limit(self, found: Found) -> int | None:
        """Return the bytes that the job may use, which Slurm gave it (ConstrainRAMSpace); `None` where nothing says."""
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
        """Return whether a process is in the cgroup or below it. A cgroup without one is left over or being made."""
        if read_text(f"{path}/cgroup.procs"):
            return True
        return any(self.has_processes(f"{path}/{name}") for name, _ in _dirs(path))

    def children(self, path: str) -> list[str]:
        """Return the names of the cgroups in a cgroup."""
        return [name for name, _ in _dirs(path)]

    def job_of(self, pid: str, procfs: str) -> str:
        """Return the name of the job that a process belongs to, from its cgroup; empty for none."""
        for part in read_text(f"{procfs}/{pid}/cgroup").replace("\n", "/").split("/"):
            if is_sluid(part) or (part.startswith("job_") and part[4:].isdigit()):
                return part[4:] if part.startswith("job_") else part
        return ""

    def job_id_of_sluid(self, path: str, procfs: str) -> int | None:
        """Return the JobID behind a SLUID directory, from the title of its slurmstepd: `slurmstepd: [3385.extern]`."""
        for step, _ in _dirs(path):
            for pid in read_text(f"{path}/{step}/slurm/cgroup.procs").split():
                title = read_text(f"{procfs}/{pid}/cmdline")
                number = title.partition("[")[2].partition(".")[0]
                if title.startswith("slurmstepd") and number.isdigit():
                    return int(number)
        return None

    def _at_usual_places(self) -> tuple[list[str], int]:
        for controller in CPUACCT:
            for name in self._names:
                path = f"{self.root}/{controller}/{name}"
                if os.path.isdir(path):
                    return [path], 1
        for folder in (f"{self.root}/system.slice", self.root):
            for name in self._scopes:
                if os.path.isdir(f"{folder}/{name}"):
                    return [f"{folder}/{name}"], 2
        return [], 0

    def _anywhere(self) -> tuple[list[str], int]:
        """Return the directories that hold jobs, at any depth; only this node's where their names say which node's.

        That is so below other slices (CgroupSlice= of Slurm 25.11), and below the cgroup of a container or a pod.
        """
        for controller in CPUACCT:
            found = self._below(f"{self.root}/{controller}", self._names)
            if found:
                return found, 1
        return self._below(self.root, self._scopes), 2

    def _below(self, root: str, names: tuple[str, str]) -> list[str]:
        """Return the directories of the first of these names that hold jobs, else of the first that there is."""
        found: dict[str, list[str]] = {name: [] for name in names}
        folders, seen = [root], 0
        while folders and seen < MOST_FOLDERS:
            folder = folders.pop()
            seen += 1
            for name, _ in _dirs(folder):
                if name in found:
                    found[name].append(f"{folder}/{name}")
                elif not name.startswith("job_"):
                    folders.append(f"{folder}/{name}")
        there = [sorted(paths) for paths in found.values() if paths]
        # One of another name may be left of a Slurm that was built otherwise: jobs are where jobs are.
        return next((paths for paths in there if any(map(_has_jobs, paths))), there[0] if there else [])

    def _under(self, controller: str, path: str) -> str:
        """Return the same cgroup under another controller of v1."""
        return f"{self.root}/{controller}/{path[len(self.root) + 1 :].partition('/')[2]}"


def _has_jobs(path: str) -> bool:
    return any(name.startswith(("job_", "uid_")) or is_sluid(name) for name, _ in _dirs(path))


def _is_huge(name: str, end: str) -> bool:
    return name.startswith("hugetlb.") and name.endswith(end) and ".rsvd" not in name


def _dirs(path: str) -> list[tuple[str, int]]:
    """Return the names and the inodes of the directories in a directory."""
    try:
        with os.scandir(path) as entries:
            return [(entry.name, entry.inode()) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _files(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
