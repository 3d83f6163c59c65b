# SPDX-License-Identifier: MIT
"""A cgroup of its own for each cluster: what Slurm makes stays below it, so that clusters do not meet and no
directory is left behind.

With a cgroup namespace the cluster sees it as the root: /sys/fs/cgroup/cpuacct/slurm_n1 as on a real node.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from .mounts import mount, tmpfs
from .processes import alive

ROOT = Path("/sys/fs/cgroup")
PREFIX = "carbon-acct-"


@dataclass(frozen=True)
class Hierarchy:
    """A cgroup file system: where it is mounted, with which options, and where this process is in it."""

    mountpoint: Path
    version: int
    options: str
    own: str

    def cluster(self, name: str) -> Path:
        """Directory of a cluster: below this process's own; at the top in v2, where a cgroup with processes
        cannot have children with controllers (Documentation/admin-guide/cgroup-v2.rst, No Internal Process).
        """
        above = self.mountpoint / self.own.lstrip("/") if self.version == 1 else self.mountpoint
        return above / name


def hierarchies() -> list[Hierarchy]:
    """The cgroup file systems of this host: all of v1, or else v2."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mountpoint, fstype, options, *_ = line.split()
        if fstype == "cgroup":
            wanted = {o for o in options.split(",") if o not in ("rw", "ro", "nosuid", "nodev", "noexec", "relatime")}
            wanted = {o for o in wanted if "=" not in o or o.startswith("name=")} - {"xattr", "clone_children"}
            key = next((c for c in own if c and set(c.split(",")) == wanted), None)
            if key is not None:
                found.append(Hierarchy(Path(mountpoint), 1, key, own[key]))
        elif fstype == "cgroup2" and Path(mountpoint) == ROOT:
            found.append(Hierarchy(ROOT, 2, "", own.get("", "/")))
    return found


def join(name: str) -> None:
    """Make the cluster's cgroup in every hierarchy and move this process into it."""
    for hierarchy in hierarchies():
        path = hierarchy.cluster(name)
        path.mkdir(exist_ok=True)
        if hierarchy.version == 2:
            _enable_controllers(path.parent)
            _enable_controllers(path)
            path = path / "init"
            path.mkdir(exist_ok=True)
        for file in ("cpuset.mems", "cpuset.cpus"):  # v1: empty in a new cpuset, which then takes no process
            if hierarchy.version == 1 and (path / file).exists():
                (path / file).write_text((path.parent / file).read_text())
        if hierarchy.version == 1 and (path / "cpu.rt_runtime_us").exists():
            # Without a share of it (RT_GROUP_SCHED) no process below may be a real-time one, as the simulator is.
            with contextlib.suppress(OSError):
                (path / "cpu.rt_runtime_us").write_text("200000")
        (path / "cgroup.procs").write_text(str(os.getpid()))


def mount_own() -> None:
    """In the cgroup namespace: show the cluster's cgroups as the roots of their hierarchies."""
    own = hierarchies()
    if any(h.version == 2 for h in own):
        mount("cgroup2", ROOT, "cgroup2")
        return
    links = [entry for entry in ROOT.iterdir() if entry.is_symlink()]
    targets = [entry.readlink() for entry in links]
    tmpfs(ROOT)
    for hierarchy in own:
        hierarchy.mountpoint.mkdir(exist_ok=True)
        options = f"none,{hierarchy.options}" if hierarchy.options.startswith("name=") else hierarchy.options
        mount("cgroup", hierarchy.mountpoint, "cgroup", data=options)
    for link, target in zip(links, targets, strict=True):
        link.symlink_to(target)


def remove(name: str) -> None:
    """Remove the cgroups of a cluster whose processes have ended; waits a moment for the kernel to let go."""
    for hierarchy in hierarchies():
        path = hierarchy.cluster(name)
        deadline = time.monotonic() + 5
        while path.is_dir() and not _remove_tree(path) and time.monotonic() < deadline:
            time.sleep(0.05)


def thaw(name: str) -> None:
    """Let the frozen processes of a cluster go on: of a suspended job none ends in v1 before it may run."""
    for hierarchy in hierarchies():
        for folder, _, files in os.walk(hierarchy.cluster(name)):
            for file, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                if file in files:
                    with contextlib.suppress(OSError):
                        Path(folder, file).write_text(word)


def remove_abandoned() -> None:
    """Remove the cgroups of clusters that were killed before they could."""
    for hierarchy in hierarchies():
        for path in hierarchy.cluster("x").parent.glob(f"{PREFIX}*"):
            pid = path.name.removeprefix(PREFIX)
            if pid.isdigit() and not alive(int(pid)):
                thaw(path.name)
                _remove_tree(path)


def _remove_tree(path: Path) -> bool:
    """Remove a cgroup with those below it; False if a process is left in one."""
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(path, topdown=False):
            Path(folder).rmdir()
        return True
    return False


def _enable_controllers(path: Path) -> None:
    available = (path / "cgroup.controllers").read_text().split()
    for controller in available:
        with contextlib.suppress(OSError):
            (path / "cgroup.subtree_control").write_text(f"+{controller}")
