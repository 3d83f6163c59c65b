# SPDX-License-Identifier: MIT
"""Follows the grids: fetches the intensities that the zones' providers have, and recalculates the slots that they
change.

Only the aggregator does this, in a thread of its own, and nothing waits for it. A provider that fails is left alone for
a growing time and logged once; meanwhile the next one in the zone's order is used. A bad period of an answer costs that
period. After an answer that is bad as a whole the next request asks for half as much of the past. Values are fetched
again for two days, because providers revise them. Gaps that an outage left are fetched once a day for a month.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from carbon_acct.db.engine import Database
from carbon_acct.db.models import SlotFactor
from carbon_acct.errors import DatabaseError, ProviderError
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.grid import forecast, intensity
from carbon_acct.grid.provider import Answer, Period, Provider
from carbon_acct.grid.shift import MOST_S, shift
from carbon_acct.sums import recalculate
from carbon_collector.errors import CarbonError
from carbon_collector.units import DAY_S, SLOT_S

log = logging.getLogger(__name__)

NEW_S = 6 * 3600
"""The time in seconds before the last answer that each request covers: values arrive late, and are compared."""

REVISED_S = 48 * 3600
"""The time in seconds within which a provider may revise its values."""

REVISED_EVERY_S = 6 * 3600
GAPS_S = 31 * DAY_S
GAPS_EVERY_S = DAY_S
FORGET_EVERY_S = DAY_S
FORECAST_EVERY_S = 3600
AGAIN_S = 3600
"""The time in seconds after which the past is asked for again that a narrowed request left out."""

WAIT_S = 60.0
WAIT_MOST_S = 3600.0
NARROWED = ("answer", "timeout")
"""The kinds of errors after which less of the past is asked for: it may be one part of it that cannot be had."""


@dataclass(frozen=True)
class State:
    """The state of a provider of a zone. Times are epoch seconds. `error` is empty while it answers; `refused` says what
    was left out of its last answer. `reach_s` bounds how far back the next request goes (0: no bound).
    """

    zone: str
    provider: str
    text: str
    fetched_at: int | None = None
    error: str = ""
    refused: str = ""
    reach_s: int = 0
    error_kind: str = ""
    failures: int = 0
    again_at: float = 0.0
    revised_at: float = 0.0
    gaps_at: float = 0.0
    forecast_at: float = 0.0
    forecast_error: str = ""


class Follower:
    """The thread that keeps intensities up to date. `states` may be read by any thread."""

    def __init__(
        self, database: Database, terms: SiteTerms, chains: Mapping[str, Sequence[Provider]], interval_s: float
    ) -> None:
        self._database = database
        self._terms = terms
        self._interval_s = interval_s
        self._providers = {(zone, p.text): p for zone, providers in chains.items() for p in providers}
        self.states = {key: State(key[0], p.slug, p.text) for key, p in self._providers.items()}
        self._forgot_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="grid", daemon=True)

    def start(self) -> None:
        """Follow in the background until `stop`. Without a provider there is nothing to do."""
        if self._providers:
            self._thread.start()

    def stop(self) -> None:
        """End the thread. An answer that is still awaited is abandoned."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.step(time.time())
            except CarbonError as err:
                log.warning("grid: %s", err)
            except Exception as err:  # noqa: BLE001  nobody expected it, and it is a state as any other
                self._surprised(f"following the grid failed: {type(err).__name__}: {err}")
            self._stop.wait(self._pause(time.time()))

    def _surprised(self, error: str) -> None:
        if any(state.error != error for state in self.states.values()):
            log.exception("%s", error)
        self.states = {key: replace(state, error=error) for key, state in self.states.items()}

    def _pause(self, now: float) -> float:
        """Return the seconds until the next provider is due."""
        waits = [state.again_at - now for state in self.states.values()]
        return min(max(min(waits, default=self._interval_s), 1.0), self._interval_s)

    def step(self, now: float) -> None:
        """Ask every provider that is due, and recalculate what the answers change. Raises DatabaseError."""
        for key, provider in self._providers.items():
            if self._stop.is_set():
                return
            if self.states[key].again_at <= now:
                self._ask(key, provider, now)
        self._sweep()
        if now - self._forgot_at >= FORGET_EVERY_S:
            self._database.run(partial(recalculate.forget, now=int(now)))
            self._forgot_at = now

    def _ask(self, key: tuple[str, str], provider: Provider, now: float) -> None:
        state = self.states[key]
        revised, gaps = now - state.revised_at >= REVISED_EVERY_S, now - state.gaps_at >= GAPS_EVERY_S
        with self._database.read() as session:
            since = self._since(session, state, revised, gaps, int(now))
        try:
            periods = provider.history(since, int(now) + SLOT_S)
            self._compare(key[0], provider, periods)
        except ProviderError as err:
            self._failed(key, err, now, since)
            return
        except Exception as err:  # one provider's surprise must not stop the others
            log.exception("grid: %s", provider.text)
            name = type(err).__name__
            self._failed(key, ProviderError(f"{provider.text}: {name}: {err}", kind=name), now, since)
            return
        for part in _by_day(periods):
            self._database.run(partial(self._take, key[0], provider, part, int(now)))
        if state.error:
            log.warning("grid: zone %s: %s answers again", *key)
        # A narrowed request did not reach as far as revisions do: these are due again soon.
        revised_at = now - (REVISED_EVERY_S - AGAIN_S if state.reach_s else 0)
        refused = _refused(periods)
        if refused and not state.refused:
            log.warning("grid: zone %s: left out: %s", key[0], refused)
        self.states[key] = replace(
            state,
            fetched_at=int(now),
            error="",
            refused=refused,
            reach_s=0,
            error_kind="",
            failures=0,
            again_at=now + self._interval_s,
            revised_at=revised_at if revised else state.revised_at,
            gaps_at=now if gaps else state.gaps_at,
        )
        if now - state.forecast_at >= FORECAST_EVERY_S:
            self._foresee(key, provider, int(now))

    def _compare(self, zone: str, provider: Provider, periods: Answer) -> None:
        """Compare an answer with what the source said before. Raises ProviderError where its times are shifted."""
        if not periods:
            return
        with self._database.read() as session:
            start, end = periods[0].start - MOST_S, periods[-1].end + MOST_S
            known = intensity.said(session, zone, provider.slug, provider.text, provider.scope, start, end)
        by = shift(known, periods)
        if by:
            raise ProviderError(
                f"{provider.text}: the answer has the values that were known of {abs(by) / 3600:g} h"
                f" {'earlier' if by > 0 else 'later'}; its times are shifted",
                kind="shifted",
            )

    def _foresee(self, key: tuple[str, str], provider: Provider, now: int) -> None:
        """Fetch the forecast and keep it in place of the one before; without a new one that one stays, with its age."""
        problem = ""
        try:
            periods = provider.forecast(now - now % SLOT_S, now + forecast.AHEAD_S)
            self._database.run(partial(self._keep_forecast, key[0], provider, periods, now))
        except ProviderError as err:
            problem = str(err)
        except DatabaseError:
            raise
        except Exception as err:  # a forecast's surprise must not stop the values
            log.exception("grid: forecast of %s", provider.text)
            problem = f"{provider.text}: {type(err).__name__}: {err}"
        if problem and not self.states[key].forecast_error:
            log.warning("grid: zone %s: no forecast: %s", key[0], problem)
        self.states[key] = replace(self.states[key], forecast_at=now, forecast_error=problem)

    def _keep_forecast(self, zone: str, provider: Provider, periods: list[Period], now: int, session: Session) -> None:
        source = intensity.source_of(session, zone, provider.slug, provider.text, provider.scope)
        forecast.replace(session, source, periods, now)

    def _since(self, session: Session, state: State, revised: bool, gaps: bool, now: int) -> int:
        """Return the time from which a provider is asked: from the first gap that an outage left, if gaps are due."""
        answered = max(state.fetched_at or 0, now - REVISED_S)
        since = now - REVISED_S if revised else min(now, answered) - NEW_S
        if gaps:
            first = select(func.min(SlotFactor.slot)).where(
                SlotFactor.zone == state.zone, SlotFactor.slot >= now - GAPS_S
            )
            since = min(since, session.scalar(first) or since)
        since = max(since, now - state.reach_s) if state.reach_s else since
        return since - since % SLOT_S

    def _failed(self, key: tuple[str, str], error: ProviderError, now: float, since: int) -> None:
        """Note the error and log it where its kind is new. Ask soon for less, or wait longer than after the failure
        before.
        """
        state = self.states[key]
        if error.kind != state.error_kind:
            log.warning("grid: zone %s: %s; the next source is used meanwhile", key[0], error)
        asked_s = int(now) - since
        narrows = error.kind in NARROWED and not error.permanent and asked_s > NEW_S
        failures = 0 if narrows else state.failures
        wait = min(min(WAIT_S, self._interval_s) * 2**failures, WAIT_MOST_S) * random.uniform(0.8, 1.2)  # noqa: S311  no secret
        wait = max(wait, error.retry_after_s or 0.0)
        self.states[key] = replace(
            state,
            error=str(error),
            error_kind=error.kind,
            failures=min(state.failures + 1, 10),
            again_at=now + wait,
            reach_s=max(NEW_S, asked_s // 2) if narrows else state.reach_s,
        )

    def _take(self, zone: str, provider: Provider, periods: Iterable[Period], now: int, session: Session) -> None:
        """Store a provider's values and recalculate the slot factors in one transaction, so that a kill leaves no
        unused value.
        """
        source = intensity.source_of(session, zone, provider.slug, provider.text, provider.scope)
        changed = intensity.keep(session, source, periods, now)
        if changed:
            since = min(p.start for p in changed)
            recalculate.refresh(session, self._terms, since - since % SLOT_S, max(p.end for p in changed))

    def _sweep(self) -> None:
        while not self._stop.is_set():
            if not self._database.run(partial(recalculate.sweep, terms=self._terms)):
                return


def _by_day(periods: Iterable[Period]) -> Iterator[list[Period]]:
    """Yield the periods of each day, which one transaction stores."""
    for _, part in groupby(periods, key=lambda p: p.start // DAY_S):
        yield list(part)


def _refused(periods: Answer) -> str:
    """Return one line about what was left out of an answer, empty where it was all good."""
    if not periods.refused:
        return ""
    more = len(periods.refused) - 1
    return periods.refused[0] + (f" (and {more} more)" if more else "")
