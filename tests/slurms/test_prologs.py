# SPDX-License-Identifier: MIT
"""Which of a site's prologs each release of Slurm runs, and what drains a node: the table of docs/rollout.md, tried."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from packages.roots import CACHE, ENVIRONMENT, MIRROR
from slurm.layout import CHECKOUT

pytestmark = [pytest.mark.site, pytest.mark.root, pytest.mark.timeout(900)]

RELEASES = ("bookworm", "trixie", "forky")
INCLUDE = "slurmctld,slurmd,slurm-client,munge"
SCRIPTS = Path("/usr/share/debootstrap/scripts")
# The release's root below, what is written above it in memory.
ENTER = """
set -e
# An address beside loopback, without which Slurm's daemons find none.
ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 10.99.0.1/24 dev d0
ip link set d0 up; ip link set d1 up
mount -t tmpfs none "$1"; mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$0,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount -t proc proc "$1/root/proc"; mount -t sysfs -o ro sys "$1/root/sys"
mount -t tmpfs none "$1/root/dev"; cd "$1/root/dev"
mknod -m 666 null c 1 3; mknod -m 666 zero c 1 5; mknod -m 666 urandom c 1 9; mknod -m 666 random c 1 8; mkdir shm
hostname n1; printf '127.0.0.1 localhost\\n10.99.0.1 n1\\n' > "$1/root/etc/hosts"
cp "$2" "$1/root/inside.sh"; exec chroot "$1/root" /bin/bash /inside.sh
"""
RAN = {
    "one line": ("a", "a"),
    "two lines": ("b", "a b"),
    "a list": (None, None),
    "a glob": ("d10 d20", "d10 d20"),
    "a glob and a line": ("a", "a d10 d20"),
    "a glob that takes what is not executable": (None, None),
    "a glob that takes nothing": (None, None),
    "a file that is not there": (None, None),
    "configless, a name without a folder": (None, "pushed"),
    "configless, a name and a line with a folder": ("a", "a pushed"),
}
"""Case -> the scripts that run before 24.05 and since; None: the node is drained. Slurm sends scripts from 23.11 on."""


def root_of(release: str) -> Path:
    """A root of a Debian release with its Slurm; made once, and kept below build/."""
    folder = CACHE / f"slurm-{release}"
    if not folder.exists():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        script = SCRIPTS / (release if (SCRIPTS / release).exists() else "sid")
        command = ["debootstrap", "--variant=minbase", f"--include={INCLUDE}", release, str(new), MIRROR, str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, f"debootstrap: {done.stdout[-2000:]}{done.stderr}"
        new.rename(folder)
    return folder


@lru_cache
def tried(release: str) -> tuple[tuple[int, int], dict[str, tuple[str, str, str]]]:
    """Slurm's release, and for each case the scripts that ran, the job's state and the node's."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("root and debootstrap are needed")
    base = root_of(release)
    over = base.with_suffix(".over")
    over.mkdir(exist_ok=True)
    enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "sh", "-c", ENTER]
    command = [*enter, str(base), str(over), str(CHECKOUT / "tests/slurms/inside.sh")]
    done = subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=400
    )
    rows = [line.split("|") for line in done.stdout.splitlines() if line.count("|") == 3]
    assert rows, done.stderr + done.stdout
    major, minor, *_ = rows[0][1].split(".")
    return (int(major), int(minor)), {name: (ran, job, node) for name, ran, job, node in rows[1:]}


@pytest.mark.parametrize("release", RELEASES)
def test_which_prologs_run(release: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each case ends as docs/rollout.md says for that release; a case that drains the node runs no job."""
    version, found = tried(release)
    with capsys.disabled():
        print(f"\n  Slurm {version[0]}.{version[1]:02} of Debian {release}")
        for name, (ran, job, node) in found.items():
            print(f"    {name:<46} {ran or '-':<12} {job:<24} {node}")

    assert set(found) == set(RAN)
    for name, both in RAN.items():
        ran, job, node = found[name]
        if name.startswith("configless") and version < (23, 11):
            continue  # not tried: its configless slurmd does not register here; it sends no scripts (23.11's changelog)
        wanted = both[version >= (24, 5)]
        if wanted is None:
            assert "drain" in node, (release, name, found[name])
            assert job != "COMPLETED"
        else:
            assert (" ".join(sorted(ran.split())), job, node) == (wanted, "COMPLETED", "idle"), (release, name)
