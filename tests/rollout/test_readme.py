# SPDX-License-Identifier: MIT
"""README's installation and the pilot of docs/rollout.md, run as they stand there, on a Slurm that has never heard of us."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.process import eventually
from slurm.layout import CHECKOUT

from .jobs import Jobs
from .site import NODES, Site

pytestmark = [pytest.mark.site, pytest.mark.root, pytest.mark.timeout(1800)]

BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FOLDER = "/root/packages"
MOST_COMMANDS = 10
MAY_FIND_FAULT = ("carbon-mgr doctor", "carbon-collector probe --doctor")


def blocks(page: str, heading: str) -> list[str]:
    """The blocks of commands below a heading of a page."""
    text = (CHECKOUT / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert text, f"{page} has no {heading}"
    return BLOCK.findall(text)


def commands(block: str) -> list[str]:
    """The commands of a block, without what is said about them."""
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in block.splitlines()]
    return [line for line in lines if line]


def follow(site: Site, host: str, block: str) -> int:
    """Run the commands of a block on a host, in the folder with the packages; how many they were."""
    for command in commands(block):
        done = site.machines[host].run(["sh", "-c", f"cd {FOLDER} && {command}"], check=False)
        well = (0, 1) if command in MAY_FIND_FAULT else (0,)
        assert done.returncode in well, f"{host}: {command}: exit {done.returncode}: {done.stderr}{done.stdout}"
        print(f"  {host}: {command}")
    return len(commands(block))


@contextmanager
def packages(site: Site) -> Iterator[None]:
    """The packages lie on each host; all of ours is gone again afterwards, whatever happened."""
    for machine in site.machines.values():
        machine.run(["rm", "-rf", FOLDER, "/etc/carbon-acct", "/var/lib/carbon-aggregator"])
        for deb in site.packages.glob("*.deb"):
            machine.install(deb, f"{FOLDER}/{deb.name}")
    try:
        yield
    finally:
        site.head.run(["sacctmgr", "-i", "delete", "user", "carbon-acct"], check=False)
        purge = "dpkg -P carbon-acct-node carbon-acct-server carbon-acct-client 2>/dev/null || true"
        for machine in site.machines.values():
            machine.run(["sh", "-c", purge])


def hand_over(site: Site, node: str) -> None:
    """Put the head's configuration into a node's folder, as an administrator copies it."""
    target = site.machines[node].path(f"{FOLDER}/carbon-acct.conf")
    shutil.copy(site.head.path("etc/carbon-acct/carbon-acct.conf"), target)


def status(site: Site) -> str:
    """What carbon-mgr status says; it fails where anything is not conserved."""
    return site.head.run(["carbon-mgr", "status"]).stdout


def test_a_pilot_of_one_node(site: Site) -> None:
    """At most ten commands, one file and two answers; the node is accounted, and the other one is as it was."""
    site.start_slurm("", {})
    before = site.picture()
    head, node, after = blocks("docs/rollout.md", "A pilot of one node")
    with packages(site):
        count = follow(site, "head", head)
        hand_over(site, "n1")
        count += follow(site, "n1", node) + follow(site, "head", after)
        site.machines["n1"].run(["systemctl", "restart", "carbon-collector"])  # it tells of what it has so far
        found = eventually(lambda: "nodes: 1" in status(site) and status(site), "n1 has delivered", 90)
        print(f"\n  a pilot: {count} commands, 1 file copied, 2 answers (zone, PUE), no line of slurm.conf")

        assert count <= MOST_COMMANDS
        assert "difference" in found
        assert site.states() == {"idle"}
        assert site.picture()["n2"] == before["n2"]
        conf = site.head.path("etc/slurm/slurm.conf").read_text()
    assert conf == site.machines["n2"].path("etc/slurm/slurm.conf").read_text()
    assert "carbon" not in conf


def test_readme_from_top_to_bottom(site: Site) -> None:
    """Followed to the letter, README's installation accounts jobs, and no job and no node is harmed by it, nor by the removal."""
    conf = site.start_slurm("", {})
    head, node, lines = blocks("README.md", "Install it on a cluster")
    began = time.monotonic()
    with packages(site), Jobs(site) as jobs:
        follow(site, "head", head)
        for name in NODES:
            hand_over(site, name)
            follow(site, name, node)
        for machine in site.machines.values():
            machine.write("etc/slurm/slurm.conf", conf + lines)
        site.head.run(["scontrol", "reconfigure"])
        known = set(jobs.nodes_of)
        print(f"\n  README: installed in {time.monotonic() - began:.0f} s")
        eventually(lambda: accounted(site) - known, "jobs are accounted", 120)
        doctor = site.head.run(["carbon-mgr", "doctor"], check=False).stdout
        for machine in site.machines.values():
            machine.write("etc/slurm/slurm.conf", conf)
        site.head.run(["scontrol", "reconfigure"])
        time.sleep(2)  # what began before is ending
        for name in NODES:
            site.machines[name].run(["dpkg", "-r", "carbon-acct-node"])

    assert [line for line in doctor.splitlines() if line.startswith("fix")] == []
    assert jobs.harm == set()
    assert jobs.states() == {"COMPLETED"}
    assert site.states() == {"idle"}


def accounted(site: Site) -> set[str]:
    """The jobs that users see with an energy; without counters it is estimated, and not in Energy."""
    site.head.run(["carbon-mgr", "sync"], check=False)
    asked = ["carbon-acct", "-a", "-n", "-P", "-S", "now-1days", "-o", "JobID,FacilityEnergyRaw"]
    out = site.head.run(asked, check=False).stdout
    return {line.split("|")[0] for line in out.splitlines() if line.split("|")[1]}


def test_the_page_names_its_count() -> None:
    """The pilot's number of commands in the text is that of its blocks."""
    many = sum(len(commands(block)) for block in blocks("docs/rollout.md", "A pilot of one node"))

    assert many == 9
    assert "Nine commands" in Path(CHECKOUT / "docs/rollout.md").read_text()
