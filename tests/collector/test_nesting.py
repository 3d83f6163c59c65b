# SPDX-License-Identifier: MIT
"""Counters inside counters: nothing is counted twice, nothing is invented, and the outermost meter is the sum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.attribution.counter import BEHIND, Energy
from carbon_collector.attribution.nesting import CONTRADICTED, PATIENCE_US, TRUST_US, Nesting
from carbon_collector.meters.base import COUNTER, INTEGRATED, MODELLED, Domain

SOCKET = Domain("grace-0", "cpu", 0, 0, 1000, INTEGRATED, simulated=True)
MODULE = Domain("GPU-a", "gpu", -1, 0, 2000, COUNTER, simulated=True, contains=("grace-0",))
NODE = Domain("node", "other", -1, 0, 5000, COUNTER, simulated=True, contains=("cpu", "dram", "gpu"))
DOMAINS = {domain.name: domain for domain in (NODE, MODULE, SOCKET)}
PACKAGE = SOCKET._replace(name="package-0", method=COUNTER)
GUESS = SOCKET._replace(name="model-dram", component="dram", method=MODELLED)
ENERGY = st.integers(0, 10**10)
INTERVALS = st.lists(st.tuples(ENERGY, ENERGY, ENERGY), min_size=1, max_size=20)
SECOND = 1_000_000
JOULE = 1_000_000


def known(**energies: int) -> dict[str, Energy]:
    """Energies that are known, in microjoules."""
    return {name.replace("_", "-"): Energy(uj, "") for name, uj in energies.items()}


@given(INTERVALS)
def test_the_sum_is_the_outermost_meter(seen: list[tuple[int, int, int]]) -> None:
    """Over any number of intervals: what is booked is what the node's meter counted."""
    nesting = Nesting()
    booked = metered = 0
    for socket, beyond_socket, beyond_module in seen:
        module = socket + beyond_socket
        gross = {"grace-0": socket, "GPU-a": module, "node": module + beyond_module}
        found = nesting.net(DOMAINS, {name: Energy(uj, "") for name, uj in gross.items()}, SECOND)
        booked += sum(energy.uj or 0 for energy in found.values())
        metered += gross["node"]

        assert found["grace-0"].uj == socket
        assert found["GPU-a"].uj == beyond_socket
    assert booked == metered
    assert nesting.owed == {"GPU-a": 0, "node": 0}


@given(st.lists(st.tuples(ENERGY, ENERGY), min_size=1, max_size=20))
def test_an_outer_meter_that_is_behind_is_not_known_before_it_has_caught_up(seen: list[tuple[int, int]]) -> None:
    """Never negative, and never 0 J metered where the parts drew more: whenever it is known, all that was booked is what
    it counted; meanwhile the parts are.
    """
    nesting = Nesting()
    booked = outer = 0
    for cpu, node in seen:
        found = nesting.net({"package-0": PACKAGE, "node": NODE}, known(package_0=cpu, node=node), SECOND)
        booked += sum(energy.uj or 0 for energy in found.values())
        outer += node
        if found["node"].uj is None:
            assert found["node"].reason == f"node: {BEHIND}"
        else:
            assert found["node"].uj >= 0
            assert booked == outer


def test_an_outer_meter_that_stays_behind_contradicts_its_parts() -> None:
    """kepler#1466, #1674: a BMC says 150 W, its parts 398. After a minute it is called wrong, and it is not believed
    again before it has held its parts for ten.
    """
    nesting = Nesting()
    domains = {"package-0": PACKAGE, "node": NODE}
    reasons = [
        nesting.net(domains, known(package_0=398 * 10 * JOULE, node=150 * 10 * JOULE), 10 * SECOND)["node"].reason
        for _ in range(8)
    ]
    later = [
        nesting.net(domains, known(package_0=90 * 10 * JOULE, node=150 * 10 * JOULE), 10 * SECOND)["node"]
        for _ in range(TRUST_US // (10 * SECOND) + 1)
    ]

    assert reasons == [f"node: {BEHIND}"] * (PATIENCE_US // (10 * SECOND)) + [f"node: {CONTRADICTED}"] * 2
    assert {energy.reason for energy in later[:-1]} == {f"node: {CONTRADICTED}"}
    assert later[-1] == (600 * JOULE, "")


@given(st.lists(st.tuples(ENERGY, ENERGY, ENERGY), min_size=1, max_size=10))
def test_a_model_never_exceeds_the_meter_that_contains_it(seen: list[tuple[int, int, int]]) -> None:
    """Not what the meter leaves beside what is counted inside it, and never the meter itself; the counters stay."""
    nesting = Nesting()
    domains = {"package-0": PACKAGE, "model-dram": GUESS, "node": NODE}
    for cpu, guess, node in seen:
        found = nesting.net(domains, known(package_0=cpu, model_dram=guess, node=node), SECOND)
        modelled = found["model-dram"].uj or 0

        assert found["package-0"].uj == cpu
        assert modelled <= min(guess, node)
        if cpu <= node:
            assert cpu + modelled <= node
        assert found["node"].uj is None or modelled == guess, "a rest that a model has filled up is not 0 J measured"


def test_what_holds_an_unknown_is_unknown() -> None:
    """Without the socket's energy the module's own is not known, nor is the rest of the node; the socket stays what it is."""
    gross = {"grace-0": Energy(None, "grace-0: gone"), **known(node=20), "GPU-a": Energy(9, "")}
    found = Nesting().net(DOMAINS, gross, SECOND)

    assert {name: energy.uj for name, energy in found.items()} == {"grace-0": None, "GPU-a": None, "node": None}
    assert found["GPU-a"].reason == found["node"].reason == "grace-0: gone"


def test_a_meter_that_is_alone_is_whole() -> None:
    """A module whose CPU nobody meters keeps all that it counted."""
    assert Nesting().net({"GPU-a": MODULE}, {"GPU-a": Energy(9, "")}, SECOND)["GPU-a"].uj == 9
