# SPDX-License-Identifier: MIT
"""Makes a machine an accounting host and a compute node, as an administrator would by README.md."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from simulator import hardware
from slurm.conf import PROGRAMS, RUN_MODULE, is_fresh
from slurm.layout import CHECKOUT, PREFIX

from .machine import Machine

HERE = Path(__file__).parent
SIMULATED = CHECKOUT / "tests/vm/root/etc/systemd/system/carbon-collector.service.d/simulated.conf"
SQL = """
create user slurm@localhost identified via unix_socket;
create database slurm_acct_db; grant all on slurm_acct_db.* to slurm@localhost;
create user `carbon-acct`@localhost identified via unix_socket;
create database carbon; grant all on carbon.* to `carbon-acct`@localhost;
"""


def prepare(machine: Machine) -> None:
    """Files, users, and Slurm's services; nothing of the product is started."""
    for source in (HERE / "root").rglob("*"):
        if source.is_file():
            machine.install(source, str(source.relative_to(HERE / "root")))
    _product(machine)
    _munge(machine)
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "start", "munge"])
    _database_server(machine)
    _slurm(machine)


def _product(machine: Machine) -> None:
    machine.run(["useradd", "--system", "--home-dir", "/", "--shell", "/usr/sbin/nologin", "carbon-acct"])
    for name, module in PROGRAMS.items():
        machine.write(f"usr/sbin/{name}", RUN_MODULE.format(prefix=PREFIX, name=name, module=module), 0o755)
    built = CHECKOUT / "dist/carbon-collector"
    if is_fresh(built):
        machine.install(built, "usr/sbin/carbon-collector", 0o755)
    else:
        text = RUN_MODULE.format(prefix=PREFIX, name="carbon-collector", module="carbon_collector.cli")
        machine.write("usr/sbin/carbon-collector", text, 0o755)
    for unit in ("accounting/carbon-aggregator.service", "collector/carbon-collector.service"):
        machine.install(CHECKOUT / unit, f"etc/systemd/system/{Path(unit).name}")
    for kind in ("prolog", "epilog"):
        machine.install(CHECKOUT / kind / "carbon-acct.sh", f"etc/slurm/{kind}.d/carbon-acct.sh", 0o755)
    machine.install(SIMULATED, "etc/systemd/system/carbon-collector.service.d/simulated.conf")
    hardware.save(machine.path("etc/simulator.json"), hardware.default_nodes()[:1])


def _munge(machine: Machine) -> None:
    """A key of its own; what this host may have is not read."""
    machine.path("etc/munge/munge.key").unlink(missing_ok=True)
    machine.path("etc/munge/munge.key").write_bytes(secrets.token_bytes(1024))
    machine.run(["chown", "munge:munge", "/etc/munge/munge.key"])
    machine.run(["chmod", "400", "/etc/munge/munge.key"])


def _database_server(machine: Machine) -> None:
    """MariaDB by Debian's own unit, with empty databases of slurmdbd and of the product."""
    shutil.rmtree(machine.path("var/lib/mysql"), ignore_errors=True)
    machine.run(["mariadb-install-db", "--user=mysql", "--skip-test-db", "--auth-root-authentication-method=socket"])
    machine.run(["systemctl", "start", "mariadb"])
    machine.run(["mariadb", "-e", SQL])


def _slurm(machine: Machine) -> None:
    machine.run(["chown", "slurm:slurm", "/etc/slurm/slurmdbd.conf"])
    machine.run(["chmod", "600", "/etc/slurm/slurmdbd.conf"])
    machine.run(["install", "-d", "-o", "slurm", "-g", "slurm", "/var/lib/slurm/slurmctld"])
    machine.run(["systemctl", "start", "slurmdbd"])
    answers = "until sacctmgr -n show cluster >/dev/null 2>&1; do sleep 0.1; done"
    machine.run(["timeout", "20", "sh", "-c", answers])
    machine.run(["sacctmgr", "-i", "add", "cluster", "units"])
    user = ["add", "user", "carbon-acct", "account=root", "adminlevel=operator"]
    machine.run(["sacctmgr", "-i", *user])
    machine.run(["systemctl", "start", "slurmctld"])
