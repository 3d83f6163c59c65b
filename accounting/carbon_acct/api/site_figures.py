# SPDX-License-Identifier: MIT
"""The site's figures for monitoring: where its energy went, what it emitted, and what of it has not arrived.

A thread reads them from the database once a minute, so that /metrics never waits for it. Nothing in them is about a
user, an account, a job or a single node: whoever reaches the port may read them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Cluster, Node, NodeSlot
from carbon_acct.errors import DatabaseError
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.queries.nodes import DroppedTotal, dropped_total, last_slot
from carbon_acct.queries.site_energy import SiteEnergy, site_energy
from carbon_acct.queries.totals import Balance, Conservation, conservation
from carbon_acct.site import Site
from carbon_acct.sync.slurm import Poller
from carbon_collector.units import DAY_S, SLOT_S

log = logging.getLogger(__name__)

EVERY_S = 60.0
MOST_SHARE = 20
"""The figures of a very large site are read more rarely, so that reading them takes a twentieth of the time at most."""
UJ_PER_J = 1_000_000
UG_PER_G = 1_000_000
HOUR_S = 3600
GONE = ("jobs", "idle", "system")


@dataclass(frozen=True)
class Figures:
    """What is read at one moment. `ages` are seconds since the end of the newest slot of each node that delivered within
    a day; `day` is what the site's present day has emitted so far.
    """

    at: float
    energy: Conservation
    recent: Conservation
    day: SiteEnergy
    dropped: DroppedTotal
    newest: int | None
    known: int
    ages: list[float] = field(default_factory=list)


def read(site: Site, cluster: str, now: float) -> Figures:
    """Return the figures of now. It stores nothing. Raises DatabaseError."""
    newest_of_each = select(func.max(NodeSlot.slot)).where(NodeSlot.slot > now - DAY_S).group_by(NodeSlot.node_id)
    nodes = select(func.count()).select_from(Node).join(Cluster, Cluster.id == Node.cluster_id)
    day = site.database.run(lambda session: _day(session, site.terms, int(now)))
    with site.database.read() as session:
        return Figures(
            at=now,
            energy=conservation(session),
            recent=conservation(session, int(now) - DAY_S, None),
            day=day,
            dropped=dropped_total(session, int(now)),
            newest=last_slot(session),
            known=session.execute(nodes.where(Cluster.name == cluster) if cluster else nodes).scalar_one(),
            ages=[max(0.0, now - slot - SLOT_S) for slot in session.scalars(newest_of_each)],
        )


def _day(session: Session, terms: SiteTerms, now: int) -> SiteEnergy:
    """Return the figures of the present day. Factors of slots that no job used are made for it, and taken back: what is
    stored depends on what was delivered alone.
    """
    aside = session.begin_nested()
    try:
        return site_energy(session, terms, terms.days.start(now), now + SLOT_S)
    finally:
        aside.rollback()


class SiteFigures:
    """The thread that keeps `figures` current. They are None until they were read, and while the database is away."""

    def __init__(self, site: Site, poller: Poller) -> None:
        self.figures: Figures | None = None
        self._site = site
        self._poller = poller
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="site-figures", daemon=True)

    def start(self) -> None:
        """Read in the background until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def read(self) -> None:
        """Read the figures now."""
        try:
            cluster = self._poller.state.cluster
            self.figures = read(self._site, cluster, time.time())
        except DatabaseError as err:
            log.debug("the site's figures: %s", err)
            self.figures = None

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            began = time.monotonic()
            try:
                self.read()
            except Exception:  # whatever it is, the next minute may do better
                log.exception("the site's figures")
                self.figures = None
            wait_s = max(EVERY_S, MOST_SHARE * (time.monotonic() - began))


def metrics(figures: Figures, of_slurm: int | None) -> Iterator[Metric]:
    """Yield the figures as Prometheus has them. `of_slurm` is the number of Slurm's nodes; None: not known."""
    yield GaugeMetricFamily("carbon_acct_figures_age_seconds", "Age of the figures below.", time.time() - figures.at)
    yield from _energy(figures.energy)
    says = "Metered energy of the last day less what jobs, idle and system got of it. It is 0, or something is wrong."
    difference = GaugeMetricFamily("carbon_acct_conservation_difference_joules", says, labels=["component"])
    for name, balance in figures.recent.components.items():
        difference.add_metric([name], balance.difference_uj / UJ_PER_J)
    yield difference
    says = "Whether simulated counters had a part in the energy of the last day."
    yield GaugeMetricFamily("carbon_acct_simulated", says, int(figures.recent.simulated))
    yield from _emissions(figures.day)
    yield from _nodes(figures, of_slurm)
    says = "Records that nodes deleted undelivered, because their spools were full."
    yield CounterMetricFamily("carbon_acct_dropped_records", says, figures.dropped.lost.records)
    says = "Energy in those records, at most."
    yield CounterMetricFamily("carbon_acct_dropped_joules", says, figures.dropped.lost.energy_uj / UJ_PER_J)
    says = "Records that nodes say they deleted, with more energy than a node can have had in their time."
    yield GaugeMetricFamily("carbon_acct_dropped_apart_records", says, figures.dropped.apart.records)


def _energy(energy: Conservation) -> Iterator[Metric]:
    says = "Energy that the nodes metered, by component and where it went. A revised row may lower it."
    family = CounterMetricFamily("carbon_acct_energy_joules", says, labels=["component", "to"])
    for name, balance in energy.components.items():
        for to in GONE:
            family.add_metric([name, to], _part(balance, to) / UJ_PER_J)
    yield family


def _part(balance: Balance, to: str) -> int:
    part: int = getattr(balance, f"{to}_uj")
    return part


def _emissions(day: SiteEnergy) -> Iterator[Metric]:
    says = "{} emissions of the site's present day so far, by where the energy went. Unknown ones are left out."
    for name, column, what in (
        ("carbon", "carbon_ug", "Location-based"),
        ("market_carbon", "market_ug", "Market-based"),
    ):
        family = GaugeMetricFamily(f"carbon_acct_day_{name}_grams", says.format(what), labels=["to"])
        for to in GONE:
            amount = getattr(getattr(day, to), column)
            if amount is not None:
                family.add_metric([to], amount / UG_PER_G)
        yield family


def _nodes(figures: Figures, of_slurm: int | None) -> Iterator[Metric]:
    says = "Nodes by the age of their newest slot: within an hour, within a day, older, or never (of Slurm's nodes)."
    nodes = GaugeMetricFamily("carbon_acct_nodes", says, labels=["delivered"])
    hour = sum(age <= HOUR_S for age in figures.ages)
    nodes.add_metric(["hour"], hour)
    nodes.add_metric(["day"], len(figures.ages) - hour)
    nodes.add_metric(["older"], figures.known - len(figures.ages))
    if of_slurm is not None:
        nodes.add_metric(["never"], max(0, of_slurm - figures.known))
    yield nodes
    if figures.newest is not None:
        says = "Time since the end of the newest slot that any node delivered; 0 while the slot lasts."
        age = max(0.0, time.time() - figures.newest - SLOT_S)
        yield GaugeMetricFamily("carbon_acct_last_delivery_age_seconds", says, age)
    if figures.ages:
        says = "The same of the node that is the furthest behind, of those that delivered within a day."
        yield GaugeMetricFamily("carbon_acct_oldest_delivery_age_seconds", says, max(figures.ages))
