# SPDX-License-Identifier: MIT
"""Asks an aggregator for intensities and for the job's own energy, as the user whose job this is: MUNGE says who that is.

It keeps nothing; `grid` repeats the question while a run goes on.
"""

from __future__ import annotations

import time

from .carbon import DAY_S, DAYS, Intensity
from .lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from .place import Place

    T = TypeVar("T")

TIMEOUT_S = 10.0
AHEAD_S = 3 * DAY_S
MOST_BYTES = 16 << 20
COVERED = 99.0
"""The percent of the node-time in a window that must be metered for its energy to be that of all nodes."""


class AskError(Exception):
    """The error that no aggregator answered. Its message says why, in one line."""


def intensities(place: Place, begin_s: float, zone: str = "") -> list[Intensity]:
    """Return the intensities of the zone from seven days before `begin_s` on, and the forecast. Raises AskError."""
    from urllib.parse import urlencode

    parameters = {"start": str(int(begin_s) - DAYS * DAY_S), "end": str(int(time.time()) + AHEAD_S)}
    if zone or place.zone:
        parameters["zone"] = zone or place.zone
    return _ask(place, f"/v1/intensity?{urlencode(parameters)}", parse)


def job_energy_j(place: Place, begin_s: int, end_s: int) -> float | None:
    """Return the joules of the job on all of its nodes between two borders of slots, or None if a node has not told of
    all of that time. Raises AskError.
    """
    from urllib.parse import urlencode

    parameters = {"jobs": place.job_id, "start": str(begin_s), "end": str(end_s), "truncate": "1"}
    return _ask(place, f"/v1/jobs?{urlencode(parameters)}", lambda content: energy_of(content, place.job_id))


def energy_of(content: bytes, job_id: str) -> float | None:
    """Return the joules of a job in an answer, or None if it is not there or not covered. Raises ValueError, KeyError and
    TypeError.
    """
    import json

    for job in json.loads(content)["jobs"]:
        whole = job["energy_uj"] is not None and job["coverage"] is not None and job["coverage"] >= COVERED
        if str(job["job_id_raw"]) == job_id and whole:
            return int(job["energy_uj"]) / 1e6
    return None


def _ask(place: Place, target: str, read: Callable[[bytes], T]) -> T:
    """Return what the first aggregator that answers says. Raises AskError."""
    if not place.aggregators:
        raise AskError("no aggregator is known ([collector] aggregators, or CARBON_ACCT_AGGREGATORS)")
    silent = []
    for url in place.aggregators:
        try:
            return read(_get(url, target, place.munge_socket))
        except (OSError, ValueError, KeyError, TypeError) as err:  # noqa: PERF203 - one after the other
            silent.append(f"{url}: {err or type(err).__name__}")
    raise AskError("; ".join(silent))


def parse(content: bytes) -> list[Intensity]:
    """Return the intensities in an answer. Raises ValueError, KeyError and TypeError."""
    import json

    facts: Any = json.loads(content)
    return [
        Intensity(
            int(slot["start"]),
            int(slot["end"] if slot.get("end") is not None else slot["start"] + 900),
            float(slot["value"]),
            str(slot.get("source") or ""),
            str(slot.get("scope") or ""),
            bool(slot.get("estimated")),
            bool(slot.get("forecast")),
        )
        for slot in [*facts["slots"], *({**slot, "forecast": True} for slot in facts.get("forecast") or [])]
        if slot.get("value") is not None
    ]


def _get(url: str, target: str, munge_socket: str) -> bytes:
    """Return the body of one signed GET. Raises OSError and ValueError."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 6829), timeout=TIMEOUT_S)
    try:
        credential = _credential(target, munge_socket)
        connection.request("GET", parts.path.rstrip("/") + target, headers={"Authorization": f"MUNGE {credential}"})
        answer = connection.getresponse()
        body = answer.read(MOST_BYTES)
    except http.client.HTTPException as err:
        raise ValueError(f"not an answer over HTTP ({type(err).__name__})") from err
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    return body


def _credential(target: str, socket: str) -> str:
    """Return a credential for a GET. Its payload is the digest of the target (docs/record-format.md, Delivery)."""
    import hashlib
    import subprocess

    command = ["munge", "--string", hashlib.sha256(target.encode()).hexdigest()]
    try:
        done = subprocess.run(
            command + (["--socket", socket] if socket else []),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        raise ValueError("munge does not answer") from err
    if done.returncode or not done.stdout.startswith(b"MUNGE:"):
        raise ValueError("munge makes no credential; is munged running?")
    return done.stdout.decode("ascii").strip()
