# SPDX-License-Identifier: MIT
"""Configuration files of the cluster. Wherever a program has a default that works, the default is used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from simulator.hardware import Node

from .layout import (
    AGGREGATOR_UID,
    AGGREGATOR_USER,
    CHECKOUT,
    HEAD_ADDRESS,
    PREFIX,
    USERS,
    Layout,
    node_address,
)

SLURM = """\
ClusterName={cluster}
SlurmctldHost=head({head})
SlurmUser=root
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd-%n.log
SlurmdDebug=verbose
# What the product needs: a prolog at allocation, and CPU time by job in cgroups.
PrologFlags=Alloc
Prolog=/etc/slurm/prolog.d/*.sh
Epilog=/etc/slurm/epilog.d/*.sh
ProctrackType=proctrack/cgroup
JobAcctGatherType=jobacct_gather/cgroup
JobAcctGatherFrequency=task=10
TaskPlugin=task/none
# Shared nodes, with more CPUs than this machine has. Nothing is preempted until a test makes a partition of another tier.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
DefMemPerCPU={mem_per_cpu}
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=head
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations
# Quick, since somebody waits. A job that is requeued waits until the credential of its first run is over.
AuthInfo=cred_expire=30
SchedulerParameters=sched_min_interval=200000,bf_interval=2,requeue_delay=1
KillWait=3
CompleteWait=0
BatchStartTimeout=2
EpilogMsgTime=0
SlurmdTimeout=60
MinJobAge=600
ReturnToService=2
{nodes}
PartitionName=batch Nodes=ALL Default=YES MaxTime=1-0 State=UP
"""
NODE = (
    "NodeName={name} NodeAddr={address} NodeHostname={name} Port={port} CPUs={cpus} Sockets=2 "
    "CoresPerSocket={cores} ThreadsPerCore={threads} RealMemory={memory}{gres} State=UNKNOWN"
)
# ConstrainCores is off: the CPUs that the nodes claim are not all there.
CGROUP = "CgroupPlugin={plugin}\nConstrainCores=no\nConstrainRAMSpace=no\nConstrainDevices=no\n"
SLURMDBD = """\
DbdHost=head
SlurmUser=root
AuthType=auth/munge
PidFile=/run/slurmdbd.pid
LogFile=/var/log/slurm/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""
CARBON = """\
[site]
name = Demonstration
zone = DE
pue = 1.3

[collector]
# A user of the cluster's own, with an id that no account of the system has.
aggregator_user = carbon-acct

[slurm]
poll = 5 s
"""
# The time of a script is the file's, to the kernel's tick; no program is started for it. The process id makes
# the name unique: slurmctld has counted a requeue already when it sends the epilog of the run before it.
WITNESS = """\
#!/bin/sh
# Notes when this job's {kind} ran on this node: {when} that of the product.
: >"{folder}/$SLURM_JOB_ID.$SLURMD_NODENAME.{kind}-{when}.$$" 2>/dev/null
exit 0
"""
# slurmd runs the scripts in reverse order of their names.
WITNESSES = {"witness.sh": "before", "0-witness.sh": "after"}
PROGRAMS = {
    "carbon-aggregator": "carbon_acct.cli.aggregator",
    "carbon-acct": "carbon_acct.cli.acct",
    "carbon-mgr": "carbon_acct.cli.mgr",
    "carbon-report": "carbon_reports.cli",
    "carbon-track": "carbon_job.cli",
}
RUN_MODULE = """\
#!/bin/sh
PYTHONPATH={prefix}/src/collector:{prefix}/src/job:{prefix}/src/accounting:{prefix}/src/reports PYTHONDONTWRITEBYTECODE=1 \\
    exec {prefix}/venv/bin/python3 -c 'import sys
sys.argv[0] = "{name}"
from {module} import main
sys.exit(main())' "$@"
"""


def write_all(layout: Layout, cluster: str, nodes: list[Node], cgroup_version: int) -> None:
    """Write every file below the cluster's folder."""
    slurm = layout.etc / "slurm"
    slurm.mkdir(parents=True)
    _write(slurm / "slurm.conf", _slurm(cluster, nodes))
    _write(slurm / "gres.conf", "".join(_gres(node) for node in nodes))
    plugin = f"cgroup/v{cgroup_version}"
    _write(slurm / "cgroup.conf", CGROUP.format(plugin=plugin) + ("IgnoreSystemd=yes\n" if cgroup_version == 2 else ""))
    _write(slurm / "slurmdbd.conf", SLURMDBD, 0o600)
    for kind in ("prolog", "epilog"):
        _scripts(layout, kind)
    _accounts(layout)
    _hosts(layout, [node.name for node in nodes])
    (layout.etc / "carbon-acct").mkdir()
    _write(layout.etc / "carbon-acct" / "carbon-acct.conf", CARBON)
    (layout.folder / "bin").mkdir()
    for name, module in PROGRAMS.items():
        _write(layout.folder / "bin" / name, RUN_MODULE.format(prefix=PREFIX, name=name, module=module), 0o755)
    for node in nodes:
        collector(layout, node.name)


def collector(layout: Layout, node: str) -> None:
    """Install the collector on a node: the zipapp, or this checkout's package where the zipapp is older or not built."""
    for name in ("run", "spool", "state", "slurmd", "bin"):
        (layout.node(node) / name).mkdir(parents=True, exist_ok=True)
    program = layout.node(node) / "bin" / "carbon-collector"
    built = CHECKOUT / "dist" / "carbon-collector"
    if is_fresh(built):
        shutil.copy(built, program)
        program.chmod(0o755)
    else:
        text = RUN_MODULE.format(prefix=PREFIX, name="carbon-collector", module="carbon_collector.cli")
        _write(program, text, 0o755)


def is_fresh(built: Path) -> bool:
    """Whether the zipapp is as new as its sources."""
    sources = (CHECKOUT / "collector").rglob("*.py")
    return built.exists() and built.stat().st_mtime >= max(source.stat().st_mtime for source in sources)


def _slurm(cluster: str, nodes: list[Node]) -> str:
    lines = [_node(number, node) for number, node in enumerate(nodes)]
    mem_per_cpu = min(node.memory_mib // node.cpus for node in nodes)
    return SLURM.format(cluster=cluster, head=HEAD_ADDRESS, mem_per_cpu=mem_per_cpu, nodes="\n".join(lines))


def _node(number: int, node: Node) -> str:
    gres = f" Gres=gpu:{len(node.gpus)}" if node.gpus else ""
    return NODE.format(
        name=node.name,
        address=node_address(node.name),
        port=6820 + number,
        cpus=node.cpus // node.threads,
        cores=node.cpus // node.threads // 2,
        threads=node.threads,
        memory=node.memory_mib,
        gres=gres,
    )


def _gres(node: Node) -> str:
    return f"NodeName={node.name} Name=gpu File=/dev/nvidia[0-{len(node.gpus) - 1}]\n" if node.gpus else ""


def _scripts(layout: Layout, kind: str) -> None:
    folder = layout.etc / "slurm" / f"{kind}.d"
    folder.mkdir()
    shutil.copy(CHECKOUT / kind / "carbon-acct.sh", folder)
    (folder / "carbon-acct.sh").chmod(0o755)
    for name, when in WITNESSES.items():
        _write(folder / name, WITNESS.format(kind=kind, when=when, folder=layout.witness), 0o755)


def _accounts(layout: Layout) -> None:
    people = [(user, uid, f"/home/{user}", "/bin/bash") for user, uid in USERS.items()]
    people += [(AGGREGATOR_USER, AGGREGATOR_UID, "/var/lib/carbon-aggregator", "/usr/sbin/nologin")]
    passwd = "".join(f"{name}:x:{uid}:{uid}::{home}:{shell}\n" for name, uid, home, shell in people)
    group = "".join(f"{name}:x:{uid}:\n" for name, uid, *_ in people)
    ids = {name: uid for name, uid, *_ in people}
    _write(layout.etc / "passwd", others(Path("/etc/passwd").read_text(), ids) + passwd)
    _write(layout.etc / "group", others(Path("/etc/group").read_text(), ids) + group)
    for user, uid in USERS.items():
        home = layout.folder / "home" / user
        home.mkdir(parents=True)
        os.chown(home, uid, uid)


def others(text: str, ids: dict[str, int]) -> str:
    """The lines of the host's passwd or group that are of none of these names or numbers: the host may have its own
    alice.
    """
    numbers = set(map(str, ids.values()))
    rows = [line for line in text.splitlines() if line.strip()]
    return "".join(
        f"{row}\n" for row in rows if row.split(":")[0] not in ids and row.split(":")[2:3] not in [[n] for n in numbers]
    )


def _hosts(layout: Layout, nodes: list[str]) -> None:
    lines = ["127.0.0.1 localhost", f"{HEAD_ADDRESS} head", *(f"{node_address(node)} {node}" for node in nodes)]
    _write(layout.etc / "hosts", "\n".join(lines) + "\n")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)
