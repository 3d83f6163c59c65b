# SPDX-License-Identifier: MIT
"""The cluster's namespaces, from the inside: `python3 -m slurm.inside outer|head|node FOLDER [NODE]`.

`outer` joins a cgroup of its own and becomes unshare(1), whose child `head` is process 1 of the cluster:
when it ends, the kernel ends all others and unmounts everything. Each `node` is one more mount namespace,
in which the product finds its files, and simulated hardware, at the paths where it looks for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from simulator.hardware import load

from . import cgroups
from .layout import AGGREGATOR_UID, CHECKOUT, CLOCK, GPU_NODES, HEAD_ADDRESS, PREFIX, USERS, VENV, Layout
from .mounts import Private, bind, mount, tmpfs

PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8913, 0x8914, 0x8916, 1
SIMULATOR = Path("/run/simulator")
NVML = Path("/run/nvml-simulated")
REAL_COUNTER = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def outer(layout: Layout, die_with_parent: bool) -> None:
    """Enter a cgroup of the cluster's own and become unshare(1)."""
    parent = os.getppid()
    if die_with_parent:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)
    cgroups.join(f"{cgroups.PREFIX}{os.getpid()}")
    namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
    options = ["--fork", "--kill-child=SIGKILL", "--propagation=private"]
    head = [sys.executable, "-m", "slurm.inside", "head", str(layout.folder)]
    os.execvp("unshare", ["unshare", *namespaces, *options, "--", *head])


LOADER_CACHE = Path("/etc/ld.so.cache")


def head(layout: Layout) -> None:
    """Set up the host of slurmctld, slurmdbd and the aggregator, then be process 1."""
    socket.sethostname("head")
    loopback_up()
    mount("proc", "/proc", "proc")
    cgroups.mount_own()
    private = Private(layout.staging)
    private.folder(Path(PREFIX))
    _etc(private, layout)
    for path in ("/run/munge", "/run/mysqld", "/run/carbon-acct", SIMULATOR, NVML):
        private.folder(Path(path))
    for path in (
        "/var/spool/carbon-acct",
        "/var/lib/carbon-acct",
        "/var/spool/slurmd",
        "/var/lib/munge",
        "/var/cache/ldconfig",
    ):
        private.folder(Path(path))
    private.folder(Path("/var/log/slurm"), layout.log)
    private.folder(Path("/var/lib/slurm/slurmctld"), layout.folder / "slurmctld")
    private.folder(Path("/var/lib/carbon-aggregator"), layout.state)
    os.chown(layout.state, AGGREGATOR_UID, AGGREGATOR_UID)
    for user in USERS:
        private.folder(Path("/home", user), layout.folder / "home" / user)
    _product(private, layout)
    (layout.folder / "head.ready").touch()
    _reap_for_ever()


def node(layout: Layout, name: str) -> None:
    """Set up one compute node, then hold its namespace."""
    socket.sethostname(name)
    private = Private(layout.staging)
    for path in ("/run/munge", "/var/lib/munge"):
        tmpfs(path)
    own = layout.node(name)
    bind(own / "run", "/run/carbon-acct")
    bind(own / "slurmd", "/var/spool/slurmd")
    bind(own / "spool", "/var/spool/carbon-acct")
    bind(own / "state", "/var/lib/carbon-acct")
    private.file(Path(PREFIX, "bin", "carbon-collector"), own / "bin" / "carbon-collector")
    real = name == "n1" and layout.real_counters.exists() and REAL_COUNTER.exists()
    if not real:
        _simulated_cpus(private, SIMULATOR / name)
    if name in GPU_NODES:
        _simulated_gpus(private, layout, name)
    (layout.folder / "pids").mkdir(exist_ok=True)
    (layout.folder / "pids" / f"{name}.ns").write_text(f"{os.getpid()}\n")
    os.execvp("sleep", ["sleep", "infinity"])


def _etc(private: Private, layout: Layout) -> None:
    """Files and folders of the cluster's own, on entries of its own: a mount on an entry of the host's would vanish with
    it, as when the host's ldconfig or adduser renames a new file into its place.
    """
    files, folders = ("passwd", "group", "hosts"), ("slurm", "munge", "carbon-acct")
    private.shadow(Path("/etc"), without=(*files, *folders, LOADER_CACHE.name, "ld.so.preload"))
    for file in files:
        private.file(Path("/etc", file), layout.etc / file)
    for folder in folders:
        private.folder(Path("/etc", folder), layout.etc / folder)
    cache = layout.etc / LOADER_CACHE.name
    subprocess.run(["ldconfig", "-X", "-C", cache], check=True)
    private.file(LOADER_CACHE, cache)
    if layout.clock.exists():
        private.folder(CLOCK, layout.clock)
        private.file(Path("/etc/ld.so.preload"), layout.etc / "ld.so.preload")


def _product(private: Private, layout: Layout) -> None:
    """This checkout and its environment at a path that users may enter, wherever the checkout is."""
    for name, source in (("bin", layout.folder / "bin"), ("src", CHECKOUT), ("venv", VENV)):
        private.folder(Path(PREFIX, name), source)


def _simulated_cpus(private: Private, hardware: Path) -> None:
    # The kernel's links lead from /sys/class/powercap to ../../devices/virtual/powercap.
    private.shadow(Path("/sys/class"), without=("powercap",))
    private.shadow(Path("/sys/devices/virtual"), without=("powercap",))
    private.folder(Path("/sys/class/powercap"), hardware / "powercap" / "class")
    private.folder(Path("/sys/devices/virtual/powercap"), hardware / "powercap" / "devices")
    bind(hardware / "cpu", "/sys/devices/system/cpu")
    bind(hardware / "cpuinfo", "/proc/cpuinfo")
    bind(hardware / "stat", "/proc/stat")
    bind(hardware / "meminfo", "/proc/meminfo")


def _simulated_gpus(private: Private, layout: Layout, name: str) -> None:
    hardware = SIMULATOR / name
    shutil.copy(layout.folder / "nvml" / "libnvidia-ml.so.1", hardware / "nvml")
    bind(hardware / "nvml", NVML)
    private.shadow(Path("/dev"))
    gpus = next(n for n in load(layout.hardware) if n.name == name).gpus
    for gpu in gpus:
        device = f"nvidia{gpu.minor}"
        private.file(Path("/dev", device), hardware / "dev" / device)
    cache, conf = layout.node(name) / LOADER_CACHE.name, layout.node(name) / "ld.so.conf"
    conf.write_text(f"include /etc/ld.so.conf\n{NVML}\n")
    subprocess.run(["ldconfig", "-X", "-C", cache, "-f", conf], check=True)
    private.file(LOADER_CACHE, cache)


def loopback_up() -> None:
    """Bring up the loopback, with an address besides 127.0.0.1.

    Slurm asks getaddrinfo() with AI_ADDRCONFIG, which finds no IPv4 on a host that has 127.0.0.1 alone.
    """
    address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(HEAD_ADDRESS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0)))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
        fcntl.ioctl(sock, SIOCSIFADDR, address)


def _reap_for_ever() -> None:
    while True:
        with contextlib.suppress(ChildProcessError):
            os.wait()
            continue
        time.sleep(0.2)


def main() -> None:
    """Take the part that the command line names."""
    part, folder, *rest = sys.argv[1:]
    layout = Layout(Path(folder))
    if part == "outer":
        outer(layout, die_with_parent=rest == ["die-with-parent"])
    elif part == "head":
        head(layout)
    else:
        node(layout, rest[0])


if __name__ == "__main__":
    main()
