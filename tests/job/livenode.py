# SPDX-License-Identifier: MIT
"""A small stand-in for a node's collector: it writes the live file (version 2) of one job and answers its FIFO.

The power of each component is a function of the time, so the truth between any two moments is known. As a collector
does, it writes at ticks, takes at most one step a second when asked, and rounds energies down to 0.1 J.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

QUANTUM_UJ = 100_000
GRID_S = 0.001

Power = Callable[[float], float]
"""Seconds since the node began -> watts."""


class LiveNode:
    """A node whose collector runs between `start` and `stop`; a context manager.

    `power` names the components that are measured, `missing` those that are not, with the reason. `refresh_s` None:
    nobody can ask.
    """

    def __init__(
        self,
        run_dir: Path,
        power: dict[str, Power],
        *,
        job_id: str = "77",
        node: str = "n1",
        tick_s: float = 10.0,
        refresh_s: float | None = 1.0,
        missing: dict[str, str] | None = None,
    ) -> None:
        self.folder = run_dir / "live"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / f"{job_id}.json"
        self.fifo = self.folder / f"{job_id}.ask"
        self.job_id, self.node, self.power, self.missing = job_id, node, power, missing or {}
        self.tick_s, self.refresh_s = tick_s, refresh_s
        self.begin_us = time.time_ns() // 1000
        self.steps = 0
        self._integral = {name: [0.0] for name in power}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """What Slurm and the site would set for a process of the job."""
        return {
            "SLURM_JOB_ID": self.job_id,
            "SLURMD_NODENAME": self.node,
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_JOB_NAME": "training",
            "CARBON_ACCT_RUN_DIR": str(self.folder.parent),
            "CARBON_ACCT_CONF": str(self.folder / "none.conf"),
            **more,
        }

    def truth_j(self, begin_us: float, end_us: float, name: str | None = None) -> float:
        """Return the joules between two moments of Unix time, of one component or of all."""
        names = [name] if name else list(self.power)
        return sum(self._until(n, end_us) - self._until(n, begin_us) for n in names)

    def _until(self, name: str, time_us: float) -> float:
        """The integral of the power on a grid of a millisecond."""
        integral, seconds = self._integral[name], max(0.0, (time_us - self.begin_us) / 1e6)
        whole = int(seconds / GRID_S)
        while len(integral) <= whole:
            middle = (len(integral) - 0.5) * GRID_S
            integral.append(integral[-1] + GRID_S * self.power[name](middle))
        return integral[whole] + (seconds - whole * GRID_S) * self.power[name](seconds)

    def write(self) -> None:
        """Take a step: replace the live file."""
        now_us = time.time_ns() // 1000
        held_us = now_us - self.begin_us
        components: dict[str, dict[str, object]] = {}
        for name in self.power:
            uj = int(self._until(name, now_us) * 1e6) // QUANTUM_UJ * QUANTUM_UJ
            components[name] = {"energy_uj": uj, "static_uj": 0, "metered_us": held_us, "method": "counter"}
        for name, why in self.missing.items():
            components[name] = {"missing": why}
        self.steps += 1
        facts = {
            "version": 2,
            "cluster": "c",
            "node": self.node,
            "job_id": int(self.job_id),
            "run": "1",
            "sequence": self.steps,
            "time_us": now_us,
            "begin_us": self.begin_us,
            "held_us": held_us,
            "simulated": True,
            "components": components,
        }
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(facts) + "\n")
        fresh.chmod(0o400)
        fresh.replace(self.path)

    def start(self) -> LiveNode:
        """Begin to write and to listen."""
        self._stop.clear()
        if self.refresh_s is not None and not self.fifo.exists():
            os.mkfifo(self.fifo, 0o200)
        self.write()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End as a killed collector does: the file stays as it is."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        fifo = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK) if self.refresh_s is not None else None
        stepped = ticked = time.monotonic()
        try:
            while not self._stop.is_set():
                now = time.monotonic()
                open_s = stepped + (self.refresh_s or 0) - now
                due_s = max(0.0, min(0.05, ticked + self.tick_s - now))
                listen = [fifo] if fifo is not None and open_s <= 0 else []
                asked = select.select(listen, [], [], min(due_s, max(0.001, open_s)) if not listen else due_s)[0]
                if asked and fifo is not None:
                    os.read(fifo, 65536)
                ticks = time.monotonic() - ticked >= self.tick_s
                if asked or ticks:
                    stepped = time.monotonic()
                    ticked = stepped if ticks else ticked
                    self.write()
        finally:
            if fifo is not None:
                os.close(fifo)

    def __enter__(self) -> LiveNode:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()
