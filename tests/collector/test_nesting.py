# SPDX-License-Identifier: MIT
"""Counters inside counters: nothing is counted twice, nothing is invented, and the outermost meter is the sum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution.counter import Energy
from carbon_collector.attribution.nesting import MAX_OWED_UJ, net
from carbon_collector.meters.base import COUNTER, INTEGRATED, Domain

SOCKET = Domain("grace-0", "cpu", 0, 0, 1000, INTEGRATED, simulated=True)
MODULE = Domain("GPU-a", "gpu", -1, 0, 2000, COUNTER, simulated=True, contains=("grace-0",))
NODE = Domain("node", "other", -1, 0, 5000, COUNTER, simulated=True, contains=("cpu", "dram", "gpu"))
DOMAINS = {domain.name: domain for domain in (NODE, MODULE, SOCKET)}
ENERGY = st.integers(0, 10**10)
INTERVALS = st.lists(st.tuples(ENERGY, ENERGY, ENERGY), min_size=1, max_size=20)


@given(INTERVALS)
def test_the_sum_is_the_outermost_meter(seen: list[tuple[int, int, int]]) -> None:
    """Over any number of intervals: what is booked is what the node's meter counted, and what it is behind is owed."""
    owed: dict[str, int] = {}
    booked = metered = 0
    for socket, beyond_socket, beyond_module in seen:
        module = socket + beyond_socket
        gross = {"grace-0": socket, "GPU-a": module, "node": module + beyond_module}
        found = net(DOMAINS, {name: Energy(uj, "") for name, uj in gross.items()}, owed)
        booked += sum(energy.uj or 0 for energy in found.values())
        metered += gross["node"]

        assert found["grace-0"].uj == socket
        assert found["GPU-a"].uj == beyond_socket
    assert booked == metered
    assert owed == {"GPU-a": 0, "node": 0}


@given(st.lists(st.tuples(ENERGY, ENERGY), min_size=1, max_size=20))
def test_what_an_outer_meter_is_behind_it_gives_back(seen: list[tuple[int, int]]) -> None:
    """Never negative; while less is owed than may be, all that is booked is the larger of both in the long run."""
    owed: dict[str, int] = {}
    booked = inner = outer = 0
    for cpu, node in seen:
        found = net(
            {"package-0": SOCKET._replace(name="package-0"), "node": NODE},
            {"package-0": Energy(cpu, ""), "node": Energy(node, "")},
            owed,
        )
        assert all(energy.uj is not None and energy.uj >= 0 for energy in found.values())
        booked += sum(energy.uj or 0 for energy in found.values())
        inner += cpu
        outer += node
    assert -MAX_OWED_UJ < owed["node"] <= 0
    assert booked == outer - owed["node"]
    assert booked >= inner


def test_what_holds_an_unknown_is_unknown() -> None:
    """Without the socket's energy the module's own is not known, nor is the rest of the node; the socket stays what it is."""
    found = net(DOMAINS, {"grace-0": Energy(None, "grace-0: gone"), "GPU-a": Energy(9, ""), "node": Energy(20, "")}, {})

    assert {name: energy.uj for name, energy in found.items()} == {"grace-0": None, "GPU-a": None, "node": None}
    assert found["GPU-a"].reason == found["node"].reason == "grace-0: gone"


def test_a_meter_that_is_alone_is_whole() -> None:
    """A module whose CPU nobody meters keeps all that it counted."""
    assert net({"GPU-a": MODULE}, {"GPU-a": Energy(9, "")}, {})["GPU-a"].uj == 9
