# SPDX-License-Identifier: MIT
"""A MariaDB Galera Cluster of three nodes, two aggregators in front, one node killed and brought back under load."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounting.db.servers import Galera, running_galera
from accounting.delivery.test_many_deliver import Event, alone, at_once, figure, take
from accounting.samples import SLOT, job, job_slot, ledger, new_site, node_slot, segment
from accounting.served import wait_for
from carbon_acct.errors import AwayError, DatabaseError
from carbon_acct.site import Site

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

NODES = 8
ROUNDS = 12


@pytest.fixture(scope="module")
def cluster() -> Iterator[Galera]:
    """The cluster."""
    with running_galera() as found:
        yield found


def events_of(node: int) -> list[Event]:
    """What a compute node sends: all nodes have the same two jobs."""
    return [
        segment(
            [
                *(ledger(job_id=n, revision=r) for n in (7, 8)),
                *(job_slot(job_id=n, revision=r, slot=SLOT + 900 * (r % 3)) for n in (7, 8)),
                node_slot(revision=r, slot=SLOT + 900 * (r % 3)),
            ],
            node=f"n{node}",
            sequence=r,
        )
        for r in range(1, ROUNDS + 1)
    ]


def deliver(site: Site, event: Event) -> int:
    """As a node does: until it is acknowledged. How often it was told to come again."""
    for refused in itertools.count():
        try:
            take(site, event)
        except AwayError:
            assert refused < 600
        else:
            return refused
    raise AssertionError


def test_a_node_dies_and_comes_back(cluster: Galera, fresh_database: Path, tmp_path: Path) -> None:
    """Every row is there once: the checksum on every node of the cluster is that of one aggregator on SQLite.

    Without a majority the last node answers no statement: what comes then is refused, to come again.
    """
    cluster.nodes[0].new_database("carbon")
    sites = [
        new_site(tmp_path / str(number), aggregator_database=cluster.url("carbon", *order))
        for number, order in enumerate(((0, 1, 2), (1, 2, 0)))
    ]
    jobs: list[Event] = [job(job_id_raw=n, job_id=str(n)) for n in (7, 8)]
    segments = [event for node in range(NODES) for event in events_of(node)]
    killed, back = threading.Event(), threading.Event()
    done: list[Event] = []

    def aggregate(number: int) -> None:
        for event in jobs if number else []:
            deliver(sites[number], event)
        for event in segments[number::2] + segments[number : len(segments) // 4 : 3]:
            deliver(sites[number], event)
            done.append(event)
            if len(done) > len(segments) * 3 // 4:
                back.wait(90)

    def break_it() -> None:
        wait_for(lambda: len(done) > len(segments) // 4, 60)
        cluster.nodes[1].kill()
        killed.set()
        wait_for(lambda: len(done) > len(segments) // 2, 60)  # stored while it is away
        cluster.nodes[1].start(wait=False)
        cluster.joined(cluster.nodes[1])
        back.set()

    at_once(lambda: aggregate(0), lambda: aggregate(1), break_it)
    found = []
    for number in range(3):
        site = new_site(tmp_path / f"read{number}", aggregator_database=cluster.url("carbon", number))
        cluster.nodes[number].query("SET GLOBAL wsrep_sync_wait = 1")
        found.append(figure(site))
        site.database.close()
    for node in cluster.nodes[1:]:
        node.kill()
    with pytest.raises(DatabaseError):
        take(sites[0], job(state="FAILED"))
    for site in sites:
        site.database.close()

    assert killed.is_set()
    assert found == [alone(fresh_database, [*jobs, *segments])] * 3
