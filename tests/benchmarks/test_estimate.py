# SPDX-License-Identifier: MIT
"""The benchmark of estimates: earlier runs beat the partition, that beats the hardware; the forecast beats a mean."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_power_by_basis(seed: int) -> None:
    """Three earlier runs: at most 10 % at the 90th percentile. The hardware at full use is an upper bound and no forecast."""
    import estimate

    own, partition, hardware = estimate.powers(seed)

    assert own.p90 <= 10
    assert own.median < partition.median < hardware.median


@pytest.mark.parametrize("seed", [1, 2])
def test_carbon_by_what_prices_it(seed: int) -> None:
    """A rest of 12 h on a windy grid: slot by slot of the forecast, beside the last value and the mean of a whole forecast."""
    import estimate

    forecast, last, mean = estimate.carbon(seed)

    assert forecast.median <= 5
    assert min(last.median, mean.median) > 3 * forecast.median
