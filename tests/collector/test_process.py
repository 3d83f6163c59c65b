# SPDX-License-Identifier: MIT
"""The collector as a process: lives of jobs, from ticket to the aggregator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .process import Host

JOULE = 1_000_000


def test_a_job_lives_and_pays(host: Host) -> None:
    """Prolog, work, epilog: the aggregator has a closed ledger, the job's share, and rows that add up."""
    host.start()
    host.ticket("prolog", 7)
    host.node.start_job("7")
    host.tick()
    host.node.burn("7", 0, 0.3)
    host.node.add_energy("intel-rapl:0", 30 * JOULE)
    host.node.add_energy("intel-rapl:0:0", 3 * JOULE)
    host.tick()
    host.node.end_job("7")
    host.ticket("epilog", 7)
    host.ship_everything()

    [ledger] = host.aggregator.of("ledger", 7)
    assert (ledger["user"], ledger["cpus"], ledger["node_cpus"], ledger["source"]) == ("alice", 4, 8, "prolog")
    assert host.aggregator.is_closed(7)
    assert host.aggregator.energy("cpu") == 30 * JOULE
    assert host.aggregator.energy("dram") == 3 * JOULE
    assert 0 < host.aggregator.energy("cpu", 7) <= 30 * JOULE
    assert sum(row["cpu_us"] for row in host.aggregator.of("job_slot", 7)) == 300_000
    assert host.aggregator.is_conserved()
