# SPDX-License-Identifier: MIT
"""What was held and not used: the rules of methodology.md on single rows."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.factors.idle_use import IdleRules, IdleUse, idle_rules
from carbon_acct.sums.job_slot import Delivered
from carbon_acct.sums.waste import held_and_unused
from carbon_collector.errors import SettingsError

SECOND = 1_000_000
IDLE = IdleUse(gpu_watts=75, cpu_percent=20)


def delivered(cpus: int | None = 4, gpus: int = 0, **columns: Any) -> Delivered:
    """A row of ten seconds: 4 CPUs, 100 J of CPU energy that flowed without use, half of a CPU used."""
    held = SimpleNamespace(cpus=cpus, gpus=json.dumps([f"GPU-{n}" for n in range(gpus)]))
    row: dict[str, Any] = {"alloc_us": 10 * SECOND, "cpu_us": 5 * SECOND, "cpu_static_uj": 100 * SECOND}
    row |= {"cpu_method": "counter", "other_method": None, "other_static_uj": None}
    row |= {"gpu_uj": 1200 * SECOND if gpus else None, "gpu_method": "counter" if gpus else None}
    row["gpu_metered_us"] = 10 * SECOND if gpus else None
    return Delivered(held, row | columns)  # type: ignore[arg-type]  # as much of a ledger as is read


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # 5 of 40 CPU-seconds were used: seven eighths of 100 J.
        (delivered(), (40 * SECOND, None, None, 87_500_000)),
        (delivered(other_static_uj=60 * SECOND, other_method="counter"), (40 * SECOND, None, None, 140 * SECOND)),
        (delivered(cpu_us=8 * SECOND), (40 * SECOND, None, None, 0)),
        (delivered(cpu_us=None), (40 * SECOND, None, None, None)),
        (delivered(cpus=None), (None, None, None, None)),
        (delivered(cpu_static_uj=None, cpu_method="missing"), (40 * SECOND, None, None, None)),
        (delivered(cpu_method="modelled"), (40 * SECOND, None, None, None)),
        # 1200 J in 10 s are 60 W for each of two GPUs, and 120 W for one.
        (delivered(gpus=2), (40 * SECOND, 20 * SECOND, 1200 * SECOND, None)),
        (delivered(gpus=1), (40 * SECOND, 10 * SECOND, 0, None)),
        (delivered(gpus=1, gpu_uj=None, gpu_method="missing"), (40 * SECOND, 10 * SECOND, None, None)),
        (delivered(gpus=2, gpu_metered_us=5 * SECOND), (40 * SECOND, 20 * SECOND, 0, None)),  # 120 W each while metered
        (delivered(gpus=2, gpu_method="shared"), (40 * SECOND, 20 * SECOND, None, None)),  # parts of devices
    ],
)
def test_rules(row: Delivered, expected: tuple[int | None, ...]) -> None:
    """Held time, idle GPUs and unused CPUs of one row; what a node did not tell is unknown, not 0."""
    assert held_and_unused([row], IDLE) == expected


@given(st.lists(st.tuples(st.integers(0, 40 * SECOND), st.integers(0, 10**9), st.integers(0, 2)), min_size=1))
def test_no_more_than_there_was(rows: list[tuple[int, int, int]]) -> None:
    """Over any nodes, what was not used is at most what flowed, and adds up row by row."""
    many = [
        delivered(cpu_us=used, cpu_static_uj=energy, gpus=gpus, gpu_uj=energy if gpus else None)
        for used, energy, gpus in rows
    ]
    *_, idle, unused = held_and_unused(many, IDLE)
    assert 0 <= (idle or 0) <= sum(energy for _, energy, gpus in rows if gpus)
    assert 0 <= (unused or 0) <= sum(energy for _, energy, gpus in rows if not gpus)
    alone = [held_and_unused([one], IDLE) for one in many]
    assert (idle or 0) == sum(one[2] or 0 for one in alone)
    assert (unused or 0) == sum(one[3] or 0 for one in alone)


def test_types_of_gpus() -> None:
    """A type that AllocTRES names has its own watts; of several types the lowest hold."""
    rules = idle_rules(["80", "t4:15", "h100:120"], 20, 1)
    assert rules.of("billing=4,cpu=4,gres/gpu:t4=1,gres/gpu=1").gpu_watts == 15
    assert rules.of("gres/gpu:h100=1,gres/gpu:a100=1").gpu_watts == 80
    assert rules.of("gres/gpu=2").gpu_watts == 80
    assert rules.of(None).gpu_watts == 80
    assert idle_rules([], 20, 1) == IdleRules()


@pytest.mark.parametrize(
    ("watts", "percent"), [(["tea"], 20), (["t4:"], 20), (["-1"], 20), (["75"], 101), (["75"], -1)]
)
def test_bad_settings(watts: list[str], percent: float) -> None:
    """A threshold that is none is refused by its name."""
    with pytest.raises(SettingsError, match=r"\[waste\]"):
        idle_rules(watts, percent, 1)
