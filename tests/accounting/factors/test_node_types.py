# SPDX-License-Identifier: MIT
"""Embodied emissions by time and share held: what jobs and nobody had of them is all that there is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.factors.node_types import YEAR_S, NodeType, NodeTypes, held_gpus, load_node_types
from carbon_collector.errors import SettingsError

HEADER = "nodes,embodied_kg,gpu_kg,lifetime_years,gpus,overhead,source\n"


def written(folder: Path, *rows: str) -> NodeTypes:
    path = folder / "hardware.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return load_node_types(str(path))


def test_a_year_of_a_node(tmp_path: Path) -> None:
    """A node's years add up to what making it emitted, GPUs included."""
    found = written(tmp_path, "n[1-2],1500,164,5,4,,vendor's PCF")
    node = found.type_of("n2")

    assert node is not None
    assert node.node_ug(5 * YEAR_S) == (1500 + 4 * 164) * 10**9
    assert found.embodied_ug(5 * YEAR_S) == 2 * (1500 + 4 * 164) * 10**9
    assert found.type_of("n3") is None


@given(st.lists(st.integers(1, 16), min_size=1, max_size=6), st.integers(1, 10**12))
def test_jobs_never_have_more_than_the_node(cpus: list[int], alloc_us: int) -> None:
    """Jobs that hold parts of a node at a time have at most what it has; less than a microgram each is the rounding."""
    node = NodeType(Fraction(1500), Fraction(0), Fraction(5 * YEAR_S), 0, None, "x")
    parts = [node.embodied_ug(alloc_us, Fraction(c, sum(cpus)), Fraction(0)) or 0 for c in cpus]
    whole = Fraction(1500) * 10**9 * alloc_us / (5 * YEAR_S * 10**6)

    assert 0 <= whole - sum(parts) < len(parts)


def test_held_gpus() -> None:
    """A MIG device is a seventh of a GPU."""
    assert held_gpus(["GPU-1", "MIG-2", "MIG-3"]) == Fraction(9, 7)


def test_nothing_stated(tmp_path: Path) -> None:
    """Where the site states nothing, nothing is known; it is not 0."""
    assert load_node_types("").embodied_ug(YEAR_S) is None
    node = written(tmp_path, "n1,,,,,1.2,").type_of("n1")
    assert node is not None
    assert (node.node_ug(YEAR_S), node.overhead) == (None, Fraction(6, 5))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("n1,1500,,,,,x", "2: embodied_kg needs lifetime_years"),
        ("n1,1500,,5,,,", "2: embodied_kg needs its source"),
        ("n1,-3,,5,,,x", "2: embodied_kg = -3: not a number"),
        ("n1,,,,,0.5,", "overhead = 0.5"),
        ("n[1,,,,,,", "not a node list"),
    ],
)
def test_wrong(tmp_path: Path, row: str, says: str) -> None:
    """A bad line is named by its number, with what is wrong."""
    with pytest.raises(SettingsError, match=says.replace("[", r"\[")):
        written(tmp_path, row)


def test_a_node_twice(tmp_path: Path) -> None:
    """A node belongs to one type."""
    with pytest.raises(SettingsError, match="node n2 is in two rows"):
        written(tmp_path, "n[1-2],,,,,,", "n[2-3],,,,,,")


def test_an_unknown_column(tmp_path: Path) -> None:
    """A column that nobody knows is not silently dropped."""
    path = tmp_path / "hardware.csv"
    path.write_text("nodes,kg\nn1,5\n")
    with pytest.raises(SettingsError, match="unknown column 'kg'"):
        load_node_types(str(path))
