# SPDX-License-Identifier: MIT
"""A fresh Debian root: debootstrap's, unpacked anew for each test. Commands run in it by chroot, with a /proc of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from slurm.layout import CHECKOUT

INCLUDE = "python3,systemd"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
CACHE = CHECKOUT / "build/debian"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
ENTER = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


def missing() -> str:
    """What this host lacks, as one line; empty if nothing."""
    if os.geteuid() != 0:
        return "root is needed"
    lacking = [name for name in ("debootstrap", "rpm", "rpm2cpio", "cpio", "dpkg-deb") if not shutil.which(name)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def release() -> str:
    """The code name of this host's Debian, whose Python the server's package is built for."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"]


def base() -> Path:
    """Return a packed root of this host's release; made once, by debootstrap from Debian's archive."""
    packed = CACHE / f"{release()}.tar"
    if not packed.exists():
        folder = CACHE / "new"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = ["debootstrap", "--variant=minbase", f"--include={INCLUDE}", release(), str(folder), MIRROR]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        assert done.returncode == 0, f"debootstrap: {done.stdout[-2000:]}{done.stderr}"
        new = packed.with_suffix(".new")
        subprocess.run(["tar", "-C", folder, "--exclude=./dev/*", "-cf", new, "."], check=True)
        new.rename(packed)
        shutil.rmtree(folder)
    return packed


class Root:
    """A Debian root below a folder; nothing is left of it afterwards."""

    def __init__(self, packed: Path, folder: Path) -> None:
        self._packed = packed
        self.folder = folder

    def __enter__(self) -> Root:
        self.folder.mkdir()
        subprocess.run(["tar", "-C", self.folder, "-xf", self._packed], check=True)
        null = self.path("dev/null")
        os.mknod(null, 0o020666, os.makedev(1, 3))
        null.chmod(0o666)
        self.write("etc/dpkg/dpkg.cfg.d/unsafe", "force-unsafe-io\n")  # it need not survive a crash
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder)

    def path(self, name: str) -> Path:
        """Where this host sees a file of the root's."""
        return self.folder / name.lstrip("/")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file there."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)
        self.path(name).chmod(mode)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as its root, in namespaces of its own."""
        enter = ["unshare", "--mount", "--pid", "--fork", "--net", "sh", "-c", ENTER, str(self.folder)]
        done = subprocess.run(
            [*enter, *argv],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"{argv}: exit {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def dpkg(self, *argv: str | Path) -> str:
        """Run dpkg in it and return what it said; a package's file is copied in first."""
        return self._with_files("dpkg", argv)

    def rpm(self, *argv: str | Path) -> str:
        """Run this host's rpm on it, with rpm's database of the root; dependencies are dpkg's there and not looked at."""
        command = ["rpm", "--root", str(self.folder), "--nodeps", *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{argv}: {done.stderr}{done.stdout}"
        return done.stdout + done.stderr

    def _with_files(self, program: str, argv: Sequence[str | Path]) -> str:
        words = []
        for word in argv:
            if isinstance(word, Path):
                shutil.copy(word, self.path("tmp"))
            words.append(f"/tmp/{word.name}" if isinstance(word, Path) else word)
        done = self.run(program, *words)
        return done.stdout + done.stderr

    def files(self) -> set[str]:
        """All files, links and folders, what dpkg, rpm and systemd note of themselves left out."""
        without = ("/tmp", "/var/lib/dpkg", "/var/log", "/var/cache", "/var/lib/rpm", "/usr/lib/sysimage", "/root")
        found = set()
        for folder, folders, names in os.walk(self.folder):
            inside = folder.removeprefix(str(self.folder))
            folders[:] = [name for name in folders if f"{inside}/{name}" not in without]
            found |= {f"{inside}/{name}" for name in (*folders, *names)}
        return found
