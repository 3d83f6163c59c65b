# SPDX-License-Identifier: MIT
"""Errors of carbon-estimate: of the power by basis, before fifty jobs run; of a rest's carbon by what prices it.

Both worlds are made up here, and their scatter is an assumption: runs of one program differ by 4 % in power (one
standard deviation), programs use 30 to 95 % of their GPUs; the grid is windy, and its forecast has an error that
grows by 2 g/kWh with the square root of the hours. The rules are the program's own code.

`python benchmarks/estimate.py` prints both tables.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from carbon_acct.client.estimate import begin, history, model
from carbon_acct.client.estimate.asked import Asked
from carbon_collector.meters import tdp

JOBS, EARLIER = 50, 3
RUN_TO_RUN = 0.04
TYPES = {"a100": 400.0, "v100": 300.0, "t4": 70.0}
CPU_W = 6.0
HOUR, SLOT = 3600, 900
REST_H = 12
FORECAST_H = 72
WINDY = (60.0, 420.0)


class Error(NamedTuple):
    """Of a rule over many cases, in percent: the median and the 90th percentile of its size."""

    rule: str
    median: float
    p90: float


def powers(seed: int = 1) -> list[Error]:
    """Return the errors of the power of 50 jobs by basis: three earlier runs, the partition, the hardware."""
    rng = random.Random(seed)  # noqa: S311 - a made-up world
    programs = [_program(rng, f"p{i}") for i in range(JOBS)]
    partition = _partition(rng, programs)
    table = tdp.accelerators()
    errors: dict[str, list[float]] = {"own history": [], "partition": [], "hardware": []}
    for name, kind, gpus, gpu_w, cpu_w in programs:
        asked = Asked(gpus={kind: gpus}, cpus=8 * gpus, name=name, partition="gpu")
        truth = _watts(rng, gpus, gpu_w, cpu_w)
        like = history.like([_job(rng, name, kind, gpus, gpu_w, cpu_w) for _ in range(EARLIER)], asked)
        energy = model.energy([asked], [Fraction(1)], model.Choice(table))
        said = {
            "own history": like.watts(asked) if like else 0.0,
            "partition": history.of_power(partition[kind], [asked]) or 0.0,
            "hardware": float(energy.kwh) * 1000,
        }
        for rule, watts in said.items():
            errors[rule].append(abs(watts / truth - 1))
    return [_error(rule, found) for rule, found in errors.items()]


def carbon(seed: int = 1, cases: int = 200) -> list[Error]:
    """Return the errors of the carbon of a rest of 12 h: by the forecast, the last value, the mean of a whole forecast."""
    rng = random.Random(seed)  # noqa: S311 - a made-up world
    errors: dict[str, list[float]] = {"forecast": [], "last value": [], "mean of the whole forecast": []}
    for _ in range(cases):
        true = _grid(rng)
        now = rng.randrange(7 * 24, 8 * 24) * HOUR
        noise = 0.0
        expected = []
        for h in range(FORECAST_H):
            noise += rng.gauss(0, 2)
            expected.append(max(1.0, true[now // HOUR + h] + noise))
        answer: dict[str, Any] = {
            "slots": [_slot(t, t + SLOT, true[t // HOUR]) for t in range(now - 7 * 24 * HOUR, now, SLOT)],
            "forecast": [_slot(now + HOUR * h, now + HOUR * (h + 1), value) for h, value in enumerate(expected)],
        }
        truth = statistics.mean(true[now // HOUR : now // HOUR + REST_H])
        said = {
            "forecast": begin.Curve(answer).mean(now, REST_H * HOUR) or 0.0,
            "last value": true[now // HOUR - 1],
            "mean of the whole forecast": statistics.mean(expected),
        }
        for rule, value in said.items():
            errors[rule].append(abs(value / truth - 1))
    return [_error(rule, found) for rule, found in errors.items()]


def _program(rng: random.Random, name: str) -> tuple[str, str, int, float, float]:
    kind = rng.choice(list(TYPES))
    return name, kind, rng.choice((1, 2, 4)), TYPES[kind] * rng.uniform(0.3, 0.95), CPU_W * rng.uniform(0.3, 1)


def _watts(rng: random.Random, gpus: int, gpu_w: float, cpu_w: float) -> float:
    """Of one run."""
    return (gpus * gpu_w + 8 * gpus * cpu_w) * math.exp(rng.gauss(0, RUN_TO_RUN))


def _job(rng: random.Random, name: str, kind: str, gpus: int, gpu_w: float, cpu_w: float) -> dict[str, Any]:
    """An earlier run, as the aggregator tells of it."""
    scale, elapsed = math.exp(rng.gauss(0, RUN_TO_RUN)), rng.randint(600, 36_000)
    gpu_uj, cpu_uj = round(gpus * gpu_w * scale * elapsed * 1e6), round(8 * gpus * cpu_w * scale * elapsed * 1e6)
    return {
        "name": name,
        "state": "COMPLETED",
        "end": elapsed,
        "elapsed_s": elapsed,
        "ncpus": 8 * gpus,
        "alloc_tres": f"cpu={8 * gpus},gres/gpu:{kind}={gpus},gres/gpu={gpus}",
        "energy_uj": gpu_uj + cpu_uj,
        "gpu_uj": gpu_uj,
        "coverage": 100.0,
    }


def _partition(
    rng: random.Random, programs: Sequence[tuple[str, str, int, float, float]]
) -> dict[str, dict[str, float]]:
    """`GET /v1/power` of each type: all programs' mean."""
    found = {}
    for kind in TYPES:
        jobs = [_job(rng, *program) for program in programs if program[1] == kind]
        gpu_s = sum(int(job["ncpus"]) // 8 * job["elapsed_s"] for job in jobs)
        rest = sum(job["energy_uj"] - job["gpu_uj"] for job in jobs)
        found[kind] = {
            "joules_per_gpu_second": sum(job["gpu_uj"] for job in jobs) / 1e6 / gpu_s,
            "joules_per_cpu_second": rest / 1e6 / (8 * gpu_s),
        }
    return found


def _grid(rng: random.Random) -> list[float]:
    """Two weeks of hours of a windy grid: wind that comes and goes within a day or two, and a daily wave."""
    clean, dirty = WINDY
    wind, values = rng.random(), []
    for hour in range(14 * 24):
        wind = min(1.0, max(0.0, wind + rng.gauss(0, 0.06) + 0.01 * (0.5 - wind)))
        wave = 0.12 * math.sin(2 * math.pi * (hour % 24) / 24)
        values.append(dirty - (dirty - clean) * min(1.0, max(0.0, wind + wave)))
    return values


def _slot(start: int, end: int, value: float) -> dict[str, Any]:
    return {"start": start, "end": end, "value": value, "source": "made up", "scope": "direct"}


def _error(rule: str, found: Sequence[float]) -> Error:
    return Error(rule, 100 * statistics.median(found), 100 * statistics.quantiles(found, n=10)[-1])


def main() -> int:
    """Print both tables."""
    for title, rows in (
        (f"power of {JOBS} jobs before they run", powers()),
        (f"carbon of {REST_H} h to come", carbon()),
    ):
        sys.stdout.write(f"{title}: error, %\n  {'':28}{'median':>8}{'p90':>8}\n")
        for row in rows:
            sys.stdout.write(f"  {row.rule:28}{row.median:8.1f}{row.p90:8.1f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
