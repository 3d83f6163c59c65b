# SPDX-License-Identifier: MIT
"""The table of fields against the HTTP API's document: neither knows of anything that the other does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from carbon_acct.client import fields
from carbon_collector.errors import UsageError

DOCS = Path(__file__).parents[3] / "docs"
NOT_FIELDS = {"simulated", "core_us", "gpu_us"}
"""Keys that are shown with others: simulated in Quality, time held in CPUEff."""

NAMES = """
JobID JobIDRaw JobName User Account Partition QOS Cluster State ExitCode Restarts Submit Start End Elapsed ElapsedRaw
NNodes NCPUS AllocTRES NodeList Energy EnergyRaw CPUEnergyRaw DRAMEnergyRaw GPUEnergyRaw OtherEnergyRaw StaticEnergyRaw
EstimatedEnergyRaw AvePower FacilityEnergyRaw PUE Carbon CarbonRaw CarbonMarketRaw EmbodiedRaw Intensity
IntensitySource Zone Coverage Quality UpstreamRaw TDRaw SCI
UID Group GID DerivedExitCode Reason Comment WorkDir Eligible Suspended Timelimit TimelimitRaw AllocNodes ReqNodes
AllocCPUS ReqCPUS CPUTime CPUTimeRAW TotalCPU CPUEff ReqTRES GPUIdleEnergyRaw CPUUnusedEnergyRaw QualityNotes
"""


def test_names() -> None:
    """The fields are those that users rely on, in this order, under these names."""
    assert [field.name for field in fields.FIELDS] == NAMES.split()


def test_keys_are_the_api_s() -> None:
    """Every key of a job in docs/http-api.md is shown by a field, and every field shows such a key."""
    text = (DOCS / "http-api.md").read_text(encoding="utf-8")
    table = text[text.index("| key |") : text.index("## `GET /v1/usage`")]
    keys = {
        key
        for line in table.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    }

    assert keys - NOT_FIELDS == {field.key for field in fields.FIELDS}


@pytest.mark.parametrize("field", fields.FIELDS, ids=lambda field: field.name)
def test_unknown_is_empty(field: fields.Field) -> None:
    """A field of a job that nothing is known of is empty: not 0, not None, not a guess."""
    assert field.show({}, fields.Screen()) == ""


@pytest.mark.parametrize(
    ("carbon", "embodied", "shown"), [(1_500_000, 250_000, "1.750"), (1_500_000, None, ""), (None, 250_000, "")]
)
def test_sci_has_both_parts(carbon: int | None, embodied: int | None, shown: str) -> None:
    """A SCI score is operational and embodied emissions; where one of them is not known there is none."""
    assert fields.field("SCI").show({"carbon_ug": carbon, "embodied_ug": embodied}, fields.Screen()) == shown


@pytest.mark.parametrize("field", fields.FIELDS, ids=lambda field: field.name)
def test_names_match_without_case(field: fields.Field) -> None:
    """Every field is found by its name in any case, and not by another one's that begins alike."""
    assert [fields.field(name) for name in (field.name, field.name.lower(), field.name.upper())] == [field] * 3


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("job", "JobID"),
        ("e", "Elapsed"),
        ("alloc", "AllocCPUS"),
        ("u", "UID"),
        ("carb", "Carbon"),
        ("elapsedr", "ElapsedRaw"),
    ],
)
def test_short_names(short: str, name: str) -> None:
    """The first field that begins so is meant, as in sacct."""
    assert fields.field(short).name == name


@pytest.mark.parametrize("name", ["", "x", "JobIDs", "%5"])
def test_names_that_are_none(name: str) -> None:
    """What is no field's beginning is refused by name."""
    with pytest.raises(UsageError, match="unknown field"):
        fields.field(name)


@pytest.mark.parametrize("field", fields.FIELDS, ids=lambda field: field.name)
def test_docs_are_sentences(field: fields.Field) -> None:
    """Every field says what it is, in a phrase that a page can end with a full stop."""
    assert field.doc[0].isupper() or field.doc.startswith("`")
    assert not field.doc.endswith(".")


def test_one_cause_is_told_once() -> None:
    """Reasons that several components share name them together; what is no component's stands by itself."""
    notes = ["cpu: gap: reset", "dram: gap: reset", "gpu: fell off", "1 of the job's nodes reported nothing"]
    job = {"quality": "partial", "simulated": True, "notes": notes}
    shown = fields.field("QualityNotes").show(job, fields.Screen())

    assert shown == "simulated; partial; 1 of the job's nodes reported nothing; cpu, dram: gap: reset; gpu: fell off"
