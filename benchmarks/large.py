# SPDX-License-Identifier: MIT
"""A database of very many jobs: how long people wait for theirs, beside sacct; size on disk; how that grows.

The jobs are SYNTHETIC: a year of them, 500 users in 250 accounts, the last 31 days in detail (slots of jobs and nodes).
`carbon-acct` is the real program, started anew each time; it asks the real aggregator over HTTP, with MUNGE.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from machine import describe
from scale import slurmdbd
from scale.ask import Took, took
from scale.delivery import served
from scale.history import DAY_S, END, Year, fill
from scale.nodes import CLUSTER
from scale.servers import CHECKOUT
from table import render, verdict

sys.path.insert(0, str(CHECKOUT / "tests"))

from sqlalchemy.orm import Session

from accounting.samples import new_site
from carbon_acct.access.viewer import EVERYTHING, Viewer
from carbon_acct.aggregator import collect_rarely
from carbon_acct.days import Days
from carbon_acct.queries import totals
from carbon_acct.queries.advice import advice
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.period import Period, date_of
from carbon_acct.queries.usage import usage
from carbon_acct.site import Site

VAR_TMP = Path(os.environ.get("TMPDIR", "/var/tmp"))  # noqa: S108  a folder of its own is made in it
BUDGET_MS = 150.0
VERSION_BUDGET_MS = 60.0
BIN = Path(sys.executable).parent


def main() -> int:
    """One database after the other; the exit status is 1 where energy is not conserved."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--sacct", type=int, default=100_000, help="at most so many jobs in slurmdbd (0: none)")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=VAR_TMP, help="1.2 GB a million jobs")
    options = parser.parse_args()
    collect_rarely()  # as the aggregator does
    print(f"{describe()}\n")
    columns = [_ours(count, options.runs, options.folder) for count in options.jobs]
    counts = sorted({min(count, options.sacct) for count in options.jobs if options.sacct})
    columns += [_sacct(count, options.runs, options.folder) for count in counts]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names[1:]]
    print(render([names[0], *(column[names[0]] for column in columns)], rows))
    return 0


def _ours(count: int, runs: int, parent: Path) -> dict[str, str]:
    """One column of the table."""
    with tempfile.TemporaryDirectory(prefix="carbon-bench-", dir=parent) as name:
        folder = Path(name)
        site = new_site(folder, site_cluster=CLUSTER, site_pue="1", site_timezone="UTC")
        file = folder / "carbon-acct.db"
        began = time.monotonic()
        fill(site, file, Year(count))
        print(f"{count:,} jobs made in {time.monotonic() - began:.0f} s", file=sys.stderr)
        size = sum(path.stat().st_size for path in folder.glob("carbon-acct.db*"))
        found = {"ms, median": f"{count:,}"} | _answers(site, folder, count, runs)
        found |= _library(site, runs) | {"bytes on disk a job": f"{size / count:,.0f}"}
        site.database.close()
    return found


def questions(count: int) -> dict[str, list[str]]:
    """What is asked, in words that carbon-acct and sacct share."""
    month, year = (datetime.fromtimestamp(END - days * DAY_S, UTC).strftime("%Y-%m-%d") for days in (30, 365))
    now = datetime.fromtimestamp(END, UTC).strftime("%Y-%m-%d")
    return {
        "a user's month": ["-u", str(slurmdbd.ASKED_UID), "-S", month, "-E", now],
        "a user's month, -T": ["-u", str(slurmdbd.ASKED_UID), "-S", month, "-E", now, "-T"],
        "an account's year": ["-a", "-A", "a7", "-S", year, "-E", now],
        "one job": ["-a", "-j", str(count - count // 50)],
    }


def sums(count: int) -> dict[str, list[str]]:
    """What is asked of sums and of one job, for which sacct has no words."""
    month = ["--month", f"{datetime.fromtimestamp(END - 30 * DAY_S, UTC):%Y-%m}"]
    year = ["-S", f"{datetime.fromtimestamp(END - 365 * DAY_S, UTC):%Y-%m-%d}"]
    return {
        "a user's month, and the one before": ["-u", str(slurmdbd.ASKED_UID), *month, "--compare"],
        "a user's month, by day": ["-u", str(slurmdbd.ASKED_UID), *month, "--by", "day"],
        "an account's month, by user": ["-a", "-A", "a7", *month, "--by", "user"],
        "an account's year, by month": ["-a", "-A", "a7", *year, "--by", "month"],
        "everybody's month, by account, partition, state": ["-a", *month, "--by", "account,partition,state"],
        "everybody's month, by user, top 10, and before": ["-a", *month, "--by", "user", "--top", "10", "--compare"],
        "everybody's year, by month": ["-a", *year, "--by", "month"],
        "what of a month was wasted": ["-a", *month, "--waste"],
        "a month's idle energy": ["-a", *month, "--idle"],
        "show one job": ["show", str(count - count // 50)],
    }


def _answers(site: Site, folder: Path, count: int, runs: int) -> dict[str, str]:
    found = {}
    with served(site, {"n0"}) as server:
        conf = folder / "client.conf"
        conf.write_text(f"[collector]\naggregators = {server.url}\n[slurm]\nmunge_socket = {server.munge_socket}\n")
        env = {**os.environ, "CARBON_ACCT_CONF": str(conf), "TZ": "UTC"}
        for name, words in questions(count).items():
            done = took([str(BIN / "carbon-acct"), "-n", *words], env, runs)
            found[name] = f"{_cell(done)} ({done.lines:,})"
        for name, words in sums(count).items():
            found[name] = _cell(took([str(BIN / "carbon-acct"), *words], env, runs))
        found["--version"] = _cell(took([str(BIN / "carbon-acct"), "--version"], env, runs), VERSION_BUDGET_MS)
    return found


def _cell(done: Took, budget: float = BUDGET_MS) -> str:
    return f"{done.ms:,.0f} {verdict(done.ms, budget)}, CPU {done.cpu_ms:,.0f}"


def _library(site: Site, runs: int) -> dict[str, str]:
    """What `carbon-mgr status` and the monthly report ask the database for."""
    with site.database.read() as session:
        balance = totals.conservation(session).total
        if balance.difference_uj or not balance.metered_uj:
            raise SystemExit(f"energy is not conserved: {balance}")
        asked: dict[str, Callable[[], object]] = {
            "conservation line": lambda: totals.conservation(session),
            "counts of status": lambda: totals.counts(session),
            "a month's days by user and account": lambda: totals.days(session, END - 30 * DAY_S, END),
        }
        asked |= _sums(session, site.terms.days)
        return {name: f"{median(_ms(ask) for _ in range(runs)):,.0f}" for name, ask in asked.items()}


def _sums(session: Session, days: Days) -> dict[str, Callable[[], object]]:
    """What `GET /v1/usage` asks the database for, over a month."""
    until = date_of(END, days)
    month = Period(until - timedelta(days=30), until)
    before = Period(month.first - timedelta(days=30), month.first)
    everybody, one = Filters(EVERYTHING), Filters(Viewer(1, sees_all=False, user=f"u{slurmdbd.ASKED_UID - 1000}"))
    return {
        "sums: a user's month and the one before": lambda: usage(session, one, month, days, [], before, waste=False),
        "sums: a user's month by day": lambda: usage(session, one, month, days, ["day"], waste=False),
        "sums: all by user and state": lambda: usage(session, everybody, month, days, ["user", "state"]),
        "sums: all by account, top 10, and before": lambda: usage(
            session, everybody, month, days, ["account"], before, top=10, waste=False
        ),
        "sums: all, and what was wasted": lambda: usage(session, everybody, month, days),
        "sums: advice to a user": lambda: advice(session, one.viewer.user, month, days),
    }


def _ms(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def _sacct(count: int, runs: int, parent: Path) -> dict[str, str]:
    """The same of sacct."""
    found = {"ms, median": f"sacct, {count:,}"}
    with slurmdbd.running(parent, Year(count)) as env:
        for name, words in questions(count).items():
            known = [str(slurmdbd.KNOWN_UID) if word == str(slurmdbd.ASKED_UID) else word for word in words]
            done = took(["sacct", "-X", "-n", *known], env, runs)
            found[name] = f"{done.ms:,.0f} ({done.lines:,})"
        found["--version"] = f"{took(['sacct', '--version'], env, runs).ms:,.0f}"
    return found


if __name__ == "__main__":
    raise SystemExit(main())
