# SPDX-License-Identifier: MIT
"""A release: the same bytes each time, and in it what docs/packages.md says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from slurm.layout import CHECKOUT

from .building import PACKAGES, build, deb, deb_files, rpm, rpm_files

pytestmark = [pytest.mark.site, pytest.mark.root, pytest.mark.timeout(1200)]

ROW = re.compile(r"^\| `(/[^`]+)` \| carbon-acct-(\w+) \|", re.MULTILINE)
FORM = "%{NAME}|%{LICENSE}|%{ARCH}|%{BUILDHOST}|%{OS}"


def test_two_builds_are_equal(dist: Path, tmp_path: Path) -> None:
    """Wheel, sdist, zipapp, debs and rpms have the same checksums, built elsewhere, later, in another time zone and umask."""
    again = build(tmp_path, umask=0o077, TZ="Asia/Tokyo", PYTHONHASHSEED="7", LC_ALL="C")
    sums = (dist / "SHA256SUMS").read_text()

    assert len(sums.splitlines()) == 9
    assert (again / "SHA256SUMS").read_text() == sums
    subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd=dist, check=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_is_true(dist: Path, package: str) -> None:
    """Each file of a package is in a row of the table, or in a folder of one, and each row is in the package."""
    said = {path for path, name in ROW.findall((CHECKOUT / "docs/packages.md").read_text()) if name == package}
    files = set(deb_files(deb(dist, package)))
    covers = {
        path: [row for row in said if path == row or (row.endswith("/") and path.startswith(row))] for path in files
    }

    assert [path for path, rows in covers.items() if not rows] == []
    assert said == {row for rows in covers.values() for row in rows}


@pytest.mark.parametrize("package", PACKAGES)
def test_deb_and_rpm_hold_the_same(dist: Path, package: str) -> None:
    """Both have the same files with the same modes, all root's, none writable by others."""
    ours = deb_files(deb(dist, package))

    assert rpm_files(rpm(dist, package)) == ours
    modes = {path: mode for path, mode in ours.items() if not mode.startswith("link")}
    assert set(modes.values()) <= {"-rwxr-xr-x root root", "-rw-r--r-- root root"}
    assert all("x" in mode for path, mode in modes.items() if "/bin/" in path and "site-packages" not in path)


@pytest.mark.parametrize("package", PACKAGES)
def test_an_rpm_in_an_empty_root(dist: Path, tmp_path: Path, package: str) -> None:
    """An rpm unpacks into an empty folder, and its metadata name the package, its licence, architecture and needs."""
    file = rpm(dist, package)
    with subprocess.Popen(["rpm2cpio", file], stdout=subprocess.PIPE) as unpacking:
        subprocess.run(["cpio", "-idm", "--quiet"], stdin=unpacking.stdout, cwd=tmp_path, check=True)
    found = {f"/{p.relative_to(tmp_path)}" for p in tmp_path.rglob("*") if p.is_symlink() or p.is_file()}
    asked = ["rpm", "-qp", "--qf", FORM, file]
    facts = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("|")
    needs = subprocess.run(["rpm", "-qpR", file], capture_output=True, text=True, check=True).stdout.splitlines()

    assert found == set(rpm_files(file))
    assert facts[:2] == [f"carbon-acct-{package}", "MIT"]
    assert facts[2] == (
        "noarch" if package != "server" else subprocess.check_output(["uname", "-m"], text=True).strip()
    )
    assert facts[3:] == ["carbon-acct", "linux"]
    wanted = "python3 >= 3.9" if package != "server" else next(line for line in needs if line.startswith("python3."))
    assert wanted in needs


def test_nothing_of_the_builders_machine_is_in_it(dist: Path, tmp_path: Path) -> None:
    """No file of a package names the folder where it was built."""
    for package in PACKAGES:
        subprocess.run(["dpkg-deb", "-x", deb(dist, package), tmp_path / package], check=True)
    for place in (dist.parent, CHECKOUT):
        found = subprocess.run(["grep", "-rlF", str(place), tmp_path], capture_output=True, text=True, check=False)
        assert found.stdout == ""
