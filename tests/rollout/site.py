# SPDX-License-Identifier: MIT
"""A site: head (slurmctld, slurmdbd, later the accounting host) and two nodes, each a machine, on a network of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from collector.process import eventually
from slurm.layout import CHECKOUT
from units.machine import Machine
from units.machine import missing as machine_missing

HERE = Path(__file__).parent
ADDRESSES = {"head": "10.77.0.1", "n1": "10.77.0.11", "n2": "10.77.0.12"}
NODES = ("n1", "n2")
SQL = """
create user slurm@localhost identified via unix_socket;
create database slurm_acct_db; grant all on slurm_acct_db.* to slurm@localhost;
"""
INVENTORY = """\
all:
  vars:
    ansible_user: root
    ansible_python_interpreter: /usr/bin/python3
    ansible_ssh_private_key_file: {key}
    carbon_acct_packages: {packages}
    carbon_acct_config: {{site: {{zone: DE, pue: 1.3}}, slurm: {{poll: 2 s}}, collector: {{interval: 1 s}}}}
  hosts:
    head: {{ansible_host: 10.77.0.1}}
    n1: {{ansible_host: 10.77.0.11}}
    n2: {{ansible_host: 10.77.0.12}}
  children:
    carbon_acct_server: {{hosts: {{head: }}}}
    carbon_acct_controller: {{hosts: {{head: }}}}
    carbon_acct_clients: {{hosts: {{head: }}}}
    carbon_acct_nodes: {{hosts: {{{nodes}}}}}
"""
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "mariadbd", "sshd", "ssh-keygen", "sudo", "ip", "nsenter")


def missing() -> str:
    """What this host lacks, as one line; empty if nothing."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    lacking = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    return machine_missing() or (f"not installed: {', '.join(lacking)}" if lacking else "")


class Run:
    """What a run of the playbook said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.text = done.stdout + done.stderr

    def changed(self) -> list[str]:
        """The tasks that changed something, as `task: host`."""
        found, task = [], ""
        for line in self.text.splitlines():
            if line.startswith(("TASK [", "RUNNING HANDLER [")):
                task = line.partition("[")[2].partition("]")[0].removeprefix("carbon_acct : ")
            elif line.startswith("changed: ["):
                found.append(f"{task}: {line.partition('[')[2].partition(']')[0]}")
        return found

    def failures(self) -> list[str]:
        """The messages of what failed."""
        lines = self.text.splitlines()
        return [
            line for line in lines if line.startswith("fatal:") or '"msg":' in line or line.strip().startswith("msg:")
        ]


class Site:
    """The machines and what is asked of them. Nothing of them is left when the block has ended, `folder` apart."""

    def __init__(self, folder: Path, packages: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.packages = folder, packages
        self._stack = contextlib.ExitStack()
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> Site:
        try:
            for name in ADDRESSES:
                self.machines[name] = self._stack.enter_context(Machine(self.folder / name, name))
            self._network()
            self._prepare()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def head(self) -> Machine:
        """The accounting host, where slurmctld runs."""
        return self.machines["head"]

    def init(self, name: str) -> str:
        """The process id of a machine's systemd."""
        return (self.folder / name / "init.pid").read_text()

    def _network(self) -> None:
        """A bridge in head's network namespace, with a cable to each node's."""
        inside = ["nsenter", f"--net=/proc/{self.init('head')}/ns/net", "--"]
        run(*inside, "ip", "link", "add", "lan", "type", "bridge")
        run(*inside, "ip", "addr", "add", f"{ADDRESSES['head']}/24", "dev", "lan")
        run(*inside, "ip", "link", "set", "lan", "up")
        for node in NODES:
            run(
                *inside,
                "ip",
                "link",
                "add",
                f"to-{node}",
                "type",
                "veth",
                "peer",
                "name",
                "lan0",
                "netns",
                self.init(node),
            )
            run(*inside, "ip", "link", "set", f"to-{node}", "master", "lan", "up")
            there = ["nsenter", f"--net=/proc/{self.init(node)}/ns/net", "--"]
            run(*there, "ip", "addr", "add", f"{ADDRESSES[node]}/24", "dev", "lan0")
            run(*there, "ip", "link", "set", "lan0", "up")

    def _prepare(self) -> None:
        self.key = self.folder / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        munge = secrets.token_bytes(1024)
        hosts = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in ADDRESSES.items())
        for machine in self.machines.values():
            machine.write("etc/hosts", hosts)
            machine.write("root/.ssh/authorized_keys", self.key.with_suffix(".pub").read_text(), 0o600)
            machine.write("etc/default/ssh", 'SSHD_OPTS="-o PermitRootLogin=prohibit-password"\n')
            machine.path("etc/munge/munge.key").unlink(missing_ok=True)
            machine.path("etc/munge/munge.key").write_bytes(munge)
            machine.run(["chown", "munge:munge", "/etc/munge/munge.key"])
            machine.run(["chmod", "400", "/etc/munge/munge.key"])
            for source in (HERE / "root").rglob("*"):
                if source.is_file():
                    machine.install(source, str(source.relative_to(HERE / "root")))
            machine.write("etc/dpkg/dpkg.cfg.d/unsafe", "force-unsafe-io\n")  # it need not survive a crash
            machine.path("var/lib/man-db/auto-update").unlink(missing_ok=True)  # an index of all man pages at each dpkg
            machine.run(["systemctl", "daemon-reload"])
            machine.run(["systemctl", "start", "munge", "ssh"])
        self._controller()

    def _controller(self) -> None:
        shutil.rmtree(self.head.path("var/lib/mysql"), ignore_errors=True)
        self.head.run(
            ["mariadb-install-db", "--user=mysql", "--skip-test-db", "--auth-root-authentication-method=socket"]
        )
        self.head.run(["systemctl", "start", "mariadb"])
        self.head.run(["mariadb", "-e", SQL])
        self.head.run(["chown", "slurm:slurm", "/etc/slurm/slurmdbd.conf"])
        self.head.run(["chmod", "600", "/etc/slurm/slurmdbd.conf"])
        self.head.run(["install", "-d", "-o", "slurm", "-g", "slurm", "/var/lib/slurm/slurmctld"])
        self.head.run(["install", "-o", "slurm", "-g", "slurm", "/dev/null", "/var/log/slurmctld.log"])
        self.head.run(["systemctl", "start", "slurmdbd"])
        self.head.run(
            ["timeout", "40", "sh", "-c", "until sacctmgr -n show cluster >/dev/null 2>&1; do sleep 0.2; done"]
        )
        self.head.run(["sacctmgr", "-i", "add", "cluster", "rollout"])

    def start_slurm(self, lines: str, scripts: dict[str, str]) -> str:
        """Start Slurm anew with these lines more in slurm.conf, and these scripts on the nodes; what slurm.conf is then."""
        text = (HERE / "root/etc/slurm/slurm.conf").read_text() + lines
        self.head.run(["systemctl", "stop", "slurmctld"], check=False)
        for name, machine in self.machines.items():
            machine.write("etc/slurm/slurm.conf", text)
            if name in NODES:
                machine.run(["systemctl", "stop", "slurmd"], check=False)
                # Of a life before: what a slot had there went into another database, where its difference stays 0.
                for folder in ("lib", "spool"):
                    shutil.rmtree(machine.path(f"var/{folder}/carbon-acct"), ignore_errors=True)
                for path, script in scripts.items():
                    machine.write(path, script, 0o755)
                machine.run(["systemctl", "start", "slurmd"])
        self.head.run(["systemctl", "start", "slurmctld"])
        eventually(lambda: self.states() == {"idle"}, "the nodes are idle", 120)
        return text

    def states(self) -> set[str]:
        """The states of the nodes."""
        done = self.head.run(["sinfo", "--Node", "--noheader", "--format=%T"], check=False)
        return set(done.stdout.split())

    def playbook(self, *options: str, nodes: str = "n1: , n2: ", packages: Path | None = None, **facts: str) -> Run:
        """Run the example's playbook over ssh; `facts` are variables that win."""
        inventory = self.folder / "inventory.yml"
        inventory.write_text(INVENTORY.format(key=self.key, packages=packages or self.packages, nodes=nodes))
        inside = ["nsenter", f"--net=/proc/{self.init('head')}/ns/net", "--"]
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), "site.yml", *options]
        command += [word for name, value in facts.items() for word in ("-e", f"{name}={value}")]
        environment = {
            **os.environ,
            "HOME": str(self.folder),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible/ansible.cfg"),
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "True",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            [*inside, *command],
            cwd=CHECKOUT / "ansible",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=800,
        )
        return Run(done)

    def picture(self) -> dict[str, str]:
        """What of each machine a run may have changed: files of Slurm and ours with their checksums, packages, users, units."""
        look = (
            "find /etc/slurm /etc/carbon-acct /usr/lib/carbon-acct /var/cache/carbon-acct /opt/site -type f 2>/dev/null "
            "-exec sha256sum {} + | sort; ls /etc/slurm/*.d /usr/sbin/carbon* 2>/dev/null; dpkg-query -W | grep carbon; "
            "getent passwd carbon-acct; systemctl list-unit-files 'carbon*' --no-legend; ls /var/lib /tmp | grep carbon"
        )
        return {name: machine.run(["sh", "-c", look], check=False).stdout for name, machine in self.machines.items()}


def run(*command: str) -> str:
    """Run a command of this host; what it printed. Raises CalledProcessError."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
