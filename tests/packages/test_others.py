# SPDX-License-Identifier: MIT
"""carbon-acct-server and carbon-acct-client: installed, upgraded and removed in a fresh Debian root."""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import deb, rpm
from .roots import Root

pytestmark = [pytest.mark.site, pytest.mark.root, pytest.mark.timeout(1200)]

SERVER = ("/usr/sbin/carbon-aggregator", "/usr/sbin/carbon-mgr", "/usr/bin/carbon-report", "/usr/sbin/carbon-web")
CONF = "/etc/carbon-acct/carbon-acct.conf"
BACKUP = ("carbon-mgr", "backup", "/var/lib/carbon-aggregator/backup/one")
UNITS = ("carbon-aggregator", "carbon-backup", "carbon-prune", "carbon-report", "carbon-report-send")


def test_the_server(root: Root, dist: Path, older: Path) -> None:
    """Its programs run on the distribution's Python alone, its user owns its folder, and its database and reports outlive it."""
    before = root.files()
    root.dpkg("-i", deb(older, "server"))
    root.write(CONF, "[site]\nzone = DE\n")
    root.dpkg("-i", deb(dist, "server"))

    assert [root.run(program, "--version").stdout.split()[0] for program in SERVER] == [Path(p).name for p in SERVER]
    assert "zone" in root.run("carbon-mgr", "config").stdout
    owner = root.run("stat", "-c", "%U %G %a", "/var/lib/carbon-aggregator").stdout
    assert owner == "carbon-acct carbon-acct 700\n"
    root.run("setpriv", "--reuid=carbon-acct", "--regid=carbon-acct", "--clear-groups", "carbon-mgr", "checksum")
    root.run("setpriv", "--reuid=carbon-acct", "--regid=carbon-acct", "--clear-groups", *BACKUP)
    root.dpkg("-P", "carbon-acct-server")
    left = {path for path in root.files() - before if not path.startswith("/etc/systemd")}
    assert {path.split("/")[3] for path in left if path.startswith("/var/lib/")} == {
        "carbon-aggregator",
        "carbon-reports",
    }
    assert {path for path in left if path.startswith("/usr")} == set()
    assert "/var/lib/carbon-aggregator/carbon-acct.db" in left
    assert root.path(CONF).read_text() == "[site]\nzone = DE\n"


def test_the_client(root: Root, dist: Path, older: Path) -> None:
    """carbon-acct runs without a configuration, knows its fields, and leaves nothing behind."""
    before = root.files()
    root.dpkg("-i", deb(older, "client"))
    assert "rror" not in root.dpkg("-i", deb(dist, "client"))
    assert not root.path("usr/lib/carbon-acct/client/carbon_acct/db").exists()

    programs = [path.name for path in root.path("usr/bin").glob("carbon-*")]
    assert "carbon-acct" in programs
    assert [root.run(name, "--version").stdout.split()[0] for name in programs] == programs
    assert "Carbon" in root.run("carbon-acct", "--helpformat").stdout
    assert root.path("usr/lib/carbon-acct/client/carbon_acct/__pycache__").is_dir()
    root.dpkg("-P", "carbon-acct-client")
    assert root.files() - before == set()


def test_all_three_on_one_host(root: Root, dist: Path) -> None:
    """Node, server and client are installed beside one another, by dpkg and then by rpm in another root's place."""
    root.dpkg("-i", *(deb(dist, name) for name in ("node", "server", "client")))
    root.dpkg("-P", *(f"carbon-acct-{name}" for name in ("node", "server", "client")))
    root.rpm("-i", *(rpm(dist, name) for name in ("node", "server", "client")))

    assert root.run("carbon-acct", "--version").stdout
    assert root.run("carbon-mgr", "--version").stdout
    assert root.run("getent", "passwd", "carbon-acct").stdout
    root.rpm("-e", *(f"carbon-acct-{name}" for name in ("node", "server", "client")))
    assert not root.path("usr/lib/carbon-acct/server").exists()


def test_the_units(root: Root, dist: Path) -> None:
    """Systemd reads each unit and timer without a complaint, and finds what they run little exposed: at most 1.6 of 10."""
    root.dpkg("-i", *(deb(dist, name) for name in ("node", "server")))
    timers = [f"/usr/lib/systemd/system/{name}.timer" for name in UNITS[1:]]
    services = [f"/usr/lib/systemd/system/{name}.service" for name in (*UNITS, "carbon-web", "carbon-collector")]
    verified = root.run("systemd-analyze", "verify", "--man=no", *timers, *services, check=False)

    assert [line for line in verified.stderr.splitlines() if "carbon-" in line] == []
    for service in services[:-1]:  # reports are given to a group of readers, which takes chown
        most = 16 if "carbon-report" in service else 15
        root.run("systemd-analyze", "security", "--offline=true", f"--threshold={most}", service)
