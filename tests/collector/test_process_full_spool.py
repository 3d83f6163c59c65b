# SPDX-License-Identifier: MIT
"""The collector as a process after a long outage: its spool is full, and the joules of the weeks before are still there."""

from __future__ import annotations

import math
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from .history import SLOT, START, Store, live_of
from .process import Host, eventually

if TYPE_CHECKING:
    from pathlib import Path

JOULE = 1_000_000
MIB = 1 << 20


def outage(host: Host, jobs: int, slots: int, folder: Path) -> Store:
    """Let a spool be what an earlier life of the node left in it, up to now; what that life had is what is returned."""
    node = live_of(jobs, slots, folder, 1 << 30)
    shutil.copytree(node.spool.folder, host.spool_dir)
    for age, name in enumerate(node.spool.segments()):
        then = time.time() - slots + age
        os.utime(host.spool_dir / name, (then, then))
    store = Store()
    for body in node.sealed:
        store.take(body)
    return store


@pytest.mark.slow
def test_a_full_spool_takes_new_jobs_and_keeps_the_old(host: Host, tmp_path: Path) -> None:
    """Over its limit by an outage's segments: it makes room, a job that runs now is sealed, and when an aggregator is
    there again it gets every joule of both, each slot adding up.
    """
    before = outage(host, 16, 200, tmp_path / "before")
    host.aggregator.stop()
    was = sum(path.stat().st_size for path in host.spool_dir.glob("*.jsonl"))
    host.start(spool_limit="1")
    host.ticket("prolog", 1000)
    host.node.start_job("1000")
    host.node.burn("1000", 0, 0.3)
    host.node.count(30 * JOULE)
    host.node.end_job("1000")
    host.ticket("epilog", 1000)
    eventually(lambda: "made coarser" in host.said(), "room is made")
    eventually(lambda: _size(host) <= MIB, "it fits")
    host.aggregator.start()
    eventually(lambda: not host.spooled(), "everything is shipped", 30)
    host.collect()  # room may have been made before the epilog: what it sealed may still be on the node
    store = Store()
    for body in host.aggregator.segments.values():
        store.take(body)

    assert was > MIB
    assert "dropped" not in host.said()
    assert host.aggregator.is_closed(1000)
    assert {key: uj for key, uj in store.had().items() if key[0] != 1000} == before.had()
    assert 0 < store.had()[1000, "cpu"] <= 60 * JOULE
    assert {name: uj - before.node_uj()[name] for name, uj in store.node_uj().items()} == dict.fromkeys(
        ("cpu", "dram"), 60 * JOULE
    )
    assert store.differences() == {}
    assert any(b'"slots":' in body for body in host.aggregator.segments.values())
    assert START + SLOT in {slot for *_, slot in store.rows}


def _size(host: Host) -> float:
    """Bytes in the spool; no figure while one segment takes the place of others."""
    try:
        return sum((host.spool_dir / name).stat().st_size for name in host.spooled())
    except FileNotFoundError:
        return math.inf
