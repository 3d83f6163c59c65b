# SPDX-License-Identifier: MIT
"""Hints: CPUs and memory over-asked, cleaner hours, each with its figure and a command that shows these jobs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.client.estimate.hints import Hint, hints

HOUR = 3600
KWH_UJ = 3_600_000_000_000
Row = tuple[str, ...]


def of(kind: str, found: list[Hint]) -> Hint | None:
    """The hint of a kind, if there is one."""
    return next((hint for hint in found if hint.kind == kind), None)


def said(usage: list[Row]) -> list[Hint]:
    """The hints of lines of sacct alone."""
    return hints([], lambda _: None, {}, usage)


def test_cpus_that_were_idle() -> None:
    """8 CPUs for an hour that did 2 CPU hours: 6 were idle; steps are no jobs, and the worst job comes first."""
    usage: list[Row] = [
        ("7", "3600", "8", "02:00:00", "8G", "", "1"),
        ("7.batch", "3600", "8", "02:00:00", "", "1G", "1"),
        ("8", "3600", "1", "01:00.000", "1G", "", "1"),
        ("9", "3600", "16", "1-00:00:00", "1G", "", "1"),
    ]
    hint = of("cpus", said(usage[:2]))
    both = of("cpus", said(usage[:3]))

    assert hint == Hint(
        "cpus",
        "Your jobs used 25 % of the CPU time that they held: 6 CPU hours were idle.",
        "sacct -X -j 7 -o JobID,NCPUS,Elapsed,TotalCPU",
    )
    assert both is not None
    assert "sacct -X -j 7,8 " in both.command
    assert of("cpus", said(usage)) is None  # 26 of 25 hours held, by threads that sacct counts: nothing was idle


def test_memory_that_was_not_needed() -> None:
    """The most of any step counts, of what was asked for on a node; a job without MaxRSS says nothing."""
    usage: list[Row] = [
        ("7", "3600", "8", "08:00:00", "64Gn", "", "1"),
        ("7.batch", "3600", "8", "08:00:00", "", "1024K", "1"),
        ("7.0", "3600", "8", "08:00:00", "", "8G", "1"),
        ("8", "3600", "8", "08:00:00", "64G", "", "1"),
    ]
    hint = of("memory", said(usage))

    assert hint == Hint(
        "memory",
        "Your jobs used 12 % of the memory that they asked for.",
        "sacct -j 7 -o JobID,ReqMem,MaxRSS,Elapsed",
    )
    assert of("memory", said([usage[0], ("7.0", "3600", "8", "08:00:00", "", "40G", "1")])) is None
    # 64 GiB on two nodes are 32 on each, of which 20 are more than half.
    assert (
        of("memory", said([(*usage[0][:4], "64G", "", "2"), ("7.0", "3600", "8", "08:00:00", "", "20G", "2")])) is None
    )


def test_hours_that_were_cleaner() -> None:
    """Six clean hours of each night of the week, beside what the own jobs had: the window and its grams."""
    slots = [
        {"start": hour * HOUR, "end": (hour + 1) * HOUR, "value": 100 if 1 <= hour % 24 < 7 else 400}
        for hour in range(7 * 24)
    ]
    job = {"carbon_ug": 800_000_000, "facility_uj": 2 * KWH_UJ, "energy_uj": KWH_UJ, "state": "COMPLETED"}
    found = of("hours", hints([job], lambda _: None, {"slots": slots}, []))

    assert found is not None
    assert found.text == (
        "From 01:00 to 07:00 UTC the grid had 100 g/kWh in the last week; your jobs had 400: 600 g of 800 g."
    )
    assert found.command == "carbon-estimate --within 24h JOBSCRIPT"
    clean = {**job, "carbon_ug": 204_000_000}
    assert of("hours", hints([clean], lambda _: None, {"slots": slots}, [])) is None
    assert of("hours", hints([job], lambda _: None, {"slots": slots[:20]}, [])) is None


@given(
    st.lists(
        st.tuples(st.integers(60, 10**6), st.integers(1, 256), st.floats(0, 1), st.integers(1, 512), st.floats(0, 1.2)),
        max_size=30,
    )
)
def test_shares_are_those_of_all_jobs(jobs: list[tuple[int, int, float, int, float]]) -> None:
    """The share of CPU time and of memory is used over held of all jobs, and is told below one half only."""
    usage: list[Row] = []
    held = used = room = need = 0.0
    for number, (elapsed, cpus, share, gib, part) in enumerate(jobs):
        total = int(elapsed * cpus * share)
        days, left = divmod(total, 86400)
        text = f"{days}-{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}"
        kib = int(gib * part * 1024**2)
        usage.append((str(number), str(elapsed), str(cpus), text, f"{gib}G", "", "1"))
        usage.append((f"{number}.batch", str(elapsed), str(cpus), text, "", f"{kib}K", "1"))
        held, used = held + elapsed * cpus, used + total
        room, need = room + gib * elapsed, need + min(gib, kib / 1024**2) * elapsed
    found = said(usage)
    for kind, share in (("cpus", used / held if held else 1), ("memory", need / room if room else 1)):
        hint = of(kind, found)
        assert (hint is not None) == (share < 0.5)
        assert hint is None or f"used {100 * share:.0f} % of" in hint.text
