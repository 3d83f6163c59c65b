# SPDX-License-Identifier: MIT
"""Electricity Maps v3 over HTTP on loopback: ranges, plans, estimates, revisions, forecast."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import Period

from .conftest import TOKEN, Make
from .services import Asked, Reply, Service, as_json

T0 = 1_767_225_600


def hour(at: int, value: object, **more: object) -> dict[str, object]:
    return {
        "zone": "DE",
        "carbonIntensity": value,
        "datetime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "updatedAt": "2026-01-02T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "emissionFactorType": "lifecycle",
        "isEstimated": False,
        "estimationMethod": None,
        **more,
    }


def test_past_range(make: Make, service: Service) -> None:
    """An hour has its value, its estimated flag and the stamp of its revision; the token travels in its header."""
    service.say(
        as_json({"zone": "DE", "data": [hour(T0, 301.5), hour(T0 + 3600, 310, isEstimated=True, updatedAt=None)]})
    )

    assert make("electricitymaps").history(T0 + 900, T0 + 7200) == [
        Period(T0, T0 + 3600, "301.5", False, T0 + 86_400),
        Period(T0 + 3600, T0 + 7200, "310", True, None),
    ]
    asked = service.asked[0]
    assert (asked.path, asked.headers["auth-token"]) == ("/carbon-intensity/past-range", TOKEN)
    assert asked.params == {
        "zone": "DE",
        "emissionFactorType": "lifecycle",
        "temporalGranularity": "hourly",
        "shouldUseFallbackCallerLookup": "false",
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-01-01T02:00:00Z",
    }


def test_the_other_name_of_the_list(make: Make, service: Service) -> None:
    """Some versions name the list `history`; it is the same."""
    service.say(as_json({"zone": "DE", "history": [hour(T0, 301)]}))

    assert [p.g_per_kwh for p in make("electricitymaps").history(T0, T0 + 3600)] == ["301"]


def test_a_month_in_pieces(make: Make, service: Service) -> None:
    """No request is longer than ten days."""
    service.say(as_json({"data": []}))
    make("electricitymaps").history(T0 + 900, T0 + 25 * 86_400)

    assert [(a.params["start"][8:10], a.params["end"][8:10]) for a in service.asked] == [
        ("01", "11"),
        ("11", "21"),
        ("21", "26"),
    ]


@pytest.mark.parametrize(("allowed", "hours"), [("history", 2), ("latest", 1)])
def test_a_plan_without_ranges(make: Make, service: Service, allowed: str, hours: int) -> None:
    """Where the token may not ask for a range, the last 24 hours are taken, else the latest hour."""
    answers = {"history": {"history": [hour(T0, 301), hour(T0 + 3600, 302)]}, "latest": hour(T0 + 3600, 302)}

    def answer(asked: Asked) -> Reply:
        kind = asked.path.rpartition("/")[2]
        return as_json(answers[kind]) if kind == allowed else as_json({"message": "not in your plan"}, 403)

    service.answer = answer

    assert len(make("electricitymaps").history(T0, T0 + 7200)) == hours


def test_direct_and_another_zone(make: Make, service: Service) -> None:
    """The settings may ask for direct emissions, and for a zone by Electricity Maps' own name."""
    service.say(as_json({"data": [hour(T0, 120, emissionFactorType="direct", zone="DK-DK1")]}))
    provider = make("electricitymaps+direct:DK-DK1", "DK1")

    assert [p.g_per_kwh for p in provider.history(T0, T0 + 3600)] == ["120"]
    assert (service.asked[0].params["zone"], service.asked[0].params["emissionFactorType"]) == ("DK-DK1", "direct")
    assert provider.text == "Electricity Maps DK-DK1, hourly, direct"


def test_another_scope_than_asked(make: Make, service: Service) -> None:
    """Direct values are never taken for lifecycle ones."""
    service.say(as_json({"data": [hour(T0, 120, emissionFactorType="direct")]}))

    with pytest.raises(ProviderError, match="emissionFactorType is 'direct'; expected 'lifecycle'"):
        make("electricitymaps").history(T0, T0 + 3600)


def test_forecast(make: Make, service: Service) -> None:
    """A forecast is estimated, with the stamp of the whole."""
    rows = [{"carbonIntensity": 200 + n, "datetime": f"2026-01-01T0{n}:00:00.000Z"} for n in range(3)]
    service.say(as_json({"zone": "DE", "forecast": rows, "updatedAt": "2026-01-01T00:00:00.000Z"}))

    assert make("electricitymaps").forecast(T0 + 3600, T0 + 7200) == [
        Period(T0 + 3600, T0 + 7200, "201", estimated=True, updated_at=T0)
    ]
    assert service.asked[0].path == "/carbon-intensity/forecast"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"datetime": "2026-01-01T00:00:00Z"}, "carbonIntensity is missing"),
        (hour(T0, "301"), "carbonIntensity of 2026-01-01T00:00Z is '301'; expected a number"),
        (hour(T0, 301, datetime=1_767_225_600), "datetime is a whole number; expected text"),
        (hour(T0, 301, datetime="yesterday"), "datetime is 'yesterday'; expected a time in ISO 8601"),
        (hour(T0, 301, datetime="2026-01-01T00:00:00"), "expected a time with its zone"),
        (hour(T0, 301, datetime="1970-01-01T00:00:00Z"), "expected a time between"),
    ],
)
def test_a_changed_format_is_named(make: Make, service: Service, row: dict[str, object], says: str) -> None:
    """A field that is gone or of another kind is named, with what was expected."""
    service.say(as_json({"zone": "DE", "data": [row]}))

    with pytest.raises(ProviderError) as e:
        make("electricitymaps").history(T0, T0 + 3600)
    assert says in str(e.value)
    assert str(e.value).startswith("Electricity Maps DE, hourly, lifecycle: ")
