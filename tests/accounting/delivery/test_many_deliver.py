# SPDX-License-Identifier: MIT
"""Two aggregators on one database: whatever they do at the same time, it is as if one had done it alone."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from accounting.db.cutting import Cutter
from accounting.db.fixtures import Backend
from accounting.delivery.test_store import deliveries
from accounting.samples import JOB, NOW, job, job_slot, ledger, new_site, segment
from carbon_acct.db import checksum
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.site import Site
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.sync.jobs import record_jobs

Event = bytes | SlurmJob


def take(site: Site, event: Event) -> None:
    """What an aggregator does with a segment, or with a job that Slurm tells of."""

    def work(session: Session) -> None:
        if isinstance(event, SlurmJob):
            record_jobs(session, [event], site.terms)
        else:
            store_segment(session, parse_segment(event, NOW), site.terms, NOW)

    site.database.run(work)


def figure(site: Site) -> str:
    """The checksum."""
    with site.database.read() as session:
        return checksum.checksum(checksum.figures(session))


def alone(template: Path, events: Sequence[Event]) -> str:
    """The checksum of a single aggregator on SQLite that took everything once, in order."""
    with Backend(template).site() as site:
        for event in events:
            take(site, event)
        return figure(site)


def at_once(*bodies: Callable[[], None]) -> None:
    """Run them in threads, and raise what one of them raises."""
    errors: list[Exception] = []
    start = threading.Barrier(len(bodies))

    def run(body: Callable[[], None]) -> None:
        start.wait(10)
        try:
            body()
        except Exception as err:  # noqa: BLE001  whatever it is, it is raised below
            errors.append(err)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]


def two_sites(stack: ExitStack, url: str) -> list[Site]:
    """Two aggregators on a database, each with connections of its own."""
    sites = []
    for _ in range(2):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="carbon-site-")))
        sites.append(new_site(folder, aggregator_database=url))
        stack.callback(sites[-1].database.close)
    return sites


@pytest.mark.slow
@hypothesis_settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(deliveries(), st.randoms(use_true_random=False))
def test_two_at_once(
    backend: Backend, fresh_database: Path, given_: tuple[list[bytes], list[SlurmJob]], chance: random.Random
) -> None:
    """Segments and Slurm's records, dealt to two aggregators that run at once, some to both, some twice, in any order.

    The checksum is that of one aggregator on SQLite that took each of them once.
    """
    bodies, runs = given_
    events: list[Any] = [*bodies, *runs]
    hands: list[list[Event]] = [[], []]
    for event in events:
        for hand in chance.sample(hands, chance.choice((1, 2))):
            hand.extend([event] * chance.choice((1, 2)))
    for hand in hands:
        chance.shuffle(hand)
    with ExitStack() as stack:
        url = stack.enter_context(backend.fresh())
        sites = two_sites(stack, url)
        at_once(*(lambda s=s, h=h: [take(s, event) for event in h] for s, h in zip(sites, hands, strict=True)))  # type: ignore[misc]
        together = figure(sites[0])

    assert together == alone(fresh_database, events)


@pytest.mark.slow
def test_nodes_of_one_job(backend: Backend, fresh_database: Path) -> None:
    """Rows of forty nodes for the same slot of the same job, from two aggregators at once: the sum has all of them."""
    events = [segment([ledger(), job_slot()], node=f"n{number}") for number in range(40)]
    with ExitStack() as stack:
        url = stack.enter_context(backend.fresh())
        sites = two_sites(stack, url)
        ran = job(nodelist="n[0-39]", nnodes=40)
        take(sites[0], ran)
        at_once(*(lambda n=n: [take(sites[n], event) for event in events[n::2]] for n in (0, 1)))  # type: ignore[misc]
        with sites[1].database.read() as session:
            assert session.scalar(text("SELECT cpu_uj FROM job_slot")) == 40 * 1000
        together = figure(sites[1])

    assert together == alone(fresh_database, [ran, *events])


def test_a_job_and_its_rows_at_once(backend: Backend) -> None:
    """A ledger that comes while Slurm tells of its job finds it: neither transaction misses what the other stores."""
    with ExitStack() as stack:
        url = stack.enter_context(backend.fresh())
        sites = two_sites(stack, url)
        for number in range(1, 21):
            body = segment([ledger(job_id=number), job_slot(job_id=number)], sequence=number)
            told = job(job_id_raw=number, job_id=str(number))
            at_once(lambda body=body: take(sites[0], body), lambda told=told: take(sites[1], told))  # type: ignore[misc]
        with sites[0].database.read() as session:
            assert session.scalar(text("SELECT count(*) FROM ledger WHERE matched_id IS NULL")) == 0
            assert session.scalar(text("SELECT count(*) FROM job_slot")) == 20


def test_starting_at_once(backend: Backend) -> None:
    """Of two aggregators that start on an empty database one makes the tables; both work on them."""
    with ExitStack() as stack:
        url = stack.enter_context(backend.empty())
        at_once(*[lambda: two_sites(stack, url)[0]] * 2)  # type: ignore[list-item]
        site = two_sites(stack, url)[0]
        take(site, JOB)
        assert len(figure(site)) == 64


def test_a_lost_acknowledgement(backend: Backend, fresh_database: Path, tmp_path: Path) -> None:
    """A connection that breaks when the commit is done, before that is known: it is tried again, and stored once."""
    if backend.kind == "sqlite":
        events = [JOB, segment([ledger(), job_slot()])]
        with backend.site() as site:
            for event in [*events, *events]:
                take(site, event)
            assert figure(site) == alone(fresh_database, events)
        return
    events = [JOB, *(segment([ledger(revision=n), job_slot(revision=n)], sequence=n) for n in range(1, 9))]
    with backend.fresh() as url, Cutter(url) as cutter:
        site = new_site(tmp_path, aggregator_database=cutter.url)
        for event in events:
            cutter.armed = True
            take(site, event)
        found = figure(site)
        site.database.close()

    assert cutter.cuts == len(events)
    assert found == alone(fresh_database, events)
