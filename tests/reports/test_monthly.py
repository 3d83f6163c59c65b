# SPDX-License-Identifier: MIT
"""carbon-report monthly, from a filled database to files on disk."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Outcome, Site

HOSTILE = "=<script>alert('x')</script>\x1b[2J\n"


def load(folder: Path) -> dict[str, Any]:
    """The machine-readable report."""
    content: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="ascii"))
    return content


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_index_is_named(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """The path of the index page is all that is printed, and every link on it leads to a page."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00", user="a/b", account="../../etc")
    site.run("2024-03-06T10:00", "2024-03-06T12:00", user="a b%", account="Übung")
    site.save()

    done = carbon_report("monthly", "--month", "2024-03")

    index = tmp_path / "reports/2024-03/index.html"
    assert (done.status, done.out, done.err) == (0, f"{index}\n", "")
    links = re.findall(r'href="([^"]+)"', index.read_text(encoding="utf-8"))
    assert len(links) == 13
    for link in links:
        target = (index.parent / link.partition("#")[0].replace("%7E", "~")).resolve()
        assert target.exists()
        assert target.is_relative_to(tmp_path / "reports")


def test_months_add_up(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A job over a month's border is in both months, each with its part; the parts are the whole."""
    site.run("2024-03-31T20:00", "2024-04-01T03:00", watts=333)
    site.save()
    for month in ("2024-02", "2024-03", "2024-04"):
        assert carbon_report("monthly", "--month", month).status == 0

    february, march, april = (load(tmp_path / f"reports/2024-0{n}") for n in (2, 3, 4))
    assert february["jobs"] == []
    assert [march["jobs"][0]["elapsed_s"], april["jobs"][0]["elapsed_s"]] == [4 * 3600, 3 * 3600]
    whole = sum(sum(parts.values()) for parts in site.metered.values())
    assert march["total"]["energy_uj"] + april["total"]["energy_uj"] == whole
    assert march["total"]["energy_uj"] * 3 == pytest.approx(april["total"]["energy_uj"] * 4)


def test_month_in_the_site_s_time_zone(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Borders are the site's midnights, and March has a day of 23 hours in Berlin."""
    site.run("2024-03-01T00:00", "2024-03-01T00:15")
    site.run("2024-03-31T23:45", "2024-04-01T00:00")
    site.save()
    carbon_report("monthly", "--month", "2024-03")

    report = load(tmp_path / "reports/2024-03")
    starts = [day["date_start"] for day in report["days"]]
    assert report["meta"]["start"] == "2024-03-01T00:00:00+01:00"
    assert report["meta"]["end"] == "2024-04-01T00:00:00+02:00"
    assert (len(starts), starts[0], starts[-1]) == (31, site.at("2024-03-01T00:00"), site.at("2024-03-31T00:00"))
    assert [day["jobs"] for day in report["days"]] == [1, *[0] * 29, 1]
    assert [job["job_id"] for job in report["jobs"]] == ["1", "2"]


def test_sums_agree(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Users, accounts and days each sum up to the jobs, and jobs + idle + system = meters, to the microjoule."""
    for number in range(12):
        user, account = f"u{number % 3}", f"a{number % 2}"
        start, end = f"2024-03-{number + 1:02}T10:07", f"2024-03-{number + 1:02}T13:41"
        site.run(start, end, watts=17 * number + 3, user=user, account=account)
    site.save()
    carbon_report("monthly", "--month", "2024-03")

    report = load(tmp_path / "reports/2024-03")
    for key in ("energy_uj", "facility_uj", "carbon_ug"):
        total = report["total"][key]
        assert total == sum(job[key] for job in report["jobs"])
        assert total == sum(share["total"][key] for share in report["users"])
        assert total == sum(share["total"][key] for share in report["accounts"])
    assert report["total"]["energy_uj"] == sum(day["energy_uj"] or 0 for day in report["days"])
    slots = len(site.metered)
    for part in report["conservation"].values():
        assert (part["idle_uj"], part["system_uj"], part["difference_uj"]) == (
            site.idle_uj * slots,
            site.system_uj * slots,
            0,
        )
    assert sum(p["jobs_uj"] for p in report["conservation"].values()) == report["total"]["energy_uj"]
    assert sum(share["percent"] for share in report["users"]) == pytest.approx(100)


def test_hostile_names_are_text(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Markup, escapes, formulas and paths in names stay text in HTML, CSV and file names."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00", name=HOSTILE, user="../../../x", account="@SUM(A1)<b>")
    site.save()
    assert carbon_report("monthly", "--month", "2024-03").status == 0

    folder = tmp_path / "reports/2024-03"
    pages = [path.read_text(encoding="utf-8") for path in folder.rglob("*.html")]
    assert len(pages) == 3
    for page in pages:
        assert "<script" not in page
        assert "@SUM(A1)<b>" not in page
        assert "@SUM(A1)&lt;b&gt;" in page
        assert "\x1b" not in page
        assert "=&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;\\x1b[2J\\n" in page
    (job,) = rows(folder / "jobs.csv")
    assert job["JobName"] == "'=<script>alert('x')</script>\\x1b[2J\\n"
    assert job["Account"] == "'@SUM(A1)<b>"
    folders = {folder.parent, folder, folder / "users", folder / "accounts"}
    assert {path.parent for path in tmp_path.rglob("*.html")} == folders


def test_unknown_is_not_zero(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A job with an unreadable meter is partial and says why; a job that nobody metered has empty cells, and pulls coverage down."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00", dram=False)
    site.run("2024-03-05T10:00", "2024-03-05T12:00", nodelist="n9", user="bob")
    site.rows = [row for row in site.rows if row["job_id"] == 1]
    site.metered = {slot: {"cpu": parts["cpu"] // 2 + 1} for slot, parts in site.metered.items()}
    site.save()
    carbon_report("monthly", "--month", "2024-03")

    folder = tmp_path / "reports/2024-03"
    first, second = rows(folder / "jobs.csv")
    assert (first["DRAMEnergyRaw"], first["Quality"]) == ("", "partial")
    assert first["QualityNotes"] == "dram: energy_uj: permission denied"
    assert {second[name] for name in ("EnergyRaw", "CPUEnergyRaw", "CarbonRaw", "FacilityEnergyRaw")} == {""}
    assert second["Quality"].startswith("none")
    alice, bob = rows(folder / "users.csv")
    assert (alice["User"], alice["Partial"], bob["EnergyRaw"], bob["None"]) == ("alice", "1", "", "1")
    assert load(folder)["total"]["coverage"] <= 50
    assert "–" in (folder / "users/bob.html").read_text(encoding="utf-8")


def test_simulated_is_marked_everywhere(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Every file with a figure from simulated counters says so; a user without them is not marked."""
    site.run("2024-03-05T10:00", "2024-03-05T10:15", user="real", account="real")
    site.simulated = True
    site.run("2024-03-06T10:00", "2024-03-06T10:15", user="toy", account="toy")
    site.save()
    carbon_report("monthly", "--month", "2024-03")

    folder = tmp_path / "reports/2024-03"
    for name in ("index.html", "users/toy.html", "accounts/toy.html", "jobs.csv", "users/toy.csv"):
        assert "imulated" in (folder / name).read_text(encoding="utf-8").replace(",Simulated\n", "")
    assert "imulated" not in (folder / "users/real.html").read_text(encoding="utf-8")
    assert [row["Simulated"] for row in rows(folder / "users.csv")] == ["no", "yes"]
    assert [row["Day"] for row in rows(folder / "days.csv") if row["Simulated"] == "yes"] == ["2024-03-06"]
    assert load(folder)["simulated"] is True


def test_energy_without_a_job_is_said(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Energy of a ledger that Slurm has no job for is in the balance, in no job, and named."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.run("2024-03-06T10:00", "2024-03-06T12:00", known=False)
    site.save()
    carbon_report("monthly", "--month", "2024-03")

    folder = tmp_path / "reports/2024-03"
    jobs_uj = sum(part["jobs_uj"] for part in load(folder)["conservation"].values())
    assert jobs_uj == 2 * load(folder)["total"]["energy_uj"]
    assert "belongs to no job in Slurm" in (folder / "index.html").read_text(encoding="utf-8")


def test_empty_month(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A month in which nothing ran gets a report that says so."""
    site.save()

    done = carbon_report("monthly", "--month", "2024-03")

    assert done.status == 0
    assert "Nothing to report." in (tmp_path / "reports/2024-03/index.html").read_text(encoding="utf-8")
    assert load(tmp_path / "reports/2024-03")["total"]["energy_uj"] is None


def test_running_again_replaces(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A second run gives the same report, with nothing left of what the first one had and it has not."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    carbon_report("monthly", "--month", "2024-03")
    first = load(tmp_path / "reports/2024-03")
    carbon_report("monthly", "--month", "2024-03", "--format", "json")
    second = load(tmp_path / "reports/2024-03")

    assert first["jobs"] == second["jobs"]
    assert first["total"] == second["total"]
    left = {path.suffix for path in (tmp_path / "reports/2024-03").rglob("*.*") if path.is_file()}
    assert left <= {".json", ""}
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["2024-03", "index.html"]


def test_failing_leaves_the_old_report(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Where the report cannot be made, the old one stays, nothing else is left, and one line says why."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    carbon_report("monthly", "--month", "2024-03")
    before = sorted(path.name for path in (tmp_path / "reports").rglob("*"))
    (tmp_path / "state/carbon-acct.db").write_bytes(b"not a database" * 1000)

    done = carbon_report("monthly", "--month", "2024-03")

    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert sorted(path.name for path in (tmp_path / "reports").rglob("*")) == before


def test_foreign_folder_is_not_replaced(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """A folder that is no report is left alone."""
    site.save()
    (tmp_path / "reports/2024-03").mkdir(parents=True)
    (tmp_path / "reports/2024-03/thesis.txt").write_text("mine", encoding="ascii")

    done = carbon_report("monthly", "--month", "2024-03")

    folder = tmp_path / "reports/2024-03"
    assert done.status == 1
    assert done.err == f"carbon-report: {folder}: exists and is no report; move it away or choose another --output\n"
    assert (folder / "thesis.txt").read_text(encoding="ascii") == "mine"


def test_output_that_cannot_be_written(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """An output folder that cannot be made is one line with its path."""
    site.save()
    (tmp_path / "file").touch()

    done = carbon_report("monthly", "--month", "2024-03", "--output", str(tmp_path / "file"))

    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert str(tmp_path / "file") in done.err


def test_no_database(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """On a host without the database there is no report of nothing, and no database is made."""
    done = carbon_report("monthly", "--month", "2024-03")

    database = tmp_path / "state/carbon-acct.db"
    assert done.err == (
        f"carbon-report: {database}: no such database; is this the accounting host? carbon-aggregator makes it\n"
    )
    assert (done.status, database.exists()) == (1, False)


WRONG = {
    "month 13": (["--month", "2026-13"], 2, "'2026-13' is no month; it looks like "),
    "two digits": (["--month", "26-1"], 2, "'26-1' is no month; it looks like "),
    "a day": (["--month", "2024-03-01"], 2, "'2024-03-01' is no month; it looks like "),
    "before computers": (["--month", "0001-01"], 2, "'0001-01' is no month; it looks like "),
    "future": (["--month", "2999-01"], 1, "2999-01 has not begun: in Europe/Berlin it is "),
    "format": (
        ["--month", "2024-03", "--format", "doc"],
        2,
        "--format: unknown format 'doc'; one of html, csv, json, pdf, parquet",
    ),
    "no format": (
        ["--month", "2024-03", "--format", ","],
        2,
        "--format: unknown format ''; one of html, csv, json, pdf, parquet",
    ),
    "no month": ([], 2, "the following arguments are required: --month (--help lists the options)"),
}


@pytest.mark.parametrize(("argv", "status", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_usage(
    site: Site, carbon_report: Callable[..., Outcome], argv: list[str], status: int, message: str
) -> None:
    """A month or format that does not exist is one line on stderr, and nothing is written."""
    site.save()

    done = carbon_report("monthly", *argv)

    assert (done.status, done.out, done.err.count("\n")) == (status, "", 1)
    assert done.err.startswith(f"carbon-report: {message}")


def test_wrong_time_zone(site: Site, carbon_report: Callable[..., Outcome]) -> None:
    """A time zone that does not exist is named with its setting."""
    site.config.write_text(site.config.read_text().replace("Europe/Berlin", "Europe/Atlantis"), encoding="utf-8")

    done = carbon_report("monthly", "--month", "2024-03")

    assert (done.status, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("carbon-report: [site] timezone = Europe/Atlantis: no such time zone;")


def test_provenance_is_stated(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Every page says period, time zone, PUE, zone, and the intensity with its source, as they were applied to the jobs."""
    site.run("2024-03-05T10:00", "2024-03-05T12:00")
    site.save()
    carbon_report("monthly", "--month", "2024-03")

    folder = tmp_path / "reports/2024-03"
    (job,) = load(folder)["jobs"]
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for fact in ("Europe/Berlin", "PUE 1.3", "<dd>DE</dd>", job["intensity_source"]):
            assert fact in text
        assert f"{job['intensity_g_per_kwh']:.1f} g/kWh" in text


def test_what_the_site_emitted(site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path) -> None:
    """Idle and system stand beside the jobs, with emissions like theirs; spread by energy where the site asks for it, and only then said."""
    for user, watts in (("alice", 100), ("bob", 300)):
        site.run("2024-03-05T10:00", "2024-03-05T11:00", watts=watts, user=user)
    site.save()
    folder = tmp_path / "reports/2024-03"
    carbon_report("monthly", "--month", "2024-03")
    plain = load(folder)
    page = (folder / "index.html").read_text(encoding="utf-8")
    site.config.write_text(site.config.read_text("utf-8") + "spread = energy\n", encoding="utf-8")
    carbon_report("monthly", "--month", "2024-03")
    spread = load(folder)
    beside = plain["energy"]["idle"]["carbon_ug"] + plain["energy"]["system"]["carbon_ug"]

    assert plain["energy"]["jobs"]["carbon_ug"] == plain["total"]["carbon_ug"]
    assert plain["energy"]["idle"]["energy_uj"] == sum(part["idle_uj"] for part in plain["conservation"].values())
    assert plain["energy"]["idle"]["market_ug"] is None
    assert "What it emitted" in page
    assert "with idle and system" not in page
    assert "spread" not in plain
    assert plain["users"] == spread["users"]
    assert sum(spread["spread"]["users"].values()) == beside > 0
    assert spread["spread"]["users"]["bob"] == pytest.approx(3 * spread["spread"]["users"]["alice"], abs=2)
    assert "with idle and system" in (folder / "index.html").read_text(encoding="utf-8")


def test_what_came_after_the_month_was_closed(
    site: Site, carbon_report: Callable[..., Outcome], tmp_path: Path
) -> None:
    """A report says which node delivered or changed rows of its month after the month was closed, and by how much the
    energy grew; that of another month says nothing of it.
    """
    site.run("2024-03-05T10:00", "2024-03-05T12:00", watts=500)
    site.run("2024-11-30T10:00", "2024-11-30T12:00")
    site.save()  # on 1 December: March was closed, November is not yet
    pages = {}
    for month in ("2024-03", "2024-11"):
        assert carbon_report("monthly", "--month", month).status == 0
        pages[month] = (tmp_path / f"reports/{month}/index.html").read_text(encoding="utf-8")
    (said,) = re.findall(r"<b>Delivered late.</b> (.*?)</p>", pages["2024-03"])
    assert said == "After the month was closed: Node n1 delivered or changed 8 rows of jobs: +1.1\u202fkWh."
    assert "Delivered late" not in pages["2024-11"]
