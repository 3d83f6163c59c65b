# SPDX-License-Identifier: MIT
"""Counts requests and records for Prometheus, and shows the site's energy. It shows nothing about any user.

No label holds what a stranger sent. Labels are routes, classes of reasons and statuses, so the number of series is
bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carbon_acct.api import site_figures
from carbon_acct.api.site_figures import SiteFigures
from carbon_acct.api.watch import Watch
from carbon_acct.delivery.store import Receipt
from carbon_acct.sums import fit
from carbon_acct.sync.slurm import Poller
from carbon_collector import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAITS = (1, 10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
METHODS = ("GET", "POST")


class Metrics:
    """The aggregator's counters, and its gauges, which are read when Prometheus scrapes them."""

    def __init__(self, poller: Poller, watch: Watch, site_figures: SiteFigures) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "Answers by route, method and status.", "route", "method", "status")
        self.refused = self._counter("requests_refused", "Requests that were refused, by class of reason.", "reason")
        self.segments = self._counter("segments", "Segments that were stored or had been.")
        self.accepted = self._counter("records_accepted", "Records of segments that were taken.")
        self.records_refused = self._counter("records_refused", "Records not taken, by class of reason.", "reason")
        self.seconds = Histogram(
            "carbon_acct_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.waited = Histogram(
            "carbon_acct_segment_wait_seconds",
            "Time from the sealing of a segment on its node to its arrival: how long it lay in the spool.",
            buckets=WAITS,
            registry=self.registry,
        )
        self._state = _State(poller, watch, site_figures)
        self.registry.register(self._state)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"carbon_acct_{name}", says, labels, registry=self.registry)

    def received(self, receipt: Receipt, wait_s: float) -> None:
        """Count a segment and its records. `wait_s` is how long it lay in its node's spool."""
        self.segments.inc()
        self.waited.observe(max(0.0, wait_s))
        self.accepted.inc(receipt.accepted)
        for line in receipt.refused:
            self.records_refused.labels(line.kind).inc()

    def refuse(self, kind: str) -> None:
        """Count a request that is refused."""
        self.refused.labels(kind).inc()

    def text(self, database_up: bool) -> bytes:
        """Return all metrics in Prometheus' format. It does not ask the database."""
        self._state.database_up = database_up
        return generate_latest(self.registry)


class _State(Collector):
    """The gauges of the database, of the poll of Slurm and of the site."""

    def __init__(self, poller: Poller, watch: Watch, site_figures: SiteFigures) -> None:
        self._poller = poller
        self._watch = watch
        self._site_figures = site_figures
        self.database_up = False

    def describe(self) -> list[Metric]:
        """Return an empty list: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges whose values are known."""
        info = GaugeMetricFamily("carbon_acct_build_info", "Always 1; the version is a label.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        state = self._poller.state
        yield GaugeMetricFamily(
            "carbon_acct_slurm_up", "Whether the last poll of Slurm succeeded.", int(not state.error)
        )
        if state.polled_at is not None:
            age = max(0.0, time.time() - state.polled_at)
            yield GaugeMetricFamily("carbon_acct_slurm_poll_age_seconds", "Time since Slurm last answered a poll.", age)
        yield GaugeMetricFamily("carbon_acct_database_up", "Whether the database answers.", int(self.database_up))
        if self.database_up and self._watch.unmatched is not None:
            says = "Ledgers without a job of Slurm's, counted once a minute."
            yield GaugeMetricFamily("carbon_acct_unmatched_ledgers", says, self._watch.unmatched)
            says = "Rows that count for no job, because they do not fit what Slurm says of it, counted once a minute."
            apart = GaugeMetricFamily("carbon_acct_rows_apart", says, labels=["reason"])
            for reason in fit.REASONS:
                apart.add_metric([reason], self._watch.apart.get(reason, 0))
            yield apart
        if self.database_up and self._site_figures.figures:
            yield from site_figures.metrics(
                self._site_figures.figures, None if state.nodes is None else len(state.nodes)
            )


class Measured:
    """The outermost layer of the application, which counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, and count and time it."""
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.perf_counter()
        try:
            await self._app(scope, receive, note)
        finally:
            route = _route(scope)
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)
            method = scope.get("method", "")
            self._metrics.requests.labels(route, method if method in METHODS else "other", str(status)).inc()


def _route(scope: Scope) -> str:
    """Return the template of the route that a request matches, or `other`, so that no label holds a caller's text."""
    return str(getattr(scope.get("route"), "path", "other"))
