# SPDX-License-Identifier: MIT
"""The benchmarks of receiving and of very many jobs: what they make is what the product would have made, and they run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from accounting.samples import new_site
from carbon_acct.db import checksum
from carbon_acct.queries import totals
from carbon_acct.site import Site
from carbon_acct.sums import rebuild

CHECKOUT = Path(__file__).parents[2]

needs_munged = pytest.mark.skipif(
    shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="munged is not installed (Debian: apt-get install munge)",
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not root: only root's credentials may deliver segments")


def run(program: str, *args: str) -> list[str]:
    """The lines of its table, without their head."""
    command = [sys.executable, str(CHECKOUT / "benchmarks" / program), *args]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    _, _, rows = done.stdout.partition("\n---")
    return [line for line in rows.splitlines()[1:] if line]


def made(folder: Path, days: int, detailed: int) -> Site:
    """A database of 2,000 jobs."""
    from scale.history import Year, fill
    from scale.nodes import CLUSTER

    site = new_site(folder, site_cluster=CLUSTER, site_pue="1", site_timezone="UTC")
    fill(site, folder / "carbon-acct.db", Year(2000, days, detailed))
    return site


@pytest.mark.slow
def test_made_sums_are_those_that_the_product_makes(tmp_path: Path) -> None:
    """What is put straight into the tables is, bit for bit, what a rebuild from the delivered rows gives; 0 difference."""
    site = made(tmp_path, days=10, detailed=10)
    with site.database.read() as session:
        before = checksum.figures(session)
        balance = totals.conservation(session).total
    site.database.run(lambda session: rebuild.rebuild_all(session, site.terms))
    with site.database.read() as session:
        after = checksum.figures(session)
    site.database.close()

    assert before == after
    assert before["job_slot"].rows > 2000
    assert balance.metered_uj > 0
    assert balance.difference_uj == 0


def test_folded_days_have_every_job_once(tmp_path: Path) -> None:
    """Of jobs before the days in detail there are days and roll-ups, and no slots."""
    from scale.history import END

    site = made(tmp_path, days=365, detailed=31)
    with site.database.read() as session:
        counted = sum(day.jobs for day in totals.days(session, 0, END + 86_400))
        rows = checksum.figures(session)
    site.database.close()

    assert counted == rows["job_day"].rows >= 2000
    assert 0 < rows["ledger"].rows < 200


@needs_munged
@needs_root
@pytest.mark.slow
def test_receiving_has_a_row_for_each_way() -> None:
    """Library, alone and over HTTP; that all of it was taken and nothing is missing, the program checks."""
    rows = run("receive.py", "--databases", "sqlite", "--jobs", "2", "--records", "500")

    figures = [row.split() for row in rows if row.startswith("sqlite")]
    assert len(figures) == 3
    assert {row[2] for row in figures} == {figures[0][2]}


@needs_munged
@needs_root
@pytest.mark.slow
def test_large_has_a_column_for_each_size() -> None:
    """The real carbon-acct is asked, and shows as many jobs as there are for the question."""
    rows = run("large.py", "--jobs", "1000", "--sacct", "0", "--runs", "1")

    (year,) = [row for row in rows if row.startswith("an account's year  ")]
    assert year.endswith("(4)")
    assert any(row.startswith("bytes on disk a job") for row in rows)


@pytest.mark.slow
def test_report_has_a_row_for_each_way() -> None:
    """`benchmarks/report.py`, short: every job is in the report, with the lists and without."""
    heading, *rows = run("report.py", "--jobs", "300")
    assert heading == "300"
    ways = ["pages", "pages, CSV and JSON", "pages, CSV, Parquet and PDF of the site"]
    assert [row.split("  ")[0] for row in rows] == [*ways, "all of it, with the lists of all runs"]
