# SPDX-License-Identifier: MIT
"""Delivers segments to the real API over loopback, from many nodes at a time, each segment with its own credential.

The nodes are threads of another process: here they would take turns with the aggregator's.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from scale.nodes import CLUSTER
from scale.servers import CHECKOUT, munged

sys.path.insert(0, str(CHECKOUT / "tests"))

from accounting.served import serve
from accounting.slurm_programs import StandIn
from carbon_acct.api.limits import Limits, Rate
from carbon_acct.sync.slurm import Poller
from carbon_collector import munge
from carbon_collector.http import request

if TYPE_CHECKING:
    from accounting.served import Served
    from carbon_acct.site import Site

AT_ONCE = 32
ROOMY = Limits(root=Rate(10**6, 1e6))
"""All nodes are this host here, and no host may ask so much: 500 requests a second."""


@contextmanager
def served(site: Site, nodes: Collection[str]) -> Iterator[Served]:
    """The API on loopback, with a munged of its own, after Slurm has told which nodes there are."""
    with munged() as socket, tempfile.TemporaryDirectory() as folder:
        slurm = StandIn(Path(folder) / "bin")
        slurm.says("sinfo", "".join(f"{name} localhost 127.0.0.1\n" for name in sorted(nodes)))
        slurm.says("scontrol show config", f"ClusterName = {CLUSTER}\n")
        poller = Poller(site, slurm.programs, "sacct", 60)
        poller.poll()
        yield from serve(site, poller, socket, ROOMY)


@contextmanager
def sending(server: Served, bodies: Sequence[bytes]) -> Iterator[Callable[[], int]]:
    """What delivers all of them and says how many records were accepted; credentials and processes are made before."""
    with ThreadPoolExecutor(4) as pool:
        credentials = list(pool.map(lambda body: server.credential(munge.digest(body)), bodies))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as nodes:
        nodes.submit(_send_all, server.url, [], []).result()
        yield lambda: nodes.submit(_send_all, server.url, bodies, credentials).result()


def _send_all(url: str, bodies: Sequence[bytes], credentials: Sequence[str]) -> int:
    def send(body: bytes, credential: str) -> int:
        answer = request("POST", url, "/v1/segments", body, {"Authorization": f"MUNGE {credential}"})
        if answer.status != 200:
            raise SystemExit(f"a segment was refused: {answer.status} {answer.body!r}")
        return int(json.loads(answer.body)["accepted"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(send, bodies, credentials))
