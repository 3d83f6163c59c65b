# SPDX-License-Identifier: MIT
"""Defines what a program calls: `track()`, its epochs, steps and phases.

Nothing here raises into the program, ends it, reads its standard input or makes it wait. An error costs the figures,
and writes one line.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from functools import partial

from . import actions, history
from . import place as places
from .grid import Grid
from .lean import TYPE_CHECKING, signal
from .limits import FIGURES, Action, action
from .live import LiveFile
from .marks import Line
from .nodes import Nodes
from .outlook import Outlook, Prediction
from .recorder import ANSWER_S, LAST_S, Recorder
from .report import Options, Reporter
from .results import Result
from .timeline import Mark, Timeline
from .units import carbon_g, energy_j, seconds, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    T = TypeVar("T")
    F = TypeVar("F", bound=Callable[..., Any])


TIMELIMIT = "timelimit"


class Tracker:
    """One tracked run. `track()` makes it, and describes the arguments."""

    def __init__(self, epochs: int | None = None, steps: int | None = None, **options: Any) -> None:
        self._pid = os.getpid()
        self._steps = 0.0
        self._recorder: Recorder | None = None
        self._reporter: Reporter | None = None
        self._state = "new"
        self._phase = ""
        self._handler: Any = None
        self.should_stop = False
        """Whether the program should stop: True once a limit was passed with `on_limit="stop"`. A loop over the tracker
        then ends after its epoch.
        """
        self._guarded(self._prepare, epochs, steps, options)

    def _prepare(self, epochs: int | None, steps: int | None, options: dict[str, Any]) -> None:
        self.place: places.Place = options.pop("place", None) or places.find()
        self._epochs = max(0, int(epochs or 0))
        self._timeline = Timeline(self._epochs, max(0, int(steps or 0)))
        self._checkpoint: Callable[[], Any] | None = options.pop("checkpoint", None)
        self._on_limit: Action | Callable[[str], None] = _on_limit(options.pop("on_limit", "warn"))
        self._kill: Callable[[int], None] | None = options.pop("kill", None)
        self._kill_after_s: float | None = options.pop("kill_after_s", None)
        self._zone, self._intensity = str(options.pop("zone", "") or ""), options.pop("intensity", None)
        self._pue = options.pop("pue", None)
        self._nodes = Nodes(self.place, options.pop("reduce", None))
        name = str(options.pop("name", "") or self.place.name)
        wanted_until = options.pop("until", "") or ""
        self._until_limit, until = wanted_until == TIMELIMIT, _until(wanted_until, self.place.end_s)
        wanted = bool(options.pop("history", True))
        where = history.path() if wanted and self.place.rank == 0 else ""
        log = str(options.pop("log", "") or os.environ.get("CARBON_JOB_LOG", ""))
        figure = options.pop("limit", "expected")
        if figure not in FIGURES:
            raise ValueError(f"limit={figure!r} is none of {', '.join(FIGURES)}")
        report = Options(
            log=log if self.place.rank == 0 else "",
            quiet=bool(options.pop("quiet", False)) or self.place.rank != 0,
            out=options.pop("out", None),
            live_line=bool(options.pop("live_line", False)),
            max_energy_j=_amount(options.pop("max_energy", None), energy_j),
            max_carbon_g=_amount(options.pop("max_carbon", None), carbon_g),
            limit_figure=figure,
            on_limit=self._limited,
        )
        if options:
            raise TypeError(f"track() knows no {', '.join(sorted(options))}")
        key = "|".join((name, self.place.partition, self.place.devices, str(self.place.nodes)))
        self._reporter = Reporter(self.place, self._timeline, name, report, Outlook(key, where, until), self._nodes)

    # The program's side.

    def start(self) -> Tracker:
        """Begin the run, unless it has begun, and return this tracker."""
        self._guarded(self._start)
        return self

    def epoch(self) -> None:
        """Begin an epoch. The one before ends."""
        self._mark("epoch")
        self._guarded(self._take_part)

    def step(self, count: float = 1) -> None:
        """Count `count` steps of the epoch."""
        self._steps += count

    def phase(self, name: str) -> Phase:
        """Return a context for a part of the program: `with t.phase("validation"): ...`. Phases may be nested."""
        return Phase(self, str(name))

    span = phase

    def pause(self) -> None:
        """Exclude what follows from the figures, until `resume`."""
        self._mark("pause")

    def resume(self) -> None:
        """End a pause."""
        self._mark("resume")

    def steps(self, loader: Iterable[T]) -> Iterator[T]:
        """Yield the items of `loader`, and count a step for each."""
        self._mark("sample")
        for item in loader:
            yield item
            self._steps += 1
        self._mark("sample")

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the epochs, from 0 on, and begin each. Without `epochs` the loop is endless."""
        self.start()
        number = 0
        epochs = getattr(self, "_epochs", 0)
        while (not epochs or number < epochs) and not self.should_stop:
            self.epoch()
            yield number
            number += 1
        self._mark("end")

    def finish(self) -> None:
        """End the run and write its last line. A second call does nothing."""
        self._guarded(self._finish, "finish")

    def __enter__(self) -> Tracker:
        """Begin the run, and return this tracker."""
        return self.start()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """End the run. It counts as cut off if an error left the block."""
        self._guarded(self._finish, "finish" if kind is None else "cut")

    def __call__(self, function: F) -> F:
        """Return the function, wrapped so that each call is a phase of its name. The first call begins the run."""
        from functools import wraps

        @wraps(function)
        def tracked(*args: Any, **kwargs: Any) -> Any:
            self.start()
            with self.phase(getattr(function, "__name__", "call")):
                return function(*args, **kwargs)

        return tracked  # type: ignore[return-value]

    # Results.

    @property
    def results(self) -> list[Result]:
        """Return the results of epochs and phases that ended so far, and of the run once it has. A result appears
        within a second.
        """
        return list(self._reporter.results) if self._reporter else []

    @property
    def total(self) -> Result | None:
        """Return the result of the run, up to now while it goes on."""
        if self._reporter is None:
            return None
        ended = [done for done in self._reporter.results if done.name == "run"]
        return ended[-1] if ended else self._reporter.total()

    @property
    def prediction(self) -> Prediction | None:
        """Return the prediction of the whole run as of the last epoch's end, or None if nothing is known."""
        outcome = self._reporter.outcome if self._reporter else None
        return outcome.prediction if outcome else None

    # Inside.

    def end(self, complete: bool) -> None:
        """End the run. If it is not `complete` it is marked as cut off, and is not kept in the history."""
        self._guarded(self._finish, "finish" if complete else "cut")

    def told(self, name: str) -> None:
        """Write the figures so far, because the signal `name` told the program to end."""
        if self._state == "running" and self._reporter is not None:
            self._reporter.flush(name)

    def marked(self, line: Line, time_us: float) -> None:
        """Take a mark that another program wrote, at Unix time `time_us`."""
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
            self._put(line.kind, line.value, time_us)

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function. On any error, write one line and stop tracking."""
        if self._state == "broken" or os.getpid() != self._pid:
            return
        try:
            function(*arguments)
        except Exception as err:  # noqa: BLE001 - the program that is tracked goes on, whatever is wrong here
            self._state = "broken"
            sys.stderr.write(f"carbon: tracking ends: {type(err).__name__}: {err}\n")

    def _start(self) -> None:
        reporter = self._reporter
        if self._state != "new" or reporter is None:
            return
        if self.place.local_rank != 0:
            self._state = "silent"
            return
        self._state = "running"
        missing = self.place.missing
        if missing:
            reporter.say(missing)
        if self.place.rank == 0:
            learn = reporter.learn_of_nodes if self._nodes.several else None
            reporter.grid = Grid(self.place, self._zone, self._intensity, self._pue, reporter.say, learn)
            reporter.say_what_cannot_be_done(self._until_limit)
        file = None if missing else LiveFile(self.place.live_dir, self.place.job_id)
        self._recorder = Recorder(file, self._timeline, reporter.ended, reporter.tick, lambda: self._steps)
        self._put("start")
        self._recorder.start()
        atexit.register(self.finish)
        self._catch_sigterm()

    def _take_part(self) -> None:
        if self._state in ("running", "silent"):
            self._nodes.step(ANSWER_S)

    def _mark(self, kind: str, name: str = "") -> None:
        if self._state == "new":
            self.start()
        if self._state == "running" and os.getpid() == self._pid:
            self._put(kind, name)

    def _put(self, kind: str, name: str = "", time_us: float | None = None) -> None:
        if self._recorder is not None:
            now_us, clock_s = time.time() * 1e6, time.monotonic()
            if time_us is not None:
                now_us, clock_s = time_us, clock_s - (now_us - time_us) / 1e6
            self._recorder.mark(Mark(kind, now_us, clock_s, self._steps, name))

    def _finish(self, how: str) -> None:
        recorder, reporter = self._recorder, self._reporter
        if self._state == "silent":
            self._state = "finished"
            if how == "finish":
                self._nodes.last(0.0)
        if self._state != "running" or recorder is None or reporter is None:
            return
        self._state = "finished"
        if reporter.grid is not None:
            reporter.grid.wait()
        self._put(how)
        recorder.finished.wait(LAST_S + ANSWER_S)
        if how == "finish":
            self._nodes.last(0.0)
        reporter.close()
        if reporter.grid is not None:
            reporter.grid.stop()
        if recorder.trouble:
            reporter.say(recorder.trouble)
        elif how == "finish" and recorder.all_read:
            reporter.keep()
        atexit.unregister(self.finish)
        self._release_sigterm()

    def _limited(self, reason: str) -> None:
        """Take the action for a passed limit. This runs in the recorder's thread."""
        wanted = self._on_limit
        if not isinstance(wanted, Action):
            wanted(reason)
        elif wanted.kind == "signal":
            actions.signal_step(self.place, wanted.signal, self._kill)
            self._kill_later(lambda: actions.signal_step(self.place, signal.SIGKILL, self._kill))
        elif wanted.kind == "stop":
            self.should_stop = True
            if self._checkpoint is not None:
                self._checkpoint()
            if self._kill is not None:
                self._kill(signal.SIGTERM)
                self._kill_later(partial(self._kill, signal.SIGKILL))

    def _kill_later(self, kill: Callable[[], None]) -> None:
        """Call `kill` if a command that was to end still runs after the time that was given to it.

        Only carbon-track gives a time: a program never kills itself.
        """
        wait_s, reporter = self._kill_after_s, self._reporter
        if wait_s is None or self._kill is None or reporter is None:
            return

        def later() -> None:
            if self._state == "running":
                reporter.say(f"the command still runs after {time_text(wait_s)}: SIGKILL")
                kill()

        timer = threading.Timer(wait_s, later)
        timer.daemon = True
        timer.start()

    def _catch_sigterm(self) -> None:
        """Install a handler that writes the last line when Slurm ends the job: by its time limit, scancel or
        preemption.
        """
        try:
            self._handler = signal.getsignal(signal.SIGTERM)
            if self._handler is not None and self._handler != signal.SIG_IGN:
                signal.signal(signal.SIGTERM, self._on_sigterm)
            else:
                self._handler = None
        except ValueError:  # not the main thread
            self._handler = None

    def _release_sigterm(self) -> None:
        if self._handler is None:
            return
        try:
            if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
                signal.signal(signal.SIGTERM, self._handler)
        except ValueError:
            return

    def _on_sigterm(self, number: int, frame: Any) -> None:
        handler = self._handler
        self._guarded(self._finish, "cut")
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class Phase:
    """The context that `Tracker.phase` returns. It is also a decorator."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker, self._name = tracker, name

    def __enter__(self) -> None:
        """Begin the phase."""
        self._tracker._mark("begin", self._name)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """End the phase."""
        self._tracker._mark("close", self._name)

    def __call__(self, function: F) -> F:
        """Return the function, wrapped so that each call is this phase."""
        from functools import wraps

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside  # type: ignore[return-value]


def _until(wanted: str | float, time_limit_s: float | None) -> float | None:
    """Return the Unix time at which a run will end: at the job's time limit, or a time after now."""
    if wanted == TIMELIMIT:
        return time_limit_s
    lasts_s = _amount(wanted or None, seconds)
    return None if lasts_s is None else time.time() + lasts_s


def _amount(value: Any, read: Callable[[str], float]) -> float | None:
    return None if value is None else read(value) if isinstance(value, str) else float(value)


def _on_limit(wanted: Any) -> Any:
    return action(wanted) if isinstance(wanted, str) else wanted
