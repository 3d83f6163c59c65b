# SPDX-License-Identifier: MIT
"""Checks a site from end to end. Each check is a function that yields what it found and what to do about it."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from carbon_acct.access.munge import decode
from carbon_acct.client import status
from carbon_acct.db import schema
from carbon_acct.db.connect import parse_urls
from carbon_acct.db.engine import REPAIR, Database, url_of
from carbon_acct.doctor import slurm_conf, starting
from carbon_acct.doctor.finding import FIX, LOOK, OK, Finding, Patient
from carbon_acct.errors import DatabaseError, SlurmError
from carbon_acct.slurm.nodes import load_cluster_config
from carbon_acct.slurm.programs import Programs
from carbon_collector import __version__, munge
from carbon_collector.errors import CarbonError, MungeError, RequestError
from carbon_collector.http import signed_request
from carbon_collector.settings import DEFAULT_PATH, Settings
from carbon_collector.units import DAY_S

__all__ = ["FIX", "LOOK", "OK", "Finding", "findings"]

MAX_SKEW_S = 5
LEAST_FREE = 0.1
MAX_QUEUE = 1000
"""The number of messages for slurmdbd that slurmctld may hold. A busy site holds some for moments."""


def examine(config: Settings, path: str, programs: Programs) -> Iterator[Finding]:
    """Yield all findings. A check comes after those that it depends on."""
    patient = Patient(config, path, programs, {}, time.time())
    for check in CHECKS:
        yield from check(patient)


def _configuration(patient: Patient) -> Iterator[Finding]:
    name = patient.path or os.environ.get("CARBON_ACCT_CONF", "") or DEFAULT_PATH
    path = Path(name)
    if not path.exists():
        yield Finding(LOOK, "configuration", f"{name} is not there: every setting has its default")
        return
    mode = path.stat().st_mode
    if mode & 0o022:
        yield Finding(FIX, "configuration", f"{name} can be written by others than its owner: chmod go-w {name}")
    elif mode & 0o004 and _has_password(patient.config):
        yield Finding(
            FIX, "configuration", f"{name} holds the database's password and everybody can read it: chmod o-r {name}"
        )
    else:
        yield Finding(OK, "configuration", name)


def _has_password(config: Settings) -> bool:
    """Return whether the database's URL has a password in it. A URL that is none is another check's matter."""
    try:
        return bool(parse_urls(url_of(config))[0].password)
    except DatabaseError:
        return False


def _munge(patient: Patient) -> Iterator[Finding]:
    socket = patient.config.text("slurm", "munge_socket")
    try:
        identity = decode(munge.encode("doctor", socket), socket)
    except MungeError as err:
        yield Finding(FIX, "munge", f"{err}; see to munged (systemctl status munge)")
    else:
        yield Finding(OK, "munge", f"credentials are made and read, as uid {identity.uid} of {identity.host}")


def _aggregators(patient: Patient) -> Iterator[Finding]:
    config = patient.config
    for url in config.aggregators():
        target = f"/v1/status?start={int(patient.now) - DAY_S}"
        try:
            answer = signed_request("GET", url, target, munge_socket=config.text("slurm", "munge_socket"))
            content = json.loads(answer.body)
        except (RequestError, MungeError, ValueError) as err:
            yield Finding(
                FIX, "aggregator", f"{err}; start carbon-aggregator there, or correct [collector] aggregators"
            )
            continue
        if answer.status != 200:
            yield Finding(FIX, "aggregator", f"{url} answers {answer.status}: {content.get('detail', '')}")
            continue
        patient.answers[url] = content
        yield from _aggregator(url, content, patient.now)


def _aggregator(url: str, content: Mapping[str, Any], now: float) -> Iterator[Finding]:
    version, skew = content["version"], content["time"] - now
    if version != __version__:
        yield Finding(LOOK, "aggregator", f"{url} is version {version}, this is {__version__}: upgrade the older one")
    else:
        yield Finding(OK, "aggregator", f"{url}, version {version}, database {content['database']}")
    if abs(skew) > MAX_SKEW_S:
        yield Finding(FIX, "clock", f"the clock of {url} differs from this host's by {skew:.0f} s: set both by NTP")


def _slurm(patient: Patient) -> Iterator[Finding]:
    try:
        name = load_cluster_config(patient.programs).get("ClusterName", "")
        version = "{}.{:02d}".format(*patient.programs.version())
    except SlurmError as err:
        yield Finding(FIX, "slurm", f"{err}; Slurm's commands must work on this host")
        return
    wanted = patient.config.text("site", "cluster")
    if wanted and wanted != name:
        yield Finding(FIX, "slurm", f"[site] cluster is {wanted}, Slurm's ClusterName is {name}: correct or remove it")
    else:
        yield Finding(OK, "slurm", f"cluster {name}, version {version}")
    yield from _slurmdbd(patient.programs)


def _slurmdbd(programs: Programs) -> Iterator[Finding]:
    try:
        programs.run("sacctmgr", "show", "configuration")
        found = re.search(r"DBD Agent queue size:\s*(\d+)", programs.run("sdiag"))
    except SlurmError as err:
        yield Finding(FIX, "slurmdbd", f"{err}; without it no job is known")
        return
    queue = int(found[1]) if found else 0
    if queue > MAX_QUEUE:
        yield Finding(LOOK, "slurmdbd", f"slurmctld holds {queue} messages for it: jobs are known late; see sdiag")
    else:
        yield Finding(OK, "slurmdbd", f"answers, {queue} messages on their way")


def _poll(patient: Patient) -> Iterator[Finding]:
    late = 3 * patient.config.number("slurm", "poll") + 60
    for url, content in patient.answers.items():
        slurm = content["slurm"]
        age = patient.now - slurm["polled_at"] if slurm["polled_at"] is not None else None
        if slurm["error"]:
            yield Finding(FIX, "poll", f"{url} cannot ask Slurm: {slurm['error']}")
        elif age is None or age > late:
            yield Finding(
                FIX, "poll", f"{url} has not asked Slurm for {'ever' if age is None else f'{age:.0f} s'}; see its log"
            )
        elif not slurm["sees_all"]:
            advice = "sacctmgr add user carbon-acct account=root adminlevel=operator"
            yield Finding(FIX, "poll", f"PrivateData hides jobs from the user of {url}; make it an operator: {advice}")
        else:
            yield Finding(OK, "poll", f"{url} asked Slurm {max(age, 0):.0f} s ago")


def _nodes(patient: Patient) -> Iterator[Finding]:
    for content in list(patient.answers.values())[:1]:  # all of them have the same database
        silent = content["silent"]
        for key, says in (("never", "never delivered"), ("day", "delivered nothing for a day")):
            names = ", ".join(silent[f"{key}_nodes"])
            if silent[key]:
                advice = "where jobs ran there, see the prolog and `carbon-collector probe` on them"
                yield Finding(LOOK, "nodes", f"{silent[key]} of Slurm's nodes {says}: {names}; {advice}")
        if not silent["never"] and not silent["day"]:
            yield Finding(OK, "nodes", f"{content['nodes']} have delivered, all of Slurm's within a day")
        if content["last_slot"] is not None and content["last_slot"] > patient.now:
            yield Finding(FIX, "clock", "a node delivered a slot that has not begun: set the nodes' clocks by NTP")


def _providers(patient: Patient) -> Iterator[Finding]:
    for url, content in patient.answers.items():
        for source in content["grid"]:
            name = f"{source['text']} for {source['zone']}"
            if source["error"]:
                yield Finding(
                    LOOK,
                    "grid",
                    f"{url} gets nothing from {name}: {source['error']}; the yearly factor holds meanwhile",
                )
            elif source.get("refused"):
                yield Finding(LOOK, "grid", f"{url} leaves a part of {name} out: {source['refused']}")
            else:
                yield Finding(OK, "grid", name)


def _unmatched(patient: Patient) -> Iterator[Finding]:
    for content in list(patient.answers.values())[:1]:
        count = content["unmatched"]
        if count:
            yield Finding(
                LOOK, "unmatched", f"{count} ledgers have no job of Slurm's: `carbon-mgr unmatched` lists them"
            )
        else:
            yield Finding(OK, "unmatched", "every ledger has its job")


def _conservation(patient: Patient) -> Iterator[Finding]:
    for content in list(patient.answers.values())[:1]:
        if status.conserved(content):
            yield Finding(OK, "conservation", "jobs + idle + system = metered over the last day, to the microjoule")
        else:
            yield Finding(
                FIX, "conservation", "there is a difference over the last day: `carbon-mgr status` shows it; report it"
            )


def _database(patient: Patient) -> Iterator[Finding]:
    """Yield findings on the database: whether it can be used; for a file who may read it, whether it is whole, and
    whether its disk has room.
    """
    if wrong := list(starting.database_url(patient)):
        yield from wrong
        return
    found = parse_urls(url_of(patient.config))[0]
    if found.get_backend_name() != "sqlite":
        yield from _server(patient)
        return
    path = Path(found.database or "")
    if not path.exists():
        return
    if path.stat().st_mode & 0o077:
        yield Finding(FIX, "database", f"{path} holds everybody's jobs and others may read it: chmod go= {path}")
    if damage := _damage(path):
        yield Finding(FIX, "database", f"{path} is damaged ({damage}): stop carbon-aggregator, and {REPAIR}")
    usage = shutil.disk_usage(path.parent)
    free, size = usage.free / usage.total, path.stat().st_size
    text = f"{path}: {size / 2**20:.0f} MiB, {100 * free:.0f} % of the disk is free"
    if free < LEAST_FREE or usage.free < size:
        yield Finding(FIX, "disk", f"{text}; a copy before an upgrade would not fit: make room, or `carbon-mgr prune`")
    else:
        yield Finding(OK, "disk", text)


def _server(patient: Patient) -> Iterator[Finding]:
    """Yield findings on a server's database: it is connected to as the aggregator does, and asked for its schema,
    and whether it takes writes. Nothing is changed.
    """
    try:
        database = Database(url_of(patient.config))
        try:
            found = database.schema()
            database.check_writes()
        finally:
            database.close()
    except DatabaseError as err:
        yield Finding(FIX, "database", str(err))
        return
    if found is None:
        yield Finding(OK, "database", f"{database.shown}, which has no tables yet")
    elif found != schema.newest():
        yield Finding(FIX, "database", f"{database.shown}: schema {found}, this program needs {schema.newest()}")
    else:
        yield Finding(OK, "database", f"{database.shown}, schema {found}")


def _damage(path: Path) -> str:
    """Return the first error in the pages of an SQLite file, or an empty text. It reads all of the file."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as err:
        is_damage = getattr(err, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        return str(err) if is_damage else ""
    return "" if found == "ok" else " ".join(str(found).split())[:200]


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _configuration,
    starting.grid,
    _munge,
    _database,
    _slurm,
    slurm_conf.settings,
    slurm_conf.drained,
    starting.listen,
    _aggregators,
    starting.differences,
    _poll,
    _providers,
    _nodes,
    _unmatched,
    _conservation,
)


def findings(load: Callable[[], Settings], path: str, programs: Programs) -> Iterator[Finding]:
    """Yield all findings as `examine` does. If the configuration cannot be read, that is the only finding."""
    try:
        config = load()
    except CarbonError as err:
        yield Finding(FIX, "configuration", str(err))
        return
    yield from examine(config, path, programs)
