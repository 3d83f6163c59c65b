# SPDX-License-Identifier: MIT
"""Follows counters over time: whether one still counts, and whether two of them are one. Pure; no I/O.

A counter is known by its behaviour, not by its name. One that stands still on hardware that is on is dead. Two that
count the same between every two looks are mirrors of one register. Reports of both are in docs/methodology.md.
"""

from __future__ import annotations

DEAD_US = 3_000_000
"""Time without a step after which a counter is dead. RAPL steps every millisecond, NVML every tenth of a second."""
DEAD_LOOKS = 3
"""Number of looks without a step after which a counter may be dead."""
STEP_US = 2_000
"""Time by which two readings of one register may differ beyond the time that reading took: the register's own step."""
UNITS_UJ = 300
"""Microjoules by which two readings of one register may differ by rounding: units are 15.3 or 61 microjoules."""
LOOKS = 3
"""Number of looks that decide between counters of which some are known to be mirrors on such hardware."""
WINDOWS = 8
"""Number of windows that decide between counters that are two on all known hardware."""
WINDOW_US = 1_000_000
"""Least length of such a window."""
VARIES = 1.5
"""Least ratio of the highest to the lowest power in such windows. Two sockets under equal loads draw equal powers;
only what follows another through its changes is its mirror."""
FIRST_READS = 2
"""Number of readings that are believed whatever is suspected: the one that looks for a source, and the one that the
collector counts from. They count nothing yet, and what is counted after them is booked when the suspicion ends."""
TELLING = 10
"""Factor by which an energy must exceed the tolerance before it says that two counters are alike."""
SAME_UJ = 1_000_000
"""Microjoules by which two mirrors of one register may differ at the first look. Counters of two parts that were
powered on together are farther apart after a second."""


class Register:
    """One counter: its last value, when it last moved, and how often it was looked at since then."""

    __slots__ = ("looks", "moved_us", "moves", "uj")

    def __init__(self) -> None:
        self.uj: int | None = None
        self.moved_us = 0
        self.looks = 0
        self.moves = 0

    def see(self, uj: int | None, now_us: int) -> None:
        """Take in a reading at a time of the monotonic clock; `None`, which is no reading, says nothing."""
        if uj is None:
            return
        if uj != self.uj:
            self.moves += self.uj is not None
            self.uj, self.moved_us, self.looks = uj, now_us, 0
        else:
            self.looks += 1

    def is_dead(self, now_us: int) -> bool:
        """Return whether the counter has stood still for too long."""
        return self.looks >= DEAD_LOOKS and now_us - self.moved_us >= DEAD_US


class Pair:
    """Two counters and what is known of them.

    `alike` is None until it is decided. Counters that differed once are two for good. `is_suspect`: on such hardware
    some are mirrors, so those that show one value at the first look are taken for mirrors until they differ.
    """

    __slots__ = ("_different", "_powers", "_same", "_start", "alike", "is_suspect")

    def __init__(self, is_suspect: bool) -> None:
        self.alike: bool | None = None
        self.is_suspect = is_suspect
        self._start: tuple[int, int, int, int] | None = None
        self._same = 0
        self._different = 0
        self._powers: tuple[float, float] = (float("inf"), 0.0)

    def see(self, first_uj: int, second_uj: int, now_us: int, took_us: int) -> None:
        """Take in both counters, read within `took_us` of each other."""
        if self.alike is False:
            return
        if self._start is None and self.is_suspect and abs(first_uj - second_uj) <= SAME_UJ:
            self.alike = True
        if self._start is None or first_uj < self._start[0] or second_uj < self._start[1]:
            self._start = first_uj, second_uj, now_us, took_us
            return
        first, second = first_uj - self._start[0], second_uj - self._start[1]
        elapsed_us = now_us - self._start[2]
        most = max(first, second)
        if elapsed_us <= 0 or not most:
            return
        tolerance = most * (self._start[3] + took_us + STEP_US) / elapsed_us + UNITS_UJ
        if abs(first - second) > tolerance:
            self._differ()
        elif most > TELLING * tolerance and (self.is_suspect or elapsed_us >= WINDOW_US):
            self._agree(most / elapsed_us)
            self._start = first_uj, second_uj, now_us, took_us

    def _differ(self) -> None:
        """Note that the two counters differ. They count as different after two looks in a row, because a single look
        may fall between the steps of the two.
        """
        self._different += 1
        self._same = 0
        self._powers = float("inf"), 0.0
        if self._different >= 2:
            self.alike = False

    def _agree(self, power: float) -> None:
        self._different = 0
        self._same += 1
        self._powers = min(self._powers[0], power), max(self._powers[1], power)
        varies = self._powers[1] >= VARIES * self._powers[0]
        if self._same >= (LOOKS if self.is_suspect else WINDOWS) and (self.is_suspect or varies):
            self.alike = True


class Group:
    """Counters that may be mirrors of each other. `is_suspect`: on such hardware some are.

    `mirrors`: by name, the earlier counter that it mirrors; `undecided`: by name, the earlier one that it may mirror.
    """

    def __init__(self, names: list[str], is_suspect: bool) -> None:
        self.names = names
        self.is_suspect = is_suspect
        self.mirrors: dict[str, str] = {}
        self.undecided: dict[str, str] = {}
        self._pairs = {(first, second): Pair(is_suspect) for at, second in enumerate(names) for first in names[:at]}
        self._judge()

    def see(self, values: dict[str, int], now_us: int, took_us: int) -> bool:
        """Take in one look at them all, which took so long; return whether a verdict is another one now."""
        before = self.mirrors, self.undecided
        for (first, second), pair in self._pairs.items():
            if first in values and second in values:
                pair.see(values[first], values[second], now_us, took_us)
        self._judge()
        return before != (self.mirrors, self.undecided)

    def doubt(self, name: str) -> str:
        """Return why a counter's reading is not believed; empty where it is."""
        if name in self.mirrors:
            return f"counts the same as {self.mirrors[name]}: a mirror"
        if name in self.names and self.undecided:
            one, other = next(iter(self.undecided.items()))
            return f"not known yet whether {one} mirrors {other}"
        return ""

    def _judge(self) -> None:
        mirrors: dict[str, str] = {}
        undecided: dict[str, str] = {}
        for (first, second), pair in self._pairs.items():
            if first in mirrors or second in mirrors:
                continue
            if pair.alike:
                mirrors[second] = first
                undecided.pop(second, None)
            elif pair.alike is None and self.is_suspect:
                undecided.setdefault(second, first)
        self.mirrors, self.undecided = mirrors, undecided
