# SPDX-License-Identifier: MIT
"""Reads what Carbontracker left behind: logs of its releases 1 and 2, and events of carbontracker-tui. Pure but for
files.

A run keeps the figures that its log states. Flags beside them say how to read them: the PUE is inside the totals;
releases 2.0 to 2.4.7 averaged the devices of a component and did not add them; a prediction alone is no measurement.
Nothing of it belongs to a job of the accounting.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

AVERAGED = ((2, 0, 0), (2, 4, 7))
"""The first and the last release that averaged devices."""
J_PER_KWH = 3_600_000
MOST_BYTES = 64 << 20

_VERSION = re.compile(r"carbontracker version (\d+)\.(\d+)\.(\d+)")
_PUE = re.compile(r"PUE coefficient of ([\d.]+)")
_DEVICES = re.compile(r"(\w+) with device\(s\) (.*?)\.(?= \w+ with device|\s*$)", re.MULTILINE)
_POWER = re.compile(r"Average power usage \(W\) for (\w+): (\[[^\]]*\]|[-\d.e+]+|nan|None)")
_DURATION = re.compile(r"Duration: +(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_EPOCH = re.compile(r"Epoch (\d+):")
_BLOCK = re.compile(
    r"(Actual|Predicted) consumption(?: for (\d+) epoch\(s\))?:\s*"
    r"Time:\s+(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)\s*Energy:\s+([-\d.e+]+) kWh\s*CO2eq:\s+([-\d.e+]+) g"
)
_INTENSITY = re.compile(r"Average carbon intensity during training was ([\d.]+)")


@dataclass
class TrackedRun:
    """A run of Carbontracker. kWh and grams are as its log states them; None: the log does not.

    `measured_kwh` is computed again from the epochs: all devices added up, without PUE.
    """

    name: str
    format: str
    version: str = ""
    pue: float | None = None
    devices: dict[str, list[str]] = field(default_factory=dict)
    epochs: int = 0
    duration_s: float | None = None
    said_kwh: float | None = None
    said_g: float | None = None
    predicted_kwh: float | None = None
    intensity_g_per_kwh: float | None = None
    measured_kwh: float | None = None
    flags: list[str] = field(default_factory=list)

    def as_row(self) -> dict[str, Any]:
        """Return the run as a row of a table: lists in one cell."""
        row = asdict(self)
        row["devices"] = "; ".join(f"{name}: {', '.join(names)}" for name, names in self.devices.items())
        return {**row, "flags": "; ".join(self.flags)}


def runs(folder: Path) -> list[TrackedRun]:
    """Return the runs in a folder and in the folders below it, sorted by name. Raises UsageError if there is none."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    logs = sorted(folder.rglob("*_carbontracker.log"))
    orphans = [path for path in sorted(folder.rglob("*_carbontracker_output.log")) if _standard(path) not in logs]
    events = sorted(folder.rglob("*_events.jsonl"))
    tracked = [of_logs(path.name, _text(path), _text(_output(path))) for path in logs]
    tracked += [of_logs(path.name, "", _text(path)) for path in orphans]
    tracked += [of_events(path.name, _text(path).splitlines()) for path in events]
    if not tracked:
        raise UsageError(f"{folder}: neither *_carbontracker.log nor *_events.jsonl in it")
    return tracked


def of_logs(name: str, standard: str, output: str) -> TrackedRun:
    """Return a run of releases 1 or 2, from its standard log and the log of its output."""
    both = f"{standard}\n{output}"
    run = TrackedRun(name, "log")
    version = _VERSION.search(standard)
    release = tuple(map(int, version.groups())) if version else ()
    run.version = ".".join(map(str, release))
    if pue := _PUE.search(both):
        run.pue = float(pue[1])
    for component, names in _DEVICES.findall(both):
        run.devices.setdefault(component.lower(), [one.strip() for one in names.split(",") if one.strip()])
    if intensity := _INTENSITY.search(both):
        run.intensity_g_per_kwh = float(intensity[1])
    # A log that was made with `output` in it repeats the blocks: the last of each kind counts.
    blocks = {kind: rest for kind, *rest in _BLOCK.findall(_without_stamps(output or standard))}
    if actual := blocks.get("Actual"):
        run.duration_s = _duration(*actual[1:5])
        run.said_kwh, run.said_g = float(actual[5]), float(actual[6])
    if predicted := blocks.get("Predicted"):
        run.predicted_kwh = float(predicted[5])
    _measure(run, standard, release)
    _flag(run, release)
    return run


def of_events(name: str, lines: Iterable[str]) -> TrackedRun:
    """Return a run of carbontracker-tui. Its energies are without PUE. A torn line is counted and left out."""
    run = TrackedRun(name, "events")
    kwh = [_line(run, line) for line in filter(None, map(str.strip, lines))]
    torn, spans = kwh.count(None), sum(value for value in kwh if value is not None)
    run.measured_kwh = run.said_kwh if run.said_kwh is not None else spans or None
    if run.said_kwh is None:
        run.flags.append("the session did not finish: what its outermost spans say")
    if torn:
        run.flags.append(f"{torn} torn lines were left out")
    return run


def _line(run: TrackedRun, line: str) -> float | None:
    """Add the event in a line to a run. Return the kWh of an outermost span, else 0, or None for a torn line."""
    try:
        return _event(run, json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _event(run: TrackedRun, event: dict[str, Any]) -> float:
    """Add an event to a run. Return the kWh of an outermost span, else 0.

    Raises ValueError, KeyError, TypeError and AttributeError.
    """
    kind = event["__type__"]
    summary = event.get("config_summary") or {}
    if summary.get("pue") is not None:
        run.pue = float(summary["pue"])
    stats = event.get("stats") or {}
    if kind == "FinishedSession":
        said = [float(stats[key]) for key in ("total_power_usage_kwh", "total_emissions_g", "duration_s")]
        run.said_kwh, run.said_g, run.duration_s = said
    if kind != "SpanProfileEvent":
        return 0.0
    kwh = float(stats.get("power_usage_kwh") or 0)
    run.devices["all"] = sorted({*run.devices.get("all", []), *stats.get("power_usage_pr_device", {})})
    run.epochs += 1
    return kwh if event.get("parent_span_id") is None else 0.0


def _measure(run: TrackedRun, standard: str, release: tuple[int, ...]) -> None:
    """Add up the energy of the epochs: watts of each component x duration. A list of watts has one for each device."""
    joules, known, seconds = 0.0, False, 0.0
    for part in re.split(r"(?=Epoch \d+:)", standard):
        duration = _DURATION.search(part)
        if not _EPOCH.match(part) or not duration:
            continue
        here = _duration(*duration.groups())
        run.epochs, seconds = run.epochs + 1, seconds + here
        for component, text in _POWER.findall(part):
            watts = _watts(text)
            if watts is not None:
                devices = len(run.devices.get(component, [])) or 1
                averaged = _averaged(release) and not text.startswith("[")
                joules, known = joules + watts * here * (devices if averaged else 1), True
    if known:
        run.measured_kwh = joules / J_PER_KWH
    if run.duration_s is None and seconds:
        run.duration_s = seconds


def _flag(run: TrackedRun, release: tuple[int, ...]) -> None:
    many = {name: len(names) for name, names in run.devices.items() if len(names) > 1}
    if _averaged(release) and many:
        which = ", ".join(f"{count} {name} devices" for name, count in many.items())
        run.flags.append(f"averaged and not added up ({which}): its figures are too low")
    if run.pue and run.said_kwh is not None:
        run.flags.append(f"a PUE of {run.pue:g} is in its totals")
    if run.said_kwh is None and run.predicted_kwh is not None:
        run.flags.append("only a prediction: no measurement of the whole run")
    if run.said_kwh is None and run.measured_kwh is not None:
        run.flags.append("the run did not finish: what its finished epochs say")
    if run.measured_kwh == 0 or run.said_kwh == 0:
        run.flags.append("0 kWh: its meters could not be read")
    if run.measured_kwh is None and run.said_kwh is None:
        run.flags.append("nothing was measured")


def _averaged(release: tuple[int, ...]) -> bool:
    return bool(release) and AVERAGED[0] <= release <= AVERAGED[1]


def _watts(text: str) -> float | None:
    numbers = re.findall(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?", text)
    return sum(map(float, numbers)) if numbers else None


def _duration(days: str | None, hours: str | None, minutes: str | None, seconds: str | None) -> float:
    return float(days or 0) * 86400 + float(hours or 0) * 3600 + float(minutes or 0) * 60 + float(seconds or 0)


def _without_stamps(text: str) -> str:
    return re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - (?:CarbonTracker: ?)?", "", text, flags=re.MULTILINE)


def _standard(output: Path) -> Path:
    return output.with_name(output.name.replace("_carbontracker_output.log", "_carbontracker.log"))


def _output(standard: Path) -> Path:
    return standard.with_name(standard.name.replace("_carbontracker.log", "_carbontracker_output.log"))


def _text(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return file.read(MOST_BYTES).decode("utf-8", "replace")
