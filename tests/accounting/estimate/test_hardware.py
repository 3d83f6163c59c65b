# SPDX-License-Identifier: MIT
"""Estimates by hardware: the figures of the two founding papers, from every way to ask, without a rounding between."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.client.estimate import equivalents, show

from .conftest import Run

GIVEN = ("--intensity", "1000")
EXACT = """\
GPU       4 x 400 W (A100 data sheet) x 1 h                    1.600 kWh
Facility  x PUE 1.2                                            1.920 kWh
Carbon    x 44.18 g/kWh (FR, Ember 2024, yearly, lifecycle)    84.8 g     12.7 to 84.8 g
Basis     hardware at full use: an upper bound; CPUs and memory were not given and are not in it
"""


def test_it_says_what_was_multiplied(run: Run) -> None:
    """Devices, watts and their source, hours, PUE once, the intensity with year and scope; and what is not in it."""
    assert run("-G", "a100-sxm4-40gb:4", "--hours", "1", "--zone", "FR", "--pue", "1.2").out == EXACT


SCRIPT = "#!/bin/bash\n#SBATCH --gres=gpu:a100:4\n#SBATCH -t 1:00:00\nsrun ./train\n"
ARRAY = "#!/bin/sh\n#SBATCH -a 1-4\n#SBATCH --gpus-per-task a100\n#SBATCH --time=60\n./train\n"


@pytest.mark.parametrize(
    ("words", "script"),
    [
        (["-G", "a100:4", "--hours", "1"], ""),
        (["-Ga100:4", "-t60"], ""),
        (["--gpus=a100:4", "--time=1:00:00"], ""),
        (["--gres=gpu:a100:4", "-t", "0-1"], ""),
        (["-N2", "--gres", "gpu:a100:2", "-t", "60:00"], ""),
        (["-N", "2", "--gpus-per-node=a100:2", "-t", "0-1:00"], ""),
        (["-n4", "--gpus-per-task=a100:1", "-t", "0-1:00:00"], ""),
        (["-N2", "--sockets-per-node=2", "--gpus-per-socket=a100:1", "-t", "60"], ""),
        (["-n", "4", "--tres-per-task=gres/gpu:a100=1", "-t", "60"], ""),
        (["--tres-per-node=gres/gpu:a100:4", "-t", "60"], ""),
        (["-G", "a100:1", "-t", "60", "-a", "0-3%2"], ""),
        (["-G", "a100:2", "-t", "60", "-a", "5,7"], ""),
        (["-G", "a100:2", "-t", "60", ":", "-G", "a100:1", "-t", "120"], ""),
        ([], SCRIPT),
        ([], ARRAY),
        (["--time", "1:00:00"], SCRIPT.replace("1:00:00", "9-0")),
        ([], SCRIPT.replace("a100:4", "a100:2").replace("srun", "#SBATCH hetjob\n#SBATCH -G a100:2 -t 1:00:00\nsrun")),
    ],
)  # fmt: skip
def test_every_way_to_ask_for_it_is_the_same_energy(run: Run, tmp_path: Path, words: list[str], script: str) -> None:
    """Four devices of 400 W for an hour are 1.6 kWh, and 2.528 kWh at a PUE of 1.58, however they are asked for."""
    file = tmp_path / "train.sh"
    file.write_text(script)
    figures = run(
        "--json", "--pue", "1.58", *GIVEN, "--basis", "hardware", *words, *([str(file)] if script else [])
    ).figures

    assert figures["energy_kwh"] == 1.6
    assert figures["facility_kwh"] == 2.528
    assert figures["carbon_g"] == 2528.0


@pytest.mark.parametrize(
    ("words", "kwh", "grams"),
    [
        # the ML CO2 Impact calculator: the figures of its paper and page, without its early rounding
        (["-G", "v100-sxm2:1", "--hours", "100", "--intensity", "432"], 30, 12960),
        (["-G", "v100-sxm2:1", "--hours", "100", "--intensity", "0.432kg"], 30, 12960),
        (["-G", "t4", "--hours", "100", "--intensity", "432"], 7, 3024),
        (["-G", "a10:1", "--watts", "250", "--hours", "100", "--intensity", "34.5"], 25, 862.5),
        (["-G", "t4", "--hours", "10", "--intensity", "20"], 0.7, 14),
        (["-G", "v100:1", "--hours", "100", "--intensity", "20"], 30, 600),
        (["-G", "v100:1", "--hours", "100", "--intensity", "736.6"], 30, 22098),
        (["-G", "v100:8", "--hours", "1", "--intensity", "0"], 2.4, 0),
        (["-G", "tpuv3:128", "--watts", "283", "--hours", "1", "--intensity", "0"], 36.224, 0),
        (["-G", "tpuv3:128", "--hours", "1", "--intensity", "0"], 33.536, 0),
        # Carbontracker's paper: GPT-3, and a U-net on LIDC
        (["-G1", "--watts", "250", "--hours", "670940.16", "--pue=1.125", "--intensity=449.06"], 167735.04, 84738484.1952),
        (["-G1", "--watts", "1334.319", "--hours", "1", "--intensity", "58.25"], 1.334319, 77.72408175),
        # and both corrected: a zone of today, the building once
        (["-G", "a100:4", "--hours", "1", "--zone", "FR", "--pue", "1.2"], 1.6, 84.8256),
    ],
)  # fmt: skip
def test_figures_of_the_two_papers(run: Run, words: list[str], kwh: float, grams: float) -> None:
    """Energy and carbon to the last digit of a double."""
    figures = run("--json", *words).figures

    assert figures["energy_kwh"] == pytest.approx(kwh, rel=1e-15)
    assert figures["carbon_g"] == pytest.approx(grams, rel=1e-15)


@pytest.mark.parametrize(
    ("kilograms", "name", "amount"),
    [
        ("12.96", "car_us", 52.40), ("12.96", "coal", 6.496), ("12.96", "seedlings", 0.216),
        ("84738.48", "car_eu_2018", 703_808),
    ],
)  # fmt: skip
def test_equivalents_are_the_papers(run: Run, kilograms: str, name: str, amount: float) -> None:
    """Kilometres, coal and seedlings as calculator and Carbontracker give them, each with its source and year."""
    kwh = 2
    found = run("--json", "-G1", "--watts", "1000", "--hours", str(kwh), "--intensity", "5000").figures
    scaled = {one["name"]: one for one in found["equivalents"]}[name]

    assert scaled["amount"] * float(kilograms) * 1000 / found["carbon_g"] == pytest.approx(amount, rel=1e-4)
    assert scaled["source"]
    assert scaled["year"].isdecimal()


NUMBERS = st.fractions(min_value=0, max_value=10**9, max_denominator=10**6)


@given(NUMBERS, st.integers(0, 6))
def test_no_double_rounds_a_figure(value: object, digits: int) -> None:
    """What is printed is the nearest decimal, half up."""
    from fractions import Fraction

    assert isinstance(value, Fraction)
    printed = Fraction(show.places(value, digits))
    assert -Fraction(1, 2) < (value - printed) * 10**digits <= Fraction(1, 2) or (
        printed - value
    ) * 10**digits == Fraction(1, 2)


@given(st.floats(1e-6, 1e9), st.floats(0.001, 2))
def test_never_more_digits_than_the_interval_bears(value: float, width: float) -> None:
    """The interval is at most ten units of the last digit wide, unless there is one digit only."""
    count = equivalents.digits(value, value * (1 - width / 2), value * (1 + width / 2))
    unit = 10.0 ** (math.floor(math.log10(value)) - count + 1)

    assert 1 <= count <= 4
    assert count == 1 or 10.000001 * unit >= value * width
    assert abs(float(equivalents.significant(value, count)) - value) <= unit * 0.500001
    assert equivalents.digits(12.96, 12.96, 12.96) == 4
    assert equivalents.digits(100, 50, 150) == 1


def test_cpus_and_memory_are_in_it_as_far_as_they_are_given(run: Run) -> None:
    """Part of the socket's TDP, memory as the collector's model has it; what was not given is named."""
    words = [
        "--json",
        "--hours",
        "10",
        *GIVEN,
        "-c",
        "64",
        "--cpu-type",
        "AMD EPYC 7763 64-Core Processor",
        "--mem=100G",
    ]
    figures = run(*words).figures

    assert figures["energy_kwh"] == pytest.approx((64 / 128 * 280 + 100 * 0.3725) * 10 / 1000)
    assert figures["left_out"] == ["PUE"]
    assert run(*words, "--hint=nomultithread").figures["energy_kwh"] == pytest.approx((280 + 37.25) / 100)
    assert run("-c", "4", "--hours", "1").out.splitlines()[0].startswith("CPU       4 x 4 W (model not given) x 1 h")


def test_idle_is_the_lower_bound(run: Run) -> None:
    """Between the part that is drawn without use and full use lies what --utilization says."""
    full, half = (
        run("--json", "-G", "a100:1", "--hours", "1", *more, *GIVEN).figures for more in ([], ["--utilization", "0.5"])
    )

    assert (full["energy_kwh"], full["energy_kwh_range"]) == (0.4, [0.06, 0.4])
    assert (half["energy_kwh"], half["energy_kwh_range"]) == (0.2, [0.06, 0.4])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-G", "h100:1"], "h100 is taken for NVIDIA H100 SXM5 80 GB"),
        (["-G", "gh200:1"], "gh200: the GPU alone: Grace draws up to 250 W beside it"),
        (["-G", "k80:2"], "k80: per GPU; board of 2 GPUs"),
        (["-G", "mi100:1"], "(no document seen)"),
        (["-G", "mi300a:1"], "includes 24 CPU cores and HBM3: no CPU may be added"),
        (["-G", "mi300a:1"], "upper bound; PUE was not given and is not in it"),
        (["-G", "a100:1", "-N", "1-4"], "--nodes 1-4: taken for 1"),
        (["-G", "a100:1", "--exclusive"], "--exclusive holds whole nodes"),
    ],
)
def test_it_says_what_it_took_for_what(run: Run, words: list[str], says: str) -> None:
    """A bare name names the model that was taken; a figure without a document says so."""
    assert says in run(*words, "--hours", "1").out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say what the job holds"),
        (["--hours", "1"], "nothing to estimate"),
        (["-G", "a100:1"], "say how long the job takes: --hours H, or -t TIME"),
        (["-G", "4", "--hours", "1"], "which GPU is it? Say -G TYPE:N"),
        (["-G", "a1000:4", "--hours", "1"], "-G a1000: no such accelerator; did you mean"),
        (["-G", "tpuv5p:4", "--hours", "1"], "are not published; give --watts W"),
        (["-G", "a100:1", "-t", "1:2:3:4"], "--time 1:2:3:4: not a time"),
        (["-G", "a100:1", "--hours", "one"], "--hours one: not a number"),
        (["-G", "a100:1", "--hours", "1", "--pue", "0.9"], "--pue 0.9: not a number from 1 to 10"),
        (["-G", "a100:1", "--hours", "1", "--intensity", "0.432"], "write 432, or 0.432kg"),
        (["-G", "a100:1", "--hours", "1", "--zone", "Germny"], "did you mean DE (Germany)"),
        (["-G", "a100:1", "--hours", "1", "--region", "aws:eu-west"], "did you mean aws:eu-west-"),
        (["-G", "a100:1", "--hours", "1", "--zone", "FR", "--compare=US-CA"], "cannot be compared"),
        (["-G", "a100:1", "--hours", "1", "--intensity", "5", "--compare"], "needs a place to begin with"),
        (["-G", "a100:1", "--array", "5-3", "-t", "1"], "--array 5-3: not a list of tasks"),
        (["-G", "a100:1", "--mem=lots", "-t", "1"], "--mem lots: not a size"),
        (["--gpus-per-noode=1"], "unknown option --gpus-per-noode; did you mean --gpus-per-node?"),
        (["--gpus-per=1"], "--gpus-per may be any of --gpus-per-node, --gpus-per-socket, --gpus-per-task"),
        (["-G"], "-G needs a value"),
        (["--json", "--csv", "-G", "a100:1", "--hours", "1"], "exclude each other"),
        (["-c", "4", "--cpu-type", "486DX", "--hours", "1"], "--cpu-type 486DX: not in the table"),
        (["nowhere.sh"], "job script nowhere.sh: No such file or directory"),
        (["-G", "h100:-1", "--hours", "1"], "--gpus h100:-1: -1 is not a number of GPUs"),
        (["-G", "h100:0.5", "--hours", "1"], "0.5 is not a number of GPUs"),
        (["-G", "h100:1", "--hours", "0"], "--hours 0: not a number above 0"),
        (["-G", "h100:1", "--hours", "-1"], "--hours -1: not a number from 0"),
        (["-G", "h100:1", "--hours", "nan"], "--hours nan: not a number"),
        (["-G", "h100:1", "--hours", "1", "--watts", "0"], "--watts 0: not a number above 0"),
        (["-G", "h100:1", "--hours", "1", "--utilization", "1.5"], "--utilization 1.5: not a number from 0 to 1"),
        (["-G", "h100:1", "--hours", "1", "--zone", "france"], "did you mean FR (France)? `carbon-mgr"),
        (["-G", "h100:1", "--hours", "1", "--basis", "guess"], "--basis guess: one of auto, history"),
        (["-G", "h100:1", "--hours", "1", "--within", "soon"], "--within soon: not a time"),
        (["-j", "abc"], "-j abc: not a job; it looks like 12"),
    ],
)
def test_a_wrong_word_is_one_clear_line(run: Run, words: list[str], says: str) -> None:
    """What is wrong, where, and what to write instead; status 2, or 1 for a file that cannot be read."""
    done = run(*words)

    assert says in done.err
    assert (done.err.count("\n"), done.out) == (1, "")
    assert done.status == (1 if "No such file" in says else 2)


def test_the_worlds_mean_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody names a zone the intensity is the world's, with a note; where somebody does there is none."""
    words = ("-G", "a100-sxm4-40gb:1", "--hours", "1")
    note = "names a zone: the world's mean"

    assert note in run(*words).out
    assert note not in run(*words, "--zone", "FR").out
    assert note not in run(*words, "--intensity", "20").out
    monkeypatch.setenv("CARBON_ACCT_ZONE", "DE")
    assert note not in run(*words).out


@given(
    st.lists(st.lists(st.integers(min_value=1, max_value=12), min_size=1, max_size=12), min_size=1, max_size=4),
    st.integers(min_value=30, max_value=120),
)
def test_a_terminal_holds_every_line(cells: list[list[int]], width: int) -> None:
    """Broken between cells and words: no line is wider than the terminal, and no word is lost or reordered."""
    line = f"{'Carbon':<10}{'    '.join(' '.join('a-b-c-d-e-f-'[:size] for size in sizes) for sizes in cells)}"
    fitted = show.fitted(line, width)

    assert " ".join(fitted).split() == line.split()
    assert all(len(one) <= width for one in fitted)


def test_a_command_to_copy_stays_whole() -> None:
    """The line for sbatch is not broken, however narrow the terminal is."""
    command = "sbatch --begin=2026-11-30T02:00:00 --gpus=a100:4 --partition=gpu --job-name=bert train.sh"

    assert command in "\n".join(show.fitted(f"Cleaner   702 g       begun 02:00, 17 % less:  {command}", 60))


def test_the_cleanest_and_the_dirtiest_place_of_one_scope(run: Run) -> None:
    """States are compared with states and countries with countries; a provider's regions with its regions."""
    countries = run("--json", "-G", "a100:4", "--hours", "1", "--zone", "FR", "--compare").figures["compare"]
    regions = run("--json", "-G", "a100:4", "--hours", "1", "--region", "aws:us-west-1", "--compare").figures["compare"]
    named = run("--json", "-G", "a100:4", "--hours", "1", "--zone", "FR", "--compare", "DE,PL").figures["compare"]

    assert countries[1]["place"] == "FR"
    assert countries[0]["g_per_kwh"] < 44.18 < countries[2]["g_per_kwh"]
    assert {one["scope"] for one in countries} == {"lifecycle"}
    assert {one["scope"] for one in regions} == {"direct"}
    assert {one["place"].partition(":")[0] for one in regions} == {"aws"}
    assert regions[0]["place"] == "aws:ca-central-1"
    assert [one["place"] for one in named] == ["FR", "DE", "PL"]
    assert named[1]["carbon_g"] == pytest.approx(1.6 * 344.14)


def test_a_region_brings_its_pue_with_year_and_source(run: Run) -> None:
    """The Foundation's figure is used, and never taken for the provider's word; --pue comes first."""
    words = ["-G", "a100:4", "--hours", "1", "--region", "aws:ca-central-1"]

    assert "x PUE 1.19 (GSF 2024, not the provider's word)" in run(*words).out
    assert "x PUE 1.05 " in run(*words, "--pue", "1.05").out


def test_a_sites_own_table_comes_first(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that has another H100 says so once, for everybody."""
    (tmp_path / "gpus.csv").write_text("name,watts,document\nh100,310,our power cap\n")
    conf = tmp_path / "conf"
    conf.write_text(f"[site]\naccelerators = {tmp_path}/gpus.csv\npue = 1.4\nzone = SE\n")
    monkeypatch.setenv("CARBON_ACCT_CONF", str(conf))
    out = run("-G", "h100:2", "--hours", "1").out

    assert "2 x 310 W (our power cap) x 1 h" in out
    assert "x PUE 1.4 (the site's)" in out
    assert "(SE, Ember" in out
    assert "site's" not in run("-G", "h100:2", "--hours", "1", "--zone", "FR").out


def test_lists(run: Run) -> None:
    """The tables are printed whole, or what has a word in it; as text, CSV and JSON."""
    assert len(run("--hardware").out.splitlines()) == 132
    assert len(run("--regions", "--csv").out.splitlines()) == 255
    assert "aws:ca-central-1  Montreal  CA-QC  2.6" in run("--regions", "ca-central-1").out
    assert run("--hardware", "h100 nvl", "--json").out.count('"name": "h100 nvl"') == 1
    assert run("--hardware", "nothing like it").status == 2


def test_csv_is_one_line_of_figures(run: Run) -> None:
    """A header and a line; intervals are two columns."""
    header, line = run("-G", "a100:4", "--hours", "1", *GIVEN, "--csv").out.splitlines()
    row = dict(zip(header.split(","), line.split(","), strict=True))

    assert (row["energy_kwh"], row["carbon_g_low"], row["carbon_g_high"]) == ("1.6", "240.0", "1600.0")
