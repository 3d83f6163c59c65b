# SPDX-License-Identifier: MIT
"""carbon-acct-node: installed, upgraded and removed under a slurmd that may run the hooks at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import deb, rpm
from .roots import Root
from .slurmd import KINDS, Slurmd

pytestmark = [pytest.mark.site, pytest.mark.root, pytest.mark.timeout(1200)]

HOOKS = [f"/etc/slurm/{kind}.d/carbon-acct.sh" for kind in KINDS]
SITE = "#!/bin/sh\nexit 0\n"
GLOB = "Prolog=/etc/slurm/prolog.d/*\nEpilog=/etc/slurm/epilog.d/*\n"
NAMED = "Prolog=/etc/slurm/prolog.d/carbon-acct.sh\nEPILOG = /etc/slurm/epilog.d/carbon-acct.sh\n"
INCLUDED = "Include /etc/slurm/hooks.txt\n"
NO_MORE = "# Prolog=/etc/slurm/prolog.d/*\nProlog=/etc/slurm/site.sh\nEpilog=/etc/slurm/site.sh\n"


def install(root: Root, kind: str, dist: Path) -> str:
    """Install or upgrade the package."""
    return root.dpkg("-i", deb(dist, "node")) if kind == "deb" else root.rpm("-U", rpm(dist, "node"))


def remove(root: Root, kind: str) -> str:
    """Remove the package."""
    return root.dpkg("-r", "carbon-acct-node") if kind == "deb" else root.rpm("-e", "carbon-acct-node")


def run_hooks(root: Root) -> list[int]:
    """The exit statuses of all scripts in both folders, run as slurmd would."""
    scripts = [path for kind in KINDS for path in sorted(root.path(f"etc/slurm/{kind}.d").iterdir())]
    job = ("env", "SLURM_JOB_ID=7", "SLURMD_NODENAME=n1")
    names = [str(path).removeprefix(str(root.folder)) for path in scripts]
    return [root.run(*job, name, check=False).returncode for name in names]


@pytest.mark.parametrize("kind", ["deb", "rpm"])
@pytest.mark.parametrize("conf", [GLOB, NAMED, INCLUDED], ids=["glob", "named", "included"])
def test_a_node_whose_slurm_conf_needs_the_hooks(root: Root, dist: Path, older: Path, kind: str, conf: str) -> None:
    """From the installation to the removal there is a hook at every moment, executable and exit 0; slurm.conf is as it was."""
    root.write("etc/slurm/slurm.conf", conf)
    install(root, kind, older)
    assert all(root.path(hook).read_bytes() == Path("prolog/carbon-acct.sh").read_bytes() for hook in HOOKS)
    with Slurmd(root.folder) as slurmd:
        assert run_hooks(root) == [0, 0]
        install(root, kind, dist)
        assert run_hooks(root) == [0, 0]
        install(root, kind, dist) if kind == "deb" else root.rpm("-U", "--replacepkgs", rpm(dist, "node"))
        said = remove(root, kind)
        assert run_hooks(root) == [0, 0]

    assert slurmd.looks > 100
    assert slurmd.faults == set()
    assert [Path(hook).name for hook in HOOKS] == [
        p.name for k in KINDS for p in root.path(f"etc/slurm/{k}.d").iterdir()
    ]
    assert all(root.path(hook).read_text().endswith("exit 0\n") for hook in HOOKS)
    assert "slurm.conf may need it" in said
    assert root.path("etc/slurm/slurm.conf").read_text() == conf
    install(root, kind, dist)
    assert root.path(HOOKS[0]).read_bytes() == Path("prolog/carbon-acct.sh").read_bytes()


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_a_node_whose_slurm_conf_does_not(root: Root, dist: Path, kind: str) -> None:
    """Once slurm.conf names them no more, the removal takes the hooks away and leaves the site's own scripts."""
    root.write("etc/slurm/slurm.conf", NO_MORE)
    root.write("etc/slurm/plugstack.conf", "include plugstack.conf.d/*\n")  # Debian's
    root.write("etc/slurm/prolog.d/site.sh", SITE, 0o755)
    before = root.files()
    install(root, kind, dist)
    assert set(HOOKS) <= root.files()
    remove(root, kind)

    left = root.files() - before
    assert left <= {f"/{folder}/carbon-acct" for folder in ("etc", "run", "var/lib", "var/spool")}
    assert before - root.files() == set()


def test_purged_it_was_never_there(root: Root, dist: Path) -> None:
    """On a host without Slurm, installing and purging the deb leaves no file."""
    before = root.files()
    root.dpkg("-i", deb(dist, "node"))
    assert root.run("/usr/sbin/carbon-collector", "--version").stdout.startswith("carbon-collector ")
    modes = {name: root.path(name).stat().st_mode & 0o777 for name in ("run/carbon-acct", "var/spool/carbon-acct")}
    root.dpkg("-P", "carbon-acct-node")

    assert modes == {"run/carbon-acct": 0o711, "var/spool/carbon-acct": 0o700}
    assert root.files() - before <= {"/etc/slurm"}


def test_a_hook_of_the_sites_own_stays(root: Root, dist: Path) -> None:
    """A script under our name that is not ours is neither replaced nor removed, and the package says so."""
    root.write(HOOKS[0], SITE, 0o755)
    said = root.dpkg("-i", deb(dist, "node"))
    root.dpkg("-r", "carbon-acct-node")

    assert "is not the package's and stays" in said
    assert root.path(HOOKS[0]).read_text() == SITE


def test_a_copy_by_hand_becomes_the_packages(root: Root, dist: Path) -> None:
    """A copy of the hook that is not executable, as a careless installation leaves it, is put right."""
    root.write(HOOKS[0], "#!/bin/sh\n# Opens (as Prolog=) or closes (as Epilog=) a job's ledger, long ago\n", 0o644)
    root.dpkg("-i", deb(dist, "node"))

    assert root.path(HOOKS[0]).read_bytes() == Path("prolog/carbon-acct.sh").read_bytes()
    assert root.path(HOOKS[0]).stat().st_mode & 0o777 == 0o755
