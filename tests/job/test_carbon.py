# SPDX-License-Identifier: MIT
"""Grams: slot by slot, the past by its intensity, the rest by the forecast; and how intensities are asked for."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_job import aggregator
from carbon_job.carbon import DAY_S, Grams, Intensity, Series
from carbon_job.grid import Grid
from carbon_job.limits import Action, Figures, action, passed
from carbon_job.place import find
from carbon_job.units import carbon_g, carbon_text, energy_j, energy_text, time_text

KWH_UJ = 3_600_000_000_000
NOW_S = 1_764_399_600


def slot(start_s: int, value: float, forecast: bool = False, seconds: int = 900) -> Intensity:
    """An intensity of one slot."""
    return Intensity(start_s, start_s + seconds, value, "s", "lifecycle", False, forecast)


@given(st.lists(st.tuples(st.floats(0, 1e14), st.floats(0, 2000)), min_size=1, max_size=50), st.floats(1, 2))
def test_grams_are_a_sum_over_slots(pairs: list[tuple[float, float]], pue: float) -> None:
    """Each slot's kWh x PUE x intensity, against brute force."""
    series = Series([slot(900 * i, value) for i, (_, value) in enumerate(pairs)], pue=pue)
    grams = series.spent((900 * i, uj) for i, (uj, _) in enumerate(pairs))

    assert grams is not None
    assert grams.grams == pytest.approx(sum(uj / KWH_UJ * pue * value for uj, value in pairs))


def test_the_rest_is_priced_by_the_forecast_of_each_slot() -> None:
    """Half an hour of 1 kWh over two slots of 100 and 300 g/kWh is 200 g; one mean of a longer forecast is not used."""
    hours = [slot(NOW_S + 900 * i, value, forecast=True) for i, value in enumerate((100, 300, 9000, 9000))]
    series = Series([slot(NOW_S - 900, 50), *hours])

    assert series.rest(3.6e6, NOW_S, 1800) == Grams(pytest.approx(200), "forecast")


def test_beyond_the_forecast_come_the_same_hours_of_the_last_days() -> None:
    """What no forecast reaches is priced by the mean of the same time of day in the last seven days."""
    known = [slot(NOW_S + 3600 - day * DAY_S, 100.0 * day) for day in range(1, 8)]
    grams = Series(known).rest(3.6e6, NOW_S + 3600, 900)

    assert grams == Grams(pytest.approx(400), "forecast, then the same hours of the last seven days")


def test_else_the_last_value_with_its_age() -> None:
    """With nothing else the last value serves, and says how old it is."""
    grams = Series([slot(NOW_S - 3 * 3600, 80)]).rest(3.6e6, NOW_S, 900)

    assert grams == Grams(pytest.approx(80), "last value, 3 h old")


def test_nothing_known_is_no_carbon() -> None:
    """Without any intensity grams are not known, which is not zero."""
    assert Series().spent([(0, 1e9)]) is None
    assert Series().rest(1, 0, 1) is None


def test_a_windy_grid() -> None:
    """A rest of 12 h on a grid that changes: by the forecast it is near the truth, by the last value it is not."""
    truth = [300 - 250 * (i % 48 > 12) for i in range(48)]
    ahead = [slot(NOW_S + 900 * i, value * 1.03, forecast=True) for i, value in enumerate(truth)]
    known = [slot(NOW_S - 900, 300)]
    true = sum(truth) / 48
    by_forecast, by_last = (Series(slots).rest(3.6e6, NOW_S, 12 * 3600) for slots in ([*known, *ahead], known))

    assert by_forecast is not None
    assert by_last is not None
    assert by_forecast.grams == pytest.approx(true, rel=0.04)
    assert by_last.grams > 2 * true


ANSWER = {
    "zone": "FR",
    "slots": [
        {"start": NOW_S, "end": NOW_S + 900, "value": 44.0, "source": "uk", "scope": "lifecycle", "estimated": True},
        {"start": NOW_S + 900, "end": NOW_S + 1800, "value": None, "source": None, "scope": None},
    ],
    "forecast": [{"start": NOW_S + 1800, "end": NOW_S + 2700, "value": 40.0}],
}


def test_an_answer_is_read() -> None:
    """Slots without a value are left out; what is forecast is marked; other shapes are errors."""
    found = aggregator.parse(json.dumps(ANSWER).encode())

    assert [(one.g_per_kwh, one.estimated, one.forecast) for one in found] == [(44.0, True, False), (40.0, False, True)]
    for wrong in (b"", b"[]", b"{}", b'{"slots": [{"value": 1}]}', b'{"slots": [{"start": "x", "value": 1}]}'):
        with pytest.raises((ValueError, KeyError, TypeError)):
            aggregator.parse(wrong)


class _Handler(BaseHTTPRequestHandler):
    asked: list[tuple[str, str]] = []  # noqa: RUF012 - one server at a time

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200 if "zone=FR" in self.path else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Something that answers over HTTP."""
    _Handler.asked = []
    http = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_the_aggregator_is_asked_with_a_credential_of_the_target(server: str, munge_socket: str) -> None:
    """A real munged finds the digest of the request target in the credential; a refusal names the aggregator."""
    settings = {"CARBON_ACCT_AGGREGATORS": f"http://127.0.0.1:1 {server}", "CARBON_ACCT_CONF": "/none"}
    place = find({**settings, "CARBON_ACCT_MUNGE_SOCKET": munge_socket})
    found = aggregator.intensities(place, NOW_S, "FR")
    target, authorization = _Handler.asked[0]
    kind, _, credential = authorization.partition(" ")
    unmunge = ["unmunge", "--socket", munge_socket, "--metadata", "/dev/null"]
    payload = subprocess.run(unmunge, input=credential.encode(), capture_output=True, check=True).stdout

    assert len(found) == 2
    assert (kind, payload.decode()) == ("MUNGE", hashlib.sha256(target.encode()).hexdigest())
    assert f"start={NOW_S - 7 * DAY_S}&" in target
    with pytest.raises(aggregator.AskError, match=r"status 403"):
        aggregator.intensities(place, NOW_S, "XX")


def test_without_an_answer_there_is_energy_alone(tmp_path: Path) -> None:
    """An aggregator that is away costs the grams and one line."""
    said: list[str] = []
    place = find({"CARBON_ACCT_AGGREGATORS": "http://127.0.0.1:1", "CARBON_ACCT_CONF": str(tmp_path / "none")})
    grid = Grid(place, "", None, None, said.append)
    grid._first.wait(30)
    grid.stop()

    assert not grid.series
    assert len(said) == 1
    assert said[0].startswith("no carbon, energy only: http://127.0.0.1:1: ")


@pytest.mark.parametrize(
    ("figures", "figure", "provisional", "result"),
    [
        (Figures(5, 20, 30), "expected", False, True),
        (Figures(5, 9, 30), "expected", False, False),
        (Figures(5, 9, 30), "upper", False, True),
        (Figures(5, 9, 30), "upper", True, False),
        (Figures(5, 90, 300), "spent", False, False),
        (Figures(11, None, None), "expected", True, True),
        (Figures(None, None, None), "upper", False, False),
    ],
)
def test_limits(figures: Figures, figure: str, provisional: bool, result: bool) -> None:
    """A limit of 10 holds the figure that was chosen; spent always counts, a provisional prediction never."""
    assert passed(figures, 10, figure, provisional) is result
    assert not passed(figures, None, figure, provisional)


def test_actions_and_amounts_are_read() -> None:
    """Signals by any of their names, energies and masses with their units; all else is refused."""
    assert [action(text) for text in ("warn", "stop", "signal:USR1", "signal:SIGUSR1", "signal:10")] == [
        Action("warn"),
        Action("stop"),
        *[Action("signal", 10)] * 3,
    ]
    assert (energy_j("1.5kWh"), energy_j("3 MJ"), energy_j("500Wh"), carbon_g("2kg")) == (5.4e6, 3e6, 1.8e6, 2000)
    for read, text in ((action, "signal:NO"), (action, ""), (energy_j, "5"), (energy_j, "-1J"), (carbon_g, "infg")):
        with pytest.raises(ValueError, match=r"is n"):
            read(text)


def test_amounts_for_people() -> None:
    """Three digits, the unit that fits, and words for what is not known."""
    assert [energy_text(j) for j in (None, 0, 12.34, 4000, 5.4e6, 7.2e10)] == [
        "energy not known", "0 J", "12.3 J", "1.11 Wh", "1.50 kWh", "20.0 MWh"
    ]  # fmt: skip
    assert [carbon_text(g) for g in (None, 0.0012, 5, 1500, 2e6)] == [
        "carbon not known", "1.20 mg", "5.00 g", "1.50 kg", "2.00 t"
    ]  # fmt: skip
    assert [time_text(s) for s in (4.2, 200, 7500, 273_600)] == ["4.20 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"]
