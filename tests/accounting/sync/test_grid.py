# SPDX-License-Identifier: MIT
"""Following the grid over real HTTP: outage, recovery, revision, a provider that answers nonsense; nothing is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounting.samples import configure, job, job_slot, ledger, segment, share
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db.models import Forecast, SlotFactor
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.errors import DatabaseError
from carbon_acct.factors.slot_factor import SiteTerms
from carbon_acct.grid.provider import Patience
from carbon_acct.grid.providers.uk import CarbonIntensityUk
from carbon_acct.queries.intensities import intensities
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import JobRecord, list_jobs
from carbon_acct.site import Site, open_site
from carbon_acct.sync.grid import Follower, State
from carbon_acct.sync.jobs import record_jobs
from carbon_collector import settings

KWH = 3_600_000_000_000


@dataclass
class Grid:
    """A service that speaks the UK's protocol: a value for each half-hour, or an error."""

    port: int = 0
    value: int = 100
    ahead: int = 40
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes:
        """Half-hours of the asked range; of a forecast 48 hours, `ahead` each."""
        if path.endswith("/fw48h"):
            at = int(datetime.strptime(path.split("/")[-2], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp())
            at -= at % 1800
            expected = {"forecast": self.ahead, "actual": None}
            return json.dumps(
                {
                    "data": [
                        {"from": moment(s), "to": moment(s + 1800), "intensity": expected}
                        for s in range(at, at + 48 * 3600, 1800)
                    ]
                }
            ).encode()
        start, end = (datetime.strptime(word, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) for word in path.split("/")[-2:])
        first, last = (int(at.timestamp()) // 1800 * 1800 for at in (start, end))
        rows = [
            {"from": moment(at), "to": moment(at + 1800), "intensity": {"forecast": 1, "actual": self.value}}
            for at in range(first, last + 1, 1800)
        ]
        return json.dumps({"data": rows}).encode()


def moment(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%MZ")


@pytest.fixture
def grid() -> Iterator[Grid]:
    """The service on loopback."""
    state = Grid()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            body = state.answer(self.path) if state.status == 200 else b"<html>sorry</html>"
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class World:
    """A site with a job of the last hour, and the follower of its grid."""

    site: Site
    provider: CarbonIntensityUk
    follower: Follower
    now: int

    def job(self) -> JobRecord:
        """As carbon-acct gets it."""
        with self.site.database.read() as session:
            (record,) = list_jobs(session, Filters(EVERYTHING))
        return record

    @property
    def state(self) -> State:
        """Of the one provider."""
        (state,) = self.follower.states.values()
        return state


@pytest.fixture
def world(tmp_path: Path, grid: Grid) -> Iterator[World]:
    """In Great Britain."""
    stated = {"grid_providers": "uk", "grid_addresses": f"uk=http://127.0.0.1:{grid.port}", "site_zone": "GB"}
    site = open_site(settings.load(str(configure(tmp_path, **stated))))
    now = int(time.time())
    slot = now // 900 * 900 - 3600
    known = job(submit=slot, eligible=slot, start=slot, end=slot + 900)
    rows = [
        ledger(opened=slot, closed=slot + 900),
        job_slot({"cpu": share(KWH // 100, metered_us=900_000_000)}, slot=slot, opened=slot),
    ]
    with site.database.write() as session:
        record_jobs(session, [known], site.terms)
        assert not store_segment(session, parse_segment(segment(rows), now), site.terms, now).refused
    (provider,) = site.providers["GB"]
    assert isinstance(provider, CarbonIntensityUk)
    once = replace(provider, access=replace(provider.access, patience=Patience(attempts=1)))
    yield World(site, once, Follower(site.database, site.terms, {"GB": [once]}, 900), now)
    site.database.close()


def test_recovery_by_itself(world: World, grid: Grid) -> None:
    """While the provider is out the yearly factor applies and is named; when it is back the true figure comes by itself."""
    grid.status = 503
    world.follower.step(world.now)
    fallback = world.job()
    out = world.state
    grid.status = 200
    world.follower.step(world.now + 3600)
    record = world.job()

    assert "Ember" in (fallback.intensity_source or "")
    assert "out of order" in out.error or "503" in out.error
    assert 0 < out.again_at - world.now <= 80
    assert (record.intensity_g_per_kwh, record.carbon_ug) == (100, round(KWH // 100 * 1.3 * 100 * 10**6 / KWH))
    assert "UK Carbon Intensity" in (record.intensity_source or "")
    assert world.state.error == ""


@dataclass(frozen=True)
class Failing(SiteTerms):
    """SiteTerms of a database that goes away between a value and the slot factors of it, as often as said."""

    times: list[int] = field(default_factory=list)

    def values(self, session: Session, zone: str, slots: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Fails while there is something left of `times`."""
        if self.times:
            self.times.pop()
            raise DatabaseError("gone")
        return super().values(session, zone, slots)


def test_killed_between_value_and_factor(world: World) -> None:
    """A value whose slot factors were not stored is not stored either: it comes again, and then they come too."""
    terms = Failing(**vars(world.site.terms), times=[1])
    follower = Follower(world.site.database, terms, {"GB": [world.provider]}, 900)
    with pytest.raises(DatabaseError):
        follower.step(world.now)
    Follower(world.site.database, terms, {"GB": [world.provider]}, 900).step(world.now)

    assert world.job().intensity_g_per_kwh == 100


def test_replaced_revisions_are_forgotten(world: World, grid: Grid) -> None:
    """Revisions that apply to nothing any more do not pile up: after a day they are gone."""
    for hours, value in enumerate((100, 60, 70), 1):
        grid.value = value
        world.follower.step(world.now + 7 * 3600 * hours)
    world.follower.step(world.now + 4 * 86400)
    with world.site.database.read() as session:
        revisions = session.scalars(select(SlotFactor.revision)).all()

    assert revisions == [4]
    assert world.job().intensity_g_per_kwh == 70


def test_asked_again_for_revisions(world: World, grid: Grid) -> None:
    """A value that the provider revises within two days replaces the first one, and the job's grams follow."""
    world.follower.step(world.now)
    grid.value = 60
    world.follower.step(world.now + 7 * 3600)

    assert world.job().intensity_g_per_kwh == 60


def test_not_asked_before_its_time(world: World, grid: Grid) -> None:
    """A provider is asked once in its interval, and a 429 with Retry-After is honoured."""
    world.follower.step(world.now)
    world.follower.step(world.now + 100)
    once = len(grid.asked)
    grid.status, grid.headers = 429, {"Retry-After": "7200"}
    world.follower.step(world.now + 1000)
    world.follower.step(world.now + 1000 + 7000)

    assert [path.endswith("/fw48h") for path in grid.asked] == [False, True, False]
    assert once == 2
    assert world.state.again_at == pytest.approx(world.now + 8200)


def test_nonsense_is_said_once(world: World, grid: Grid, caplog: pytest.LogCaptureFixture) -> None:
    """A provider whose answer cannot be trusted is told about once, its values are not taken, and what was known stays."""
    world.follower.step(world.now)
    grid.value = -5
    for hours in (1, 3, 5):
        world.follower.step(world.now + 3600 * hours)

    assert len([r for r in caplog.records if "next source" in r.message]) == 1
    assert world.job().intensity_g_per_kwh == 100
    assert world.state.failures == 3


def test_what_a_narrowed_request_left_out_is_asked_for(world: World, grid: Grid) -> None:
    """After a night of nonsense the first good answer is to a short question. Within hours all of the night is asked for."""
    world.follower.step(world.now)
    grid.value = -5
    for hours in range(1, 31):
        world.follower.step(world.now + 3600 * hours)
    assert world.state.failures
    grid.value = 70
    for hours in (31, 32, 33):
        world.follower.step(world.now + 3600 * hours)

    ranges = [path.split("/")[-2:] for path in grid.asked if not path.endswith("/fw48h")]
    assert not world.state.error
    assert any(start <= moment(world.now) for start, end in ranges if end > moment(world.now + 31 * 3600))


def test_a_fault_of_one_provider_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a provider's code does, the thread goes on and the site keeps its terms."""
    (provider,) = world.site.providers["GB"]
    monkeypatch.setattr(type(provider), "history", lambda *_: 1 // 0)
    world.follower.step(world.now)

    assert "ZeroDivisionError" in world.state.error
    assert "Ember" in (world.job().intensity_source or "")


def test_thread(world: World) -> None:
    """It runs in a thread of its own and ends when told to."""
    world.follower.start()
    deadline = time.monotonic() + 60
    while world.job().intensity_g_per_kwh != 100 and time.monotonic() < deadline:
        time.sleep(0.05)
    world.follower.stop()

    assert world.state.fetched_at is not None
    assert world.job().intensity_g_per_kwh == 100


def forecasts(world: World) -> list[Forecast]:
    """All that is kept."""
    with world.site.database.read() as session:
        return list(session.scalars(select(Forecast).order_by(Forecast.period_start)))


def test_the_newest_forecast_is_kept_and_accounts_for_nothing(world: World, grid: Grid) -> None:
    """A new forecast replaces the one before; no job is priced by it, and without a new one the old one stays."""
    world.follower.step(world.now)
    first = forecasts(world)
    grid.ahead = 70
    world.follower.step(world.now + 2 * 3600)
    second = forecasts(world)
    grid.value, grid.status = 200, 503
    world.follower.step(world.now + 4 * 3600)

    assert {row.g_per_kwh for row in first} == {"40"}
    assert {row.g_per_kwh for row in second} == {"70"}
    assert len({row.period_start for row in second}) == len(second) == 96
    assert {row.fetched_at for row in second} == {world.now + 2 * 3600}
    assert [row.id for row in forecasts(world)] == [row.id for row in second]
    assert world.job().intensity_g_per_kwh == 100


def test_what_is_answered_of_the_future(world: World, grid: Grid) -> None:
    """Slots that the provider told of are its values, later ones the forecast's; without a provider the yearly factor's."""
    world.follower.step(world.now)
    with world.site.database.read() as session:
        found = intensities(session, world.site.terms, "GB", world.now - 3600, world.now + 7200, world.now)
        elsewhere = intensities(session, world.site.terms, "FR", world.now - 3600, world.now + 7200, world.now)

    assert {(one.value, one.scope, one.estimated) for one in found.slots} == {(100, "direct", False)}
    assert {(one.value, one.scope, one.estimated) for one in found.forecast} == {(40, "direct", True)}
    assert (found.forecast_at, found.pue) == (world.now, 1.3)
    times = [(one.start, one.end) for one in (*found.slots, *found.forecast)]
    assert times[0][0] <= world.now - 3600 < world.now + 7200 <= times[-1][1]
    assert all(one[1] >= other[0] for one, other in pairwise(times))
    assert {(one.value, one.end - one.start) for one in elsewhere.slots} == {(44.18, 900)}
    assert elsewhere.forecast == []
    assert "Ember" in elsewhere.slots[0].source
