# SPDX-License-Identifier: MIT
"""The whole life on a Slurm that has a prolog of its own: install, upgrade, removal, jobs going through all the while."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.process import eventually

from .jobs import OWN, Jobs
from .site import NODES, Run, Site

pytestmark = [pytest.mark.site, pytest.mark.root, pytest.mark.timeout(1800)]

SCRIPTS = {f"/opt/site/{kind}.sh": OWN.format(kind=kind) for kind in ("prolog", "epilog")}
OWN_SCRIPTS = "Prolog=/opt/site/prolog.sh  # the site's own\nEpilog=/opt/site/epilog.sh\nPrologFlags=Alloc\n"
IN_FOLDERS = {f"/opt/site/{kind}.d/10-own.sh": OWN.format(kind=kind) for kind in ("prolog", "epilog")}
GLOBS = "Prolog=/opt/site/prolog.d/*\nEpilog=/opt/site/epilog.d/*.sh\nPrologFlags=Alloc\n"
ABSENT = "absent"
MARIADB = "create database carbon; grant all on carbon.* to carbon@localhost identified by 'sesame'"
DATABASE = json.dumps(
    {
        "carbon_acct_config": {
            "site": {"zone": "DE", "pue": 1.3},
            "slurm": {"poll": "2 s"},
            "collector": {"interval": "1 s"},
            "aggregator": {"database": "mysql+pymysql://carbon:sesame@localhost/carbon"},
        }
    }
)
Say = Callable[[str], None]


@pytest.fixture
def step(pytestconfig: pytest.Config) -> Callable[..., Run]:
    """Runs the playbook, prints how long that took, and fails with what it said where it failed."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def one(what: str, site: Site, *options: str, **facts: object) -> Run:
        began = time.monotonic()
        run = site.playbook(*options, **facts)  # type: ignore[arg-type]
        with capture.global_and_fixture_disabled():
            print(f"\n  {what}: {time.monotonic() - began:.0f} s, {len(run.changed())} changes", flush=True)
        assert run.code == 0, run.text[-4000:]
        return run

    return one


@contextmanager
def unharmed(site: Site, least: int) -> Iterator[Jobs]:
    """Jobs go through during the block: all complete, none held, no node drained, the site's own scripts once for each job and node."""
    with Jobs(site, least) as jobs:
        yield jobs
    assert jobs.harm == set()
    assert jobs.looks > 20
    assert jobs.states() == {"COMPLETED"}


def reconfigured(site: Site) -> int:
    """How often slurmctld has read its configuration anew."""
    return site.head.path("var/log/slurmctld.log").read_text().count("Processing Reconfiguration Request")


def accounted(site: Site) -> set[str]:
    """The jobs that users see with an energy, by carbon-acct on the head; without counters it is estimated, and not in Energy."""
    out = site.head.run(
        ["carbon-acct", "-a", "-n", "-P", "-S", "now-1days", "-o", "JobID,FacilityEnergyRaw"], check=False
    ).stdout
    return {line.split("|")[0] for line in out.splitlines() if line.split("|")[1]}


def test_a_site_with_a_prolog_of_its_own(site: Site, older: Path, newer: Path, step: Callable[..., Run]) -> None:
    """Check, install, again, upgrade, removal, again: jobs are never harmed, a second run changes nothing, slurm.conf is as it was."""
    conf = site.start_slurm(OWN_SCRIPTS, SCRIPTS)
    before, reads = site.picture(), reconfigured(site)
    with unharmed(site, 100) as jobs:
        assert step("check mode on a fresh site", site, "--check", packages=older).changed() != []
        assert site.picture() == before
        step("install", site, packages=older)
        assert reconfigured(site) == reads + 1
        assert step("install again", site, packages=older).changed() == []
        known = set(jobs.nodes_of)
        step("upgrade under running jobs", site)
        assert step("upgrade again", site).changed() == []
        assert reconfigured(site) == reads + 1
        for node in NODES:
            version = site.machines[node].run(["dpkg-query", "-W", "-f", "${Version}", "carbon-acct-node"]).stdout
            assert f"carbon-acct-node_{version}_all.deb" in [file.name for file in newer.iterdir()]
        since = set(jobs.nodes_of) - known
        eventually(lambda: since <= accounted(site), "all jobs since the installation are accounted", 300)
        site.head.run(["carbon-mgr", "status"])  # fails where jobs, idle and system are not what the meters counted
        site.head.run(["systemctl", "start", "carbon-backup", "carbon-prune"])
        step("removal", site, carbon_acct_state=ABSENT)
        assert reconfigured(site) == reads + 2
        assert step("removal again", site, carbon_acct_state=ABSENT).changed() == []

    assert jobs.runs("prolog") == jobs.runs("epilog") == jobs.nodes_of
    for machine in site.machines.values():
        assert machine.path("etc/slurm/slurm.conf").read_text() == conf
        assert not machine.path("usr/sbin/carbon-collector").exists()
        assert list(machine.path("etc/slurm").glob("*/carbon-acct.sh")) == []
    assert site.head.path("var/lib/carbon-aggregator/carbon-acct.db").exists()
    assert list(site.head.path("var/lib/carbon-aggregator/backup").iterdir()) != []


def test_a_site_with_folders_of_its_own(site: Site, step: Callable[..., Run]) -> None:
    """A glob of the site's own stays as it is, gets our hook, and keeps a script that does nothing after the removal."""
    conf = site.start_slurm(GLOBS, IN_FOLDERS)
    reads = reconfigured(site)
    with unharmed(site, 30) as jobs:
        step("install beside a glob", site)
        assert step("install again", site).changed() == []
        hook = site.machines["n1"].path("opt/site/prolog.d/carbon-acct.sh")
        assert "ledger" in hook.read_text()
        step("removal", site, carbon_acct_state=ABSENT)
        assert step("removal again", site, carbon_acct_state=ABSENT).changed() == []

    assert jobs.runs("prolog") == jobs.runs("epilog") == jobs.nodes_of
    assert reconfigured(site) == reads
    assert site.head.path("etc/slurm/slurm.conf").read_text() == conf
    assert hook.read_text().endswith("exit 0\n")
    assert "ledger" not in hook.read_text()


def test_a_site_without_a_prolog(site: Site, step: Callable[..., Run]) -> None:
    """A site that had none gets lines of its own and loses them again; the password of its MariaDB stays on the accounting host."""
    conf = site.start_slurm("", {})
    reads = reconfigured(site)
    site.head.run(["mariadb", "-e", MARIADB])
    with unharmed(site, 30) as jobs:
        step("install where there was no prolog, on MariaDB", site, "-e", DATABASE)
        known = set(jobs.nodes_of)
        conf_of = {name: machine.path("etc/carbon-acct/carbon-acct.conf") for name, machine in site.machines.items()}
        assert {name for name, path in conf_of.items() if "sesame" in path.read_text()} == {"head"}
        modes = site.head.run(["stat", "-c", "%U %G %a", "/etc/carbon-acct/carbon-acct.conf"]).stdout
        assert modes == "root carbon-acct 640\n"
        eventually(lambda: accounted(site) - known, "jobs are accounted", 120)
        assert "mysql" in site.head.run(["carbon-mgr", "status"]).stdout
        running = site.head.run(["scontrol", "show", "config"]).stdout
        assert "/etc/slurm/prolog.d/carbon-acct.sh" in running
        assert "Alloc" in next(line for line in running.splitlines() if line.startswith("PrologFlags"))
        step("removal", site, carbon_acct_state=ABSENT)

    assert reconfigured(site) == reads + 2
    assert site.head.path("etc/slurm/slurm.conf").read_text() == conf
