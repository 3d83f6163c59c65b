# SPDX-License-Identifier: MIT
"""Judges a configuration as the aggregator does when it starts, and compares it with the one that runs.

Nothing is changed: a database's file is not made, and nobody is listened to.
"""

from __future__ import annotations

from collections.abc import Iterator

from carbon_acct.api.address import is_loopback, listen_address
from carbon_acct.db.connect import check_kind, parse_urls
from carbon_acct.db.engine import url_of
from carbon_acct.doctor.facts import elsewhere
from carbon_acct.doctor.finding import FIX, LOOK, OK, Finding, Patient
from carbon_acct.errors import DatabaseError, SlurmError
from carbon_acct.factors.slot_factor import load_terms
from carbon_acct.grid.providers import suggested
from carbon_acct.site import stated
from carbon_acct.slurm.nodes import load_nodes
from carbon_collector.errors import CarbonError

WOULD_NOT_START = "carbon-aggregator would not start"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  it is advice, and binds nothing
UNSET = {
    "zone": "carbon is calculated with the world's average; set it (`carbon-mgr zones` lists the zones)",
    "pue": "the facility's own energy is not counted; set it to facility energy over IT energy, as whoever runs the"
    " building measures it (often 1.1 to 1.6)",
}


def grid(patient: Patient) -> Iterator[Finding]:
    """Yield findings on what the emissions rest on: zone, PUE, providers, contracts."""
    config = patient.config
    try:
        load_terms(config)
    except CarbonError as err:
        yield Finding(FIX, "grid", f"{err}; {WOULD_NOT_START}")
        return
    for key, without in UNSET.items():
        if config.origin("site", key) == "default":
            yield Finding(LOOK, key, f"[site] {key} is not set, so {without}")
        else:
            yield Finding(OK, key, config.text("site", key))
    zone = config.text("site", "zone")
    if config.origin("grid", "providers") == "default" and config.origin("site", "zone") != "default":
        chain = ", ".join(suggested(zone))
        yield Finding(
            OK, "grid", f"the yearly factor of {zone}; [grid] providers = {chain} would give hourly intensities"
        )


def database_url(patient: Patient) -> Iterator[Finding]:
    """Yield a finding where [aggregator] database is no URL of a database that can be used."""
    try:
        check_kind(parse_urls(url_of(patient.config))[0])
    except DatabaseError as err:
        yield Finding(FIX, "database", f"{err}; {WOULD_NOT_START}")


def listen(patient: Patient) -> Iterator[Finding]:
    """Yield a finding where [aggregator] listen is no address, or is one that the nodes cannot reach."""
    config = patient.config
    try:
        host, port = listen_address(config.text("aggregator", "listen"))
    except CarbonError as err:
        yield Finding(FIX, "listen", f"{err}; {WOULD_NOT_START}")
        return
    away = _nodes_elsewhere(patient)
    if not is_loopback(host) or config.words("aggregator", "proxies") or not away:
        yield Finding(OK, "listen", config.text("aggregator", "listen"))
        return
    some = f"{away[0]}{' and others' if len(away) > 1 else ''}"
    lines = f"[aggregator] listen = {ANY_ADDRESS}:{port} here, [collector] aggregators = http://THIS-HOST:{port} on all"
    yield Finding(
        FIX,
        "listen",
        f"{host} is loopback, and {some} cannot reach it: {lines}, and open TCP port {port} to nodes and login nodes",
    )


def _nodes_elsewhere(patient: Patient) -> list[str]:
    """Return the nodes of Slurm that are not on this host. Without an answer of Slurm's that is none."""
    try:
        return elsewhere(load_nodes(patient.programs))
    except SlurmError:
        return []


def differences(patient: Patient) -> Iterator[Finding]:
    """Yield a finding for each aggregator that runs with other settings than the file states."""
    ours = stated(patient.config)
    for url, content in patient.answers.items():
        theirs = content.get("settings", {})  # an older aggregator does not say
        others = [name for name in ours if name in theirs and theirs[name] != ours[name]]
        if others:
            listed = ", ".join(
                f"{name} = {theirs[name] or '(empty)'}, here {ours[name] or '(empty)'}" for name in others
            )
            advice = "restart carbon-aggregator, or correct the file"
            yield Finding(LOOK, "settings", f"{url} runs with {listed}: {advice}")
        elif theirs:
            yield Finding(OK, "settings", f"{url} runs with the settings of this file")
