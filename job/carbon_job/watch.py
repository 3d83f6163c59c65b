# SPDX-License-Identifier: MIT
"""`carbon-track watch`: shows the runs in logs of `--log`, one line each, and follows those that go on.

It reads the logs alone: it runs on any host that sees them, whoever wrote them, and whether the job still runs or not.
"""

from __future__ import annotations

import json
import os
import sys
import time

from .lean import TYPE_CHECKING, NamedTuple
from .units import carbon_text, energy_text, time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, TextIO

    Facts = dict[str, Any]

EVERY_S = 2.0
MOST_BYTES = 64 << 20
"""The most bytes that are read of a log, its youngest."""
HEAD = ("JOB", "RUN", "STATE", "EPOCH", "ENERGY", "CARBON", "TIME", "LEFT", "IN ALL")
SUFFIX = ".jsonl"
ONCE = "-1"
QUIET_S = 3600.0
"""The seconds without a new line after which a run that did not end is taken to be over, at least. A run whose epochs are
longer has three of them.
"""


class Seen(NamedTuple):
    """The state of one run as its log has it."""

    job_id: str
    name: str
    epochs: tuple[Facts, ...]
    last: Facts | None
    """The line of the whole run, or that of the figures so far if it is newer than all epochs."""
    changed_s: float
    """The Unix time at which the newest of its lines ended."""

    @property
    def over(self) -> bool:
        """Return whether the run has ended."""
        return self.last is not None and self.last.get("type") == "run"

    def silent(self, now_s: float) -> bool:
        """Return whether a run that did not end has written nothing for so long that it will not any more."""
        longest = max((float(epoch.get("seconds") or 0) for epoch in self.epochs), default=0.0)
        return not self.over and now_s - self.changed_s > max(QUIET_S, 3 * longest)


def logs(paths: Sequence[str]) -> list[str]:
    """Return the logs that paths name: files, and all `*.jsonl` in folders. Raises OSError for a path that is not there."""
    found = []
    for path in paths:
        if os.path.isdir(path):
            found += [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(SUFFIX)]
        else:
            os.stat(path)
            found.append(path)
    return found


def read(path: str) -> list[Facts]:
    """Return the results in a log. A line that is torn or of another program is passed over. Raises OSError."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_BYTES))
        lines = file.read(MOST_BYTES).splitlines()
    found = []
    for line in lines:
        try:
            facts = json.loads(line)
        except ValueError:
            continue
        if isinstance(facts, dict) and facts.get("version") == 1 and isinstance(facts.get("type"), str):
            found.append(facts)
    return found


def runs(results: Iterable[Facts]) -> list[Seen]:
    """Return the runs in the results of a log, in the order of their first lines. A job that ran again has several."""
    found: dict[tuple[str, ...], list[list[Facts]]] = {}
    for facts in results:
        key = tuple(str(facts.get(part)) for part in ("job_id", "restarts", "step", "run"))
        mine = found.setdefault(key, [[]])
        if mine[-1] and mine[-1][-1]["type"] == "run":
            mine.append([])  # a second run in the same step
        mine[-1].append(facts)
    return [_seen(lines) for several in found.values() for lines in several if lines]


def _seen(lines: list[Facts]) -> Seen:
    epochs = tuple(line for line in lines if line["type"] == "epoch" and line.get("complete"))
    ends = [float(line.get("begin_s") or 0) + float(line.get("seconds") or 0) for line in lines]
    wholes = [(end, line) for end, line in zip(ends, lines) if line["type"] in ("run", "so far")]
    after = max((end for end, line in zip(ends, lines) if line["type"] == "epoch"), default=0.0)
    last = wholes[-1][1] if wholes and (wholes[-1][0] >= after or wholes[-1][1]["type"] == "run") else None
    return Seen(str(lines[0].get("job_id") or "-"), str(lines[0].get("run") or "-"), epochs, last, max(ends))


def row(seen: Seen, now_s: float) -> tuple[str, ...]:
    """Return the cells of a run, in the order of HEAD. What is not known is `-`."""
    said = next(
        (line["prediction"] for line in (seen.last, *reversed(seen.epochs)) if line and line.get("prediction")), None
    )
    if seen.last is not None:
        energy_j, grams, seconds = (seen.last.get(name) for name in ("energy_j", "carbon_g", "seconds"))
    else:
        energy_j, grams, seconds = (_sum(seen.epochs, name) for name in ("energy_j", "carbon_g", "seconds"))
    going = not seen.over and not seen.silent(now_s)
    left = max(0.0, float(said["seconds_left"]) - max(0.0, now_s - seen.changed_s)) if said and going else None
    range_text = ""
    if said and going:
        range_text = (
            f"{energy_text(said['energy_j'])} ({energy_text(said['lower_j'])} to {energy_text(said['upper_j'])})"
        )
    return (
        seen.job_id,
        seen.name,
        _state(seen, now_s),
        str(len(seen.epochs)),
        "-" if energy_j is None else energy_text(float(energy_j)),
        "-" if grams is None else carbon_text(float(grams)),
        "-" if seconds is None else time_text(float(seconds)),
        "-" if left is None else time_text(left),
        range_text or "-",
    )


def _state(seen: Seen, now_s: float) -> str:
    if seen.over and seen.last is not None:
        return "ended" if seen.last.get("complete") else "cut off"
    return "silent" if seen.silent(now_s) else "running"


def _sum(epochs: Sequence[Facts], name: str) -> float | None:
    """Return the sum of what epochs have, or None if one of them does not know it."""
    known = [float(epoch[name]) for epoch in epochs if epoch.get(name) is not None]
    return sum(known) if known and len(known) == len(epochs) else None


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows in columns that are as wide as their widest cell."""
    widths = [max(len(cells[at]) for cells in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip() for cells in rows]


def show(paths: Sequence[str], out: TextIO, follow: bool) -> int:
    """Write the runs in the logs, and return the exit code. `follow`: on a terminal, until all runs are over."""
    drawn = 0
    while True:
        now_s = time.time()
        found = [seen for path in logs(paths) for seen in runs(read(path))]
        lines = table([HEAD, *(row(seen, now_s) for seen in found)]) if found else ["no run has written a line yet"]
        if follow and out.isatty():
            columns, height = os.get_terminal_size(out.fileno())
            lines = [line[: columns - 1] for line in (lines[:1] + lines[1:][-(height - 2) :])]
            out.write(f"\x1b[{drawn}A\x1b[J" if drawn else "")
            drawn = len(lines)
        out.write("".join(f"{_plain(line)}\n" for line in lines))
        out.flush()
        if not follow or not out.isatty() or (found and all(seen.over or seen.silent(now_s) for seen in found)):
            return 0
        time.sleep(EVERY_S)


def main(words: Sequence[str]) -> int:
    """Run `carbon-track watch`, and return its exit code: 0, 1 if a log cannot be read, 2 for a wrong command line."""
    if not words or any(word.startswith("-") and word != ONCE for word in words):
        sys.stderr.write("usage: carbon-track watch [-1] LOG|FOLDER...\n")
        sys.stderr.write("carbon-track: to run the command watch: carbon-track -- watch ...\n")
        return 2
    paths = [word for word in words if word != ONCE] or ["."]
    try:
        return show(paths, sys.stdout, follow=len(paths) == len(words))
    except OSError as err:
        sys.stderr.write(f"carbon-track watch: {err.filename or 'output'}: {err.strerror}\n")
        return 1
    except KeyboardInterrupt:
        return 0


def _plain(text: str) -> str:
    """Return a text without control characters: names of jobs may have any."""
    return "".join(char if char.isprintable() else "?" for char in text)
