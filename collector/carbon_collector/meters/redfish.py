# SPDX-License-Identifier: MIT
"""The whole node's power as its BMC shows it over HTTPS: DMTF's Redfish (DSP0266), asked in a thread of its own.

`[collector] redfish` names the BMC, and the chassis where it serves several. The power is looked for once:
EnvironmentMetrics' PowerWatts, else the inputs of PowerSubsystem's supplies, else PowerControl's PowerConsumedWatts of
the older Power. PowerInputWatts there is what a supply can take, not what it takes (influxdata/telegraf#9575).

User and password lie in a file that only root may read. They open a session, whose token is used until the BMC no
longer knows it; the session is ended with the meter, because a BMC has few. This module and `ssl` are loaded only
where a BMC is named.
"""

from __future__ import annotations

import os
import time

from ..errors import RequestError
from ..http import Answer as HttpAnswer
from ..http import exchange
from ..lean.typing import TYPE_CHECKING
from .base import Found, Place
from .polled import Answer, Polled

if TYPE_CHECKING:
    from typing import Any

PERIOD_S = 15.0
"""Time between two questions, and the longest time for all requests of one."""
FIRST_S = PERIOD_S + 1
MAX_WATTS = 50_000
"""Most watts of a node; what is above is not believed."""
ROOT = "/redfish/v1"
MOST_BYTES = 1 << 20
MOST_MEMBERS = 16
"""Most chassis or power supplies that are looked at."""
UNAUTHORIZED = (401, 403)
OTHERS_MAY = 0o077
"""Permissions that a file of credentials must not have."""


class Failed(Exception):  # noqa: N818 - a reason, in words for people
    """The error that a BMC's power cannot be read. Its message says why."""


class Redfish(Polled):
    """The BMC of one node."""

    def __init__(self, place: Place, period_s: float) -> None:
        base, _, path = place.redfish.partition(ROOT)
        self._base = base.rstrip("/")
        self._chassis = f"{ROOT}{path}".rstrip("/") if path.strip("/") else ""
        self._place = place
        self._token = ""
        self._session = ""
        self._where: tuple[str, ...] = ()
        self._deadline_s = 0.0
        super().__init__("redfish", period_s, MAX_WATTS)

    def ask(self) -> Answer:
        """Return the power now."""
        self._deadline_s = time.monotonic() + self.period_s
        try:
            watts = self._power()
        except (Failed, RequestError) as err:
            self._where = ()
            return Answer(0, str(err))
        return Answer(round(watts), "" if 0 < watts <= MAX_WATTS else f"{watts:.0f} W cannot be")

    def close(self) -> None:
        """End the session: a BMC has few of them."""
        self.is_over = True
        self._end_session()

    # -- where the power is -----------------------------------------------------------------------------------

    def _power(self) -> float:
        if self._where:
            return _sum([_watts(self._get(path)) for path in self._where])
        for chassis in self._all_chassis():
            for paths in self._candidates(self._get(chassis)):
                found = [_watts(self._get(path)) for path in paths]
                if found and None not in found:
                    self._where = paths
                    return _sum(found)
        raise Failed("no chassis shows its power")

    def _all_chassis(self) -> list[str]:
        """Return the chassis that may be this node's: the one that is named, else those of the only system, else the
        only one.
        """
        if self._chassis:
            return [self._chassis]
        root = self._get(f"{ROOT}/")
        systems = self._members(_link(root, "Systems"))
        if len(systems) > 1:
            raise Failed(
                f"the BMC serves {len(systems)} systems; name the chassis: redfish = {self._base}{ROOT}/Chassis/..."
            )
        links = self._get(systems[0]).get("Links") if systems else None
        own = _links(links.get("Chassis")) if isinstance(links, dict) else []
        found = own or self._members(_link(root, "Chassis"))
        if not own and len(found) > 1:
            raise Failed(f"the BMC serves {len(found)} chassis; name one: redfish = {self._base}{found[0]}")
        return found

    def _candidates(self, chassis: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the paths where a chassis may show its power, the best first."""
        subsystem = _link(chassis, "PowerSubsystem")
        supplies = self._members(_link(self._get(subsystem), "PowerSupplies")) if subsystem else []
        metrics = tuple(_link(self._get(supply), "Metrics") for supply in supplies)
        all_ways: list[tuple[str, ...]] = [(_link(chassis, "EnvironmentMetrics"),), metrics, (_link(chassis, "Power"),)]
        return [paths for paths in all_ways if paths and all(paths)]

    def _members(self, path: str) -> list[str]:
        return _links(self._get(path).get("Members")) if path else []

    # -- requests ---------------------------------------------------------------------------------------------

    def _get(self, path: str) -> dict[str, Any]:
        answer, _ = self._send("GET", path)
        if answer.status in UNAUTHORIZED:
            self._open_session()
            answer, _ = self._send("GET", path)
        if answer.status != 200:
            raise Failed(f"{path}: HTTP status {answer.status}")
        return _object(answer.body, path)

    def _send(self, method: str, path: str, body: bytes = b"") -> tuple[HttpAnswer, dict[str, str]]:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise Failed(f"no answer within {self.period_s:g} s")
        headers = {"Accept": "application/json", "OData-Version": "4.0"}
        if body:
            headers["Content-Type"] = "application/json"
        elif self._token.startswith("Basic "):
            headers["Authorization"] = self._token
        elif self._token:
            headers["X-Auth-Token"] = self._token
        return exchange(method, self._base, path, body, headers, left_s, MOST_BYTES, self._place.redfish_ca)

    def _open_session(self) -> None:
        """Open a session; where the BMC has none, every request has the password."""
        self._end_session()
        user, password = credentials(self._place.redfish_credentials)
        import json

        body = json.dumps({"UserName": user, "Password": password}).encode()
        answer, headers = self._send("POST", f"{ROOT}/SessionService/Sessions", body)
        if answer.status in (200, 201) and headers.get("x-auth-token"):
            self._token = headers["x-auth-token"]
            location = headers.get("location", "")
            self._session = location[location.find("/redfish") :] if "/redfish" in location else ""
        elif answer.status in (404, 405, 501):
            from binascii import b2a_base64

            self._token = "Basic " + b2a_base64(f"{user}:{password}".encode(), newline=False).decode()
        else:
            raise Failed(f"the BMC opens no session for {user!r}: HTTP status {answer.status}")

    def _end_session(self) -> None:
        session, self._session = self._session, ""
        if session:
            self._deadline_s = max(self._deadline_s, time.monotonic() + 2.0)
            try:
                self._send("DELETE", session)
            except (Failed, RequestError):
                pass  # it ends by itself
        self._token = ""


def find(place: Place) -> Found:
    """Ask the BMC; one that is only slow gets its time."""
    meter = Redfish(place, PERIOD_S)
    if not meter.wait(FIRST_S) or meter.answer.reason:
        meter.close()
        return Found(None, {"other": f"redfish: {meter.answer.reason or 'no answer'}"})
    return Found(meter, {})


def credentials(path: str) -> tuple[str, str]:
    """Return user and password from a file with one line, `user:password`, that nobody else may read. Raises Failed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            text = os.read(fd, 4096).decode("utf-8", "replace")
        finally:
            os.close(fd)
    except OSError as err:
        raise Failed(f"{path}: {(err.strerror or str(err)).lower()}; it holds user:password of the BMC") from err
    if status.st_mode & OTHERS_MAY or status.st_uid not in (0, os.geteuid()):
        raise Failed(f"{path}: others may read it; make it root's alone: chmod 600, chown root")
    user, colon, password = text.strip().partition(":")
    if not user or not colon:
        raise Failed(f"{path}: is no line user:password")
    return user, password


def _object(body: bytes, path: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise Failed(f"{path}: the answer is no JSON") from err
    if not isinstance(found, dict):
        raise Failed(f"{path}: the answer is no resource")
    return found


def _link(resource: dict[str, Any], name: str) -> str:
    """Return the path of a resource that another one links to; empty if there is none."""
    return next(iter(_links([resource.get(name)])), "")


def _links(members: Any) -> list[str]:
    found = [one.get("@odata.id") for one in members if isinstance(one, dict)] if isinstance(members, list) else []
    return [path for path in found if isinstance(path, str) and path.startswith("/")][:MOST_MEMBERS]


def _watts(resource: dict[str, Any]) -> float | None:
    """Return the power that a resource states: EnvironmentMetrics, PowerSupplyMetrics or Power."""
    for name in ("PowerWatts", "InputPowerWatts"):
        excerpt = resource.get(name)
        if isinstance(excerpt, dict) and _is_number(excerpt.get("Reading")):
            return float(excerpt["Reading"])
    controls = resource.get("PowerControl")
    for control in controls if isinstance(controls, list) else []:
        # The first is the whole chassis; others are parts of it (CPUs, memory) and are never added.
        if isinstance(control, dict) and _is_number(control.get("PowerConsumedWatts")):
            return float(control["PowerConsumedWatts"])
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9


def _sum(found: list[float | None]) -> float:
    known = [watts for watts in found if watts is not None]
    if len(known) < len(found):
        raise Failed("the power is not shown any more")
    return sum(known)
