# SPDX-License-Identifier: MIT
"""Asks an aggregator from a program: jobs, sums and power over time as plain records. The standard library only.

It asks as the user who runs it, whom MUNGE proves, and gets what that user may see. Records have the keys of
docs/http-api.md as attributes; energies are integer microjoules and emissions integer micrograms, and what is not
known is None:

    from carbon_acct.client.api_client import Client

    client = Client()
    for row in client.usage(month="last", by=["account"], all_users=True).rows:
        print(row.key["account"], (row.figures.energy_uj or 0) / 3.6e12, "kWh")
    for job in client.jobs(start=1790000000, states="COMPLETED"):
        print(job.job_id, job.carbon_ug)
"""

from __future__ import annotations

from urllib.parse import urlencode

from carbon_collector import settings as conf
from carbon_collector.errors import RequestError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from .request import ask, ask_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Union

    Value = Union[str, int, bool, Iterable[str], None]


class Record:
    """An object of an answer, with its keys as attributes. A key that the aggregator's release lacks raises
    AttributeError.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in vars(self).items())})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # its values may be lists


class Job(Record):
    """A run of a job (`GET /v1/jobs`)."""


class Figures(NamedTuple):
    """Sums of jobs. Energies are microjoules, emissions micrograms CO2e, times seconds; None is not known."""

    jobs: int
    energy_uj: int | None
    cpu_uj: int | None
    dram_uj: int | None
    gpu_uj: int | None
    other_uj: int | None
    estimated_uj: int | None
    facility_uj: int | None
    carbon_ug: int | None
    carbon_market_ug: int | None
    embodied_ug: int | None
    upstream_ug: int | None
    td_ug: int | None
    pue: float | None
    intensity_g_per_kwh: float | None
    cpu_s: float | None
    core_s: float | None
    gpu_s: float | None
    simulated: bool


class Waste(NamedTuple):
    """The energy of a rule of waste, and its emissions. `jobs` is None for rules that go by use."""

    jobs: int | None
    energy_uj: int | None
    carbon_ug: int | None


class Sum(NamedTuple):
    """The sums of a key, or of all: of the window, of the window before, and the waste by rule where they were asked for."""

    key: dict[str, str | None]
    figures: Figures
    previous: Figures | None
    waste: dict[str, Waste] | None


class Usage(NamedTuple):
    """An answer of `GET /v1/usage`. `window`, `advice` and `site` are as they came, energies in them decimal strings."""

    window: dict[str, Any]
    previous_window: dict[str, Any] | None
    rows: list[Sum]
    others: Sum | None
    other_rows: int
    total: Sum
    advice: list[dict[str, Any]]
    site: dict[str, Any] | None
    notes: list[str]


class Point(NamedTuple):
    """The energy of a run in a part of time, in microjoules."""

    start: int
    end: int
    energy_uj: int | None
    cpu_uj: int | None
    dram_uj: int | None
    gpu_uj: int | None
    other_uj: int | None
    estimated_uj: int | None
    carbon_ug: int | None
    intensity_g_per_kwh: float | None

    @property
    def watts(self) -> float | None:
        """Return the mean power of what was measured, in watts, or None."""
        seconds = self.end - self.start
        return None if self.energy_uj is None or seconds <= 0 else self.energy_uj / seconds / 1e6


class Series(NamedTuple):
    """The points of a run by time."""

    job_id: str
    job_id_raw: int
    cluster: str
    submit: int
    start: int | None
    end: int | None
    step_s: int
    points: list[Point]


class Client:
    """A client of the aggregators that the configuration names.

    Every method raises MungeError (no munged), RequestError (no aggregator answers, or it refuses) and UsageError (a
    parameter is wrong).
    """

    def __init__(self, config: str = "") -> None:
        """Read the configuration from a path; empty: CARBON_ACCT_CONF, else its usual place. Raises SettingsError."""
        self._settings = conf.load(config)

    def jobs(self, **parameters: Value) -> list[Job]:
        """Return all jobs that match the parameters of `GET /v1/jobs`; pages are followed."""
        return [Job(job) for job in ask_jobs(self._settings, _texts(parameters)).jobs]

    def usage(self, **parameters: Value) -> Usage:
        """Return sums by the parameters of `GET /v1/usage`."""
        found = self._ask("/v1/usage", parameters)
        others = found["others"]
        return Usage(
            window=found["window"],
            previous_window=found["previous_window"],
            rows=[_sum(row) for row in found["rows"]],
            others=None if others is None else _sum(others),
            other_rows=0 if others is None else others["rows"],
            total=_sum(found["total"]),
            advice=found["advice"],
            site=found["site"],
            notes=found["notes"],
        )

    def power_series(self, jobs: str | Iterable[str], **parameters: Value) -> list[Series]:
        """Return the energy of runs over time (`GET /v1/power/series`)."""
        found = self._ask("/v1/power/series", {"jobs": jobs, **parameters})
        return [
            Series(**{**_known(Series, one), "points": [Point(**_known(Point, point)) for point in one["points"]]})
            for one in found["series"]
        ]

    def _ask(self, path: str, parameters: Mapping[str, Value]) -> dict[str, Any]:
        query = urlencode(_texts(parameters), errors="surrogateescape")
        url, found = ask(self._settings, "GET", f"{path}?{query}" if query else path)
        missing = {"/v1/usage": "total", "/v1/power/series": "series"}[path]
        if missing not in found:
            raise RequestError(f"{url} answers, but not as a carbon-aggregator does; is the URL right?")
        return found


def _texts(parameters: Mapping[str, Value]) -> dict[str, str]:
    """Return parameters as they are sent: lists with commas, truth as 1, and None not at all."""
    return {name: _text(value) for name, value in parameters.items() if value is not None}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (str, int)):
        return str(value)
    return ",".join(value or ())


def _sum(row: Mapping[str, Any]) -> Sum:
    waste = row["waste"]
    return Sum(
        key=row.get("key", {}),
        figures=_figures(row["figures"]),
        previous=None if row["previous"] is None else _figures(row["previous"]),
        waste=None if waste is None else {rule: Waste(**_numbers(_known(Waste, one))) for rule, one in waste.items()},
    )


def _figures(values: Mapping[str, Any]) -> Figures:
    return Figures(**_numbers(_known(Figures, values)))


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return energies and emissions, which come as decimal strings, as integers."""
    return {
        name: int(value) if value is not None and name.endswith(("_uj", "_ug")) else value
        for name, value in values.items()
    }


def _known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a record has. A newer aggregator may send more."""
    return {name: values[name] for name in kind._fields}
