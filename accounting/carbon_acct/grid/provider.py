# SPDX-License-Identifier: MIT
"""The interface of a provider of grid intensities: it knows periods of time and the grams that a kilowatt-hour carried
then.

Only the aggregator asks providers, never a job or a node, and nothing waits for them. A period is returned whole, with
the provider's own borders, even where it extends beyond the range asked for. So the same period has the same start
whoever asks, and is stored once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

# The end of what holds until further notice (the year 10000).
FOREVER = 253_402_300_800

LIFECYCLE = "lifecycle"
DIRECT = "direct"


@dataclass(frozen=True)
class Period:
    """The intensity from `start` to before `end` (seconds of the epoch, UTC).

    `g_per_kwh` is exact decimal text, from 0. `estimated`: the provider itself calls it an estimate or a forecast.
    `updated_at`: the provider's own stamp of the value, None where it gives none.
    """

    start: int
    end: int
    g_per_kwh: str
    estimated: bool = False
    updated_at: int | None = None


class Answer(list[Period]):
    """The good periods of an answer: sorted and disjoint. `refused` says in a line each what was not believed of it."""

    def __init__(self, periods: Iterable[Period] = (), refused: Iterable[str] = ()) -> None:
        super().__init__(periods)
        self.refused = tuple(refused)


@dataclass(frozen=True)
class Patience:
    """The limits of a request: `timeout_s` for any silence, `answer_s` for a whole answer."""

    attempts: int = 4
    wait_s: float = 1.0
    wait_max_s: float = 15.0
    timeout_s: float = 20.0
    answer_s: float = 60.0
    max_bytes: int = 8 << 20
    """A week of a grid by production type has 1.5 MB; read, an answer takes twenty times its size."""


@dataclass(frozen=True)
class Access:
    """What a provider needs in order to be asked: the site's zone, and the text after its name in the settings.

    `base_url` replaces the service's own address. `scope` is empty where the provider's own scope is meant.
    """

    zone: str
    argument: str = ""
    scope: str = ""
    token_file: Path | None = None
    base_url: str | None = None
    patience: Patience = field(default_factory=Patience)


class Provider(Protocol):
    """A source of intensities for one zone."""

    @property
    def slug(self) -> str:
        """Return its name in the settings and in the database."""

    @property
    def text(self) -> str:
        """Return what people see as the source of an intensity."""

    @property
    def scope(self) -> str:
        """Return `lifecycle` or `direct`."""

    @property
    def step_s(self) -> int:
        """Return its own resolution in seconds."""

    @property
    def max_range_s(self) -> int:
        """Return the longest range of one request in seconds. A longer one is asked for in pieces."""

    def history(self, start: int, end: int) -> Answer:
        """Return what is known of [start, end): sorted, disjoint, checked, possibly with gaps.

        What is bad costs its own period. Raises ProviderError where nothing of an answer can be believed.
        """

    def forecast(self, start: int, end: int) -> list[Period]:
        """Return what is expected of [start, end), all of it estimated, or nothing where there is no forecast. Raises
        ProviderError.
        """


def pieces(start: int, end: int, longest_s: int) -> Iterator[tuple[int, int]]:
    """Yield [start, end) in pieces that a provider answers at once."""
    for at in range(start, end, longest_s):
        yield at, min(end, at + longest_s)
