# SPDX-License-Identifier: MIT
"""A node loses its power and comes up again, as far as a namespace can show it.

Every process of the node is killed and its cgroups and its run directory are gone. It comes up with a new boot id, with
counters (of the hardware and of the CPUs) that begin at zero, and with a monotonic clock that does. Its disks
stay: state, spool, and slurmd's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from simulator import hardware

from .cluster import Cluster
from .processes import command_line, in_mount_namespace

NEW = Path("/run/simulator/reboot")
BOOT_ID = "/proc/sys/kernel/random/boot_id"
SEEN = {
    "powercap/class": "/sys/class/powercap",
    "powercap/devices": "/sys/devices/virtual/powercap",
    "cpu": "/sys/devices/system/cpu",
    "stat": "/proc/stat",
    "meminfo": "/proc/meminfo",
}
"""Where the simulator's files are seen on a node; slurm/inside.py puts them there in the first place."""
FORGET = """
rm -rf /run/carbon-acct/* /run/munge/*
for i in 1 2 3; do
    for folder in /sys/fs/cgroup/*/slurm_$1 /sys/fs/cgroup/$1_slurmstepd.scope; do
        [ -d $folder ] && find $folder -depth -type d -exec rmdir {} + 2>/dev/null
    done
    sleep 0.1
done
exit 0
"""


@contextlib.contextmanager
def rebooted(cluster: Cluster, node: str, dark_s: float) -> Iterator[Callable[[], None]]:
    """The node (one without GPUs) crashes and comes up anew after a while; in the end it is rebooted into what it was.

    Yields what restarts its slurmd so that a requeued job can run there again: else it would remember for two
    minutes that it was told to end that job.
    """
    power_cut(cluster, node)
    time.sleep(dark_s)
    hardware_at_zero(cluster, node)
    mounts = {str(NEW / node / name): path for name, path in SEEN.items()}
    boot_id = cluster.layout.node(node) / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    for source, path in {**mounts, str(boot_id): BOOT_ID}.items():
        cluster.node(node).run(["mount", "--bind", source, path])
    clock = ["unshare", "--time", "--monotonic", *_back_to_zero(), "--fork", "--kill-child"]
    power_on(cluster, node, clock)

    def forget_jobs() -> None:
        cluster.kill(f"slurmd-{node}")
        while any(command_line(pid).startswith(b"slurmd\0") for pid in in_mount_namespace(_namespace(cluster, node))):
            time.sleep(0.05)
        cluster.spawn(f"slurmd-{node}", [*clock, "slurmd", "-c", "-D", "-N", node], node=node)

    try:
        yield forget_jobs
    finally:
        power_cut(cluster, node)
        cluster.node(node).run(["umount", BOOT_ID, *reversed(mounts.values())])
        cluster.kill("simulator-reboot")
        power_on(cluster, node, [])


def power_cut(cluster: Cluster, node: str) -> None:
    """Nothing of the node runs any more, and what was in memory is gone."""
    holder, namespace = cluster.host_pid(node), _namespace(cluster, node)
    while pids := [pid for pid in in_mount_namespace(namespace) if pid != holder]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    cluster.node(node).run(["sh", "-c", FORGET, "sh", node])


def hardware_at_zero(cluster: Cluster, node: str) -> None:
    """Start simulated hardware for this node alone, whose counters begin at zero."""
    old = next(one for one in cluster.nodes if one.name == node)
    new = dataclasses.replace(old, package_start_uj=0, dram_start_uj=0)
    file = cluster.layout.folder / "reboot.json"
    hardware.save(file, [new])
    cluster.run(["rm", "-rf", str(NEW)])
    cluster.spawn_simulator("simulator-reboot", file, NEW, cluster.layout.folder / "truth-reboot")


def power_on(cluster: Cluster, node: str, within: list[str]) -> None:
    """Start what a boot starts; `-b` makes slurmd say that it was one."""
    cluster.restart(f"munged-{node}")
    cluster.spawn(f"slurmd-{node}", [*within, "slurmd", "-b", "-D", "-N", node], node=node)


def _namespace(cluster: Cluster, node: str) -> Path:
    return Path(f"/proc/{cluster.host_pid(node)}/ns/mnt").readlink()


def _back_to_zero() -> list[str]:
    now = int(time.clock_gettime(time.CLOCK_MONOTONIC))
    return [f"-{now}", "--boottime", f"-{now}"]
