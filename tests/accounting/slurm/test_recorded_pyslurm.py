# SPDX-License-Identifier: MIT
"""What a real pyslurm said of a real cluster's jobs (slurm/compare_pyslurm.py recorded it), and the stand-in beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accounting.samples import job
from accounting.slurm.pyslurm_stand_in import attributes
from carbon_acct.slurm.pyslurm_child import ATTRIBUTES
from carbon_acct.slurm.pyslurm_db import _job
from slurm.compare_pyslurm import KNOWN

from .test_pyslurm import OLD, UNTOLD

RECORDED = sorted((Path(__file__).parent / "pyslurm").glob("*.jsonl"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_pyslurm_says(path: Path) -> None:
    """Jobs of every kind are read; tasks have sacct's JobIDs, components of heterogeneous jobs their own numbers."""
    header, *lines = (json.loads(line) for line in path.read_text().splitlines())
    found = {j.job_id: j for j in map(_job, lines)}

    assert tuple(header["lacks"]) == OLD
    assert {"9_1", "9_2", "9_3", "10", "11"} <= found.keys()
    assert {j.state.partition(" by ")[0] for j in found.values()} >= {"COMPLETED", "FAILED", "CANCELLED", "RUNNING"}
    assert {"a|b|7|COMPLETED|", "first\nsecond\n"} <= {j.name for j in found.values()}
    assert [j.state for j in found.values() if j.name == "resized"] == ["COMPLETED"]
    assert {j.alloc_tres for j in found.values()} == {None}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_stand_in_has_what_the_real_one_has(path: Path) -> None:
    """The stand-in's attributes are those that are asked for, and of the kinds that the real one showed."""
    _, *lines = (json.loads(line) for line in path.read_text().splitlines())
    ours = attributes(job(state="CANCELLED by 0", exit_code="1:9"))

    assert set(ours) == set(ATTRIBUTES)
    for name, value in ours.items():
        kinds = {type(line[name]) for line in lines}
        assert value is None or type(value) in kinds, (name, kinds)


def test_each_field_that_pyslurm_does_not_tell_has_its_reason() -> None:
    """A field of sacct's that the adapter leaves out is known where a real pyslurm is compared, or that would fail."""
    assert set(KNOWN) >= set(UNTOLD)
