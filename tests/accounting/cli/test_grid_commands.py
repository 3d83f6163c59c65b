# SPDX-License-Identifier: MIT
"""`carbon-mgr intensity` and `recalculate`: what they print, what they change, and that a bad file changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from accounting.samples import JOB, NOW, SLOT, configure, job_slot, ledger, new_site, segment, share
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.cli import mgr
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import JobRecord, list_jobs
from carbon_acct.sync.jobs import record_jobs

Run = Callable[..., tuple[int, str, str]]
WHEN = ("-S", f"uts{SLOT}", "-E", f"uts{SLOT + 3600}")
HEADER = "zone,start,end,g_per_kwh,provider,source,scope,estimated\n"
LINE = "DE,2012-10-09T12:00:00Z,2012-10-09T13:00:00Z,100,csv,our meter,direct,0\n"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs carbon-mgr on a site with a job of two slots; status, output, errors."""
    monkeypatch.setenv("TZ", "UTC")
    site = new_site(tmp_path)
    rows = [ledger(), *(job_slot({"cpu": share(10**9)}, slot=SLOT + 900 * i) for i in range(2))]
    with site.database.write() as session:
        record_jobs(session, [JOB], site.terms)
        assert not store_segment(session, parse_segment(segment(rows), NOW), site.terms, NOW).refused
    site.database.close()

    def call(*args: str, **values: str) -> tuple[int, str, str]:
        found = mgr.main(["--config", str(configure(tmp_path, **values)), *args])
        said = capsys.readouterr()
        return found, said.out, said.err

    return call


def job_of(folder: Path) -> JobRecord:
    site = new_site(folder)
    with site.database.read() as session:
        (record,) = list_jobs(session, Filters(EVERYTHING))
    site.database.close()
    return record


def test_list(run: Run) -> None:
    """Slots of one intensity are one line, with the source."""
    status, out, _err = run("intensity", *WHEN)

    assert (status, len(out.splitlines())) == (0, 1)
    assert "344.14 g/kWh  PUE 1.3  Ember 2024 via Our World in Data, yearly average, lifecycle (lifecycle)" in out


def test_plot(run: Run) -> None:
    """It is drawn in plain characters."""
    status, out, _err = run("intensity", *WHEN, "--plot")

    assert status == 0
    assert "DE: carbon intensity" in out
    assert "\x1b" not in out


def test_nothing_there(run: Run) -> None:
    """Where no job ran that is said, with status 1."""
    assert run("intensity", "-S", "uts0", "-E", "uts900")[0] == 1


def test_out_and_in(run: Run, tmp_path: Path) -> None:
    """What goes out as CSV comes in again and changes nothing; nothing that is there is taken twice."""
    first = tmp_path / "in.csv"
    first.write_text(HEADER + LINE)
    assert run("intensity", "--import", str(first))[:2] == (0, "1 periods, 1 of them new or different\n")
    hour = ("-S", "2012-10-09T12:00:00", "-E", "2012-10-09T13:00:00")
    again = tmp_path / "out.csv"
    again.write_text(run("intensity", *hour, "--csv")[1])

    assert again.read_text() == HEADER + LINE
    assert run("intensity", "--import", str(again))[:2] == (0, "1 periods, 0 of them new or different\n")


def test_a_source_that_applies_to_nothing(run: Run, tmp_path: Path) -> None:
    """Who imports values of a source that the settings do not name is told that they apply to nothing; else they apply."""
    path = tmp_path / "in.csv"
    path.write_text(HEADER + LINE)
    err = run("intensity", "--import", str(path))[2]

    assert (
        err == "carbon-mgr: our meter is not a source of DE in [grid] providers: it is stored and applied to nothing\n"
    )


def test_no_text(run: Run, tmp_path: Path) -> None:
    """A file that is no text is told in one line."""
    path = tmp_path / "in.csv"
    path.write_bytes(b"PK\x03\x04\xff\xfe")

    assert run("intensity", "--import", str(path))[::2] == (2, f"carbon-mgr: {path}: is not text in UTF-8\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (LINE.replace("100", "-1"), ":3: g_per_kwh = '-1' is not a number"),
        (LINE.replace("100", "nan"), ":3: g_per_kwh = 'nan'"),
        (LINE.replace("T12:00:00Z,", "T12:00:00,"), ":3: '2012-10-09T12:00:00' names no time zone"),
        (LINE.replace("T13:", "T11:"), ":3: it ends before it starts"),
        (LINE.replace("direct", "both"), ":3: scope is"),
        (LINE.replace("DE,", "ATLANTIS,"), ":3 = ATLANTIS: no such zone"),
        (LINE, ":3: the period is on line 2 already"),
    ],
)
def test_bad_line(run: Run, tmp_path: Path, line: str, says: str) -> None:
    """A bad line is named by its number, and no good one of its file is taken either."""
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + LINE + line)
    status, _out, err = run("intensity", "--import", str(path))
    path.write_text(HEADER + LINE)

    assert status == 1
    assert says in err
    assert run("intensity", "--import", str(path))[1] == "1 periods, 1 of them new or different\n"


def test_recalculate(run: Run, tmp_path: Path) -> None:
    """Another PUE is applied to jobs when that is asked for; a dry run says what it would change, and changes nothing."""
    before = job_of(tmp_path)
    dry = run("recalculate", "--since", f"uts{SLOT}", "--dry-run", site_pue="2.6")[1]
    assert job_of(tmp_path).carbon_ug == before.carbon_ug
    done = run("recalculate", "--since", f"uts{SLOT}", site_pue="2.6")[1]
    again = run("recalculate", "--since", f"uts{SLOT}", site_pue="2.6")[1]

    assert dry == "2 slot factors and 2 slots of jobs would change\ntheir carbon: 249mg now, 497mg then\n"
    assert (done, again) == ("2 slots of jobs recalculated\n", "0 slots of jobs recalculated\n")
    assert job_of(tmp_path).facility_uj == 2 * (before.facility_uj or 0)


def test_recalculate_of_another_zone(run: Run, tmp_path: Path) -> None:
    """A site that moves a partition to another zone has its jobs recalculated there from then on."""
    run("recalculate", "--since", f"uts{SLOT + 900}", grid_zones="demo/p:FR")

    assert set((job_of(tmp_path).zone or "").replace(",", ";").replace(" ", "").split(";")) == {"DE", "FR"}
