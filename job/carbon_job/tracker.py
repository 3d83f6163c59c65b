# SPDX-License-Identifier: MIT
"""What a program calls: `track()`, its epochs, steps and phases.

Nothing here raises into the program, ends it, reads its standard input or makes it wait: whatever goes wrong costs
the figures and one line.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, TypeVar

from . import place as places
from .live import LiveFile
from .marks import Line
from .recorder import ANSWER_S, Recorder
from .report import Reporter
from .timeline import Mark, Span, Timeline

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Tracker:
    """One tracked run. `track()` makes it; see there for the arguments."""

    def __init__(
        self,
        epochs: int | None = None,
        steps: int | None = None,
        *,
        name: str = "",
        log: str = "",
        quiet: bool = False,
        out: TextIO | None = None,
        place: places.Place | None = None,
    ) -> None:
        self._pid = os.getpid()
        self._steps = 0.0
        self._recorder: Recorder | None = None
        self._state = "new"
        self._phase = ""
        self._handler: Any = None
        self._guarded(self._prepare, epochs, steps, name, log, quiet, out, place)

    def _prepare(
        self,
        epochs: int | None,
        steps: int | None,
        name: str,
        log: str,
        quiet: bool,
        out: TextIO | None,
        place: places.Place | None,
    ) -> None:
        self.place = place or places.find()
        self._epochs = max(0, int(epochs or 0))
        self._reads = self.place.local_rank == 0
        self._timeline = Timeline(self._epochs, max(0, int(steps or 0)))
        self._reporter = Reporter(self.place, self._timeline, name, log, quiet or self.place.rank != 0, out)

    # The program's side.

    def start(self) -> Tracker:
        """Begin the run. Does nothing where it has begun."""
        self._guarded(self._start)
        return self

    def epoch(self) -> None:
        """Begin an epoch, which ends the one before."""
        self._mark("epoch")

    def step(self, count: float = 1) -> None:
        """Count steps of the epoch."""
        self._steps += count

    def phase(self, name: str) -> _Phase:
        """Return a context for a part of the program: `with t.phase("validation"): ...`. Phases may be nested."""
        return _Phase(self, str(name))

    span = phase

    def pause(self) -> None:
        """Leave out what follows, until `resume`."""
        self._mark("pause")

    def resume(self) -> None:
        """Go on after `pause`."""
        self._mark("resume")

    def steps(self, loader: Iterable[T]) -> Iterator[T]:
        """Yield what `loader` yields, and count a step for each."""
        for item in loader:
            yield item
            self._steps += 1

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the epochs, from 0 on, and mark each. Without `epochs` it goes on without end."""
        self.start()
        number = 0
        while not self._epochs or number < self._epochs:
            self.epoch()
            yield number
            number += 1
        self._mark("end")

    def finish(self) -> None:
        """End the run and write its last line. A second call does nothing."""
        self._guarded(self._finish)

    def __enter__(self) -> Tracker:
        """Begin the run."""
        return self.start()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """End the run."""
        self.finish()

    def __call__(self, function: F) -> F:
        """Return the function such that each call is a phase of its name, in a run that the first call begins."""
        from functools import wraps

        @wraps(function)
        def tracked(*args: Any, **kwargs: Any) -> Any:
            self.start()
            with self.phase(getattr(function, "__name__", "call")):
                return function(*args, **kwargs)

        return tracked  # type: ignore[return-value]

    # Results.

    @property
    def spans(self) -> list[Span]:
        """Epochs and phases that ended so far, and the run once it has. They come within a second after their end."""
        return list(self._reporter.spans) if self._state != "broken" else []

    # Inside.

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function; on any error say so once and go quiet."""
        if self._state == "broken" or os.getpid() != self._pid:
            return
        try:
            function(*arguments)
        except Exception as err:  # noqa: BLE001 - the program that is tracked goes on, whatever is wrong here
            self._state = "broken"
            sys.stderr.write(f"carbon: tracking ends: {type(err).__name__}: {err}\n")

    def _start(self) -> None:
        if self._state != "new" or not self._reads:
            return
        self._state = "running"
        missing = self.place.missing
        if missing:
            self._reporter.say(missing)
        file = None if missing else LiveFile(self.place.live_dir, self.place.job_id)
        self._recorder = Recorder(file, self._timeline, self._reporter.ended, self._reporter.tick, lambda: self._steps)
        self._put("start")
        self._recorder.start()
        atexit.register(self.finish)
        self._catch_sigterm()

    def marked(self, line: Line, time_us: float) -> None:
        """Take a mark that another program wrote."""
        if line.kind == "step":
            self._steps += float(line.value)
            return
        if line.kind in ("phase", "epoch", "end") and self._phase:
            self._put("close", self._phase, time_us)
            self._phase = ""
        if line.kind == "phase":
            self._phase = line.value
            if line.value:
                self._put("begin", line.value, time_us)
        else:
            self._put(line.kind, "", time_us)

    def told(self, name: str) -> None:
        """Take note that the program was told to end, by the signal `name`."""

    def _mark(self, kind: str, name: str = "") -> None:
        if self._state == "running" and os.getpid() == self._pid:
            self._put(kind, name)
        elif self._state == "new":
            self.start()
            if self._state == "running":
                self._put(kind, name)

    def _put(self, kind: str, name: str = "", time_us: float | None = None) -> None:
        if self._recorder is not None:
            now_us, clock_s = time.time() * 1e6, time.monotonic()
            if time_us is not None:
                now_us, clock_s = time_us, clock_s - (now_us - time_us) / 1e6
            self._recorder.mark(Mark(kind, now_us, clock_s, self._steps, name))

    def _finish(self) -> None:
        if self._state != "running" or self._recorder is None:
            return
        self._state = "finished"
        self._put("finish")
        self._recorder.finished.wait(2 * ANSWER_S)
        self._reporter.close()
        atexit.unregister(self.finish)
        self._release_sigterm()

    def _catch_sigterm(self) -> None:
        """Write the last line when Slurm ends the job: by its time limit, scancel or preemption."""
        try:
            self._handler = signal.getsignal(signal.SIGTERM)
            if self._handler is not None and self._handler != signal.SIG_IGN:
                signal.signal(signal.SIGTERM, self._on_sigterm)
            else:
                self._handler = None
        except ValueError:  # not the main thread
            self._handler = None

    def _release_sigterm(self) -> None:
        if self._handler is not None and signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            try:
                signal.signal(signal.SIGTERM, self._handler)
            except ValueError:
                return

    def _on_sigterm(self, number: int, frame: Any) -> None:
        handler = self._handler
        self.finish()
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class _Phase:
    """The context that `Tracker.phase` returns; also a decorator."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker, self._name = tracker, name

    def __enter__(self) -> None:
        self._tracker._mark("begin", self._name)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._tracker._mark("close", self._name)

    def __call__(self, function: F) -> F:
        from functools import wraps

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside  # type: ignore[return-value]


def track(*args: Any, **kwargs: Any) -> Tracker:
    """Make the tracker of a run."""
    return Tracker(*args, **kwargs)
