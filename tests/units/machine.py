# SPDX-License-Identifier: MIT
"""A host whose process 1 is systemd, in namespaces of this one: `with Machine(folder) as machine: machine.run([...])`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from collector.process import eventually
from slurm.cluster import TESTS

from .boot import SYSTEMD, groups

BOOT_S = 300
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root")


def missing() -> str:
    """What this host lacks for a machine, as one line; empty if nothing."""
    if os.geteuid() != 0:
        return "root is needed: the machine is made of namespaces and mounts"
    if not Path(SYSTEMD).exists():
        return "systemd is not installed (Debian's package systemd)"
    return "" if groups() else "no cgroup2 is mounted"


class MachineError(Exception):
    """A command in the machine failed; the message has its output."""


class Machine:
    """A machine; nothing of it is left when it has stopped, `folder` apart."""

    def __init__(self, folder: Path, hostname: str = "n1") -> None:
        self.folder = folder
        self.hostname = hostname
        self._outer: subprocess.Popen[bytes] | None = None
        self._init = ""

    def __enter__(self) -> Machine:
        try:
            self._boot()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _boot(self) -> None:
        (self.folder / "staging").mkdir(parents=True)
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "units.boot", str(self.folder), self.hostname]
        with (self.folder / "boot.log").open("wb") as log:
            self._outer = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        pid = self.folder / "init.pid"
        eventually(pid.exists, "the namespaces are there", BOOT_S)
        self._init = pid.read_text()
        running = ["systemctl", "is-system-running"]
        eventually(
            lambda: self.run(running, check=False).stdout.strip() in ("running", "degraded"), "it has booted", BOOT_S
        )

    def stop(self) -> None:
        """End it, and all that runs in it."""
        if self._outer:
            self._outer.terminate()
            self._outer.wait(20)
            self._outer = None

    def run(
        self, argv: Sequence[str], user: str = "", check: bool = True, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root, or as a user. Raises MachineError with its output if `check` and it fails."""
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        entry = ["nsenter", "--target", self._init, *NAMESPACES, "--", "env", "-i", *ENVIRONMENT]
        done = subprocess.run([*entry, *as_user, *argv], input=stdin, capture_output=True, timeout=60, check=False)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            raise MachineError(f"{' '.join(argv)}: exit {done.returncode}: {err.strip() or out.strip()}")
        return subprocess.CompletedProcess(argv, done.returncode, out, err)

    def path(self, name: str) -> Path:
        """Where this host sees a file of the machine's."""
        return Path("/proc", self._init, "root", name.lstrip("/"))

    def install(self, source: Path, name: str, mode: int = 0o644) -> None:
        """Put a copy of a file there."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(mode)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file there."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def show(self, unit: str, what: str) -> str:
        """A property of a unit."""
        return self.run(["systemctl", "show", "--value", "-p", what, unit]).stdout.strip()

    def journal(self, unit: str) -> list[str]:
        """What a unit has said, in the machine's journal."""
        done = self.run(["journalctl", "--no-pager", "-o", "cat", "-u", unit])
        return done.stdout.splitlines()
