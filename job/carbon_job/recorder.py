# SPDX-License-Identifier: MIT
"""Reads the live file, in a thread, when the program sets marks, so that the program never waits for it.

At a mark the program puts a few numbers into a queue. The thread asks the collector, waits for a reading that is later
than the mark, interpolates the counters at the mark, and hands the spans that ended to `report`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from .energy import Curve
from .live import LiveError, LiveFile, Reading
from .timeline import Mark, Span, Timeline

IDLE_S = 1.0
"""The seconds between two looks at the file while no mark waits."""
ANSWER_S = 1.5
"""The seconds to wait for a collector that listens. It answers within a second (`live_refresh`)."""
LAST_S = 3.0
"""The most seconds to wait for the reading after the end of the run. An overloaded node answers late."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.002, 0.1
MOST_PENDING = 4096
ENDS = ("finish", "cut")


class Recorder(threading.Thread):
    """The thread of one run. Without a `file` there is nothing to read, and spans have no energy.

    `report` is called in this thread with each span that ended; `tick` after each reading and each look at the file.
    """

    def __init__(
        self,
        file: LiveFile | None,
        timeline: Timeline,
        report: Callable[[Span], None],
        tick: Callable[[], None],
        steps: Callable[[], float],
    ) -> None:
        super().__init__(name="carbon_job", daemon=True)
        self.timeline, self.trouble = timeline, ""
        self._file, self._report, self._tick, self._steps = file, report, tick, steps
        self._queue: queue.SimpleQueue[Mark] = queue.SimpleQueue()
        self._curve = Curve()
        self._pending: list[Mark] = []
        self._seen: list[tuple[float, float, float]] = []
        self._stamp = (0, 0)
        self._asked = False
        self.all_read = True
        """Whether a later reading was found for every mark. If not, a part of the run's energy is missing."""
        self.finished = threading.Event()

    def mark(self, mark: Mark) -> None:
        """Queue a mark. This waits for nothing, so a signal handler may call it."""
        self._queue.put(mark)

    @property
    def latest(self) -> Reading | None:
        """Return the last reading, or None before the first."""
        return self._curve.readings[-1] if self._curve.readings else None

    def run(self) -> None:
        """Handle marks until the end of the run is settled."""
        wait_s = 0.0
        try:
            while not self.finished.is_set():
                self._receive(wait_s)
                self._look()
                self._settle()
                self._tick()
                wait_s = self._wait_s(wait_s)
        except Exception as err:  # noqa: BLE001 - the program goes on; its figures end here
            self.trouble = f"tracking ends: {type(err).__name__}: {err}"
            self.finished.set()

    def _receive(self, wait_s: float) -> None:
        """Wait at most `wait_s` for a mark, and take all marks from the queue."""
        try:
            mark = self._queue.get(timeout=wait_s) if wait_s > 0 else self._queue.get_nowait()
            while True:
                self._pending.append(mark)
                self._asked = False
                mark = self._queue.get_nowait()
        except queue.Empty:
            pass
        now = (time.time() * 1e6, time.monotonic(), self._steps())
        self._seen = [*self._seen[-63:], now]

    def _wait_s(self, last_s: float) -> float:
        if not self._pending or self._file is None:
            return IDLE_S
        if self._pending[-1].kind not in ENDS and time.time() * 1e6 - self._pending[-1].time_us > ANSWER_S * 1e6:
            return IDLE_S
        return min(LONGEST_WAIT_S, max(FIRST_WAIT_S, last_s * 2 if last_s < IDLE_S else FIRST_WAIT_S))

    def _look(self) -> None:
        """Ask the collector for a reading if a mark waits, and read the file if it has changed."""
        if self._file is None:
            return
        try:
            if self._pending and not self._asked:
                self._asked = True
                self._file.ask()
            stamp = self._file.stamp()
            if stamp == self._stamp and stamp != (0, 0):
                return
            reading = self._file.read()
            self._stamp, self.trouble = stamp, ""
        except LiveError as err:
            self.trouble = str(err)
            return
        if self._curve.add(reading) and self._pending and reading.time_us < self._pending[-1].time_us:
            self._asked = False  # somebody else's question, or a tick just before the mark: ask again

    def _settle(self) -> None:
        """Move the timeline to each mark whose energy is known by now, then to the last reading."""
        last = self.latest
        while self._pending:
            mark = self._pending[0]
            if last is not None and mark.time_us <= last.time_us:
                state = self._curve.at(mark.time_us)
            elif self._file is None or len(self._pending) > MOST_PENDING or self._given_up(mark):
                state = last if mark.kind in ENDS else None
                self.all_read = False
            else:
                break
            self._take(self._pending.pop(0), state)
        if last is not None and not self._pending:
            self._sample(last)
            self._curve.forget(last.time_us)

    def _given_up(self, mark: Mark) -> bool:
        """Return whether to wait no longer for a reading after the end of the run."""
        finish = self._pending[-1]
        if finish.kind not in ENDS:
            return False
        waited_s = time.monotonic() - finish.clock_s
        return waited_s > LAST_S or (bool(self.trouble) and mark.kind != "start" and waited_s > LONGEST_WAIT_S)

    def _take(self, mark: Mark, state: Reading | None) -> None:
        for span in self.timeline.take(mark, state):
            self._report(span)
        if mark.kind in ENDS:
            self.finished.set()

    def _sample(self, reading: Reading) -> None:
        """Give the timeline a reading between marks, with the number of steps at that time."""
        before = [seen for seen in self._seen if seen[0] <= reading.time_us]
        after = [seen for seen in self._seen if seen[0] >= reading.time_us]
        if not before or not after:
            return
        (low_us, low_s, low_steps), (high_us, high_s, high_steps) = before[-1], after[0]
        share = (reading.time_us - low_us) / (high_us - low_us) if high_us > low_us else 0.0
        clock_s = low_s + share * (high_s - low_s)
        if not self.finished.is_set() and clock_s > self.timeline.clock_s:
            steps = low_steps + share * (high_steps - low_steps)
            self.timeline.take(
                Mark("sample", reading.time_us, clock_s, max(steps, self.timeline.marked_steps)), reading
            )
