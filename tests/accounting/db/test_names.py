# SPDX-License-Identifier: MIT
"""Names come back as they went in, and differ where they differ, whatever the database thinks of letters."""

from __future__ import annotations

from typing import Any

import pytest

from accounting.delivery.test_store import deliver, only, shown, tell
from accounting.samples import SLOT, job, job_slot, ledger, segment
from carbon_acct.site import Site

ALIKE = ["alice", "Alice", "alice ", "älice", "alicé", "ALICE", "alice\u200b", "ａlice"]


def test_users_that_look_alike(site: Site) -> None:
    """Case, accents, width and blanks at the end make another user: nobody is shown another's jobs."""
    tell(site, *(job(job_id_raw=n, job_id=str(n), user=user, uid=n) for n, user in enumerate(ALIKE, 1)))

    assert [[r.uid for r in shown(site, users=[user])] for user in ALIKE] == [[n] for n in range(1, len(ALIKE) + 1)]


@pytest.mark.parametrize(
    "name",
    ["", "🔥" * 300, "\ufffd\ufffd", "a\tb\\n'\"`; --", "%s %(x)s :y {0} ?", "\u202egnp.exe", "x" * 70_000, "\x1b[31m"],
)
def test_job_names(site: Site, name: str) -> None:
    """Emoji, what is left of broken UTF-8, quotes, place holders, escapes and seventy thousand letters."""
    tell(site, job(name=name))

    assert only(site).name == name


def test_long_words(site: Site) -> None:
    """A word of Slurm's that is longer than a column is cut to it, and stops no poll: an array's list of tasks may be."""
    tasks = "7_[" + ",".join(str(n) for n in range(0, 400, 2)) + "]"
    tell(
        site, job(job_id=tasks, partition=",".join(f"p{n}" for n in range(100)), state="PENDING", start=None, end=None)
    )
    tell(
        site, job(job_id=tasks, partition=",".join(f"p{n}" for n in range(100)), state="PENDING", start=None, end=None)
    )

    assert tasks.startswith(only(site).job_id)
    assert len(only(site).partition or "") == 255


def test_many_refused_lines(site: Site) -> None:
    """The answer to a segment with thousands of bad lines is kept as a whole."""
    bad: list[Any] = [job_slot(slot=SLOT + 1)] * 2000
    receipt = deliver(site, segment([ledger(), *bad]))

    assert len(receipt.refused) == 2000
    assert deliver(site, segment([ledger(), *bad])) == receipt
