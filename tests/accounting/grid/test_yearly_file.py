# SPDX-License-Identifier: MIT
"""Yearly files of Electricity Maps' data portal become the site's own factors, whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.samples import configure
from carbon_acct.cli import estimate, mgr
from carbon_acct.client import zones
from carbon_acct.errors import ProviderError
from carbon_acct.factors.slot_factor import load_terms
from carbon_acct.grid.yearly_file import factors
from carbon_collector.errors import SettingsError
from carbon_collector.settings import load

HEADER = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),Renewable energy percentage (RE%),"
    "Data source,Data estimated,Data estimation method\n"
)
OLD = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),Carbon Intensity gCO₂eq/kWh (LCA),"
    "Low Carbon Percentage,Renewable Percentage,Data Source,Data Estimated,Data Estimation Method\n"
)
"""The columns as the portal names them, and as it named them before. The figures below are made up."""


@pytest.fixture(autouse=True)
def _no_table_stays() -> Iterator[None]:
    """What a test has the process use is forgotten."""
    yield
    zones.use("")


def row(zone: str, direct: object, lifecycle: object, year: int = 2024, estimated: str = "false") -> str:
    """A line of the file."""
    return f"{year}-01-01 00:00:00,Japan,Tokyo,{zone},{direct},{lifecycle},30.1,20.2,somewhere.example,{estimated},\n"


def file(folder: Path, text: str, name: str = "a.csv") -> Path:
    """A file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", [HEADER, OLD, "\ufeff" + HEADER])
def test_both_spellings_of_the_columns(tmp_path: Path, header: str) -> None:
    """The scope that is asked for is taken, and year, name, source and licence come along."""
    path = file(tmp_path, header + row("JP-TK", 410.25, "480.5", estimated="true"))
    (found,) = factors([path], "lifecycle")

    assert found == zones.Factor(
        "JP-TK", "Tokyo, Japan", "480.5", "2024", "lifecycle", "Electricity Maps, yearly file, estimated in part", "ODbL 1.0"
    )  # fmt: skip
    assert factors([path], "direct")[0].g_per_kwh == "410.25"
    assert found.text == "Electricity Maps (2024), yearly average, lifecycle"


@given(st.dictionaries(st.integers(2017, 2025), st.decimals(0, 5000, places=2), min_size=1))
def test_the_newest_year_holds(tmp_path_factory: pytest.TempPathFactory, by_year: dict[int, object]) -> None:
    """Whatever the order of files and years, each zone has the figure of its newest year, to its last digit."""
    folder = tmp_path_factory.mktemp("years")
    paths = [file(folder, HEADER + row("JP-TK", 1, value, year), f"{year}.csv") for year, value in by_year.items()]
    (found,) = factors(paths, "lifecycle")

    assert int(found.year) == max(by_year)
    assert float(found.g_per_kwh) == float(str(by_year[max(by_year)]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start,g_per_kwh\n", "line 1: no column 'datetime (utc)'"),
        (HEADER + row("JP-TK", 1, "many"), "line 2: the lifecycle carbon intensity is 'many'"),
        (HEADER + row("JP-TK", 1, ""), "line 2: the lifecycle carbon intensity is ''"),
        (HEADER + row("JP-TK", 1, 9000), "line 2: carbon intensity of lifecycle is '9000'"),
        (HEADER + row("JP-TK", 1, 2) + row("JP-TK", 1, 3), "line 3: a second row of JP-TK for 2024"),
        (HEADER + row("JP-TK", 1, 2).replace("-01-01", "-01-02"), "line 2: a year begins at '2024-01-02"),
        (HEADER + row("", 1, 2), "line 2: no zone id"),
    ],
)
def test_a_bad_file_is_refused_whole(tmp_path: Path, text: str, said: str) -> None:
    """One line says which file, which line and what; nothing of the file is used."""
    with pytest.raises(ProviderError) as e:
        factors([file(tmp_path, text)], "lifecycle")
    assert said in str(e.value)


def test_from_the_file_to_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The imported table is used by the accounting, by carbon-mgr zones and by carbon-estimate, before the shipped one."""
    given = file(tmp_path, HEADER + row("JP-TK", 410, 480.5) + row("FR", 20, "33.25"))
    table = tmp_path / "factors.csv"
    assert mgr.main(["import-electricitymaps", str(given), "--output", str(table)]) == 0
    conf = configure(tmp_path, grid_factors=str(table), site_zone="JP-TK")
    terms, _ = load_terms(load(str(conf)))
    assert mgr.main(["--config", str(conf), "zones", "jp-tk"]) == 0
    listed = capsys.readouterr().out

    assert [one["zone"] for one in csv.DictReader(table.read_text().splitlines())] == ["FR", "JP-TK"]
    assert terms.home == "JP-TK"
    assert "480.5 g/kWh  2024  lifecycle" in listed
    assert "ODbL 1.0" in listed
    assert zones.factors()["FR"].g_per_kwh == "33.25"
    assert zones.factors()["DE"] == zones.shipped()["DE"]


def test_carbon_estimate_takes_it_from_a_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 x 400 W x 1 h at 480.5 g/kWh is 768.8 g, in a zone that no shipped table has."""
    table = tmp_path / "factors.csv"
    given = file(tmp_path, HEADER + row("JP-TK", 410, 480.5))
    mgr.main(["import-electricitymaps", str(given), "--output", str(table)])
    monkeypatch.setenv("CARBON_ACCT_FACTORS", str(table))
    monkeypatch.setenv("CARBON_ACCT_CONF", str(file(tmp_path, "[site]\n", "carbon-acct.conf")))
    capsys.readouterr()
    assert estimate.main(["-G", "a100-sxm4-40gb:4", "--hours", "1", "--zone", "JP-TK", "--csv"]) == 0
    (figures,) = csv.DictReader(capsys.readouterr().out.splitlines())

    assert float(figures["carbon_g"]) == pytest.approx(768.8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zone,g_per_kwh\nX,1\n", "no column 'name'"),
        ("{}X,X,much,2024,direct,a,b\n", "line 2: g_per_kwh is 'much'"),
        ("{}X,X,1,2024,both,a,b\n", "line 2: scope is 'both'"),
        ("{},X,1,2024,direct,a,b\n", "line 2: no zone"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: str, said: str) -> None:
    """The setting, the file and the line are in the message."""
    path = file(tmp_path, text.format("zone,name,g_per_kwh,year,scope,source,licence\n"))
    with pytest.raises(SettingsError) as e:
        zones.use(str(path))
    assert f"[grid] factors = {path}: " in str(e.value)
    assert said in str(e.value)
