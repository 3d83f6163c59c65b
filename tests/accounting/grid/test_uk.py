# SPDX-License-Identifier: MIT
"""Great Britain's Carbon Intensity API, national and regional, over HTTP on loopback."""

from __future__ import annotations

import pytest

from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import Period

from .conftest import Make
from .services import Asked, Reply, Service, as_json

# 2026-01-01T00:00Z
T0 = 1_767_225_600
NATIONAL = {
    "data": [
        {
            "from": "2025-12-31T23:30Z",
            "to": "2026-01-01T00:00Z",
            "intensity": {"forecast": 99, "actual": 98, "index": "low"},
        },
        {
            "from": "2026-01-01T00:00Z",
            "to": "2026-01-01T00:30Z",
            "intensity": {"forecast": 266, "actual": 263, "index": "moderate"},
        },
        {
            "from": "2026-01-01T00:30Z",
            "to": "2026-01-01T01:00Z",
            "intensity": {"forecast": 250, "actual": None, "index": "moderate"},
        },
    ]
}
REGIONAL = {
    "data": {
        "regionid": 13,
        "shortname": "London",
        "data": [
            {
                "from": "2026-01-01T00:00Z",
                "to": "2026-01-01T00:30Z",
                "intensity": {"forecast": 150, "index": "moderate"},
                "generationmix": [{"fuel": "gas", "perc": 40.1}],
            }
        ],
    }
}


def test_national_actual_else_forecast(make: Make, service: Service) -> None:
    """A half-hour has its actual; one without has its forecast, as an estimate; one outside the range is not given."""
    service.say(as_json(NATIONAL))

    assert make("uk", "GB").history(T0, T0 + 3600) == [
        Period(T0, T0 + 1800, "263"),
        Period(T0 + 1800, T0 + 3600, "250", estimated=True),
    ]
    assert service.asked[0].path == "/intensity/2026-01-01T00:00Z/2026-01-01T01:00Z"


def test_the_half_hour_that_holds_the_start_is_given_whole(make: Make, service: Service) -> None:
    """A range that begins within a half-hour gets that half-hour, with the service's own borders."""
    service.say(as_json(NATIONAL))

    assert make("uk").history(T0 - 600, T0) == [Period(T0 - 1800, T0, "98")]


def test_a_month_is_asked_by_the_fortnight(make: Make, service: Service) -> None:
    """No request is longer than 14 days, and none of the range is left out."""
    service.say(as_json({"data": []}))

    assert make("uk").history(T0, T0 + 30 * 86_400) == []
    assert [a.path.removeprefix("/intensity/") for a in service.asked] == [
        "2026-01-01T00:00Z/2026-01-15T00:00Z",
        "2026-01-15T00:00Z/2026-01-29T00:00Z",
        "2026-01-29T00:00Z/2026-01-31T00:00Z",
    ]


def test_region(make: Make, service: Service) -> None:
    """A region's values are forecasts only, and say so; its number is in the address and in the source."""
    service.say(as_json(REGIONAL))
    london = make("uk:13", "GB")

    assert london.history(T0, T0 + 1800) == [Period(T0, T0 + 1800, "150", estimated=True)]
    assert service.asked[0].path == "/regional/intensity/2026-01-01T00:00Z/2026-01-01T00:30Z/regionid/13"
    assert "region 13" in london.text


def test_forecast(make: Make, service: Service) -> None:
    """A forecast is asked as the 48 hours from the start and holds estimates only."""

    def answer(asked: Asked) -> Reply:
        return as_json(NATIONAL) if asked.path.endswith("/fw48h") else Reply(status=404)

    service.answer = answer

    assert make("uk").forecast(T0, T0 + 3600) == [Period(T0 + 1800, T0 + 3600, "250", estimated=True)]


def test_error_document(make: Make, service: Service) -> None:
    """The service's own words about a refused request are in the one line."""
    service.say(as_json({"error": {"code": "400 Bad Request", "message": "Please enter a valid start date"}}, 400))

    with pytest.raises(ProviderError, match=r"NESO.*refuses the request \(HTTP 400: Please enter a valid start date\)"):
        make("uk").history(T0, T0 + 1800)


@pytest.mark.parametrize("text", ["uk:0", "uk:18", "uk:London"])
def test_a_region_that_is_not_one(make: Make, text: str) -> None:
    """A region that does not exist is refused when the settings are read."""
    with pytest.raises(ProviderError, match="1 to 17"):
        make(text)
