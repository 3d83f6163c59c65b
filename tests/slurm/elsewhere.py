# SPDX-License-Identifier: MIT
"""A cluster of another Debian's Slurm, in a tree that debootstrap made: enough to hear what its sacct says.

No cgroups, no prolog, no product: only munge, MariaDB, slurmdbd, slurmctld and four slurmd in namespaces of their own.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from .cluster import ACCOUNTS, Cluster
from .layout import AGGREGATOR_UID, AGGREGATOR_USER, NODES, USERS

ADDRESS = "10.99.0.1"
"""On the loopback; newer releases look up no name where there is no address but 127.0.0.1."""

SLURM = f"""\
ClusterName=demo
SlurmctldHost=head({ADDRESS})
SlurmUser=root
StateSaveLocation=/var/lib/slurm/ctld
SlurmdSpoolDir=/var/spool/slurmd-%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/none
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
DefMemPerCPU=512
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=head
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations
SchedulerParameters=sched_min_interval=200000,bf_interval=2,requeue_delay=1
KillWait=3
ReturnToService=2
MpiDefault=none
PartitionName=batch Nodes=ALL Default=YES MaxTime=1-0 State=UP
"""
NODE = "NodeName={name} NodeAddr={address} NodeHostname=head Port={port} CPUs=8 RealMemory=4096 State=UNKNOWN{gres}\n"
SLURMDBD = """\
DbdHost=head
SlurmUser=root
AuthType=auth/munge
PidFile=/run/slurmdbd.pid
LogFile=/var/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""
START = f"""
set -e
mount -t proc proc /proc
rm -rf /var/lib/slurm/ctld /run/mysqld
mkdir -p /run/munge /run/mysqld /var/lib/slurm/ctld /var/log
for gpu in 0 1 2 3; do [ -c /run/gpu$gpu ] || mknod /run/gpu$gpu c 1 3; done
chmod 711 /run/munge /var/lib/munge
chown -R munge: /run/munge /var/lib/munge /var/log/munge /etc/munge
setpriv --reuid=munge --regid=munge --clear-groups munged
rm -rf /var/lib/db && mkdir /var/lib/db
options="--no-defaults --user=root --datadir=/var/lib/db"
mariadb-install-db $options --auth-root-authentication-method=socket >/dev/null
mariadbd $options --socket=/run/mysqld/mysqld.sock --skip-networking --loose-innodb-snapshot-isolation=OFF &
until [ -S /run/mysqld/mysqld.sock ]; do sleep 0.2; done
sleep 1
slurmdbd
until sacctmgr -n list cluster >/dev/null 2>&1; do sleep 0.2; done
sacctmgr -i load file=/etc/slurm/accounts.cfg >/dev/null
slurmctld
for node in {" ".join(NODES)}; do slurmd -N "$node"; done
touch /run/ready
wait
"""


class Elsewhere(Cluster):
    """A cluster in the tree of another Debian; ends with `stop`."""

    def __init__(self, tree: Path) -> None:
        super().__init__(tree / "cluster")
        self._tree = tree
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Bring it up, up to idle nodes."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._configure()
        (self._tree / "run" / "ready").unlink(missing_ok=True)
        script = (
            f"ip link set lo up; ip addr add {ADDRESS}/32 dev lo; hostname head; mount --rbind /dev {self._tree}/dev"
        )
        command = f'{script}; exec chroot {self._tree} sh -c "$0"'
        names = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"]
        with (self._tree / "start.log").open("wb") as log:
            self._process = subprocess.Popen(["unshare", *names, "sh", "-c", command, START], stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while not (self._tree / "run" / "ready").exists():
            assert time.monotonic() < deadline, (self._tree / "start.log").read_text()
            time.sleep(0.2)
        self._init = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0])
        self.until_idle()

    def stop(self) -> None:
        """End every process of it: the first one of its namespace is killed with `unshare`."""
        if self._process:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def entry(self, node: str = "") -> list[str]:  # noqa: ARG002  all nodes are one place here
        """The command line that runs what follows it inside."""
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        own = ["env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "HOME=/root"]
        return ["nsenter", "--target", str(self._init), *spaces, "--", *own]

    def _configure(self) -> None:
        etc = self._tree / "etc"
        (etc / "slurm").mkdir(exist_ok=True)
        nodes = [
            NODE.format(name=name, address=ADDRESS, port=6830 + n, gres=" Gres=gpu:4" if name in ("n3", "n4") else "")
            for n, name in enumerate(NODES)
        ]
        accounts = ACCOUNTS.format(cluster="demo", aggregator=AGGREGATOR_USER)
        files = {
            "slurm.conf": SLURM.replace("PartitionName", "".join(nodes) + "PartitionName"),
            "slurmdbd.conf": SLURMDBD,
            "cgroup.conf": "CgroupPlugin=disabled\n",
            "gres.conf": "NodeName=n[3-4] Name=gpu File=/run/gpu[0-3]\n",
            "accounts.cfg": accounts,
        }
        for name, text in files.items():
            (etc / "slurm" / name).write_text(text)
            (etc / "slurm" / name).chmod(0o600 if name == "slurmdbd.conf" else 0o644)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} head\n")
        key = etc / "munge" / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        people = {**USERS, AGGREGATOR_USER: AGGREGATOR_UID}
        passwd = [line for line in (etc / "passwd").read_text().splitlines() if line.partition(":")[0] not in people]
        (etc / "passwd").write_text(
            "\n".join([*passwd, *(f"{user}:x:{uid}:{uid}::/home/{user}:/bin/bash" for user, uid in people.items())])
            + "\n"
        )
        for user, uid in USERS.items():
            home = self._tree / "home" / user
            home.mkdir(parents=True, exist_ok=True)
            os.chown(home, uid, uid)
