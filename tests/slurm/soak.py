# SPDX-License-Identifier: MIT
"""The soak: jobs of two users on shared nodes while collectors, aggregators and their database are killed at random.

The aggregators are two, and their database is a MariaDB server of its own: slurmdbd's stays up, as Slurm does.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

from carbon_acct.db import checksum
from carbon_acct.site import Site, site_of
from carbon_acct.sums.rebuild import rebuild_all
from carbon_collector import settings

from .cluster import Cluster
from .layout import AGGREGATOR_USER, NODES
from .processes import peak_mib
from .product import Product

DATABASE = "carbon-mariadbd"
AGGREGATORS = {"aggregator": "carbon-acct.conf", "aggregator-2": "second.conf"}
"""Each with its configuration file in /etc/carbon-acct."""
SOCKET = Path("/run/mysqld/carbon.sock")
# What was committed is in the kernel's hands: a kill loses nothing of it. Power cuts are not what this is about.
MARIADB = (
    "mariadbd --no-defaults --user=root --datadir={data} --socket={socket} --skip-networking "
    "--pid-file=/run/mysqld/carbon.pid --innodb-buffer-pool-size=64M --innodb-log-file-size=16M "
    "--innodb-flush-log-at-trx-commit=2 --innodb-flush-method=nosync --innodb-use-native-aio=0 "
    "--performance-schema=0 --skip-name-resolve"
)
SCHEMA = f"""
create database carbon_acct;
create user '{AGGREGATOR_USER}'@localhost identified via unix_socket;
grant all on carbon_acct.* to '{AGGREGATOR_USER}'@localhost;
"""
CARBON = """\
[site]
name = Soak
zone = DE
pue = 1.3
timezone = UTC

[collector]
aggregator_user = carbon-acct
aggregators = http://127.0.0.1:6829 http://127.0.0.1:6830

[aggregator]
listen = 127.0.0.1:{port}
database = mariadb+pymysql://{user}@localhost/carbon_acct?unix_socket={socket}

[slurm]
poll = 5 s
"""
WORK = """#!/bin/bash
case $((SLURM_ARRAY_TASK_ID % 5)) in
0) true ;;
1) sleep 0.3 ;;
2) sleep 1 ;;
3) sleep 2.5 ;;
4) end=$((SECONDS + 1)); while [ $SECONDS -lt $end ]; do :; done ;;
esac
"""
SHAPES = (["-n", "1"], ["-n", "2"], ["-N", "2"], ["--gres=gpu:1"])
USERS = ("alice", "bob")
ARRAY = 25

COLLECTORS_UP_S, AGGREGATOR_UP_S, DATABASE_UP_S = 0.5, 4.0, 3.0
"""From one kill to the next, on average: of any node's collector, of each aggregator, of the database."""
LONGEST_DOWN_S = 3.0


def bring_up(cluster: Cluster) -> None:
    """Start the accounting's own database server and the aggregators, on a cluster that has none yet."""
    data = cluster.layout.folder / "carbon-mysql"
    cluster.install_mariadb(data)
    cluster.spawn(DATABASE, MARIADB.format(data=data, socket=SOCKET).split())
    cluster.until_answers(DATABASE)
    cluster.run(["mariadb", "--no-defaults", f"--socket={SOCKET}"], stdin=SCHEMA)
    for port, (part, name) in enumerate(AGGREGATORS.items(), 6829):
        (cluster.layout.etc / "carbon-acct" / name).write_text(
            CARBON.format(port=port, user=AGGREGATOR_USER, socket=SOCKET)
        )
        command = ["env", f"CARBON_ACCT_CONF=/etc/carbon-acct/{name}", "carbon-aggregator"]
        cluster.spawn(part, command, user=AGGREGATOR_USER)
    for part in AGGREGATORS:
        cluster.until_answers(part)


def submit(cluster: Cluster, jobs: int) -> list[int]:
    """Submit so many jobs: arrays of both users, some of whose tasks hold two CPUs, two nodes or a GPU."""
    arrays = []
    for number, first in enumerate(range(0, jobs, ARRAY)):
        user = USERS[(number + number // len(SHAPES)) % len(USERS)]
        options = [*SHAPES[number % len(SHAPES)], "--mem=16", f"--array=1-{min(ARRAY, jobs - first)}"]
        arrays.append(cluster.sbatch(user, *options, script=WORK))
    return arrays


class Killing:
    """Meanwhile kill -9 at random moments, each kind by a clock of its own; in the end all of them at once.

    `kills` by kind, and the most memory in MiB that one of a kind has had, taken as it is killed.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self.peaks: dict[str, float] = defaultdict(float)
        self._cluster = cluster
        self._seed = seed
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor()
        self._loops: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._every(COLLECTORS_UP_S, "collectors", lambda chance: self._collector(chance.choice(NODES)))
        for part in AGGREGATORS:
            self._every(AGGREGATOR_UP_S, part, partial(self._part, part))
        self._every(DATABASE_UP_S, DATABASE, partial(self._part, DATABASE))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for loop in self._loops:
            loop.result()

    def everything(self) -> None:
        """Kill all there is, and start again what nobody else starts; it answers when this returns."""
        for node in NODES:
            self._collector(node)
        parts = [*AGGREGATORS, DATABASE]
        hit = [part for part in parts if self._kill(part)]
        for part in hit:
            self._cluster.restart(part, wait=False)
        for part in parts:
            self._cluster.until_answers(part)

    def _every(self, mean_s: float, name: str, kill: Callable[[random.Random], None]) -> None:
        chance = random.Random(f"{self._seed} {name}")

        def loop() -> None:
            wait_s = chance.uniform(0, mean_s)  # soon: a short run has its kills as well
            while not self._over.wait(wait_s):
                kill(chance)
                wait_s = chance.uniform(0, 2 * mean_s)

        self._loops.append(self._pool.submit(loop))

    def _collector(self, node: str) -> None:
        pids = self._cluster.collectors(node)
        self._note("collectors", *(Path(f"/proc/{pid}/status") for pid in pids))
        self.kills["collectors"] += bool(self._cluster.kill_collector(node))

    def _part(self, part: str, chance: random.Random) -> None:
        if self._kill(part):
            self._over.wait(chance.uniform(0.1, LONGEST_DOWN_S))
            self._cluster.restart(part, wait=False)

    def _kill(self, part: str) -> bool:
        """Whether it was there to be killed: what was started a moment ago has not said its process id yet."""
        kind = "database" if part == DATABASE else "aggregators"
        pid = self._cluster.pid(part)
        self._note(kind, self._cluster.seen(Path("/proc", pid, "status")))
        hit = self._cluster.run(["kill", "-9", pid], check=False).returncode == 0
        self.kills[kind] += hit
        return hit

    def _note(self, kind: str, *status: Path) -> None:
        self.peaks[kind] = max([self.peaks[kind], *map(peak_mib, status)])


class Books(Product):
    """The aggregators' database of a soak, read as the server's root from this host."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        conf = cluster.layout.folder / "outside.conf"
        conf.write_text(CARBON.format(port=6829, user="root", socket=cluster.seen(SOCKET)))
        self._site: Site = site_of(settings.load(str(conf)))

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of a query."""
        with self._site.database.engine.connect() as connection:
            found = connection.exec_driver_sql(query.replace("?", "%s"), tuple(values))
            return [dict(row) for row in found.mappings()]

    def checksum(self) -> str:
        """Of rebuild_all in it, as `carbon-mgr checksum` makes it."""
        with self._site.database.read() as session:
            return checksum.checksum(checksum.figures(session))

    def rebuild(self) -> None:
        """Make all sums anew from what the nodes delivered."""
        self._site.database.run(partial(rebuild_all, terms=self._site.terms))

    def close(self) -> None:
        """Give the connections back."""
        self._site.database.close()
