# SPDX-License-Identifier: MIT
"""What a report says, draws and hides: read from its pages, and held against its own exact figures."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import stat
import sys
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from carbon_reports import data
from carbon_reports.numbers import energy
from carbon_reports.period import in_words
from carbon_reports.share_table import share_table
from carbon_reports.sums import Share, Total

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Outcome, Site

KWH, KG = 3.6e12, 1e9
pytestmark = pytest.mark.slow
NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "reports.ipynb"


class Tables(HTMLParser):
    """The tables of a page by their accessible names, as rows of texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self._name, self._cell = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a table, a row or a cell."""
        named = dict(attrs)
        if tag == "div" and named.get("role") == "region":
            self._name = named.get("aria-label") or named.get("aria-labelledby") or ""
            self.found[self._name] = []
        elif tag == "tr" and self._name:
            self.found[self._name].append([])
        elif tag in ("td", "th") and self._name:
            self.found[self._name][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        """End a cell or a table."""
        if tag in ("td", "th"):
            self._cell = False
        elif tag == "table":
            self._name = ""

    def handle_data(self, text: str) -> None:
        """Add to a cell."""
        if self._cell:
            self.found[self._name][-1][-1] += text.strip()


def number(text: str) -> float:
    """A number as a page shows it, 0 for a dash."""
    return 0.0 if text == "–" else float(text.lstrip("<").replace("\u202f", "").replace("−", "-"))


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def page_of(folder: Path, name: str = "index.html") -> str:
    """A page's text."""
    return (folder / name).read_text(encoding="utf-8")


def setting(site: Site, section: str, line: str) -> None:
    """Add a line to the configuration."""
    text = site.config.read_text("utf-8")
    head = f"[{section}]\n"
    site.config.write_text(text.replace(head, f"{head}{line}\n") if head in text else f"{text}{head}{line}\n", "utf-8")


def test_what_is_drawn_is_what_is_known(busy: Path) -> None:
    """Each table behind a drawing has the exact figures of the report, as far as its decimals go, and they add up."""
    tables, report = Tables(page_of(busy)).found, json.loads((busy / "report.json").read_text("ascii"))
    total, moved = report["total"], report["conservation"]
    (days,) = [table for name, table in tables.items() if name.startswith("Energy by day")]
    for shown, exact in zip(days[1:], report["days"], strict=True):
        cpu, dram = number(shown[1]), number(shown[2])
        assert cpu + dram == pytest.approx((exact["energy_uj"] or 0) / KWH, abs=0.002)
        assert number(shown[-1]) == pytest.approx((exact["carbon_ug"] or 0) / KG, abs=0.001)
    idle = sum(int(row["IdleEnergyRaw"] or 0) for row in rows(busy / "days.csv"))
    assert idle == pytest.approx(sum(part["idle_uj"] for part in moved.values()) / 1e6, abs=31)
    hours = Tables(page_of(busy)).found["Metered energy of the jobs by hour, kWh"]
    drawn = sum(number(cell) for row in hours[1:] for cell in row[1:] if cell != "–")
    assert drawn == pytest.approx(total["energy_uj"] / KWH, abs=0.02 * 60)
    exact = sum(int(row["JobsMeteredEnergyRaw"]) for row in rows(busy / "hours.csv"))
    assert exact == pytest.approx(total["energy_uj"] / 1e6, abs=60)
    where = tables["where-title"]
    assert sum(number(row[1]) for row in where[1:-1]) == pytest.approx(number(where[-1][1]), abs=0.03)
    projects = {row[0]: number(row[1]) for row in tables["projects-title"][1:]}
    accounts = {share["label"]: share["total"]["carbon_ug"] / KG for share in report["accounts"]}
    assert projects == pytest.approx(accounts, abs=0.001)
    waste = tables["waste-title"]
    failed = [job for job in report["jobs"] if job["state"] == "FAILED"]
    assert [row[1] for row in waste[1:]] == [str(len(failed))] == ["3"]
    assert number(waste[1][2]) == pytest.approx(sum(job["energy_uj"] for job in failed) / KWH, abs=0.001)


def test_the_head_says_what_happened_and_why(busy: Path) -> None:
    """The first sentence has the month, the figure, the change and its reasons; cards compare with month and year before."""
    page = page_of(busy)
    lead = re.sub("<[^>]+>", "", page.partition('<p class="lead">')[2].partition("</p>")[0])
    assert lead.startswith("In March 2024 the jobs emitted ")
    assert re.search(
        r"more than in February: \+[\d.]+\u202fkg from .*more energy; the grid and the PUE did not change\.", lead
    )
    assert "of their energy went into jobs that failed." in lead
    assert "on February 2024</span>" in page
    assert "<span>March 2023: –</span>" in page


def test_long_tables_end_and_the_csv_has_all(busy: Path) -> None:
    """The page has 25 users and the others in a row, sorted by a column that is shown; the CSV has each."""
    users = Tables(page_of(busy)).found["Users"]
    assert len(users) == 1 + 25 + 1
    assert users[-1][0] == "5 others"
    energies = [number(row[users[0].index("kWh")]) for row in users[1:-1]]
    assert energies == sorted(energies, reverse=True)
    report = json.loads((busy / "report.json").read_text("ascii"))
    assert sum(energies) + number(users[-1][users[0].index("kWh")]) == pytest.approx(
        report["total"]["energy_uj"] / KWH, abs=0.02
    )
    assert len(rows(busy / "users.csv")) == 30


def test_money_is_the_price_of_each_day(busy: Path) -> None:
    """Facility energy times the price on its day; users and accounts add up to the site."""
    report = json.loads((busy / "report.json").read_text("ascii"))
    expected = sum((day["facility_uj"] or 0) / KWH * (0.2 if at < 15 else 0.4) for at, day in enumerate(report["days"]))
    assert report["total"]["cost_u"] / 1e6 == pytest.approx(expected, abs=0.001)
    for kind in ("users", "accounts"):
        assert sum(share["total"]["cost_u"] for share in report[kind]) == report["total"]["cost_u"]
    assert "EUR, facility energy" in page_of(busy)
    head = (busy / "users.csv").read_text("utf-8").splitlines()[0]
    assert "CostEUR,CarbonRaw" in head


def test_reports_link_to_each_other(busy: Path) -> None:
    """The month before leads to this one and back, on pages of the site, users and accounts; the list has both."""
    assert 'href="../2024-03/index.html"' in page_of(busy.parent / "2024-02")
    assert 'href="../2024-02/index.html"' in page_of(busy)
    assert 'href="../../2024-02/accounts/' not in page_of(busy, "accounts/project0.html")
    listed = page_of(busy.parent)
    assert listed.index("March 2024") < listed.index("February 2024")
    for page in busy.parent.rglob("*.html"):
        for link in re.findall(r'href="([^"#]+)"', page.read_text("utf-8")):
            assert (page.parent / link).is_file(), (page, link)


def test_account_pages_link_to_no_user(busy: Path) -> None:
    """Whoever may read an account's page finds no way to a user's."""
    for page in (busy / "accounts").glob("*.html"):
        assert "users/" not in page.read_text("utf-8")


def test_files_are_for_the_readers(busy: Path) -> None:
    """Every file is 0640 and every folder of a report 0750; everybody may enter the folder that holds them."""
    assert stat.S_IMODE(busy.parent.stat().st_mode) == 0o755
    for path in busy.parent.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_frames_are_the_report(busy: Path) -> None:
    """Parquet and frames have the report's sums, to the microjoule and microgram, also by hours of the local clock."""
    import pandas as pd

    config = str(busy.parent.parent / "carbon-acct.conf")
    report = json.loads((busy / "report.json").read_text("ascii"))
    parquet = pd.read_parquet(busy / "usage.parquet")
    for key in ("energy_uj", "facility_uj", "carbon_ug"):
        assert sum(map(int, parquet[key])) == report["total"][key]
    monthly = data.usage("2024-01-01", "2024-05-01", freq="MS", config=config)
    assert [str(at) for at in monthly["start"]] == ["2024-02-01 00:00:00+01:00", "2024-03-01 00:00:00+01:00"]
    daily = data.usage("2024-03-01", "2024-04-01", by=["user"], freq="D", config=config)
    assert sum(map(int, daily["energy_uj"])) == report["total"]["energy_uj"]
    assert daily["energy_kwh"].sum() == pytest.approx(report["total"]["energy_uj"] / KWH)
    runs = data.jobs("2024-03-01", "2024-04-01", config)
    assert sum(map(int, runs["carbon_ug"])) == report["total"]["carbon_ug"]
    assert str(runs["start"].iloc[0]) == "2024-03-01 22:10:00+01:00"


def test_the_notebook_runs(busy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The notebook's cells run in order on a filled site, and print the report's exact total."""
    monkeypatch.setenv("CARBON_ACCT_CONF", str(busy.parent.parent / "carbon-acct.conf"))
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    exec("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"), {})
    total = json.loads((busy / "report.json").read_text("ascii"))["total"]
    said = capsys.readouterr().out
    assert f"exact total: {total['energy_uj']} uJ" in said
    assert "FAILED" in said


@pytest.mark.parametrize("names", ["accounts", "none"])
def test_names_that_must_not_be_there(
    site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path, names: str
) -> None:
    """With `names` no byte of a report holds a name that it must not: not of users, and with `none` not of accounts."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00", user="zoe77", account="proj88", name="secret99")
    site.save()
    setting(site, "reports", f"names = {names}")
    assert carbon_report("monthly", "--month", "2024-03", "--format", "html,csv,json,parquet").status == 0
    hidden = ["zoe77", "secret99", *(["proj88"] if names == "none" else [])]
    for path in (tmp_path / "reports").rglob("*"):
        assert not any(word in path.name for word in hidden)
        if path.is_file():
            content = path.read_bytes()
            assert not any(word.encode() in content for word in hidden), path


def test_a_new_writing_says_what_changed(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """The same figures have the same digest, and other ones are named."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    folder = tmp_path / "reports/2024-03"
    carbon_report("monthly", "--month", "2024-03")
    first = json.loads((folder / "figures.json").read_text("ascii"))
    assert "Since the last writing" not in page_of(folder)
    carbon_report("monthly", "--month", "2024-03")
    assert json.loads((folder / "figures.json").read_text("ascii"))["digest"] == first["digest"]
    assert "The figures are those of the writing of " in page_of(folder)
    setting(site, "site", "price = 0.5")
    old = json.loads((folder / "figures.json").read_text("ascii"))
    old["figures"]["total"]["carbon_ug"] = "1"
    (folder / "figures.json").write_text(json.dumps(old), encoding="ascii")
    carbon_report("monthly", "--month", "2024-03")
    assert "had other figures. Carbon of the jobs, location-based: <0.01".replace("<", "&lt;") in page_of(folder)
    assert "Figures of 1 user changed." in page_of(folder)


def test_energy_that_came_late(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Energy that a node delivers after its month was reported is in the next writing, whose head says what it changed."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    folder = tmp_path / "reports/2024-03"
    carbon_report("monthly", "--month", "2024-03")
    assert "<b>Changed.</b>" not in page_of(folder)
    before = json.loads((folder / "report.json").read_text("ascii"))
    site.rows.clear()
    site.metered.clear()
    site.run("2024-03-20T10:00", "2024-03-20T12:00", user="late")
    site.save(sequence=2)
    carbon_report("monthly", "--month", "2024-03")
    after = json.loads((folder / "report.json").read_text("ascii"))
    assert after["total"]["energy_uj"] == 2 * before["total"]["energy_uj"]
    head = page_of(folder).partition("<b>Changed.</b>")[2].partition("</div>")[0]
    assert f"The writing of {before['meta']['written']} had other figures." in head
    was, now = (energy(report["total"]["energy_uj"]) for report in (before, after))
    assert f"Measured energy of the jobs: {was} became {now}." in head
    assert "Figures of 1 user changed. Figures of 1 account changed. Figures of 1 day changed." in head
    assert "<b>Changed.</b>" not in page_of(folder, "users/late.html")
    carbon_report("monthly", "--month", "2024-03")
    assert "<b>Changed.</b>" not in page_of(folder)


def test_provisional(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A ledger without a job and a job on a silent node are said in the head, and the list of reports says so too."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.run("2024-03-06T10:00", "2024-03-06T12:00", known=False)
    site.save()
    carbon_report("monthly", "--month", "2024-03")
    assert "<b>Provisional.</b>" in page_of(tmp_path / "reports/2024-03")
    assert "that nodes gave to 1 run of jobs belongs to no job in Slurm" in page_of(tmp_path / "reports/2024-03")
    assert "provisional" in page_of(tmp_path / "reports")


def test_a_month_that_is_not_over(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """The report of a month that goes on says until when, and how old it is, in words."""
    site.save()
    month = datetime.now(ZoneInfo("Europe/Berlin")).strftime("%Y-%m")
    assert carbon_report("monthly", "--month", month).status == 0
    moment = r"\d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d"
    says = rf"it goes on until 1 [A-Z][a-z]+ \d{{4}}, 00:00; this is how it stood on {moment}\."
    assert re.search(says, page_of(tmp_path / "reports" / month))
    assert in_words("2026-12-24T23:05:59+01:00") == "24 December 2026, 23:05"


def test_estimates_are_not_taken_off_what_meters_counted(
    site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path
) -> None:
    """A month in which all energy was estimated has no energy that belongs to no job, and says that none was measured."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00", nodelist="n[1-2]", nnodes=2)
    site.save()
    site.config.write_text(site.config.read_text("utf-8").replace("estimate = no", "estimate = yes"), "utf-8")
    carbon_report("monthly", "--month", "2024-03")
    page = page_of(tmp_path / "reports/2024-03")
    assert "belongs to no job" not in page
    assert "&lt;0.01" not in page
    assert "Nodes were silent: of 1 job at least one node delivered nothing (yet)." in page


def clock_of(
    site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path, month: str, day: str
) -> list[list[str]]:
    """The heat table of a month with a job over the night of a day."""
    site.run(f"{day}T00:00", f"{day}T06:00", watts=1000)
    site.save()
    carbon_report("monthly", "--month", month)
    return Tables(page_of(tmp_path / "reports" / month)).found["Metered energy of the jobs by hour, kWh"]


def test_a_day_without_an_hour(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """On the day that has no hour from 2 to 3 that cell is empty, and its neighbours are full."""
    table = clock_of(site, carbon_report, tmp_path, "2024-03", "2024-03-31")
    assert len(table[0]) == 25
    assert table[31][0] == "31"
    assert table[31][3] == "–"
    assert number(table[31][2]) == number(table[31][4]) > 1


def test_a_day_with_an_hour_twice(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """The hour that comes again is a column of its own, which all other days leave empty."""
    table = clock_of(site, carbon_report, tmp_path, "2024-10", "2024-10-27")
    assert table[0][1:6] == ["0", "1", "2", "2b", "3"]
    assert number(table[27][3]) == number(table[27][4]) > 1
    assert [row[4] for row in table[1:27]] == ["–"] * 26


def test_the_target_is_a_line_at_its_place(
    site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path, busy: Path
) -> None:
    """The dashed line of the twelve months is where the axis has the target, the legend names it, and the title says how far
    the month is from it. Without a target there is no line.
    """
    assert 'class="line"' not in page_of(busy).partition('aria-labelledby="months-title"')[2].partition("</figure>")[0]
    site.run("2024-03-05T10:00", "2024-03-05T16:00", watts=300)
    site.save()
    target = 0.3
    setting(site, "reports", f"target = {target}")
    carbon_report("monthly", "--month", "2024-03")
    page = page_of(tmp_path / "reports/2024-03")
    drawn = page.partition('aria-labelledby="months-title"')[2].partition("</figure>")[0]
    axis, _, field = drawn.partition('class="field"')
    ticks = re.findall(r'y="([\d.]+)" text-anchor="end"[^>]*>([\d.\u202f]+)<', axis)
    (zero, _), (high, most) = (float(ticks[0][0]), 0), (float(ticks[-1][0]), number(ticks[-1][1]))
    (line,) = re.findall(r'<line class="line"[^>]* y1="([\d.]+)" y2="\1"[^>]*stroke-dasharray', field)
    # A number's base line is 4 pixels below its line of the grid.
    assert float(line) + 4 == pytest.approx(zero + (high - zero) * target / most, abs=0.2)
    assert "target: " in axis
    share = re.search(r'id="months-title">[^<]*, ([\d.]+)\u202f% (above|below) the target<', page)
    assert share
    months = rows(tmp_path / "reports/2024-03/months.csv")[-1]
    emitted = sum(float(months[name] or 0) for name in ("CarbonRaw", "IdleCarbonRaw", "SystemCarbonRaw")) / 1000
    change = 100 * (emitted / target - 1)
    assert (float(share[1]), share[2]) == (pytest.approx(change, abs=0.51), "above")


def test_an_even_grid_has_one_shade(busy: Path) -> None:
    """Where the intensity is that of the year, no hour is drawn darker than another because of a rounding."""
    table = page_of(busy).partition('aria-label="Intensity of the grid by hour')[2].partition("</table>")[0]
    assert len(set(re.findall(r'<td class="h(\d)">', table))) == 1
    assert " in each hour that has a number</p>" in page_of(busy)


def test_years_and_any_days(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A year is the sum of its months and has twelve columns; days are the days that were asked for."""
    site.run("2023-05-05T10:00", "2023-05-05T12:00", watts=50)
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.run("2024-07-05T10:00", "2024-07-05T12:00")
    site.save()
    assert carbon_report("yearly", "--year", "2023").status == 0
    year, days = tmp_path / "reports/2023", tmp_path / "reports/2023-05-04_2023-05-06"
    assert page_of(year).count("<h1>Energy and carbon of Demo &amp; Sons, 2023</h1>") == 1
    (table,) = [rows for name, rows in Tables(page_of(year)).found.items() if name.startswith("Energy by day")]
    assert len(table) == 13
    assert carbon_report("days", "--start", "2023-05-04", "--end", "2023-05-07").status == 0
    assert [row["Day"] for row in rows(days / "days.csv")] == ["2023-05-04", "2023-05-05", "2023-05-06"]
    figures = [json.loads((folder / "report.json").read_text("ascii"))["total"] for folder in (year, days)]
    assert figures[0]["energy_uj"] == figures[1]["energy_uj"] > 0


WRONG: dict[str, tuple[list[str], str]] = {
    "no year": (["yearly", "--year", "24"], "'24' is no year; it looks like "),
    "no day": (
        ["days", "--start", "2024-02-30", "--end", "2024-03-01"],
        "--start: '2024-02-30' is no day; it looks like ",
    ),
    "backwards": (["days", "--start", "2024-03-02", "--end", "2024-03-01"], "--end 2024-03-01 is not after "),
    "too long": (
        ["days", "--start", "2022-03-02", "--end", "2024-03-01"],
        "--start 2022-03-02 --end 2024-03-01 is more ",
    ),
    "pdf of what": (
        ["monthly", "--month", "2024-03", "--pdf", "all"],
        "--pdf: unknown kind of pages 'all'; one of site",
    ),
}


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_words(site: Site, carbon_report: Callable[..., Outcome], argv: list[str], message: str) -> None:
    """A period or list that does not exist is one line, and exit 2."""
    done = carbon_report(*argv)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"carbon-report: {message}")


SETTINGS: dict[str, tuple[str, str]] = {
    "target": ("target = much", "[reports] target = much: no number of kg above 0"),
    "logo": ("logo = /etc/passwd", "[reports] logo = /etc/passwd: no picture of a known kind"),
    "readers": ("readers = no-such-group", "[reports] readers = no-such-group: no such group on this host"),
}


@pytest.mark.parametrize(("line", "message"), SETTINGS.values(), ids=SETTINGS.keys())
def test_wrong_settings(site: Site, carbon_report: Callable[..., Outcome], line: str, message: str) -> None:
    """A setting that cannot be used is named in one line before anything is written."""
    site.save()
    setting(site, "reports", line)
    done = carbon_report("monthly", "--month", "2024-03")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert done.err.startswith(f"carbon-report: {message}")


@pytest.mark.root
def test_a_group_may_read(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """With `readers` all files of a report, and the list of all, belong to that group."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    setting(site, "reports", "readers = daemon")
    assert carbon_report("monthly", "--month", "2024-03").status == 0
    assert {path.group() for path in (tmp_path / "reports").rglob("*")} == {"daemon"}


def test_a_logo_is_in_the_page(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A logo and whom to ask are in the page itself: nothing is fetched."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    (tmp_path / "logo.png").write_bytes(b"PNG of ours")
    setting(site, "reports", f"logo = {tmp_path}/logo.png")
    setting(site, "reports", "contact = <energy@site.example>")
    carbon_report("monthly", "--month", "2024-03")
    page = page_of(tmp_path / "reports/2024-03")
    assert 'src="data:image/png;base64,UE5HIG9mIG91cnM="' in page
    assert "Questions: &lt;energy@site.example&gt;." in page


def test_without_weasyprint(
    site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no PDF can be made that is one line which says what to install, and nothing is written."""
    site.save()
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    done = carbon_report("monthly", "--month", "2024-03", "--format", "html,pdf")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "libpango-1.0-0" in done.err
    assert not (tmp_path / "reports").exists()


def test_five_thousand_users() -> None:
    """The table of 5,000 users has 26 rows, and loses nobody's energy."""
    nobody = {"facility_uj": None, "carbon_ug": 10**9, "coverage": 100.0, "qualities": {}, "quality_uj": {}}
    shares = [
        Share(f"u{n}", Total(jobs=1, energy_uj=(5000 - n) * 10**13, estimated_uj=None, simulated=False, **nobody), 0.02)
        for n in range(5000)
    ]
    table = share_table(shares, "users", "")
    assert (len(table.rows), table.left_out) == (25, 4975)
    kwh = table.head.index("kWh")
    shown = sum(number(row.cells[kwh]) for row in table.rows) + number(table.others[kwh])
    assert shown == pytest.approx(sum((share.total.energy_uj or 0) for share in shares) / KWH, abs=1)


def test_own_templates(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A template of the site takes the place of the shipped one, and a broken one is named and leaves no report."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    own = tmp_path / "own"
    own.mkdir()
    setting(site, "reports", f"templates = {own}")
    (own / "part.html.j2").write_text("<p>{{ label | visible }} of {{ about.site }}</p>", encoding="utf-8")
    carbon_report("monthly", "--month", "2024-03")
    assert page_of(tmp_path / "reports/2024-03", "users/alice.html") == "<p>alice of Demo &amp; Sons</p>"
    (own / "site.html.j2").write_text("{{ nobody }}", encoding="utf-8")
    done = carbon_report("monthly", "--month", "2024-03")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "site.html.j2: 'nobody' is undefined" in done.err


def test_three_gigawatt_hours(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A sum beyond 64 bits of microjoules is exact in the report and in the frame, and does not turn negative."""
    for n in range(6):
        site.run(f"2024-03-{n + 1:02}T00:00", f"2024-03-{n + 1:02}T00:15", user=f"u{n}", watts=100)
    site.save()
    with sqlite3.connect(tmp_path / "state/carbon-acct.db") as database:  # no node may deliver as much
        database.execute(f"UPDATE day_sum SET energy_uj = {700_000 * 3_600_000_000_000}")
    carbon_report("monthly", "--month", "2024-03")
    total: dict[str, Any] = json.loads((tmp_path / "reports/2024-03/report.json").read_text("ascii"))["total"]
    assert total["energy_uj"] > 2**63
    frame = data.usage("2024-03-01", "2024-04-01")
    assert int(frame["energy_uj"].iloc[0]) == total["energy_uj"]
    assert frame["energy_kwh"].iloc[0] == pytest.approx(4.2e6)


def test_a_month_with_one_job(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """One job alone is the whole month: of its user, its account and its day, in words of one, without "others"."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    assert carbon_report("monthly", "--month", "2024-03").status == 0
    folder = tmp_path / "reports/2024-03"
    report = json.loads((folder / "report.json").read_text("ascii"))
    (job,) = report["jobs"]
    for whole in (report["total"], report["users"][0]["total"], report["accounts"][0]["total"]):
        assert (whole["jobs"], whole["energy_uj"], whole["carbon_ug"]) == (1, job["energy_uj"], job["carbon_ug"])
    assert [day["jobs"] for day in report["days"]] == [int(at == 4) for at in range(31)]
    assert [report[kind][0]["percent"] for kind in ("users", "accounts")] == [100, 100]
    page = page_of(folder)
    tables = Tables(page).found
    assert [len(tables[name]) for name in ("Users", "Accounts", "Jobs")] == [2, 2, 2]
    (ratios,) = [table for name, table in tables.items() if name.startswith("Ratios")]
    hours = {"core-hour, jobs without GPU": 2 * job["ncpus"], "node-hour, all jobs": 2 * job["nnodes"]}
    amounts = {"kWh": job["energy_uj"] / KWH, "g CO₂e": job["carbon_ug"] / 1e6}
    wanted = {f"{name} per {what}": amount / each for what, each in hours.items() for name, amount in amounts.items()}
    assert {row[0]: number(row[1]) for row in ratios[1:-1]} == pytest.approx(wanted, rel=0.005)
    assert "others" not in page
    assert not re.search(r"\b1 (jobs|users|accounts|days)\b", re.sub(r"<[^>]+>", "", page).replace("\u202f", " "))


def test_an_account_tree_with_a_hole(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Accounts that Slurm no longer has, or never named, keep their jobs: all rows add up, and each has a page."""
    for hour, account in enumerate(("physics", "physics", "deleted", None)):
        site.run(f"2024-03-05T{hour:02}:00", f"2024-03-05T{hour:02}:15", account=account, user=f"u{hour}")
    site.save()
    assert carbon_report("monthly", "--month", "2024-03").status == 0
    folder = tmp_path / "reports/2024-03"
    report = json.loads((folder / "report.json").read_text("ascii"))
    jobs = {share["label"]: share["total"]["jobs"] for share in report["accounts"]}
    assert jobs == {"physics": 2, "deleted": 1, "not known": 1}
    assert sum(share["total"]["energy_uj"] for share in report["accounts"]) == report["total"]["energy_uj"]
    links = re.findall(r'href="(accounts/[^"]+\.html)"', page_of(folder))
    assert len(links) == 3
    assert all((folder / link.replace("%7E", "~")).is_file() for link in links)
