# SPDX-License-Identifier: MIT
"""Boots systemd as process 1 of namespaces of its own: `python3 -m units.boot FOLDER HOSTNAME`.

The first process stays outside: it makes a cgroup for the machine, waits for it, and removes the cgroup. SIGTERM, or the
death of whoever started it, ends the machine. The second sees this host's files under a layer of its own, in memory,
and becomes systemd; with it the kernel ends all the rest and unmounts everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from slurm.inside import loopback_up
from slurm.layout import CHECKOUT, PREFIX, VENV
from slurm.mounts import MS_BIND, MS_PRIVATE, MS_REC, bind, mount, tmpfs
from slurm.processes import alive

GROUP = "carbon-acct-units-"
SYSTEMD = "/lib/systemd/systemd"
PR_SET_PDEATHSIG = 1
CLONE_NEWNS = 0x00020000
# cgroup, UTS, IPC, PID, network
OTHERS = 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
MS_RDONLY, MS_REMOUNT, MNT_DETACH = 1, 32, 2
PR_CAPBSET_DROP = 24
# CAP_SYS_MODULE, CAP_SYS_TIME, CAP_SYSLOG: what namespaces do not keep from this host.
NOT_ITS_OWN = (16, 25, 34)
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_libc = ctypes.CDLL(None, use_errno=True)


def groups() -> Path | None:
    """Where this host has its cgroups of version 2; systemd finds nothing else in the machine."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mountpoint, fstype, *_ = line.split()
        if fstype == "cgroup2":
            return Path(mountpoint)
    return None


def outer(folder: Path, hostname: str) -> int:
    """Make the machine, wait until it has ended, and clear away its cgroup."""
    above = groups()
    assert above is not None, "no cgroup2 is mounted"
    _die_with_parent(signal.SIGTERM)
    remove_abandoned(above)
    home = above / Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
    group = above / f"{GROUP}{os.getpid()}"
    group.mkdir()
    _join(group)
    _check(_libc.unshare(OTHERS), "unshare")
    reading, writing = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(writing)
        os.read(reading, 1)
        _inner(folder, hostname)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(init, signal.SIGKILL))
    # Of a cgroup with controllers for those below it, only these have processes.
    _join(home)
    os.write(writing, b"!")
    (folder / "init.pid").write_text(str(init))
    os.waitpid(init, 0)
    _remove(group)
    return 0


def _inner(folder: Path, hostname: str) -> None:
    _die_with_parent(signal.SIGKILL)
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    loopback_up()
    root = _layer(folder / "staging")
    for name, source in (("src", CHECKOUT), ("venv", VENV)):
        target = root / PREFIX.lstrip("/") / name
        target.mkdir(parents=True)
        bind(source, target)
    for wanted in (root / "etc/systemd/system").glob("*.wants"):  # what this host has enabled is none of its business
        shutil.rmtree(wanted)
    (root / "etc/hostname").write_text(f"{hostname}\n")
    _kernel_file_systems(root)
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount")
    for capability in NOT_ITS_OWN:
        _check(_libc.prctl(PR_CAPBSET_DROP, capability), "prctl")
    # Whoever finds `container` set leaves hardware and clock alone (systemd's Container Interface).
    os.execve(SYSTEMD, [SYSTEMD, "--unit=basic.target"], {"container": "carbon-acct"})


def _layer(staging: Path) -> Path:
    """This host's root file system, with a layer in memory over it."""
    tmpfs(staging)
    for name in ("upper", "work", "root"):
        (staging / name).mkdir()
    options = f"lowerdir=/,upperdir={staging}/upper,workdir={staging}/work"
    mount("overlay", staging / "root", "overlay", data=options)
    return staging / "root"


def _kernel_file_systems(root: Path) -> None:
    mount("proc", root / "proc", "proc")
    bind(root / "proc/sys", root / "proc/sys")
    mount("none", root / "proc/sys", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)  # the tunables are this host's
    mount("sysfs", root / "sys", "sysfs", flags=MS_RDONLY)  # systemd starts no udev then
    mount("cgroup2", root / "sys/fs/cgroup", "cgroup2")
    tmpfs(root / "tmp", 0o1777)
    tmpfs(root / "dev")
    os.umask(0)
    for name, number in DEVICES.items():
        os.mknod(root / "dev" / name, 0o020666, os.makedev(*number))
    os.umask(0o022)
    for name, target in (("fd", "/proc/self/fd"), ("ptmx", "pts/ptmx")):
        (root / "dev" / name).symlink_to(target)


def _die_with_parent(number: signal.Signals) -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, number), "prctl")


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def remove_abandoned(above: Path) -> None:
    """Remove the cgroups of machines whose first process was killed before it could."""
    for group in above.glob(f"{GROUP}*"):
        if not alive(int(group.name.removeprefix(GROUP))):
            _remove(group)


def _remove(group: Path) -> None:
    """Remove a cgroup with those below it; the kernel may take a moment to let go."""
    deadline = time.monotonic() + 5
    while group.is_dir() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            for one, _, _ in os.walk(group, topdown=False):
                Path(one).rmdir()
            return
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(outer(Path(sys.argv[1]), sys.argv[2]))
