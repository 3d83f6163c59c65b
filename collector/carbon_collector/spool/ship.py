# SPDX-License-Identifier: MIT
"""Ships sealed segments to an aggregator. The node forgets a segment only when it is acknowledged.

Shipping has a thread of its own, so that a slow network never delays a reading. Pauses between retries grow, so that
ten thousand nodes do not overload an aggregator that has just come back.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock, start_new_thread

from .. import http, munge
from ..errors import CarbonError, RequestError
from ..lean import json
from ..lean.typing import TYPE_CHECKING
from . import proof

if TYPE_CHECKING:
    from ..log import Log
    from .spool import Spool

TARGET = "/v1/segments"
"""Path to which segments are posted."""
REFUSED_FOR_GOOD = (400, 403, 413, 422)
"""HTTP statuses with which a segment is refused for good: a retry would not help."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""First and longest pause before a retry."""
MAX_RECEIPT = 4 << 20
"""Largest answer in bytes: a reason for each record of the largest segment fits."""


class Shipper:
    """Sends the segments of a spool to the first of `urls` that answers."""

    def __init__(self, spool: Spool, urls: list[str], munge_socket: str, log: Log, aggregator: str = "") -> None:
        self.spool = spool
        self.urls = urls
        self.munge_socket = munge_socket
        self.aggregator = aggregator
        self.log = log
        self._asleep = allocate_lock()
        self._asleep.acquire()
        self._failures = 0
        self._is_busy = False

    def start(self) -> None:
        """Start the thread; it runs until the process ends."""
        start_new_thread(self._run, ())

    def wake(self) -> None:
        """Tell the thread that there is a new segment in the spool."""
        if self._asleep.locked():
            self._asleep.release()

    def is_behind(self) -> bool:
        """Return whether segments wait because the aggregators are away or overloaded.

        The collector then seals no more than it has to.
        """
        return self._is_busy or self._failures > 0

    def _run(self) -> None:
        while True:
            if self._failures:
                time.sleep(self._pause())  # news in the spool does not shorten the pause
            self._asleep.acquire(self._failures == 0)
            self.ship_all()

    def _pause(self) -> float:
        """Return the next pause in seconds: doubled with every failure, times a random factor of 0.5 to 1.5."""
        base = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 16))
        return base * (0.5 + os.urandom(1)[0] / 255)

    def ship_all(self) -> bool:
        """Send every segment, oldest first. Returns whether all were sent."""
        self._is_busy = True
        try:
            for name in self.spool.segments():
                self._ship_one(name)
        except Exception as err:  # noqa: BLE001 - whatever it is, a thread that ends would ship nothing more, silently
            self._failures += 1
            self.log.once("ship", f"cannot ship: {str(err) or type(err).__name__}")
            return False
        finally:
            self._is_busy = False
        if self._failures:
            self._failures = 0
            self.log.over("ship", "shipping again")
        return True

    def _ship_one(self, name: str) -> None:
        self.spool.fly(name)
        try:
            self._deliver(name)
        finally:
            self.spool.fly("")

    def _deliver(self, name: str) -> None:
        try:
            body = self.spool.read(name)
        except FileNotFoundError:
            return  # compacted, or taken away by hand
        except OSError as err:
            # A bad block, or no file: the segments behind it do not wait for it.
            self.log.once(name, f"{name} cannot be read and stays in {self.spool.folder}: {err}")
            return
        answer = self._post(body)
        if answer.status in REFUSED_FOR_GOOD:
            self.log.line(f"{name} was refused and lies in {self.spool.folder}/refused: {_detail(answer.body)}")
            self._set_aside(name)
        else:
            self._acknowledged(name, _refused_in(answer.body))

    def _acknowledged(self, name: str, refused: list[str]) -> None:
        if not refused:
            self.spool.forget(name)
            return
        kept = f"{self.spool.folder}/refused"
        self.log.line(f"{len(refused)} records of {name} were refused and lie in {kept}: {refused[0]}")
        self._set_aside(name)

    def _set_aside(self, name: str) -> None:
        if self.spool.set_aside(name):
            kept = f"{self.spool.folder}/refused"
            self.log.once("refused", f"{kept} is full: the oldest in it are dropped; {kept}/dropped counts them")

    def _post(self, body: bytes) -> http.Answer:
        """Return the first answer that any aggregator gives. Raises the error of the last one."""
        *others, last = self.urls
        for url in others:
            try:
                return self._post_to(url, body)
            except CarbonError as err:  # noqa: PERF203 - a handful of URLs, and the next one may answer
                self.log.once(url, f"{err}; the next aggregator is tried")
        return self._post_to(last, body)

    def _post_to(self, url: str, body: bytes) -> http.Answer:
        answer = http.signed_request("POST", url, TARGET, body, munge_socket=self.munge_socket, most=MAX_RECEIPT)
        if answer.status != 200 and answer.status not in REFUSED_FOR_GOOD:
            raise RequestError(f"{url}: status {answer.status}: {_detail(answer.body)}", answer.status)
        self._check_proof(url, answer, body)
        return answer

    def _check_proof(self, url: str, answer: http.Answer, body: bytes) -> None:
        """Raise RequestError unless the aggregator's user made this answer to this segment.

        Whatever listens on the port of an aggregator that is down gets the segment; it must not have the node forget it.
        """
        credential = _credential_in(answer.body)
        if not credential:
            raise RequestError(
                f"{url}: its answer carries no credential; upgrade carbon-aggregator there", answer.status
            )
        uid, payload = munge.decode(credential, self.munge_socket)
        if not proof.is_aggregator(uid, self.aggregator):
            reason = f"uid {uid} answers, which is not the aggregator's; see [collector] aggregator_user"
            raise RequestError(f"{url}: {reason}", answer.status)
        if payload != munge.receipt(answer.status, munge.digest(body)):
            raise RequestError(f"{url}: its answer is to something else", answer.status)


def _refused_in(body: bytes) -> list[str]:
    """Return the records that an aggregator refused, a line each.

    Raises RequestError or ValueError for an answer that is not an aggregator's: status 200 of a proxy or of another
    service acknowledges nothing.
    """
    answer = json.loads(body)
    refused = answer.get("refused") if isinstance(answer, dict) and "segment" in answer else None
    if not isinstance(refused, list):
        raise RequestError(f"status 200, but not an aggregator's answer: {body[:100]!r}", 200)
    return [f"line {r.get('line')}: {r.get('reason')}" if isinstance(r, dict) else str(r) for r in refused]


def _credential_in(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    return str(answer.get("credential") or "") if isinstance(answer, dict) else ""


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        return body[:100].decode("utf-8", "replace")
