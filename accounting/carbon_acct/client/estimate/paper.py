# SPDX-License-Identifier: MIT
"""Writes a statement on measured jobs for a paper or a model card: LaTeX, Markdown, Hugging Face's YAML, JSON.

Estimated energy is stated apart. Contracts and offsets never reduce the total.
"""

from __future__ import annotations

import json
import time

from carbon_collector.lean.typing import TYPE_CHECKING

from .equivalents import digits, equivalents, significant
from .measured import UG_PER_G, UJ_PER_KWH

if TYPE_CHECKING:
    from fractions import Fraction
    from typing import Any

    from .measured import Sums

ROUND = 3
"""The significant digits of a figure whose interval is not known."""
BIBTEX = """\
@article{lacoste2019quantifying,
  title   = {Quantifying the Carbon Emissions of Machine Learning},
  author  = {Lacoste, Alexandre and Luccioni, Alexandra and Schmidt, Victor and Dandres, Thomas},
  journal = {arXiv preprint arXiv:1910.09700},
  year    = {2019}
}
@misc{anthony2020carbontracker,
  title        = {Carbontracker: Tracking and Predicting the Carbon Footprint of Training Deep Learning Models},
  author       = {Anthony, Lasse F. Wolff and Kanding, Benjamin and Selvan, Raghavendra},
  howpublished = {ICML Workshop on Challenges in Deploying and Monitoring Machine Learning Systems},
  note         = {arXiv:2007.03051},
  year         = {2020}
}"""
LATEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "%&_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def statement(found: Sums, form: str, training_type: str = "", offset_kg: Fraction | None = None) -> str:
    """Return the statement in a form: `latex`, `markdown`, `huggingface` or `json`."""
    if form == "huggingface":
        return _huggingface(found, training_type)
    if form == "json":
        return json.dumps(_facts(found, offset_kg), indent=2)
    sentences = _sentences(found, offset_kg)
    if form == "markdown":
        cited = "[Lacoste et al. 2019](https://arxiv.org/abs/1910.09700), [Anthony et al. 2020](https://arxiv.org/abs/2007.03051)"
        return "\n".join(
            ["## Energy and carbon emissions", "", *sentences, f"See {cited}.", "", "```bibtex", BIBTEX, "```"]
        )
    text = "\n".join(sentence.translate(LATEX) for sentence in sentences).replace("CO2", r"CO\textsubscript{2}")
    cited = r"Emissions are reported as \citet{lacoste2019quantifying} and \citet{anthony2020carbontracker} propose."
    return "\n".join([r"\subsection*{Energy and carbon emissions}", text, cited, "", "% for the bibliography:", BIBTEX])


def _sentences(found: Sums, offset_kg: Fraction | None) -> list[str]:
    """Return the statement as a list of plain sentences."""
    hours = f"{_round(found.gpu_hours)} GPU hours and {_round(found.cpu_hours)} CPU hours"
    said = [f"The experiments are {found.jobs} {_jobs(found.jobs)} of {hours}{_with(found)}{_when(found)}."]
    if found.energy_uj is not None:
        said.append(f"They consumed {_kwh(found.energy_uj)}, measured by the nodes' own counters.")
    if found.estimated_uj:
        said.append(f"Another {_kwh(found.estimated_uj)} was not measured and is estimated.")
    if found.unknown:
        said.append(
            f"Of {found.unknown} {_jobs(found.unknown)} of them no energy is known; they are not in the figures."
        )
    if found.carbon_ug is not None and found.g_per_kwh is not None:
        where = f" in {', '.join(found.zones)}" if found.zones else ""
        source = f" ({'; '.join(found.sources)})" if found.sources else ""
        said.append(
            f"With a PUE of {found.pue:.3g} and a mean intensity of {_round(found.g_per_kwh)} g CO2e/kWh{where}{source},"
            f" the emissions are {_mass(found.carbon_ug)} CO2e (location-based), as much as {_like(found)}."
        )
    if found.embodied_ug is not None:
        said.append(f"Not in it: {_mass(found.embodied_ug)} CO2e, the jobs' part of making the hardware.")
    if found.market_ug is not None:
        said.append(
            f"Not in it either: by the site's electricity contract (market-based) it would be {_mass(found.market_ug)} CO2e."
        )
    if offset_kg is not None:
        said.append(f"{_round(float(offset_kg))} kg CO2e were offset; the emissions above are before that.")
    if found.simulated:
        said.append("Simulated counters had a part in these figures: they describe no real hardware.")
    return said


def _huggingface(found: Sums, training_type: str) -> str:
    grams = None if found.carbon_ug is None else found.carbon_ug / UG_PER_G
    source = "measured per job by carbon-acct (RAPL, NVML or the node's meters), location-based"
    source += "; simulated counters" if found.simulated else ""
    source += f"; {_kwh(found.estimated_uj)} of it estimated" if found.estimated_uj else ""
    lines = [
        "co2_eq_emissions:",
        f"  emissions: {'null' if grams is None else _round(grams, 4)}  # grams",
        f"  source: {json.dumps(source)}",
        f"  training_type: {json.dumps(training_type or 'not stated')}",
        f"  geographical_location: {json.dumps(', '.join(found.zones) or 'not stated')}",
        f"  hardware_used: {json.dumps(_hardware(found) or 'CPUs')}",
    ]
    return "\n".join(lines)


def _facts(found: Sums, offset_kg: Fraction | None) -> dict[str, Any]:
    return {
        "jobs": found.jobs,
        "jobs_without_energy": found.unknown,
        "jobs_not_fully_measured": found.partly,
        "gpu_hours": found.gpu_hours,
        "cpu_hours": found.cpu_hours,
        "hardware": dict(found.hardware),
        "start": found.first,
        "end": found.last,
        "energy_measured_kwh": _over(found.energy_uj, UJ_PER_KWH),
        "energy_estimated_kwh": _over(found.estimated_uj, UJ_PER_KWH),
        "facility_kwh": _over(found.facility_uj, UJ_PER_KWH),
        "pue": found.pue,
        "intensity_g_per_kwh": found.g_per_kwh,
        "intensity_sources": list(found.sources),
        "zones": list(found.zones),
        "carbon_g": _over(found.carbon_ug, UG_PER_G),
        "not_in_the_total": {
            "carbon_market_g": _over(found.market_ug, UG_PER_G),
            "embodied_g": _over(found.embodied_ug, UG_PER_G),
            "offset_kg": None if offset_kg is None else float(offset_kg),
        },
        "equivalents": [
            {
                "amount": found.carbon_ug / UG_PER_G / float(one.grams),
                "unit": one.text,
                "year": one.year,
                "source": one.source,
            }
            for one in equivalents()
            if found.carbon_ug is not None
        ],
        "simulated": found.simulated,
    }


def _like(found: Sums) -> str:
    """Return two comparisons of the mass of CO2 equivalent. Their digits follow from the part that was only
    estimated.
    """
    grams = (found.carbon_ug or 0) / UG_PER_G
    used = (found.energy_uj or 0) + (found.estimated_uj or 0)
    doubt = grams * (found.estimated_uj or 0) / used if used else 0.0
    texts = []
    for one in equivalents():
        if one.name in ("car_eu", "coal"):
            amount = grams / float(one.grams)
            spread = doubt / float(one.grams)
            count = min(ROUND, digits(amount, amount - spread, amount + spread))
            texts.append(f"{significant(amount, count)} {one.text}")
    return " or ".join(texts)


def _with(found: Sums) -> str:
    return f", with up to {_hardware(found)} a job" if found.hardware else ""


def _hardware(found: Sums) -> str:
    return ", ".join(f"{number} x {kind or 'GPU'}" for kind, number in sorted(found.hardware.items()))


def _when(found: Sums) -> str:
    if found.first is None or found.last is None:
        return ""
    first, last = (time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (found.first, found.last))
    return f", run from {first} to {last}" if first != last else f", run on {first}"


def _jobs(number: int) -> str:
    return "job" if number == 1 else "jobs"


def _kwh(uj: int) -> str:
    return f"{_round(uj / UJ_PER_KWH)} kWh"


def _mass(ug: int) -> str:
    grams = ug / UG_PER_G
    for size, unit in ((1.0, "g"), (1e3, "kg")):
        if grams < 1000 * size:
            return f"{_round(grams / size)} {unit}"
    return f"{_round(grams / 1e6)} t"


def _round(value: float, count: int = ROUND) -> str:
    return significant(value, count)


def _over(value: int | None, unit: int) -> float | None:
    return None if value is None else value / unit
