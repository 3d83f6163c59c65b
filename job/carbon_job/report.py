# SPDX-License-Identifier: MIT
"""Makes results of spans and writes them: a line for each epoch, JSON lines, a line that a terminal updates, the last
line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from .energy import scaled
from .exchange import END
from .lean import TYPE_CHECKING, NamedTuple
from .limits import Figures, passed
from .nodes import POLL_S, WAIT_S, Factor, Nodes
from .outlook import Outlook
from .place import Place
from .results import Outcome, Result, epoch_line, outlook_text, progress_lines, result, run_line
from .status_line import StatusLine
from .timeline import EPOCH, RUN, Span, Timeline
from .units import carbon_text, energy_text

if TYPE_CHECKING:
    from typing import Any, TextIO

    from .grid import Grid

MOST_HELD = 4
"""The most epochs that wait for the figures of other nodes. Above it the oldest is reported without them."""
SO_FAR_S = 60.0
"""The seconds after the last line of the log until the figures so far are written: SIGKILL may come at any time."""


class Options(NamedTuple):
    """The options of a report, and the limits of the run."""

    log: str = ""
    quiet: bool = False
    out: TextIO | None = None
    live_line: bool = False
    """Whether a terminal shows one line that is updated, instead of a line for each epoch."""
    max_energy_j: float | None = None
    max_carbon_g: float | None = None
    limit_figure: str = "expected"
    on_limit: Callable[[str], None] | None = None
    """The function that is called once with the reason when a limit is passed."""

    @property
    def limited(self) -> bool:
        """Return whether the run has a limit."""
        return self.max_energy_j is not None or self.max_carbon_g is not None


class Reporter:
    """Collects the results of one run and writes its lines."""

    def __init__(
        self, place: Place, timeline: Timeline, name: str, options: Options, outlook: Outlook, nodes: Nodes
    ) -> None:
        self.place, self.timeline, self.name, self.nodes = place, timeline, name, nodes
        self.results: list[Result] = []
        self.outcome: Outcome | None = None
        self.grid: Grid | None = None
        self._held: list[Span] = []
        self._before = 0
        self._options, self._outlook = options, outlook
        self._limited = False
        self._log_fails = False
        self._logged_s = time.monotonic()
        self._status = StatusLine(options.out or sys.stderr)
        self._shown_s = 0.0

    def say_what_cannot_be_done(self, until_time_limit: bool) -> None:
        """Write a line for each wish that cannot be fulfilled here."""
        if until_time_limit and self.place.end_s is None:
            self.say("no prediction: the job's time limit is not known (SLURM_JOB_END_TIME is not set)")
        if self._options.max_carbon_g is not None and self.grid is not None and self.grid.missing:
            self.say(f"the limit on carbon is not held: {self.grid.missing}, and no intensity is given")

    def learn_of_nodes(self) -> None:
        """Learn from the aggregator what all nodes used, unless they tell each other. Called in the grid's thread."""
        if self.nodes.hopeful:
            return
        from . import aggregator

        so_far = self.timeline.so_far
        self.nodes.learn(
            so_far.begin_us / 1e6, so_far.slots, lambda *times: aggregator.job_energy_j(self.place, *times)
        )

    # Called in the recorder's thread.

    def ended(self, span: Span) -> None:
        """Report a span that ended. With several nodes it waits until all of them have sent their figures."""
        if span.name in (EPOCH, RUN):
            self.nodes.note(END if span.name == RUN else span.number, self.timeline.total.energy_uj)
        if not self.nodes.several:
            self._report(span, Factor(1.0, False))
        elif self.place.rank == 0:
            self._held.append(span)
            self._release(late=False)

    def close(self) -> None:
        """Report the spans that still wait for other nodes, after at most WAIT_S for the last figures."""
        until = time.monotonic() + WAIT_S
        while self._held and time.monotonic() < until:
            self._release(late=False)
            time.sleep(POLL_S)
        self._release(late=True)
        self._status.end()

    def _release(self, late: bool) -> None:
        """Report waiting spans, up to the last mark for which all nodes have sent figures. `late`: report all,
        extrapolated.
        """
        while True:
            ends = [index for index, span in enumerate(self._held) if span.name in (EPOCH, RUN)]
            if not ends:
                return
            last = self._held[ends[0]]
            run = last.name == RUN
            factor = self.nodes.factor(END) if run else self.nodes.factor(last.number, self._before)
            waits = not late and self.nodes.hopeful and len(ends) <= MOST_HELD
            if factor is None and waits:
                return
            for span in self._held[: ends[0] + 1]:
                self._report(span, factor or self.nodes.guess())
            self._before = last.number if factor is not None and not run else self._before
            del self._held[: ends[0] + 1]

    def _report(self, span: Span, factor: Factor) -> None:
        last = span.name == RUN
        if span.name == EPOCH or last:
            self._predict()
        done = self._result(span, factor, self.outcome.prediction if self.outcome and not last else None)
        self.results.append(done)
        self._log({"type": "run" if last else "epoch" if span.name == EPOCH else "phase", **done.as_json()})
        if span.name == EPOCH and span.complete and not self._options.live_line:
            self.say(epoch_line(done, self.timeline.epochs, self.outcome))
        elif last:
            self._status.end()
            self.say(run_line(done, self.grid.missing if self.grid else ""))
        if span.name == EPOCH:
            self._hold_to_limits()

    def tick(self) -> None:
        """Report the spans that need wait no longer. Check the limits, and update the line on the terminal, once a
        second. Write the figures so far into the log, once a minute.
        """
        if self._held:
            self._release(late=False)
        options, now_s = self._options, time.monotonic()
        late = bool(options.log) and now_s - self._logged_s >= SO_FAR_S
        wanted = options.live_line or options.limited or late
        known = self.timeline.spans and self.timeline.total.energy_uj is not None
        if not wanted or not known or self.place.rank != 0 or now_s - self._shown_s < 1:
            return
        self._shown_s = now_s
        self._predict()
        self._hold_to_limits()
        if late:
            self._log({"type": "so far", **self.total().as_json()})
        if options.live_line:
            self._status.show(progress_lines(self.total(), self.timeline.epoch, self.timeline.epochs, self.outcome))

    def total(self) -> Result:
        """Return the result of the run so far."""
        said = self.outcome.prediction if self.outcome else None
        return self._result(self.timeline.so_far, self.nodes.guess(), said)

    def say(self, text: str) -> None:
        """Write one line for people."""
        if not self._options.quiet:
            out = self._options.out or sys.stderr
            out.write(f"carbon: {text}\n")
            out.flush()

    def flush(self, name: str) -> None:
        """Write the result so far to the log, because SIGKILL may follow the signal `name`."""
        self._log({"type": "so far", "signal": name, **self.total().as_json()})

    def keep(self) -> None:
        """Write the run into the history. A history that cannot be written costs itself, and one line."""
        try:
            self._outlook.keep(self.timeline.progress)
        except OSError as err:
            self.say(f"this run is not kept for predictions: {err.filename or 'history'}: {err.strerror or err}")

    # Inside.

    def _result(self, span: Span, of: Factor, prediction: Any) -> Result:
        factor = of.factor
        if factor != 1:
            slots = tuple((start, energy_uj * factor) for start, energy_uj in span.slots)
            span = span._replace(energy=scaled(span.energy, factor), slots=slots)
        grams = self.grid.series.spent(span.slots) if self.grid else None
        return result(span, grams, self.place.nodes, of.extrapolated, prediction)

    def _predict(self) -> None:
        now_s = time.time()
        said = self._outlook.predict(self.timeline.progress, now_s)
        if said is None or self.timeline.total.energy_uj is None:
            self.outcome = None
            return
        factor = self.nodes.guess()
        said = said.times(factor.factor)
        spent = self._result(self.timeline.so_far, factor, None)
        rest = self.grid.series.rest(said.rest.energy_j, now_s, said.seconds_left) if self.grid else None
        if rest is None or spent.carbon_g is None or said.rest.energy_j <= 0:
            self.outcome = Outcome(said, None if rest is None else spent.carbon_g, None, None, "")
            return
        each = rest.grams / said.rest.energy_j
        base_j = said.energy_j - said.rest.energy_j
        self.outcome = Outcome(
            said,
            spent.carbon_g + rest.grams,
            spent.carbon_g + each * (said.lower_j - base_j),
            spent.carbon_g + each * (said.upper_j - base_j),
            rest.basis,
        )

    def _hold_to_limits(self) -> None:
        options = self._options
        if self._limited or not options.limited:
            return
        spent, said = self.total(), self.outcome
        provisional = said.prediction.provisional if said else True
        energy = Figures(
            spent.energy_j, said.prediction.energy_j if said else None, said.prediction.upper_j if said else None
        )
        carbon = Figures(spent.carbon_g, said.grams if said else None, said.upper_g if said else None)
        figure = options.limit_figure
        for what, figures, limit, text in (
            ("energy", energy, options.max_energy_j, energy_text),
            ("carbon", carbon, options.max_carbon_g, carbon_text),
        ):
            if limit is not None and passed(figures, limit, figure, provisional):
                self._limited = True
                reason = f"the run passes its limit of {text(limit)} ({what}): {text(figures.spent)} spent"
                reason += f"; {outlook_text(said)}" if said else ""
                self.say(reason)
                self._log({"type": "limit", "what": what, "limit": limit, "figure": figure, **figures._asdict()})
                if options.on_limit is not None:
                    options.on_limit(reason)
                return

    def _log(self, facts: dict[str, Any]) -> None:
        """Append one JSON line in one write, so that no part of it is lost when the program is killed. A log that cannot
        be written costs its lines, and one line that says so.
        """
        self._logged_s = time.monotonic()
        if not self._options.log:
            return
        import json

        place = self.place
        head = {"job_id": place.job_id, "restarts": place.restarts, "step": place.step, "run": self.name}
        line = json.dumps({"version": 1, **head, **facts}, separators=(",", ":")) + "\n"
        try:
            fd = os.open(self._options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)
        except OSError as err:
            if not self._log_fails:
                self.say(
                    f"log {self._options.log}: {err.strerror or err}; results are shown and limits are held without it"
                )
            self._log_fails = True
