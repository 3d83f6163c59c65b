# SPDX-License-Identifier: MIT
"""A run that comes back after its end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .process import eventually

if TYPE_CHECKING:
    from .process import Host

JOULE = 1_000_000
SLUID = {"SLURM_JOB_SLUID": "s891M8001ARZ00"}


def begin(host: Host) -> None:
    """A job's first seconds."""
    host.node.start_job("7")
    host.node.burn("7", 7, 0.5)
    host.node.count(10 * JOULE)
    host.tick()


def test_a_run_that_slurm_begins_again_under_its_old_name_adds_up(host: Host) -> None:
    """A crash before slurmctld had saved that the run had begun: the same SLUID in the same slot, and nothing is lost."""
    host.start()
    host.ticket("prolog", 7, **SLUID)
    begin(host)
    host.kill()
    host.node.end_job("7")
    host.node.set_boot_id("22222222-2222-2222-2222-222222222222")
    host.ticket("prolog", 7, wait=False, **SLUID)
    [ticket] = (host.run_dir / "tickets").iterdir()
    os.utime(ticket, (time.time() + 30,) * 2)
    host.start()
    eventually(host.last, "a first reading after the crash")
    begin(host)
    host.node.end_job("7")
    host.ticket("epilog", 7, **SLUID)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == 40 * JOULE
    assert sum(row["cpu_us"] for row in got.of("job_slot", 7)) == 1_000_000
    assert [(row["user"], row["closed"] is None) for row in got.of("ledger", 7)] == [("alice", False)] * 2
    assert got.is_conserved()
