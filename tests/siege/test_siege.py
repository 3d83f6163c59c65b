# SPDX-License-Identifier: MIT
"""A short siege: `make siege` has the long one, and its table."""

from __future__ import annotations

import os
import shutil

import pytest

from siege.siege import FILES, MEMORY, MIB, besiege


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: credentials of several users are needed")
@pytest.mark.skipif(shutil.which("munged", path="/usr/sbin:/usr/bin") is None, reason="munged is not installed")
def test_the_host_holds() -> None:
    """With two GiB and 1,024 descriptors, attacked in every way at once, no honest request is refused, nothing forged
    counts, nothing comes through, and memory and descriptors stay well within the limits.
    """
    outcome = besiege(15, 2000)
    table = "\n".join(outcome.table())
    print(table)
    assert outcome.refused == {"deliver": [], "ask": [], "health": [], "metrics": []}, table
    assert all(len(times) >= 3 for times in outcome.times.values()), table
    assert outcome.counted_rows == 0
    assert [(kind, through) for kind, _, _, through in outcome.attacks if through] == []
    assert outcome.most_mib < 0.75 * MEMORY / MIB, table
    assert outcome.most_files < 0.9 * FILES, table
    assert "Traceback" not in outcome.log
