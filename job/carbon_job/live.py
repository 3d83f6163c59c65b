# SPDX-License-Identifier: MIT
"""Reads the live file of the own job on this node, and asks the collector for a new reading.

The collector writes `<run_dir>/live/<JobID>.json`, readable by the job's owner alone, and listens on the FIFO
`<JobID>.ask` beside it. This module knows both formats, and nothing about what the figures are used for.
"""

from __future__ import annotations

import errno
import os

from .lean import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

NOBODY = (errno.ENXIO, errno.ENOENT, errno.EAGAIN, errno.EACCES)
"""The errors of the FIFO that mean that no collector listens; the file is then read as it is."""
MOST_BYTES = 1 << 20


class LiveError(Exception):
    """The error that the live file cannot be read. Its message says what is missing, in one line."""


class Component(NamedTuple):
    """The energy of one component of the node (cpu, dram, gpu, ...) since the job began."""

    energy_uj: float | None
    """The energy in microjoules; None if nothing can measure the component. It is no integer if it was interpolated."""
    metered_us: float
    method: str
    """The method: `counter`, `integrated` or `modelled`; empty if the file does not state it."""
    missing: str = ""
    """The reason why the component was not metered all of the time; empty if it was."""


class Reading(NamedTuple):
    """A state of the live file: the job's energy on this node up to `time_us`."""

    time_us: float
    """The time of the reading: Unix time, UTC."""
    held_us: float
    """The time for which the job has held the node; 0 if the file does not state it."""
    components: dict[str, Component]
    begin_us: float = 0
    node: str = ""
    run: str = ""
    sequence: int = 0
    simulated: bool = False


class LiveFile:
    """The live file of job `job_id` in `folder`."""

    def __init__(self, folder: str, job_id: str) -> None:
        self.path = f"{folder}/{job_id}.json"
        self._fifo = f"{folder}/{job_id}.ask"

    def read(self) -> Reading:
        """Return the reading in the file. Raises LiveError."""
        try:
            with open(self.path, "rb") as file:
                content = file.read(MOST_BYTES)
        except OSError as err:
            raise LiveError(f"{self.path}: {err.strerror}; does carbon-collector run on this node?") from err
        return parse(content, self.path)

    def stamp(self) -> tuple[int, int]:
        """Return a stamp that changes when the file is replaced, or (0, 0) if there is no file. This is cheaper than
        reading it.
        """
        try:
            stat = os.stat(self.path)
        except OSError:
            return 0, 0
        return stat.st_ino, stat.st_mtime_ns

    def ask(self) -> bool:
        """Ask the collector to take a reading within a second. Returns False if no collector listens."""
        try:
            fifo = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as err:
            if err.errno in NOBODY:
                return False
            raise LiveError(f"{self._fifo}: {err.strerror}") from err
        try:
            os.write(fifo, b"\n")
        except OSError:
            return False  # full: others have asked already; closed: the collector ends
        finally:
            os.close(fifo)
        return True


def parse(content: bytes, where: str = "live file") -> Reading:
    """Return the reading in the text of a live file, version 1 or 2. Raises LiveError for any other text."""
    import json

    try:
        facts = json.loads(content)
        return _second(facts) if int(facts.get("version", 1)) >= 2 else _first(facts)
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise LiveError(f"{where}: not a live file of carbon-collector ({type(err).__name__}: {err})") from err


def _second(facts: dict[str, Any]) -> Reading:
    components = {str(name): _component(part) for name, part in facts["components"].items()}
    return Reading(
        int(facts["time_us"]),
        int(facts["held_us"]),
        components,
        int(facts["begin_us"]),
        str(facts.get("node", "")),
        str(facts.get("run", "")),
        int(facts.get("sequence", 0)),
        bool(facts.get("simulated", False)),
    )


def _component(part: dict[str, Any]) -> Component:
    energy = part.get("energy_uj")
    return Component(
        None if energy is None else int(energy),
        int(part.get("metered_us", 0)),
        str(part.get("method", "")),
        str(part.get("missing", "")),
    )


def _first(facts: dict[str, Any]) -> Reading:
    """Return the reading of a file of version 1: it has whole seconds, no method and no coverage."""
    parts = {name[:-3]: Component(int(uj), 0, "") for name, uj in facts.items() if name.endswith("_uj")}
    return Reading(int(facts["at"]) * 1_000_000, 0, parts, run=str(facts.get("run", "")))
