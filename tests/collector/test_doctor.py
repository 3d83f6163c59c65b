# SPDX-License-Identifier: MIT
"""`carbon-collector probe`: where each job's figures are read from; and with --doctor what would make one unknown."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from carbon_collector import node_doctor, settings, slurm_node
from carbon_collector.cgroups import Cgroups
from carbon_collector.node_doctor import Finding
from carbon_collector.topology import Topology

from .node import FileNode
from .process import Aggregator, Host, stopping

TOPOLOGY = Topology({0: 0, 1: 0})


def probe(host: Host, *args: str) -> subprocess.CompletedProcess[str]:
    """Run it on a host."""
    line = [*host.program, "probe", "--config", str(host.configure()), *args]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}, timeout=60)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_each_job_shows_where_its_figures_come_from(tmp_path: Path, aggregator: Aggregator, version: str) -> None:
    """CPU time, memory and cpuset by their files, or why not; a job without a step, and one without a ticket, as well."""
    node = FileNode(tmp_path / "node", cgroup=version)
    with stopping(Host(tmp_path, node, aggregator)) as host:
        host.start()
        host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
        host.ticket("prolog", 2)
        node.start_job("1")
        node.start_job("3")
        host.tick()
        done, page = probe(host, "--json"), probe(host).stdout
    jobs = {job["job"]: job for job in json.loads(done.stdout)["jobs"]}

    assert set(jobs) == {"1", "2", "3"}
    for kind in ("cpu", "memory"):
        assert Path(jobs["1"][kind]).exists()
        assert "no step" in jobs["2"][kind]
        assert f"{kind}:{jobs['1'][kind]}" in "".join(page.split())  # long paths are broken to fit the page
    assert jobs["1"]["cpu"].endswith("cpuacct.usage_percpu" if version == "v1" else "cpu.stat")
    assert jobs["1"]["gpus"] == {"0": 1000}
    assert [jobs[job]["ticket"] for job in "123"] == [True, True, False]
    assert "3, without a ticket" in page


def test_it_knows_the_name_that_the_collector_has_learned(host: Host) -> None:
    """By hand nobody gives --node."""
    host.start()
    host.ticket("prolog", 1, SLURMD_NODENAME="compute-07")

    assert json.loads(probe(host, "--json").stdout)["node"] == "compute-07"


def test_the_doctor_of_a_node_made_of_files(host: Host) -> None:
    """Meters, folders and MUNGE are well; what is not has a line to change; it exits 1, and --json says the same."""
    host.start()
    done = probe(host, "--doctor")
    findings = json.loads(probe(host, "--doctor", "--json").stdout)["findings"]

    assert "ok   meters: cpu from powercap" in done.stdout
    assert "ok   munge: makes credentials" in done.stdout
    assert f"ok   folders: {host.state_dir}" in done.stdout
    assert "BAD  aggregator: " in done.stdout  # the tests' own has no /healthz
    assert "-> [collector] aggregators = " in done.stdout
    assert done.returncode == 1
    assert {one["subject"] for one in findings} >= {"meters", "folders", "munge", "aggregator", "cgroups"}


CONFIG = """\
Configuration data as of 2026-11-29T15:42:17
AccountingStorageBackupHost = (null)
ClusterName             = tiny
Epilog[0]               = /etc/slurm/epilog.d/a.sh
Epilog[1]               = /etc/slurm/epilog.d/b.sh
JobAcctGatherType       = jobacct_gather/linux
ProctrackType           = proctrack/cgroup
Prolog                  = (null)
PrologFlags             = Serial
SLURM_VERSION           = 22.05.8
"""


def test_slurm_conf_is_read_as_scontrol_prints_it() -> None:
    """Numbered keys are one; what is not set is absent."""
    config = node_doctor.parse_config(CONFIG)

    assert config["Epilog"] == "/etc/slurm/epilog.d/a.sh,/etc/slurm/epilog.d/b.sh"
    assert "Prolog" not in config


def bad(findings: list[Finding]) -> list[str]:
    """The lines to change."""
    return [one.change for one in findings if not one.well]


def test_what_slurm_conf_lacks() -> None:
    """Each with its line; where all is well, none."""
    assert bad(node_doctor.slurm(node_doctor.parse_config(CONFIG))) == ["slurm.conf: PrologFlags=Alloc"]
    for flags in ("Alloc", "Contain", "Alloc,Serial", "RunInJob"):
        assert bad(node_doctor.slurm({"ClusterName": "x", "PrologFlags": flags})) == []
    assert len(bad(node_doctor.slurm({}))) == 1


def test_which_cluster_it_is() -> None:
    """A node where neither the settings nor Slurm say it sends nothing, and is told which line to write; so is a wrong one."""
    (nobody,) = node_doctor.slurm({})
    assert "nothing is sent" in nobody.text
    assert "[site] cluster = NAME" in nobody.change
    (silent,) = node_doctor.slurm({}, "hpc")
    assert "scontrol show config does not answer" in silent.text
    config = {"ClusterName": "hpc", "PrologFlags": "Alloc"}
    assert bad(node_doctor.slurm(config, "hpc")) == []
    assert bad(node_doctor.slurm(config, "HPC")) == ["[site] cluster = hpc, or no such line"]


def test_hooks_that_drain_a_node_are_named(tmp_path: Path) -> None:
    """A file that a glob matches and that is not executable, one that is missing, and none of ours."""
    folder = tmp_path / "prolog.d"
    folder.mkdir()
    ours, readme = folder / "carbon-acct.sh", folder / "README.sh"
    ours.write_text("#!/bin/sh\n")
    ours.chmod(0o755)
    config = {"Prolog": f"{folder}/*.sh", "Epilog": str(ours)}
    assert bad(node_doctor.hooks(config)) == []
    readme.write_text("read me")
    readme.chmod(0o644)

    assert bad(node_doctor.hooks(config)) == [f"chmod 755 {readme}, or take it out of Prolog="]
    assert bad(node_doctor.hooks({**config, "Prolog": "/no/such.sh"}))[0].startswith("chmod 755 /no/such.sh")
    assert bad(node_doctor.hooks({"Epilog": str(ours)})) == ["slurm.conf: Prolog=/etc/slurm/prolog.d/*.sh"]


def test_version_1_without_cpu_accounting(tmp_path: Path) -> None:
    """jobacct_gather/linux makes no cpuacct cgroups; a kernel without the memory controller shows no memory."""
    (tmp_path / "cpuacct/slurm/uid_1/job_1").mkdir(parents=True)
    changes = bad(
        node_doctor.cgroup_files(Cgroups(str(tmp_path), "n1", TOPOLOGY), [], node_doctor.parse_config(CONFIG))
    )

    assert changes == [
        "slurm.conf: JobAcctGatherType=jobacct_gather/cgroup",
        "kernel command line: cgroup_enable=memory",
    ]


def test_version_2_without_the_memory_controller(tmp_path: Path) -> None:
    """Slurm does not ask for it, or the kernel does not have it."""
    scope = tmp_path / "system.slice/slurmstepd.scope"
    scope.mkdir(parents=True)
    cgroups = Cgroups(str(tmp_path), "n1", TOPOLOGY)
    (tmp_path / "cgroup.controllers").write_text("cpu io\n")
    assert bad(node_doctor.cgroup_files(cgroups, [], {})) == ["kernel command line: cgroup_enable=memory"]
    (tmp_path / "cgroup.controllers").write_text("cpu io memory\n")
    (scope / "cgroup.subtree_control").write_text("cpu\n")
    assert bad(node_doctor.cgroup_files(cgroups, [], {})) == ["cgroup.conf: ConstrainRAMSpace=yes"]
    (scope / "cgroup.subtree_control").write_text("cpu memory\n")

    assert bad(node_doctor.cgroup_files(cgroups, [], {})) == []


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    """Where another ProctrackType is set there never will be any; else there may be later."""
    cgroups = Cgroups(str(tmp_path), "n1", TOPOLOGY)

    assert bad(node_doctor.cgroup_files(cgroups, [], {"ProctrackType": "proctrack/linuxproc"})) == [
        "slurm.conf: ProctrackType=proctrack/cgroup"
    ]
    assert bad(node_doctor.cgroup_files(cgroups, [], {"ProctrackType": "proctrack/cgroup"})) == []


def test_a_component_that_nothing_meters() -> None:
    """The reason that the probe has, and a line to change."""
    source: dict[str, Any] = {
        "component": "cpu",
        "source": "powercap",
        "used": False,
        "why": "energy_uj: Permission denied",
    }
    dram = {"component": "dram", "source": "model", "used": True, "why": ""}
    domain = {"name": "dram-0", "energy_uj": None}
    findings = node_doctor.meters({"sources": [source, dram], "domains": [domain]})

    assert [(one.well, one.text) for one in findings] == [
        (False, "cpu is unknown: energy_uj: Permission denied"),
        (True, "dram from model, an estimate"),
        (False, "dram-0 is there and cannot be read"),
    ]
    assert "CVE-2020-8694" in findings[0].change


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in a folder's place; one that will be made is well."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "conf"
    path.write_text(f"[collector]\nrun_dir = {tmp_path}/new\nstate_dir = {tmp_path}/file/x\nspool_dir = {tmp_path}\n")
    findings = node_doctor.folders(settings.load(str(path), "n1"))

    assert [one.well for one in findings] == [True, False, True]


def test_an_aggregator_that_answers(tmp_path: Path) -> None:
    """Nobody listens, and none is named."""
    assert not node_doctor.aggregator(["http://127.0.0.1:1"]).well
    assert node_doctor.aggregator([]).text == "none is named"


def test_a_scontrol_that_hangs_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is no configuration."""
    monkeypatch.setattr(slurm_node, "PLACES", (str(tmp_path),))
    assert node_doctor.slurm_config() == {}
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(node_doctor, "TIMEOUT_S", 0.2)
    assert node_doctor.slurm_config() == {}
    program.write_text(f"#!/bin/sh\ncat <<E\n{CONFIG}E\n")
    os.utime(program)
    monkeypatch.setattr(node_doctor, "TIMEOUT_S", 20.0)

    assert node_doctor.slurm_config()["ClusterName"] == "tiny"


def test_several_slurmd_on_one_host(tmp_path: Path, aggregator: Aggregator) -> None:
    """Who runs two nodes on a host (--enable-multiple-slurmd: ceems-dev/ceems #284, PrincetonUniversity/jobstats #61) is told
    by name what is unknown; the collector that has the meters is told nothing, and neither is who runs one slurmd.
    """
    node = FileNode(tmp_path / "node", name="h1a", cgroup="v2")
    other = tmp_path / "b"
    other.mkdir()
    with stopping(Host(tmp_path, node, aggregator)) as host:
        host.start()
        assert host.process is not None
        own = settings.load(str(host.configure()), "h1a")
        theirs = settings.load(str(Host(other, node, aggregator).configure()), "h1b")

        assert node_doctor.several_slurmd("h1a\n", own) == []
        [name] = node_doctor.several_slurmd("h1a h1b\n", own)
        [taken] = node_doctor.several_slurmd("", theirs)
        assert (name.well, taken.well) == (False, False)
        assert "h1a, h1b" in name.text
        assert f"(process {host.process.pid})" in taken.text
        assert "SEVERAL SLURMD" in name.change == taken.change
