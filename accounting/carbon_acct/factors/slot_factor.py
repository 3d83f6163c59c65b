# SPDX-License-Identifier: MIT
"""The emission factors of each zone and slot that a job used: table `slot_factor`.

A row is made when the first job needs it, and applies to every job of that zone and slot. It is a function
of the settings and of the known intensities. When those change, a new revision follows (sums/recalculate.py).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from carbon_acct.client.zones import use
from carbon_acct.days import Days, zone_info
from carbon_acct.db.models import SlotFactor
from carbon_acct.db.row_types import FactorRow
from carbon_acct.db.rows import table_of
from carbon_acct.estimates.hardware import Hardware, load_hardware
from carbon_acct.factors.arithmetic import Factors
from carbon_acct.factors.dated_value import Dated, dated
from carbon_acct.factors.idle_use import IdleRules, idle_rules
from carbon_acct.factors.node_types import NodeTypes, load_node_types
from carbon_acct.grid.chain import chains
from carbon_acct.grid.factors import factor
from carbon_acct.grid.intensity import MARKET, periods, source_of, yearly_source
from carbon_acct.grid.series import Known, Mean, exact, means
from carbon_collector.errors import SettingsError
from carbon_collector.units import SLOT_S

if TYPE_CHECKING:
    from carbon_acct.grid.provider import Provider
    from carbon_collector.settings import Settings

NOT_STATED = Dated()
NO_NODE_TYPES = NodeTypes({})
IDLE_RULES = IdleRules()
ZoneSlot = tuple[str, int]


class Source(NamedTuple):
    """A provider of intensities, as `factor_source` names it."""

    provider: str
    text: str
    scope: str


@dataclass(frozen=True)
class SiteTerms:
    """What the site states: its grid zones, PUE, contracts, node types, calendar, and whether it wants estimates.

    `zones`: the zone of a `cluster/partition` or a `cluster`, where it is not `home`. `sources`: those of a zone, in
    order; the zone's yearly factor applies where none of them has a value. `estimates`: the hardware figures for the
    last resort of an estimate; None: unmetered energy is not estimated. `market`: g/kWh of the site's contract.
    `idle_use`: what counts as held and not used.
    `upstream`: g/kWh. `td_losses`: the share of the generation that is lost.
    """

    home: str
    days: Days
    pue: Dated
    zones: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    market: Dated = NOT_STATED
    market_text: str = ""
    upstream: Dated = NOT_STATED
    td_losses: Dated = NOT_STATED
    node_types: NodeTypes = NO_NODE_TYPES
    estimates: Hardware | None = None
    idle_use: IdleRules = IDLE_RULES

    def zone(self, cluster: str, partition: str | None) -> str:
        """Return the grid zone that feeds a job's nodes."""
        if not self.zones:
            return self.home
        return self.zones.get(f"{cluster}/{partition}") or self.zones.get(cluster, self.home)

    def facility(self, node: str, slot: int) -> Fraction:
        """Return the factor from a node's metered energy in a slot to facility energy: its overhead times the PUE."""
        kind = self.node_types.type_of(node)
        return Fraction(self.pue.at(slot) or "1") * (kind.overhead or 1 if kind else 1)

    def factors(self, session: Session, wanted: Collection[ZoneSlot]) -> dict[ZoneSlot, Factors]:
        """Return the factors of each zone and slot, and store the rows that are missing."""
        if not wanted:
            return {}
        slots = {slot for _, slot in wanted}
        found = {key: factors_of(row) for key, row in current(session, min(slots), max(slots)).items() if key in wanted}
        missing = sorted(set(wanted) - found.keys())
        for zone in sorted({zone for zone, _ in missing}):
            values = self.values(session, zone, [slot for place, slot in missing if place == zone])
            rows = [SlotFactor(zone=zone, slot=slot, revision=1, **value) for slot, value in values.items()]
            session.add_all(rows)
            session.flush()
            found |= {(row.zone, row.slot): factors_of(row) for row in rows}
        return found

    def values(self, session: Session, zone: str, slots: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Return the values of a zone's slot_factor rows, from what is known now."""
        wanted = sorted(slots)
        now = int(time.time())
        yearly = Mean(factor(zone).g_per_kwh, False, yearly_source(session, factor(zone), now))
        market = (
            source_of(session, zone, "contract", self.market_text, "direct", MARKET) if self.market.values else None
        )
        known = means(wanted, self._known(session, zone, wanted))
        return {slot: self._value(slot, known.get(slot, yearly), market, now) for slot in wanted}

    def _known(self, session: Session, zone: str, slots: Sequence[int]) -> list[tuple[int, list[Known]]]:
        ids = [source_of(session, zone, *source) for source in self.sources.get(zone, ())]
        return periods(session, ids, slots[0], slots[-1] + SLOT_S) if ids else []

    def _value(self, slot: int, mean: Mean, market: int | None, now: int) -> dict[str, Any]:
        pue, contract, losses = self.pue.at(slot) or "1", self.market.at(slot), self.td_losses.at(slot)
        return {
            "pue": pue,
            "pue_float": float(pue),
            "g_per_kwh": mean.g_per_kwh,
            "g_per_kwh_float": float(Fraction(mean.g_per_kwh)),
            "source_id": mean.source,
            "estimated": mean.estimated,
            "market_g_per_kwh": contract,
            "market_source_id": None if contract is None else market,
            "upstream_g_per_kwh": self.upstream.at(slot),
            "td_g_per_kwh": None if losses is None else lost(mean.g_per_kwh, losses),
            "computed_at": now,
        }


def lost(g_per_kwh: str, losses: str) -> str:
    """Return the grams of what is lost on the way of a kilowatt-hour that arrives: g x L / (1 - L), L the share of the generation."""
    share = Fraction(losses)
    return exact(Fraction(g_per_kwh) * share / (1 - share))


def load_terms(settings: Settings) -> tuple[SiteTerms, dict[str, tuple[Provider, ...]]]:
    """Return the terms that the settings state, and the providers of each zone. Raises SettingsError and ZoneError."""
    clock = zone_info(settings.text("site", "timezone"))

    def series(section: str, key: str, least: str = "0", most: str = "5000") -> Dated:
        return dated(f"[{section}] {key}", settings.text(section, key), clock, least, most)

    pue = series("site", "pue", "1", "10")
    if pue.at(0) is None:
        raise SettingsError("[site] pue: say what holds before its first date: a number without one")
    use(settings.text("grid", "factors"))
    home = factor(settings.text("site", "zone")).zone
    zones = dict(_zone_of(word) for word in settings.words("grid", "zones"))
    providers = chains(settings, {home, *zones.values()})
    terms = SiteTerms(
        home=home,
        days=Days(clock),
        pue=pue,
        zones=zones,
        sources={zone: tuple(Source(p.slug, p.text, p.scope) for p in many) for zone, many in providers.items()},
        market=series("grid", "market"),
        market_text=settings.text("grid", "market_source"),
        upstream=series("grid", "upstream"),
        td_losses=series("grid", "td_losses", most="0.5"),
        node_types=load_node_types(settings.text("site", "hardware")),
        estimates=load_hardware(settings.text("site", "accelerators"))
        if settings.text("aggregator", "estimate") == "yes"
        else None,
        idle_use=idle_rules(
            settings.words("waste", "gpu_idle_watts"),
            settings.number("waste", "cpu_used_percent"),
            settings.number("waste", "advice_percent"),
        ),
    )
    return terms, providers


def _zone_of(word: str) -> tuple[str, str]:
    place, colon, zone = word.rpartition(":")
    if not colon or not place:
        raise SettingsError(f"[grid] zones: {word!r} is not cluster:zone or cluster/partition:zone")
    return place, factor(zone, "[grid] zones").zone


def current(session: Session, low: int, high: int) -> dict[ZoneSlot, FactorRow]:
    """Return the current row of each zone and slot in [low, high] that has one."""
    return {(row.zone, row.slot): row for row in session.execute(_BY_REVISION, {"low": low, "high": high})}


_BY_REVISION = (
    select(*table_of(SlotFactor).columns)
    .where(SlotFactor.slot.between(bindparam("low"), bindparam("high")))
    .order_by(SlotFactor.revision)
)


def factors_of(row: FactorRow | SlotFactor) -> Factors:
    """Return a row of slot_factor as the arithmetic takes it."""
    return Factors(
        pue=row.pue,
        g_per_kwh=row.g_per_kwh,
        market_g_per_kwh=row.market_g_per_kwh,
        upstream_g_per_kwh=row.upstream_g_per_kwh,
        td_g_per_kwh=row.td_g_per_kwh,
        id=row.id,
        source_id=row.source_id,
    )
