# SPDX-License-Identifier: MIT
"""A machine leaves nothing behind: no process, no mount, no cgroup, no file outside its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collector.process import eventually
from slurm.cluster import TESTS
from slurm.processes import alive, in_mount_namespace

from .boot import GROUP, groups
from .machine import Machine

pytestmark = pytest.mark.slurm

START = """
import sys, time
from pathlib import Path
from units.machine import Machine
with Machine(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""


def host() -> tuple[object, ...]:
    """What a machine could have changed on this host."""
    places = [Path(name) for name in ("/", "/etc", "/run", "/opt", "/var/lib")]
    names = {place: sorted(path.name for path in place.iterdir()) for place in places}
    return names, Path("/proc/self/mounts").read_text(), os.uname().nodename, Path("/etc/passwd").read_bytes()


def left_in(above: Path) -> set[str]:
    """The cgroups of machines."""
    return {path.name for path in above.glob(f"{GROUP}*")}


def test_a_stopped_machine_leaves_nothing(folder: Path) -> None:
    """Booted, written to and stopped, it has changed nothing on the host."""
    above = groups()
    assert above is not None
    before, cgroups = host(), left_in(above)
    with Machine(folder) as machine:
        machine.write("etc/passwd", "nobody is left\n")
        init = int((folder / "init.pid").read_text())
        namespace = Path(f"/proc/{init}/ns/mnt").readlink()
        machine.run(["systemd-run", "--unit=sleeper", "sleep", "600"])

        assert left_in(above) - cgroups
    assert not alive(init)
    assert in_mount_namespace(namespace) == []
    assert left_in(above) <= cgroups
    assert host() == before
    assert sorted(path.name for path in folder.iterdir()) == ["boot.log", "init.pid", "staging"]


def test_a_machine_dies_with_whoever_started_it(folder: Path) -> None:
    """Whoever started it is killed: the machine ends, and its cgroup goes."""
    above = groups()
    assert above is not None
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", START, str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"up\n"
        init = int((folder / "init.pid").read_text())
        outer = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
        assert f"{GROUP}{outer}" in left_in(above)
        starter.send_signal(signal.SIGKILL)

    eventually(lambda: not alive(init), "the machine has ended")
    eventually(lambda: f"{GROUP}{outer}" not in left_in(above), "its cgroup is gone")
