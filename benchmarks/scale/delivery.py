# SPDX-License-Identifier: MIT
"""Delivers segments to the real API over loopback, from many nodes at a time, each segment with its own credential."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scale.nodes import CLUSTER
from scale.servers import CHECKOUT, munged

sys.path.insert(0, str(CHECKOUT / "tests"))

from accounting.served import serve
from accounting.slurm_programs import StandIn
from carbon_acct.api.limits import Limits, Rate
from carbon_acct.poll import Poller
from carbon_collector import munge

if TYPE_CHECKING:
    from accounting.served import Served
    from carbon_acct.site import Site

AT_ONCE = 32
ROOMY = Limits(root=Rate(10**6, 1e6), deliveries_each=AT_ONCE)
"""All nodes are this host here, and no host may ask so much: 500 requests a second, two at once."""


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


def sender(server: Served, bodies: Sequence[bytes]) -> Callable[[], int]:
    """What delivers all of them and says how many records were accepted; the credentials are made before."""
    with ThreadPoolExecutor(4) as pool:
        credentials = list(pool.map(lambda body: server.credential(munge.digest(body)), bodies))

    def send(at: int) -> int:
        answer = server.send("POST", "/v1/segments", bodies[at], credentials[at])
        if answer.status != 200:
            raise SystemExit(f"a segment was refused: {answer.status} {answer.body!r}")
        return int(json.loads(answer.body)["accepted"])

    def deliver() -> int:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return sum(pool.map(send, range(len(bodies))))

    return deliver
