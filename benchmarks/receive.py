# SPDX-License-Identifier: MIT
"""Receiving: records a second into each kind of database, parsed, checked, stored, summed, given its emissions and committed.

Segments are as the collector seals them, one a node and slot. The databases wait for the disk at each commit.
`library`: as the aggregator stores what waits, 32 segments in a transaction, the best of three runs. `alone`: a
transaction a segment.
`HTTP`: the aggregator's own API on loopback, a MUNGE credential a segment, 32 nodes at a time in a process of their own.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from machine import describe
from scale.delivery import sending, served
from scale.nodes import CLUSTER, START, Fleet
from scale.servers import CHECKOUT, KINDS, database
from table import render

sys.path.insert(0, str(CHECKOUT / "tests"))

from accounting.samples import new_site
from carbon_acct.aggregator import collect_rarely, share_fairly
from carbon_acct.delivery import store
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segments
from carbon_acct.queries import totals
from carbon_acct.site import Site
from carbon_acct.sync.jobs import record_jobs

VAR_TMP = Path(os.environ.get("TMPDIR", "/var/tmp"))  # noqa: S108  a folder of its own is made in it
NEEDED = 35
"""Records a second that a site of 10,000 nodes sends."""

BUDGET = {"sqlite": 20_000, "mariadb": 10_000, "postgresql": 10_000}
NODES, SLOTS = 32, 8
TOGETHER = 32
TRIES = 3
NOW = START + 40 * 86_400
HEAD = ("database, jobs a node", "records", "seconds", "CPU s here", "records/s", "x needed", "budget")


class Took(NamedTuple):
    """All segments of a fleet: seconds, and CPU seconds of this process."""

    seconds: float
    cpu_s: float


Way = Callable[[Site, Sequence[bytes]], AbstractContextManager[Callable[[], int]]]
"""Makes ready what then delivers all segments and says how many records were taken."""


def main() -> int:
    """Fill a database of each kind in each way; the exit status is 1 where energy is not conserved."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--databases", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--jobs", nargs="+", type=int, default=[64, 8], help="jobs on each node")
    parser.add_argument("--records", type=int, default=30_000, help="in each run, about")
    parser.add_argument("--folder", type=Path, default=VAR_TMP, help="on the disk to be waited for")
    options = parser.parse_args()
    collect_rarely()
    share_fairly()
    print(f"{describe()}\n{NEEDED} records a second are what a site of 10,000 nodes sends\n")
    rows: list[list[str]] = []
    for name, way in (("library", together), ("alone", alone), ("HTTP", over_http)):
        rows.append([name])
        for kind, jobs in itertools.product(options.databases, options.jobs):
            fleet = _fleet(jobs, options.records)
            runs = []
            for _ in range(TRIES if way is together else 1):
                with _site(kind, options.folder, fleet) as site:
                    runs.append(_deliver(fleet, site, way))
            rows.append(_row(f"{kind}, {jobs}", BUDGET[kind], fleet.records, min(runs)))
    print(render(HEAD, rows))
    return 0


def _fleet(jobs: int, records: int) -> Fleet:
    """Jobs of two hours, then others."""
    rounds = max(1, round(records / (NODES * SLOTS * (jobs * 1.25 + 1))))
    return Fleet(NODES, jobs, SLOTS, rounds)


@contextmanager
def _site(kind: str, folder: Path, fleet: Fleet) -> Iterator[Site]:
    """A site whose jobs Slurm has told of."""
    with database(kind, folder) as url, tempfile.TemporaryDirectory() as private:
        site = new_site(Path(private), aggregator_database=url, site_cluster=CLUSTER)
        jobs = list(fleet.jobs())
        site.database.run(lambda session: record_jobs(session, jobs, site.terms))
        try:
            yield site
        finally:
            site.database.close()


def _deliver(fleet: Fleet, site: Site, way: Way) -> Took:
    bodies = list(fleet.segments())
    with way(site, bodies) as deliver:
        began, cpu = time.perf_counter(), time.process_time()
        stored = deliver()
        took = Took(time.perf_counter() - began, time.process_time() - cpu)
    _check(site, fleet, stored)
    return took


def _row(name: str, budget: int, records: int, took: Took) -> list[str]:
    rate = records / took.seconds
    verdict = "pass" if rate >= budget else f"{rate / budget:.0%}"
    seconds = (f"{took.seconds:.1f}", f"{took.cpu_s:.1f}")
    return [name, f"{records:,}", *seconds, f"{rate:,.0f}", f"{rate / NEEDED:,.0f}", verdict]


def _check(site: Site, fleet: Fleet, stored: int) -> None:
    """All of it was taken, and none of the energy is missing."""
    with site.database.read() as session:
        balance = totals.conservation(session).total
        unmatched = totals.counts(session).unmatched
    if stored != fleet.records or balance.difference_uj or not balance.metered_uj or unmatched:
        raise SystemExit(
            f"stored {stored} of {fleet.records}, difference {balance.difference_uj} uJ, {unmatched} unmatched"
        )


@contextmanager
def together(site: Site, bodies: Sequence[bytes]) -> Iterator[Callable[[], int]]:
    """As the aggregator stores what has come while it was storing."""
    yield lambda: sum(_store(site, bodies[at : at + TOGETHER]) for at in range(0, len(bodies), TOGETHER))


@contextmanager
def alone(site: Site, bodies: Sequence[bytes]) -> Iterator[Callable[[], int]]:
    """As it does when nothing waits."""
    yield lambda: sum(_store(site, [body]) for body in bodies)


@contextmanager
def over_http(site: Site, bodies: Sequence[bytes]) -> Iterator[Callable[[], int]]:
    """As nodes deliver."""
    with served(site, {f"n{number}" for number in range(NODES)}) as server, sending(server, bodies) as deliver:
        yield deliver


def _store(site: Site, bodies: Sequence[bytes]) -> int:
    segments = [parse_segment(body, NOW) for body in bodies]
    answers = site.database.run(lambda session: store_segments(session, segments, site.terms, NOW))
    return sum(answer.accepted for answer in answers if isinstance(answer, store.Receipt) and not answer.refused)


if __name__ == "__main__":
    raise SystemExit(main())
