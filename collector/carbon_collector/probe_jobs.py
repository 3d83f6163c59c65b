# SPDX-License-Identifier: MIT
"""For `carbon-collector probe`: the jobs that are here, and where CPU time, memory and GPUs of each are read from."""

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
    """Return a fact sheet of each job: those whose ledger the state has, and those that have a cgroup only."""
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
    """Return where each figure comes from; a text that is no path says why there is none."""
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
