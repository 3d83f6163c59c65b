# SPDX-License-Identifier: MIT
"""Live energy: while a job runs, its owner can read what it came to so far, and nobody else can.

One small file a job, owned by the job's user, mode 0400: totals at tick rate of the own job alone. Finer or wider
would be a side channel (CVE-2020-8694).
"""

from __future__ import annotations

import os

from .attribution.ledger import Ledger
from .durable import write_durably
from .lean import json


class Live:
    """The files in `folder`, which users may enter but not list."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        os.makedirs(folder, mode=0o711, exist_ok=True)
        os.chmod(folder, 0o711)  # noqa: S103 - the umask may have taken bits away; entering is not listing
        # What a collector that was killed has left stays readable until the first reading says what still runs.
        self._shown = set(os.listdir(folder))

    def show(self, ledgers: list[Ledger], wall_us: int) -> None:
        """Write the files of open ledgers, remove those of the others."""
        shown = set()
        for ledger in ledgers:
            if ledger.closed_us is None and ledger.job.uid is not None and ledger.totals:
                name = f"{ledger.job.job_id}.json"
                self._write(name, ledger, ledger.job.uid, wall_us)
                shown.add(name)
        for name in self._shown - shown:
            if os.path.exists(f"{self.folder}/{name}"):  # the run directory may have been wiped
                os.unlink(f"{self.folder}/{name}")
        self._shown = shown

    def _write(self, name: str, ledger: Ledger, uid: int, wall_us: int) -> None:
        energies = {f"{component}_uj": uj for component, uj in sorted(ledger.totals.items())}
        facts = {"job_id": ledger.job.job_id, "run": ledger.job.run, "at": wall_us // 1_000_000, **energies}
        path = f"{self.folder}/{name}"
        write_durably(path, json.dumps(facts).encode() + b"\n", mode=0o400, sync=False, uid=uid)
