# SPDX-License-Identifier: MIT
"""Jobs that go through all the while, and somebody who looks whether a node is ever drained."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from collector.process import eventually

from .site import Site

OWN = """\
#!/bin/sh
# The site's own {kind}.
echo "$SLURM_JOB_ID" >>/var/log/site-{kind}
exit 0
"""
HARMED = ("drain", "down", "fail", "unk")
SUBMIT_S, LOOK_S = 4, 3
"""How often a job is submitted and the nodes are looked at: the machine has the playbook to run as well."""


class Jobs:
    """Submits a job every few seconds, each third on both nodes, until the end of the block and `least` are there; waits for them."""

    def __init__(self, site: Site, least: int = 10) -> None:
        self._site, self._least = site, least
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._submit), threading.Thread(target=self._look)]
        self.nodes_of: dict[str, int] = {}
        self.harm: set[str] = set()
        self.looks = 0

    def __enter__(self) -> Jobs:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not kind:
            eventually(lambda: len(self.nodes_of) >= self._least, "there were jobs enough", 600)
        self._ended.set()
        self._threads[0].join()
        if not kind:
            queue = ["squeue", "--noheader", "--format=%i %T %r"]
            eventually(lambda: not self._site.head.run(queue).stdout, "all jobs have ended", 240)
        self._threads[1].join()

    def _submit(self) -> None:
        while not self._ended.is_set():
            both = len(self.nodes_of) % 3 == 2
            options = ["--nodes=2", "--ntasks=2"] if both else ["--nodes=1"]
            batch = ["sbatch", "--parsable", "--output=/dev/null", "--chdir=/", *options, "--wrap=sleep 0.2"]
            job = self._site.head.run(batch).stdout.strip()
            self.nodes_of[job] = 2 if both else 1
            self._ended.wait(SUBMIT_S)

    def _look(self) -> None:
        while self._threads[0].is_alive():
            states = self._site.states()
            self.harm |= {state for state in states if any(word in state for word in HARMED) or "*" in state}
            held = self._site.head.run(["squeue", "--noheader", "--format=%i %r"], check=False).stdout.splitlines()
            self.harm |= {line for line in held if "held" in line.lower() or "launch" in line.lower()}
            self.looks += 1
            time.sleep(LOOK_S)  # a node stays drained and a job held until somebody sees to it

    def states(self) -> set[str]:
        """The final states of all jobs, from Slurm's accounting."""
        wanted = ",".join(self.nodes_of)

        def known() -> dict[str, str]:
            out = self._site.head.run(["sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", wanted]).stdout
            found = dict(line.split("|") for line in out.splitlines())
            return found if len(found) == len(self.nodes_of) and "RUNNING" not in found.values() else {}

        return set(eventually(known, "slurmdbd knows all jobs", 120).values())

    def runs(self, kind: str) -> dict[str, int]:
        """Job -> how often the site's own script ran, on all nodes together; of the jobs of this block."""
        counted = dict.fromkeys(self.nodes_of, 0)
        for node in ("n1", "n2"):
            log = self._site.machines[node].path(f"var/log/site-{kind}")
            for job in log.read_text().split() if log.exists() else []:
                if job in counted:
                    counted[job] += 1
        return counted
