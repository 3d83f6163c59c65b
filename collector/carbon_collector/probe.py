# SPDX-License-Identifier: MIT
"""`carbon-collector probe`: shows what this node offers, which source is used and why, what it draws now, and what is
known of it.

It reads what a collector would read, through the same meters. It writes nothing, so a collector that runs beside it
does not notice. It gathers facts only: probe_text makes a page of them.
"""

from __future__ import annotations

import json
import os
import time

from . import __version__, host, settings, state, tuning
from .attribution.books import Books
from .attribution.counter import Counter, Energy, delta
from .attribution.idle_power import UNKNOWN_UW
from .attribution.nesting import Nesting
from .cgroups import Cgroups
from .errors import CarbonError
from .lean.typing import TYPE_CHECKING, NamedTuple
from .meters import Meters
from .meters.base import EVERY_NODES, MODELLED, Domain, Reading
from .probe_jobs import jobs
from .topology import Topology
from .units import US_PER_S

if TYPE_CHECKING:
    from typing import Any

    from .settings import Settings

LOOK_S = 1.2
"""The seconds between the two readings: a little more than the second in which whatever is on must have drawn
something.
"""
PATIENCE_S = 8.0
"""The seconds to wait for a driver that starts slowly. A collector would go on without it and add it later."""


def run(node: str, config: str, as_json: bool, doctor: bool = False) -> int:
    """Show the node. Returns 0 if at least one component can be read, else 1.

    With `doctor`: show what would make a figure unknown. Returns 0 if nothing would, else 1.
    """
    from . import probe_text

    chosen = settings.load(config, node, strict=False)
    node = node or _name(chosen.text("collector", "state_dir"))
    facts = look(chosen, node)
    if doctor:
        return _examine(facts, chosen, node, as_json)
    print(json.dumps(facts, indent=2) if as_json else probe_text.page(facts), flush=True)
    return 0 if any(domain["energy_uj"] is not None for domain in facts["domains"]) else 1


def _name(state_dir: str) -> str:
    """Return the NodeName that the collector here has learned, else the host's own name up to its first dot."""
    try:
        saved = state.load(state_dir) or {}
    except CarbonError:
        saved = {}
    return str(saved["slurm"][0]) if "slurm" in saved else os.uname().nodename.partition(".")[0]


def _examine(facts: dict[str, Any], chosen: Settings, node: str, as_json: bool) -> int:
    from . import node_doctor, probe_text

    findings = node_doctor.examine(facts, chosen, _cgroups(chosen, node))
    if as_json:
        print(json.dumps({"node": node, "findings": [one._asdict() for one in findings]}, indent=2), flush=True)
    else:
        print("\n".join(probe_text.harmless(line) for line in node_doctor.page(findings).splitlines()), flush=True)
    return 0 if all(one.well for one in findings) else 1


def _cgroups(chosen: Settings, node: str) -> Cgroups:
    topology = host.topology(chosen.text("collector", "sysfs"), chosen.text("collector", "procfs"))
    return Cgroups(chosen.text("collector", "cgroupfs"), node, topology)


def look(chosen: Settings, node: str) -> dict[str, Any]:
    """Return all facts that are shown. Energies are in microjoules, powers in microwatts; `None` is what is
    not known.
    """
    place = tuning.place_of(chosen)
    topology = host.topology(place.sysfs, place.procfs)
    meters = Meters(chosen.words("collector", "meters"), place)
    _wait_for_late(meters)
    measured = _measure(meters)
    books, saved, problems = _books(chosen, topology, meters)
    problems = [*chosen.warnings, *_root(), *problems, *_faults(meters, measured)]
    return {
        "version": __version__,
        "node": node,
        "cpus": topology.cpus,
        "sockets": len(set(topology.socket_of.values())),
        "memory_bytes": host.memory(place.procfs).total or None,
        "collector_pid": _collector(chosen.text("collector", "run_dir")),
        "sources": [verdict._asdict() for verdict in meters.verdicts()],
        "domains": [_domain(d, measured[d.name], books) for d in meters.domains.values()],
        "estimates": _estimates(meters, topology),
        "parts": {name: part._asdict() for name, part in meters.parts.items()},
        "interval": _interval(chosen, meters.domains),
        "state": saved,
        "jobs": jobs(books, _cgroups(chosen, node)),
        "problems": problems,
    }


def _wait_for_late(meters: Meters) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s and any(v.why == "does not answer yet" for v in meters.verdicts()):
        time.sleep(0.1)
        meters.refresh()


class Measured(NamedTuple):
    """A domain that was read twice: the second reading, its energy, its energy without the domains inside it, and the
    time between.
    """

    reading: Reading
    gross: Energy
    net: Energy
    elapsed_us: int

    def power_uw(self, energy: Energy) -> int | None:
        """Return the mean power of one of the energies in microwatts."""
        return None if energy.uj is None else energy.uj * US_PER_S // self.elapsed_us


def _measure(meters: Meters) -> dict[str, Measured]:
    start_us = time.monotonic_ns() // 1000
    before = meters.read()
    time.sleep(LOOK_S)
    elapsed_us = time.monotonic_ns() // 1000 - start_us
    after = meters.read()
    unread = Reading(None, "not read")
    gross = {
        name: _energy(domain, before.get(name, unread), after.get(name, unread), elapsed_us)
        for name, domain in meters.domains.items()
    }
    net = Nesting().net(meters.domains, gross, elapsed_us)
    return {name: Measured(after.get(name, unread), gross[name], net[name], elapsed_us) for name in gross}


def _energy(domain: Domain, before: Reading, after: Reading, elapsed_us: int) -> Energy:
    if before.energy_uj is None or after.energy_uj is None:
        return Energy(None, after.reason or before.reason)
    found = delta(Counter(domain.range_uj, domain.max_watts), before.energy_uj, after.energy_uj, elapsed_us)
    return Energy(found.energy_uj, found.reason)


def _domain(domain: Domain, measured: Measured, books: Books) -> dict[str, Any]:
    idle = books.idle_of(domain.name).idle() if domain.component != "other" else None
    return {
        **domain._asdict(),
        "energy_uj": measured.reading.energy_uj,
        "power_uw": measured.power_uw(measured.gross),
        "own_power_uw": measured.power_uw(measured.net),
        "idle_uw": idle.power_uw if idle and idle.power_uw != UNKNOWN_UW else None,
        "idle_rule": idle.rule if idle else None,
    }


def _faults(meters: Meters, measured: dict[str, Measured]) -> list[str]:
    """Return the faults: components that every node has and this one cannot show, and domains that cannot be read."""
    broken = {v.component for v in meters.verdicts() if v.component == "gpu" and not v.why.startswith("no ")}
    faults = [f"{name}: {why}" for name, why in meters.missing.items() if name in (*EVERY_NODES, *broken)]
    return [*faults, *(f"{name}: {m.gross.reason}" for name, m in measured.items() if m.gross.reason)]


def _root() -> list[str]:
    return [] if os.geteuid() == 0 else ["not root: RAPL's counters are root's alone (CVE-2020-8694)"]


def _books(chosen: Settings, topology: Topology, meters: Meters) -> tuple[Books, dict[str, Any], list[str]]:
    """Return the saved state: its books, whose idle power is shown, where and when it was saved, and what is wrong with
    it.
    """
    folder = chosen.text("collector", "state_dir")
    books = Books("", topology, meters.domains, meters.missing)
    problems = []
    try:
        saved = state.load(folder)
        if saved is not None:
            books.load(saved)
    except CarbonError as err:
        problems.append(str(err))
    except (LookupError, TypeError, ValueError, AttributeError) as err:
        problems.append(f"{folder}/{state.NAME}: is no state: {err!r}")
    watts, complaint = tuning.idle_watts(chosen, meters.domains)
    books.set_idle_power(watts)
    read_us = books.last.wall_us if books.last else None
    return books, {"folder": folder, "read_us": read_us}, [*problems, *([complaint] if complaint else [])]


def _interval(chosen: Settings, domains: dict[str, Domain]) -> dict[str, Any]:
    """Return the seconds between two readings, the seconds that the setting asks for, and the counter that
    needs fewer.
    """
    asked_s = chosen.number("collector", "interval")
    longest_s = tuning.longest_interval_s(domains)
    wrapping = [d for d in domains.values() if d.range_uj]
    fastest = min(wrapping, key=lambda d: d.range_uj / d.max_watts) if longest_s < asked_s else None
    return {
        "seconds": min(asked_s, longest_s),
        "setting_seconds": asked_s,
        "shortened_for": fastest.name if fastest else None,
    }


def _estimates(meters: Meters, topology: Topology) -> dict[str, str]:
    """Return what the estimate of each modelled domain is based on."""
    modelled = [d for d in meters.domains.values() if d.method == MODELLED and meters.source[d.component] == "model"]
    if not modelled:
        return {}
    from .meters import model

    guesses = model.guess_all(meters.place, topology)
    return {d.name: (guesses.sockets[d.socket] if d.component == "cpu" else guesses.memory).why for d in modelled}


def _collector(run_dir: str) -> int | None:
    """Return the process id of the collector that runs here, or None."""
    pid = host.read_text(f"{run_dir}/collector.pid")
    return int(pid) if pid.isdigit() and os.path.exists(f"/proc/{pid}") else None
