# SPDX-License-Identifier: MIT
"""Power by minute on the server: the text is exact, no node is believed, and sums and points add up to the slot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.samples import SLOT
from carbon_acct.known import sum_known
from carbon_acct.queries.points import Point, by_minute
from carbon_acct.sums import minutes
from carbon_acct.sums.minutes import COUNT, ESTIMATED, NAMES
from carbon_collector.meters.base import COMPONENTS

amounts = st.one_of(st.integers(0, 200), st.integers(0, 2**63 - 1))
values = st.lists(st.none() | amounts, min_size=COUNT, max_size=COUNT).filter(
    lambda many: any(x is not None for x in many)
)


@given(st.dictionaries(st.sampled_from(NAMES), values, min_size=1))
def test_the_text_is_exact(found: dict[str, list[int | None]]) -> None:
    """What is packed comes out of the text again, with what is unknown."""
    text = minutes.packed(found)
    assert minutes.unpacked(text) == found
    assert text.isascii()
    assert not set(text) & set("\"\\'")


@pytest.mark.parametrize(
    "told",
    [
        *([1] * 14, [1] * 16, [None] * 15, [0] * 14 + [16], [-1] + [16] + [0] * 13, [1.0] * 15, [True] * 15),
        *(["1"] * 15, {"1": 1}, "1" * 15, 15, True, [[1]] * 15, [2**70] + [0] * 14, [15, *[None] * 15]),
    ],
)
def test_no_node_is_believed(told: Any) -> None:
    """What is not fifteen known or unknown amounts that add up to the energy is refused, and is no error."""
    assert not minutes.adds_up(told, 15)


def row(shares: dict[str, tuple[str, list[int | None] | None, int | None]]) -> dict[str, Any]:
    """A row of node_job_slot: for each component its method, minutes and energy."""
    found: dict[str, Any] = {f"{c}_{kind}": None for c in COMPONENTS for kind in ("uj", "method")}
    for name, (method, _, energy_uj) in shares.items():
        found |= {f"{name}_uj": energy_uj, f"{name}_method": method}
    known = {name: told for name, (_, told, _) in shares.items() if told is not None}
    return found | {"minutes": minutes.packed(known) if known else None}


small = st.lists(st.none() | st.integers(0, 10**12), min_size=COUNT, max_size=COUNT)
shares = small.map(lambda many: (many if any(x is not None for x in many) else None, sum_known(many)))
rows = st.dictionaries(
    st.sampled_from(COMPONENTS), st.tuples(st.sampled_from(["counter", "shared", "modelled"]), shares)
)


@given(
    told=st.lists(rows, max_size=4),
    more=st.none() | st.integers(0, 10**12),
    first=st.integers(0, 899),
    length=st.integers(1, 900),
    carbon=st.none() | st.integers(0, 10**9),
)
def test_points_add_up_to_the_slot(
    told: list[dict[str, tuple[str, Any]]], more: int | None, first: int, length: int, carbon: int | None
) -> None:
    """Each figure of the points adds up to that of the slot, also where a part of the estimate has no minutes; no point is
    shorter than a minute, and the points cover the time of the run in the slot.
    """
    nodes = [{name: (method, *both) for name, (method, both) in node.items()} for node in told]
    metered: dict[str, int | None] = {
        f"{c}_uj": sum_known(n[c][2] for n in nodes if c in n and n[c][0] != "modelled") for c in COMPONENTS
    }
    modelled = sum_known(uj for node in nodes for method, _, uj in node.values() if method == "modelled")
    estimated = sum_known([modelled, more])
    energy = sum_known(metered.values())
    has_carbon = carbon is not None and bool((energy or 0) + (estimated or 0))
    start, end = SLOT + first, min(SLOT + first + length, SLOT + 900)
    whole = Point(
        start,
        end,
        energy,
        **metered,
        estimated_uj=estimated,
        carbon_ug=carbon if has_carbon else None,
        intensity_g_per_kwh=1.0,
    )
    text = minutes.summed([row(node) for node in nodes], estimated)
    if text is None:
        assert energy is None
        assert modelled is None or modelled != estimated or not any(node for node in nodes)
        return
    points = by_minute(whole, SLOT, minutes.unpacked(text))
    for name in ("energy_uj", "estimated_uj", "carbon_ug", *metered):
        assert sum_known(getattr(point, name) for point in points) == getattr(whole, name), name
    edges = [point.start for point in points] + [points[-1].end]
    assert (edges[0], edges[-1]) == (start, end)
    assert edges == sorted(edges)
    assert len(points) == 1 or all(point.end - point.start >= 60 for point in points)
    assert all(edge % 60 == 0 for edge in edges[1:-1])


def test_a_node_without_minutes_leaves_the_slot_as_it_is() -> None:
    """If one of a run's nodes tells no minutes, the slot has none: a part of the power would look like all of it."""
    flat: list[int | None] = [1] * COUNT
    one, other = row({"cpu": ("counter", flat, 15)}), row({"cpu": ("counter", None, 15)})
    nothing = row({"cpu": ("missing", None, None)})
    assert minutes.summed([one, other], None) is None
    assert minutes.summed([nothing], None) is None
    assert minutes.summed([one, nothing], None) == one["minutes"]
    both = minutes.summed([one, one, row({"cpu": ("modelled", flat, 15), "dram": ("counter", flat, 15)})], 15)
    assert both is not None
    assert minutes.unpacked(both) == {"cpu": [2] * COUNT, "dram": flat, ESTIMATED: flat}


def test_steady_power_takes_little() -> None:
    """Fifteen minutes of steady power take few characters; a run of two minutes even fewer."""
    assert len(minutes.packed({"cpu": [6 * 10**9] * COUNT})) <= 28
    assert len(minutes.packed({"cpu": [6 * 10**9, 10**9, *[None] * 13]})) <= 18
