# SPDX-License-Identifier: MIT
"""Writes what a run came to: a line an epoch, JSON lines, the last line."""

from __future__ import annotations

import sys
from typing import TextIO

from .place import Place
from .timeline import EPOCH, RUN, Span, Timeline
from .units import energy_text, time_text


class Reporter:
    """Collects the spans of a run and writes its lines to `out` (standard error where None)."""

    def __init__(self, place: Place, timeline: Timeline, name: str, log: str, quiet: bool, out: TextIO | None) -> None:
        self.place, self.timeline, self.name = place, timeline, name
        self.spans: list[Span] = []
        self._log, self._quiet, self._out = log, quiet, out

    def say(self, text: str) -> None:
        """Write one line for people."""
        if not self._quiet:
            out = self._out or sys.stderr
            out.write(f"carbon: {text}\n")
            out.flush()

    def ended(self, span: Span) -> None:
        """Take a span that ended."""
        self.spans.append(span)
        energy_j = None if span.energy.energy_uj is None else span.energy.energy_uj / 1e6
        if span.name == EPOCH and span.complete:
            self.say(f"epoch {span.number}: {energy_text(energy_j)} in {time_text(span.energy.seconds)}")
        elif span.name == RUN:
            self.say(f"{energy_text(energy_j)} in {time_text(span.energy.seconds)}")

    def tick(self) -> None:
        """Take note of a look at the file."""

    def close(self) -> None:
        """Write what is left."""
