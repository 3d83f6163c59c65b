# SPDX-License-Identifier: MIT
"""A job's slot from the rows of its nodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.db.models import METERED
from carbon_acct.factors.arithmetic import Factors
from carbon_acct.factors.idle_use import IdleUse
from carbon_acct.factors.node_types import NodeTypes
from carbon_acct.sums.job_slot import SHARDS, Delivered, holds_shards, job_slot_row
from carbon_collector.meters.base import COMPONENTS

IDLE = IdleUse(75.0, 20.0)
FACTORS = Factors(pue="1.3", g_per_kwh="401.5", id=3)
LEDGER = SimpleNamespace(node="n1", cpus=4, node_cpus=8, gpus=None)
amounts = st.integers(0, 2**40)
methods = st.sampled_from((None, "counter", "integrated", "shared", "modelled", "missing"))


@st.composite
def rows(draw: Any) -> dict[str, Any]:
    """A row of node_job_slot as receiving makes it."""
    row = {
        "alloc_us": draw(amounts),
        "cpu_us": draw(st.none() | amounts),
        "simulated": draw(st.booleans()),
        "minutes": None,
    }
    for c in COMPONENTS:
        method = draw(methods)
        known = method not in (None, "missing") and draw(st.booleans())
        energy_uj = draw(amounts) if known else None
        row |= {
            f"{c}_method": method,
            f"{c}_uj": energy_uj,
            f"{c}_static_uj": energy_uj and draw(st.none() | st.just(1)),
        }
        row[f"{c}_metered_us"] = draw(amounts) if method else None
        row[f"{c}_reason"] = draw(st.none() | st.sampled_from(("why", 'an "odd" one'))) if method else None
    return row


EMPTY: dict[str, Any] = {"alloc_us": 0, "cpu_us": None, "simulated": False, "minutes": None} | {
    f"{c}_{kind}": None for c in COMPONENTS for kind in ("method", "uj", "static_uj", "metered_us", "reason")
}


@given(rows())
def test_one_row_alone_says_what_it_says_beside_an_empty_one(row: dict[str, Any]) -> None:
    """The way that most jobs take gives what the way for jobs of many nodes gives."""
    alone = job_slot_row((1, 900), [Delivered(LEDGER, row)], None, FACTORS, NodeTypes({}), IDLE)
    beside = job_slot_row(
        (1, 900), [Delivered(LEDGER, row), Delivered(LEDGER, EMPTY)], None, FACTORS, NodeTypes({}), IDLE
    )
    assert alone == beside


@pytest.mark.parametrize(
    ("tres", "expected"),
    [
        ("cpu=2,gres/shard=1,mem=1G", True),
        ("billing=2,cpu=2,gres/shard:a100=3,gres/shard=3", True),
        ("cpu=2,gres/gpu=1,mem=1G", False),
        ("cpu=2,gres/shard=0", False),
        ("cpu=2,gres/shards=4", False),
        ("", False),
        (None, False),
    ],
)
def test_shards_are_read_from_alloc_tres(tres: str | None, expected: bool) -> None:
    """As Slurm writes it, with and without a type; nothing else is taken for it."""
    assert holds_shards(tres) == expected


@given(st.lists(rows(), min_size=1, max_size=4))
def test_a_gpu_of_a_job_with_shards_is_never_called_measured(many: list[dict[str, Any]]) -> None:
    """What its nodes metered is shared, with the reason in the notes; no figure and nothing of other components changes."""
    delivered = [Delivered(LEDGER, row) for row in many]
    whole = job_slot_row((1, 900), delivered, None, FACTORS, NodeTypes({}), IDLE, "cpu=1,gres/gpu=1")
    shards = job_slot_row((1, 900), delivered, None, FACTORS, NodeTypes({}), IDLE, "cpu=1,gres/shard=1")
    metered = any(row["gpu_method"] in ("counter", "integrated") for row in many)

    assert {name: shards[name] for name in shards if name not in ("gpu_method", "notes")} == {
        name: whole[name] for name in whole if name not in ("gpu_method", "notes")
    }
    assert (shards["gpu_method"] == "shared") if metered else (shards["gpu_method"] == whole["gpu_method"])
    assert (SHARDS in (shards["notes"] or "")) == metered


@given(st.lists(rows(), min_size=1, max_size=4))
def test_what_was_metered_and_what_was_modelled_are_added_up_apart(many: list[dict[str, Any]]) -> None:
    """Energy is that of meters, over all rows; what was modelled is in the estimate; unknown is not 0."""
    found = job_slot_row((1, 900), [Delivered(LEDGER, row) for row in many], None, FACTORS, NodeTypes({}), IDLE)
    metered, modelled = [], []
    for c in COMPONENTS:
        of_c = [row for row in many if row[f"{c}_method"]]
        known = [r[f"{c}_uj"] for r in of_c if r[f"{c}_method"] in METERED and r[f"{c}_uj"] is not None]
        assert found[f"{c}_uj"] == (sum(known) if known else None)
        assert found[f"{c}_alloc_us"] == (sum(row["alloc_us"] for row in of_c) if of_c else None)
        metered += known
        modelled += [r[f"{c}_uj"] for r in of_c if r[f"{c}_method"] == "modelled" and r[f"{c}_uj"] is not None]
    assert found["energy_uj"] == (sum(metered) if metered else None)
    assert found["estimated_uj"] == (sum(modelled) if modelled else None)
