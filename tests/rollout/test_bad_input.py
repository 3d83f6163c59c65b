# SPDX-License-Identifier: MIT
"""Bad input: one clear message each, before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .site import Site

pytestmark = [pytest.mark.site, pytest.mark.root, pytest.mark.timeout(900)]

ZONE = '{"carbon_acct_config": {"site": {"zone": "%s"}}}'
DATABASE = '{"carbon_acct_config": {"site": {"zone": "DE"}, "aggregator": {"database": "%s"}}}'
NOWHERE = "mysql+pymysql://carbon@10.77.0.12:3306/carbon"
WRONG = "mysql+pymysql://slurm:wrong@localhost/slurm_acct_db"
CASES = {
    "a node that Slurm has and the inventory has not": (
        {"nodes": "n1: "},
        "Slurm has nodes that carbon_acct_nodes has not: n2",
    ),
    "no nodes": ({"nodes": ""}, "The inventory is not whole"),
    "no packages": ({"packages": Path("/nowhere")}, "carbon_acct_packages (/nowhere) has 0 files carbon-acct-"),
    "an unknown zone": ({"more": ZONE % "XX-NOWHERE"}, "XX-NOWHERE"),
    "a database that does not answer": ({"more": DATABASE % NOWHERE}, "[aggregator] database: mysql"),
    "a database whose password is wrong": ({"more": DATABASE % WRONG}, "Access denied"),
    "a database without its driver": ({"more": DATABASE % "oracle+cx_oracle://h/c"}, "oracle"),
    "an option that is none": ({"more": '{"carbon_acct_collector": "sometimes"}'}, "must be one of: service, hooks"),
}


@pytest.fixture(scope="module")
def quiet(site: Site) -> Site:
    """The site without a prolog and without us."""
    site.start_slurm("", {})
    return site


@pytest.mark.parametrize("name", CASES)
def test_it_stops_before_anything_is_changed(quiet: Site, name: str) -> None:
    """The run fails with a message that names what is wrong, and no host is changed."""
    facts, says = CASES[name]
    before = quiet.picture()
    more = facts.get("more", "{}")
    options = {key: value for key, value in facts.items() if key != "more"}
    run = quiet.playbook("-e", json.dumps(json.loads(str(more))), **options)  # type: ignore[arg-type]

    assert run.code != 0
    assert says in run.text, run.text[-3000:]
    assert run.changed() == []
    assert quiet.picture() == before


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("Prolog=/opt/a.sh,/opt/b.sh\n", "'/opt/a.sh,/opt/b.sh' is no script and no glob"),
        ("Prolog=/opt/site/prolog.sh\n", "/opt/site/prolog.sh: slurm.conf names it as Prolog, and here it is missing"),
    ],
)
def test_a_prolog_that_is_not_understood(site: Site, lines: str, says: str) -> None:
    """A Prolog line that Slurm itself would drain the nodes for stops the run before anything is changed."""
    site.start_slurm("", {})
    for machine in site.machines.values():
        machine.run(["rm", "-rf", "/opt/site"])
        text = machine.path("etc/slurm/slurm.conf").read_text()
        machine.write("etc/slurm/slurm.conf", text + lines)
    before = site.picture()
    run = site.playbook()

    assert run.code != 0
    assert says in run.text, run.text[-3000:]
    assert site.picture() == before


def test_scripts_that_slurm_does_not_run_today(site: Site) -> None:
    """A script in prolog.d that our glob would switch on stops the run."""
    scripts = {"/opt/site/prolog.sh": "#!/bin/sh\nexit 0\n", "/etc/slurm/prolog.d/forgotten.sh": "#!/bin/sh\nexit 1\n"}
    site.start_slurm("Prolog=/opt/site/prolog.sh\n", scripts)
    run = site.playbook()
    for node in ("n1", "n2"):
        site.machines[node].run(["rm", "/etc/slurm/prolog.d/forgotten.sh"])

    assert run.code != 0
    assert "/etc/slurm/prolog.d/forgotten.sh: slurmd does not run them today" in run.text
    assert run.changed() == []


def test_hosts_that_cannot_be_used(site: Site) -> None:
    """No sudo, and a Python that is too old or missing: each is said of its host, and nothing is changed."""
    site.start_slurm("", {})
    node = site.machines["n1"]
    node.run(["useradd", "--create-home", "deploy"])
    node.run(["install", "-d", "-o", "deploy", "-m", "700", "/home/deploy/.ssh"])
    node.run(
        ["install", "-o", "deploy", "-m", "600", "/root/.ssh/authorized_keys", "/home/deploy/.ssh/authorized_keys"]
    )
    node.run(["rm", "-f", "/run/nologin"])  # the machine never gets as far as to let users in
    before = site.picture()
    run = site.playbook("--limit", "all", ansible_user="deploy")
    assert run.code != 0
    assert "n1 cannot be used as root" in run.text, run.text[-3000:]

    python = node.path("usr/bin/python3")
    target = python.readlink()
    python.unlink()
    node.write("usr/bin/python3", "#!/bin/sh\necho 3.6\n", 0o755)
    try:
        run = site.playbook()
    finally:
        python.unlink()
        python.symlink_to(target)
    assert run.code != 0
    assert "n1: /usr/bin/python3 is 3.6, and carbon-acct needs 3.9 or newer" in run.text, run.text[-3000:]

    python.unlink()
    try:
        run = site.playbook()
    finally:
        python.symlink_to(target)
    assert run.code != 0
    assert "n1: there is no /usr/bin/python3" in run.text, run.text[-3000:]
    assert site.picture() == before


def test_a_newer_release_is_installed(site: Site, older: Path, newer: Path) -> None:
    """Older packages than those of a host stop the run: a database does not go back."""
    site.start_slurm("", {})
    node, deb = site.machines["n1"], next(newer.glob("carbon-acct-node_*.deb"))
    node.install(deb, f"root/{deb.name}")
    node.run(["dpkg", "-i", f"/root/{deb.name}"])
    before = site.picture()
    run = site.playbook(packages=older)
    after = site.picture()
    node.run(["dpkg", "-P", "carbon-acct-node"])

    assert run.code != 0
    assert "carbon-acct-node_0.0.9-1_all.deb is older" in " ".join(run.text.split()), run.text[-3000:]
    assert run.changed() == []
    assert after == before


def test_a_host_that_is_not_there(site: Site) -> None:
    """A node that does not answer stops the run on all: slurm.conf would speak for it too."""
    site.start_slurm("", {})
    site.machines["n2"].run(["systemctl", "stop", "ssh"])
    for kept in (site.folder / "cp").iterdir():  # Ansible's connections of before
        kept.unlink()
    before = site.picture()
    run = site.playbook()
    site.machines["n2"].run(["systemctl", "start", "ssh"])

    assert run.code != 0
    assert "n2" in " ".join(run.failures()) + run.text.partition("PLAY RECAP")[0]
    assert run.changed() == []
    assert site.picture() == before
