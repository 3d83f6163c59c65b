# SPDX-License-Identifier: MIT
"""A real slurmdbd on a MariaDB of its own, with the same synthetic jobs put straight into its tables, for sacct to ask."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from scale.history import ACCOUNTS, DAY_S, NODES, USERS, Year
from scale.nodes import CLUSTER, PARTITION
from scale.servers import database, munged

CONF = """
ClusterName={cluster}
SlurmctldHost=localhost
SlurmctldPort={unused}
AuthType=auth/munge
AuthInfo=socket={munge}
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={munge}
SlurmUser=root
NodeName=n[0-{last}] CPUs=64
PartitionName={partition} Nodes=ALL Default=YES
"""
DBD = """
AuthType=auth/munge
AuthInfo=socket={munge}
DbdHost=localhost
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage_port}
StorageUser=root
StorageLoc={storage}
"""
START_S = 60
ASKED_UID, KNOWN_UID = 1007, 1
"""sacct asks only for users that the host knows: the one that is asked for is `daemon` here."""


@contextmanager
def running(parent: Path, year: Year) -> Iterator[Mapping[str, str]]:
    """The environment in which sacct asks it; all is stopped and removed in the end."""
    program = shutil.which("slurmdbd", path="/usr/sbin:/usr/bin")
    if program is None:
        raise SystemExit("slurmdbd is not installed (Debian's package slurmdbd)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="carbon-slurm-", dir=parent)))
        url = make_url(stack.enter_context(database("mariadb", parent)))
        munge = stack.enter_context(munged())
        env = _configure(folder, munge, url.port or 0, str(url.database))
        process = subprocess.Popen([program, "-D"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _until_answers(env, folder, process)
            _fill(url.render_as_string(hide_password=False), year)
            yield env
        finally:
            process.terminate()
            process.wait(60)


def _configure(folder: Path, munge: str, storage_port: int, storage: str) -> dict[str, str]:
    port, unused = _free_port(), _free_port()
    words = {"cluster": CLUSTER, "munge": munge, "port": port, "unused": unused, "folder": folder, "last": NODES - 1}
    words |= {"partition": PARTITION, "storage_port": storage_port, "storage": storage}
    (folder / "slurm.conf").write_text(CONF.format(**words))
    dbd = folder / "slurmdbd.conf"
    dbd.touch(0o600)
    dbd.write_text(DBD.format(**words))
    return {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "TZ": "UTC"}


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def _until_answers(env: Mapping[str, str], folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    command = ["sacctmgr", "-i", "add", "cluster", CLUSTER]
    while (done := subprocess.run(command, env=env, capture_output=True, text=True, check=False)).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            log = folder / "slurmdbd.log"
            raise SystemExit(
                f"slurmdbd does not answer: {done.stdout}{done.stderr}{log.read_text()[-2000:] if log.exists() else ''}"
            )
        time.sleep(0.3)


def _fill(url: str, year: Year) -> None:
    """The jobs of scale.history, by the same formulas, as Slurm 22.05 and later keep them."""
    start = f"{year.start} + seq * {year.days * DAY_S - 2 * 3600} DIV {year.jobs}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("SET SESSION sql_mode = ''"))  # the columns of other releases have their own defaults
        connection.execute(text(_jobs(start, year)))
    engine.dispose()


def _jobs(start: str, year: Year) -> str:
    return f"""
        INSERT INTO {CLUSTER}_job_table (account, cpus_req, exit_code, job_name, id_assoc, id_job, id_user, id_group,
            nodelist, nodes_alloc, `partition`, state, time_submit, time_eligible, time_start, time_end, tres_alloc,
            tres_req, priority, timelimit, work_dir, id_qos, id_resv, id_wckey, job_db_inx,
            het_job_id, het_job_offset, array_task_pending, derived_ec, flags, mod_time)
        SELECT concat('a', u MOD {ACCOUNTS}), 1, 0, concat('train-', seq MOD 1000), 1 + u, seq, IF(1000 + u = {ASKED_UID}, {KNOWN_UID}, 1000 + u), 100,
            concat('n', seq MOD {NODES}), 1, '{PARTITION}', 3, start, start, start, start + 30 + seq * 104729 MOD 7000,
            '1=1,2=4096,4=1,5=1', '1=1,2=4096,4=1,5=1', 1, 120, '/', 1, 0, 0, seq,
            0, 0xfffffffe, 0, 0, 0, start
        FROM (SELECT seq, seq * 7919 MOD {USERS} AS u, {start} AS start FROM seq_1_to_{year.jobs}) AS j"""
