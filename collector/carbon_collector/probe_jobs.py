# SPDX-License-Identifier: MIT
"""Gathers for `carbon-collector probe` the jobs on this node, and the files from which CPU time, memory and GPUs of
each are read.
"""

from __future__ import annotations

import os

from .lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from .attribution.books import Books
    from .attribution.ledger import Ledger
    from .cgroups import Cgroups, Found

NOTHING_CONFINES = "nothing confines it; its share is by its CPUs"


def jobs(books: Books, cgroups: Cgroups) -> list[dict[str, Any]]:
    """Return the facts of each job: the jobs whose ledger is in the state, and those that have only a cgroup."""
    found = cgroups.jobs()
    sheets = []
    known = set()
    for ledger in books.open_ledgers():
        here = next((found[name] for name in ledger.cgroup_names if name in found), None)
        known |= {*ledger.cgroup_names}
        sheets.append(_sheet(str(ledger.job.job_id), here, cgroups, ledger))
    sheets += [_sheet(name, one, cgroups, None) for name, one in found.items() if name not in known]
    return sheets


def _sheet(name: str, found: Found | None, cgroups: Cgroups, ledger: Ledger | None) -> dict[str, Any]:
    """Return the source of each figure of a job. A text that is no path says why there is no source."""
    files = cgroups.files(found) if found else {}
    absent = "it has no cgroup (no step runs, or Slurm does not make any)"
    return {
        "job": name,
        "ticket": ledger is not None and ledger.source != "cgroup",
        "cpus": ledger.job.cpus if ledger else None,
        **{kind: _source(files.get(kind, ""), absent if not found else "") for kind in ("cpu", "memory")},
        "cpuset": _source(files.get("cpuset", ""), absent if not found else NOTHING_CONFINES),
        "gpus": dict(ledger.parts) if ledger else {},
    }


def _source(path: str, why_not: str) -> str:
    if path and os.access(path, os.R_OK):
        return path
    return why_not or f"{path or 'a file of its cgroup'} is not there"
