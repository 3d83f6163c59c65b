# SPDX-License-Identifier: MIT
"""A year of a grid's intensity in quarters of an hour. SYNTHETIC: shaped like a country with sun, wind and coal, no real one.

The sun presses it down at noon, more so in summer; two peaks of demand and weekdays lift it; weather drifts over days.
"""

from __future__ import annotations

import math
import random

STEP_S = 900
YEAR_STEPS = 365 * 96
MEAN_G, LEAST_G = 340, 60
WEATHER_STAYS = 0.997
"""From one quarter of an hour to the next: weather stays for about three days."""


def year(seed: int) -> list[int]:
    """g/kWh, one whole number for each quarter of an hour from the year's first second (UTC) on."""
    chance = random.Random(seed)  # noqa: S311 - weather
    weather, values = 0.0, []
    for step in range(YEAR_STEPS):
        weather = WEATHER_STAYS * weather + chance.gauss(0, 5.5)
        values.append(max(LEAST_G, round(MEAN_G + _season(step) + _hour(step) + weather + chance.gauss(0, 6))))
    return values


def _season(step: int) -> float:
    return 35 * math.cos(2 * math.pi * step / YEAR_STEPS)


def _hour(step: int) -> float:
    hour, day = step % 96 / 4, step // 96
    light = 0.65 - 0.35 * math.cos(2 * math.pi * day / 365)
    sun = -190 * light * math.exp(-(((hour - 12) / 2.8) ** 2))
    demand = 45 * math.exp(-(((hour - 7) / 1.8) ** 2)) + 65 * math.exp(-(((hour - 19) / 2.2) ** 2))
    return sun + demand * (0.6 if day % 7 in (5, 6) else 1.0)
