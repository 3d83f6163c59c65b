# SPDX-License-Identifier: MIT
"""Builds packages as `make dist` does, and says what is in them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from slurm.layout import CHECKOUT

PACKAGES = ("node", "server", "client")


def build(folder: Path, *options: str, umask: int = 0o022, **environment: str) -> Path:
    """Build a release below a folder and return where its files are."""
    command = [sys.executable, str(CHECKOUT / "packaging/build_packages.py"), "--output", str(folder / "dist")]
    done = subprocess.run(
        [*command, "--stage", str(folder / "stage"), *options],
        env={**os.environ, **environment},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return folder / "dist"


def deb(dist: Path, package: str) -> Path:
    """The deb of a package."""
    return next(dist.glob(f"carbon-acct-{package}_*.deb"))


def rpm(dist: Path, package: str) -> Path:
    """The rpm of a package."""
    return next(dist.glob(f"carbon-acct-{package}-*.rpm"))


def deb_files(file: Path) -> dict[str, str]:
    """Path -> mode and owner of each file and link in a deb; folders are left out."""
    lines = subprocess.run(["dpkg-deb", "-c", file], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {}
    for line in lines:
        mode, owner, _, _, _, path = line.split(maxsplit=5)
        if mode[0] != "d":
            path, _, target = path.partition(" -> ")
            found[path.removeprefix(".")] = f"link {target}" if target else f"{mode} {owner.replace('/', ' ')}"
    return found


def rpm_files(file: Path) -> dict[str, str]:
    """The same of an rpm."""
    form = "[%{FILENAMES}\t%{FILEMODES:perms}\t%{FILEUSERNAME} %{FILEGROUPNAME}\t%{FILELINKTOS}\n]"
    out = subprocess.run(["rpm", "-qp", "--qf", form, file], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in out.splitlines():
        path, mode, owner, target = line.split("\t")
        if mode[0] != "d":
            found[path] = f"link {target}" if target else f"{mode} {owner}"
    return found
