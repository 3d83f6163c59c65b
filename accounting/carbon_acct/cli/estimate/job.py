# SPDX-License-Identifier: MIT
"""`carbon-estimate` for a job that has not run: it reads the job's options and script, and takes the best basis that
there is.
"""

from __future__ import annotations

import os
import shlex
import time

from carbon_collector.errors import CarbonError, UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .common import configuration, finish, hours_of, number, place_and_pue, positive, span
from .tables import accelerators

if TYPE_CHECKING:
    from carbon_collector.settings import Settings

    from ...client.estimate.begin import Curve
    from ...client.estimate.history import Like
    from ...client.estimate.options import Words
    from ...client.estimate.plan import Figures, Pue
    from ...client.estimate.show import Row
    from ...client.estimate.where import Place

NOWHERE = (
    "neither you nor the site's configuration names a zone: the world's mean; --zone FR, or --region aws:eu-west-3"
)
BASES = ("auto", "history", "partition", "hardware")


class Estimate:
    """One run of the command: what was asked for, where, and what the aggregator says of it."""

    def __init__(self, line: Words) -> None:
        from ...client.estimate import script
        from ...client.estimate.asked import asked

        self.line, self.given, self.now = line, line.options, int(time.time())
        text = script.read(line.rest[0]) if line.rest else ""
        self.options = script.job_options(line, os.environ, text)
        self.components = [asked(one) for one in self.options]
        self.config: Settings = configuration()
        self.place: Place
        self.pue: Pue
        self.place, self.pue = place_and_pue(self.given, self.config)
        self.notes: list[str] = [] if self._is_somewhere() else [NOWHERE]
        self.curve: Curve | None = self._curve() if "within" in self.given or self.asks() else None

    def _is_somewhere(self) -> bool:
        """Return whether the user or the site says where the job runs."""
        return (
            bool({"zone", "region", "intensity"} & self.given.keys()) or self.config.origin("site", "zone") != "default"
        )

    @property
    def name(self) -> str:
        """Return the name that Slurm will give the job."""
        return self.components[0].name or (os.path.basename(self.line.rest[0]) if self.line.rest else "")  # noqa: PTH119  a name, no path of this host

    def asks(self) -> bool:
        """Return whether the aggregator is asked. With `--basis hardware` it is not, with any other basis it is.

        Without `--basis` it is asked for a job that has a name or a partition.
        """
        basis = self.given.get("basis", "auto")
        return basis != "hardware" and bool(basis != "auto" or self.name or self.components[0].partition)

    def _curve(self) -> Curve | None:
        """The zone's intensity, where the place is a zone and the aggregator tells of it."""
        from ...client.estimate import begin, outlook

        if not self.place.zone:
            return None
        try:
            curve = begin.Curve(outlook.intensity(self.config, self.place.zone, self.now))
        except CarbonError as err:
            self.notes.append(f"a yearly mean of the grid, since no aggregator answers: {err}")
            return None
        if self.pue.value is None and curve.pue and "zone" not in self.given and "region" not in self.given:
            from ...client.estimate.plan import Pue

            self.pue = Pue(number("pue", str(curve.pue), 1, 10), "the site's")
        return curve

    def history(self) -> Like | None:
        """Return the figures of the user's own earlier jobs of that name, partition and GPU type, or None."""
        from ...client.estimate import history, outlook

        if not self.name or len(self.components) > 1:
            return None
        first = self.components[0]
        try:
            jobs = outlook.own_jobs(self.config, self.now, names=self.name, partitions=first.partition)
        except CarbonError as err:
            self.notes.append(f"your earlier jobs are not known: {err}")
            return None
        return history.like(jobs, first)

    def partition(self) -> tuple[float, str] | None:
        """Return the watts of the job by the partition's power, and the text that says so, or None."""
        from ...client.estimate import history, outlook, show

        partition = self.components[0].partition
        if not partition:
            return None
        kinds = {kind for one in self.components for kind in one.gpus if kind}
        try:
            answer = outlook.power(self.config, partition, min(kinds, default=""))
        except CarbonError as err:
            self.notes.append(f"the partition's power is not known: {err}")
            return None
        watts = history.of_power(answer, self.components)
        if watts is None:
            return None
        jobs = f"{answer['jobs']} " if answer.get("jobs") else ""
        whose = "of your jobs" if answer["basis"] == "own" else "jobs"
        return watts, f"power of {jobs}{whose} in {partition} ({show.watts(watts)})"


def run(line: Words) -> int:
    """Estimate and print."""
    basis = line.options.get("basis", "auto")
    if basis not in BASES:
        raise UsageError(f"--basis {basis}: one of {', '.join(BASES)}")
    estimate = Estimate(line)
    if estimate.asks():
        like = estimate.history() if basis in ("auto", "history") else None
        if like is not None:
            return _by_history(estimate, like)
        power = estimate.partition() if basis in ("auto", "partition") else None
        if power is not None:
            return _by_watts(estimate, "partition", *power)
    if basis in ("history", "partition"):
        why = "; ".join(estimate.notes) or "no measured job that completed is like it"
        raise CarbonError(f"--basis {basis}: {why}; --basis hardware does without")
    return _by_hardware(estimate)


def _by_history(estimate: Estimate, like: Like) -> int:
    first = estimate.components[0]
    watts = like.watts(first)
    named = f"{like.jobs} of your jobs named {estimate.name}" + (f" in {first.partition}" if first.partition else "")
    from ...client.estimate import show

    text = f"{named} ({show.watts(watts)}, {show.duration(like.typical_s)})"
    if like.other_size:
        estimate.notes.append("they held another number of GPUs: their time may not be this job's")
    if like.failed:
        kwh = like.failed_uj / 3.6e12
        estimate.notes.append(
            f"{like.failed} more failed or ran out of time ({kwh:.3g} kWh): carbon-acct --name {shlex.quote(estimate.name)} -s F,TO,OOM -S now-180days"
        )
    if like.simulated:
        estimate.notes.append("simulated counters had a part in these figures")
    times = (like.typical_s, like.quantile_s(0.1), like.quantile_s(0.9))
    return _by_watts(estimate, "history", watts, text, times)


def _by_watts(
    estimate: Estimate,
    basis: str,
    watts: float,
    text: str,
    times: tuple[float | None, float | None, float | None] = (None, None, None),
) -> int:
    from ...client.estimate import predicted
    from ...client.estimate.show import Row

    given, limit = estimate.given, estimate.components[0].limit_s
    hours = positive("hours", given["hours"], 1e9) if "hours" in given else None
    run = predicted.Run(*times, limit) if hours is None else predicted.Run(float(hours) * 3600, None, None, limit)
    if run.typical is None and run.most is None:
        raise UsageError("say how long the job takes: --hours H, or -t TIME")
    curve, place = estimate.curve, estimate.place

    def intensity(seconds: float) -> float:
        mean = curve.mean(estimate.now, seconds) if curve else None
        return float(place.g_per_kwh) if mean is None else mean

    found = predicted.figures(basis, watts, run, estimate.pue, intensity)
    priced = ""
    if curve and curve.end:
        priced = f"begun now, at the forecast of {place.name}"
    elif curve and curve.known:
        priced = f"at {intensity(run.typical or run.most or 1):.4g} g/kWh ({place.name}, {curve.source})"
    rows = predicted.rows(text, found, run, estimate.pue, priced, place)
    others = _cleaner(
        estimate, found, None if found.kwh is None else float(found.kwh * estimate.pue.factor), run.typical
    )
    found.notes += estimate.notes
    others += [Row("Note", note) for note in found.notes]
    found.more["text"] = text
    return finish(given, predicted.laid_out(rows, others), found, estimate.pue, place)


def _cleaner(estimate: Estimate, figures: Figures, facility_kwh: float | None, seconds: float | None) -> list[Row]:
    """Return a row with the best start, what it saves and the line for sbatch, or with the reason why there is no
    advice. JSON has the same as `begin`, all of it null where there is no advice.
    """
    from fractions import Fraction

    from ...client.estimate import show
    from ...client.estimate.show import Row

    if "within" not in estimate.given:
        return []
    within = span(estimate.given["within"])
    curve = estimate.curve
    figures.more["begin"] = dict.fromkeys(("time", "carbon_g", "carbon_g_now", "g_per_kwh", "command"))
    if curve is None or not curve.end or seconds is None or facility_kwh is None:
        return [Row("Cleaner", "no advice: there is no forecast of the grid for this run")]
    best, now = curve.best(estimate.now, within, seconds), curve.mean(estimate.now, seconds)
    if best is None or now is None:
        return [Row("Cleaner", f"no advice: the forecast ends before a run of {show.duration(seconds)} does")]
    if best.at <= estimate.now or best.g_per_kwh >= now:
        return [Row("Cleaner", f"no begin within {show.duration(within)} is cleaner than now")]
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(best.at))
    saved = 100 * (1 - best.g_per_kwh / now)
    grams = Fraction(facility_kwh * best.g_per_kwh)
    command = _sbatch(estimate, when)
    figures.more["begin"] = {
        "time": best.at,
        "carbon_g": float(grams),
        "carbon_g_now": facility_kwh * now,
        "g_per_kwh": best.g_per_kwh,
        "command": command,
    }
    text = f"begun {when[11:16]}, {saved:.0f} % less:  {command}"
    return [Row("Cleaner", text, show.rough_grams(grams))]


def _sbatch(estimate: Estimate, when: str) -> str:
    """Return the command line that starts the job at `when`: sbatch's own options of this one, and the script."""
    from ...client.estimate.options import SBATCH

    known = {option.name for option in SBATCH}
    words = ["sbatch", f"--begin={when}"]
    for at, component in enumerate(estimate.line.components):
        words += [":"] * (at > 0)
        words += [f"--{name}={value}" if value else f"--{name}" for name, value in component.items() if name in known]
    return shlex.join([*words, *(estimate.line.rest or ("JOBSCRIPT",))])


def _by_hardware(estimate: Estimate) -> int:
    from ...client.estimate import model, plan, show

    given, components = estimate.given, estimate.components
    hours = [hours_of(given, one) for one in components]
    if None in hours:
        raise UsageError("say how long the job takes: --hours H, or -t TIME")
    use = number("utilization", given["utilization"], 0, 1) if "utilization" in given else None
    watts = positive("watts", given["watts"], 100_000) if "watts" in given else None
    choice = model.Choice(accelerators(estimate.config), watts, given.get("cpu-type", ""), use)
    known = [hour for hour in hours if hour is not None]
    energy = model.energy(components, known, choice)
    figures = plan.hardware_figures(energy, estimate.pue, estimate.place)
    figures.notes += estimate.notes
    rows = plan.hardware_rows(energy, figures, estimate.pue, estimate.place, use, "hours" not in given)
    facility = float(energy.kwh * estimate.pue.factor)
    rows += _cleaner(estimate, figures, facility, float(max(known)) * 3600)
    return finish(given, list(show.lines(rows)), figures, estimate.pue, estimate.place)
