# SPDX-License-Identifier: MIT
"""Defines what a program gets: a result for each epoch, phase and run, as an object, as JSON and as a line of text."""

from __future__ import annotations

from .carbon import Grams
from .energy import Part
from .lean import TYPE_CHECKING, NamedTuple
from .outlook import Prediction
from .timeline import EPOCH, RUN, Span
from .units import J_PER_KWH, carbon_text, digits, energy_text, time_text

if TYPE_CHECKING:
    from typing import Any


class Result(NamedTuple):
    """The energy and carbon of an epoch, a phase or the run, on all nodes of the job."""

    name: str
    """The name: `epoch`, `run`, or that of the phase."""
    number: int
    path: str
    begin_s: float
    """The Unix time at which it began."""
    seconds: float
    steps: float
    energy_j: float | None
    """The energy of all known components in joules; None if none is known."""
    parts: dict[str, Part]
    """The energy of each component in microjoules, with its method and coverage."""
    method: str
    coverage: float | None
    """The least share of the time in which a component was metered; None if the collector does not state it."""
    carbon_g: float | None
    """The mass of CO2e in grams, PUE included; None if no intensity is known."""
    carbon_basis: str
    nodes: int
    extrapolated: bool
    """Whether the other nodes are assumed to have used as much as this one."""
    simulated: bool
    complete: bool
    """Whether it ended normally; False if it was cut off."""
    prediction: Prediction | None = None
    """The prediction of the whole run when this epoch or phase ended."""

    @property
    def energy_kwh(self) -> float | None:
        """Return the energy in kilowatt-hours."""
        return None if self.energy_j is None else self.energy_j / J_PER_KWH

    def as_json(self) -> dict[str, Any]:
        """Return the result for `json.dumps`: joules, seconds, grams; null is not known."""
        facts = self._asdict()
        facts["parts"] = {
            name: {
                "energy_j": None if part.energy_uj is None else part.energy_uj / 1e6,
                "method": part.method,
                "coverage": part.coverage,
                **({"missing": part.missing} if part.missing else {}),
            }
            for name, part in self.parts.items()
        }
        if self.prediction is not None:
            facts["prediction"] = {**self.prediction._asdict(), "rest": self.prediction.rest._asdict()}
        return facts


class Outcome(NamedTuple):
    """The expected outcome of the whole run: its prediction, and the grams of it."""

    prediction: Prediction
    grams: float | None
    lower_g: float | None
    upper_g: float | None
    basis: str


def result(span: Span, grams: Grams | None, nodes: int, extrapolated: bool, prediction: Prediction | None) -> Result:
    """Return the result of a span whose energy is that of all nodes."""
    energy = span.energy
    energy_uj = energy.energy_uj
    return Result(
        span.name,
        span.number,
        span.path,
        span.begin_us / 1e6,
        energy.seconds,
        span.steps,
        None if energy_uj is None else energy_uj / 1e6,
        energy.parts,
        energy.method,
        energy.coverage,
        None if grams is None or energy_uj is None else grams.grams,
        "" if grams is None else grams.basis,
        nodes,
        extrapolated,
        energy.simulated,
        span.complete,
        prediction,
    )


def epoch_line(done: Result, epochs: int, outcome: Outcome | None) -> str:
    """Return the line of an epoch that ended."""
    of = f"/{epochs}" if epochs else ""
    text = f"epoch {done.number}{of}: {_amounts(done)} in {time_text(done.seconds)}"
    return text + _outlook(outcome) + _remarks(done, short=True)


def outlook_text(outcome: Outcome) -> str:
    """Return the whole run's energy, carbon and time left, with their intervals."""
    said = outcome.prediction
    parts = [f"in all {energy_text(said.energy_j)} ({_range(said.lower_j, said.upper_j, energy_text)})"]
    if outcome.grams is not None and outcome.lower_g is not None and outcome.upper_g is not None:
        parts.append(f"{carbon_text(outcome.grams)} ({_range(outcome.lower_g, outcome.upper_g, carbon_text)})")
    return f"{time_text(said.seconds_left)} left, {', '.join(parts)}" + (", provisional" if said.provisional else "")


def progress_lines(total: Result, epoch: int, epochs: int, outcome: Outcome | None) -> list[str]:
    """Return the line that a terminal shows while the run goes on, and shorter ones for terminals that are narrower: each
    has the epoch, the energy, and what is left with its interval.
    """
    of = f"{epoch}/{epochs}" if epochs else f"{epoch}" if epoch else ""
    where = f"epoch {of}: " if of else ""
    whole = f"{where}{_amounts(total)} in {time_text(total.seconds)}"
    if outcome is None:
        return [f"carbon: {whole}", f"carbon {of}: {_amounts(total)}"]
    said = outcome.prediction
    carbon = "" if total.carbon_g is None else f", {carbon_text(total.carbon_g)}"
    short = f"carbon {of}: " if of else "carbon: "
    short += f"{energy_text(total.energy_j)}{carbon}; {time_text(said.seconds_left)} left"
    in_all = f", in all {_range(said.lower_j, said.upper_j, energy_text)}"
    grams = ""
    if outcome.lower_g is not None and outcome.upper_g is not None:
        grams = f", {_range(outcome.lower_g, outcome.upper_g, carbon_text)}"
    return [f"carbon: {whole}; {outlook_text(outcome)}", f"{short}{in_all}{grams}", f"{short}{in_all}", short]


def run_line(total: Result, no_carbon: str = "") -> str:
    """Return the last line of a run. `no_carbon` is the reason why carbon is not known."""
    return f"{_amounts(total)} in {time_text(total.seconds)}{_remarks(total, short=False, no_carbon=no_carbon)}"


def _outlook(outcome: Outcome | None) -> str:
    return f"; {outlook_text(outcome)}" if outcome and outcome.prediction.rest.seconds > 0 else ""


def _amounts(done: Result) -> str:
    carbon = "" if done.carbon_g is None else f", {carbon_text(done.carbon_g)} CO2e"
    return energy_text(done.energy_j) + carbon


def _range(lower: float, upper: float, text: Any) -> str:
    """Return a range as `1.10 to 1.41 kWh`, with the unit once if both have the same."""
    (low, unit), high = text(lower).split(" ", 1), text(upper)
    return f"{low} to {high}" if high.endswith(f" {unit}") else f"{low} {unit} to {high}"


def _remarks(done: Result, short: bool, no_carbon: str = "") -> str:
    """Return what a reader must know about how the energy was obtained."""
    remarks = []
    if not short and done.energy_j is not None:
        remarks.append(done.method or "method not known")
    if done.coverage is not None and done.energy_j is not None:
        known = [
            part.coverage for part in done.parts.values() if part.energy_uj is not None and part.coverage is not None
        ]
        if known and min(known) < 0.99:
            remarks.append(f"{digits(100 * min(known))} % metered")
    missing = sorted(name for name, part in done.parts.items() if part.energy_uj is None)
    if missing and not short:
        remarks.append(f"{', '.join(missing)} not measured")
    if done.extrapolated:
        remarks.append(f"extrapolated from one node to {done.nodes}")
    if done.simulated and not short:
        remarks.append("simulated")
    if no_carbon and done.energy_j is not None and done.carbon_g is None:
        remarks.append(f"no carbon: {no_carbon}")
    if not short and not done.complete:
        remarks.append("cut off")
    return f" ({'; '.join(remarks)})" if remarks else ""


def is_line(span_name: str) -> bool:
    """Return whether a line is written for a span of this name: for epochs and the run."""
    return span_name in (EPOCH, RUN)
