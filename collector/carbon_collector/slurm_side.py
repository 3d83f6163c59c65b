# SPDX-License-Identifier: MIT
"""Keeps what Slurm says about this node, and decides which tickets are this node's.

The tickets name the node, because the shipped unit does not, and the host's own name need not be Slurm's. What is
learned is kept in the state on disk, so that Slurm is asked once and not at each start.
"""

from __future__ import annotations

import os

from .lean.typing import TYPE_CHECKING
from .slurm_node import Answer, Held, Question, cores_of, reckon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .attribution.ledger import Ledger
    from .log import Log
    from .ticket import Ticket


class SlurmSide:
    """NodeName, ClusterName, and how many CPUs and shards Slurm counts on this node (0: not known).

    `name` is empty where nobody has named the node: then it is the host's own name up to its first dot, until a ticket
    or Slurm says otherwise.
    """

    def __init__(self, name: str, threads: int, sysfs: str, log: Log) -> None:
        self.name = name or os.uname().nodename.partition(".")[0]
        self.cluster = ""
        self.shards = 0
        self.others: set[str] = set()
        self.cpus = 0
        self._is_told = False
        self._is_certain = False
        self._threads = threads
        self._cores = cores_of(sysfs)
        self._sysfs = sysfs
        self._log = log
        self._is_guess = not name
        self._conf = os.environ.get("SLURM_CONF", "")
        self._question = Question()
        self._answer = Answer([], {}, "")

    # -- whose a ticket is --------------------------------------------------------------------------------------

    def new_name(self, one: Ticket, is_busy: Callable[[], bool]) -> str | None:
        """Return the NodeName that holds from this ticket on, which mostly is the old one; `None` to refuse the ticket.

        `is_busy`: a job of this node is here. One collector meters one slurmd: where several run on a host, what the
        meters count cannot be told apart.
        """
        self._conf = one.slurm_conf or self._conf
        if not one.node or one.node == self.name:
            self._is_guess &= not one.node
            return self.name
        if not is_busy():
            return one.node
        self.others.add(one.node)
        if not self._is_told:
            self._forget_counts()  # what was reckoned of this node's jobs alone is not the host's
        self._log.once(
            f"node {one.node}",
            f"job {one.job.job_id} of node {one.node} is not metered: this collector meters {self.name}, and the meters "
            "of a host cannot tell several slurmd apart (carbon-collector(8), SEVERAL SLURMD)",
        )
        return None

    def rename(self, name: str) -> None:
        """Take another NodeName."""
        self.name, self._is_guess = name, False
        self._forget_counts()
        self._take_counts()
        if not self._is_told:
            self._question = Question()

    def _forget_counts(self) -> None:
        self.cpus, self.shards, self._is_told, self._is_certain = 0, 0, False, False

    # -- what Slurm says ----------------------------------------------------------------------------------------

    def follow(self, has_cluster: bool) -> str:
        """Ask Slurm what is not known yet, and take in what it says; return the NodeName that the node has to Slurm."""
        if self._is_told and has_cluster and not self._is_guess:
            return self.name
        answer = self._question.follow("" if self._is_guess else self.name, self._conf)
        if answer is None:
            return self.name
        self._answer = answer
        self.cluster = answer.cluster or self.cluster
        if self._is_guess and len(answer.names) == 1:
            self._is_guess = answer.names[0] != self.name
            if self._is_guess:
                return answer.names[0]
        self._take_counts()
        return self.name

    def _take_counts(self) -> None:
        """Take in Slurm's counts. Of a host with several slurmd this node has its own CPUs of all of theirs."""
        nodes = self._answer.nodes
        if self.name not in nodes:
            return
        self.others |= nodes.keys() - {self.name}
        self.cpus, self.shards = sum(one.cpus for one in nodes.values()), nodes[self.name].shards
        self._is_told = True
        if self.cpus not in (self._threads, self._cores):
            linux = f"{self._threads} on {self._cores} cores" if self._cores else f"{self._threads}"
            self._log.once(
                "cpus",
                f"Slurm counts {self.cpus} CPUs on {self.name}, Linux {linux}; a job's share is its CPUs of Slurm's",
            )

    def count(self, threads: int, ledgers: Iterable[Ledger]) -> int:
        """Return how many CPUs Slurm counts here: as it says, else as the jobs' tickets tell, else Linux's `threads`."""
        if threads != self._threads:  # CPUs were switched on or off
            self._threads, self._cores = threads, cores_of(self._sysfs)
        held = [
            Held(ledger.job.cpus, len(ledger.cpuset), ledger.job.exclusive) for ledger in ledgers if ledger.job.cpus
        ]
        if not self._is_told and not self.others:
            found = reckon(threads, self._cores, held)
            if found.certain or (found.cpus and not self._is_certain):
                self.cpus, self._is_certain = found
        return max(self.cpus or threads, sum(one.cpus for one in held))

    # -- the state on disk --------------------------------------------------------------------------------------

    def save(self) -> list[Any]:
        """Return what is known, as JSON takes it."""
        return [self.name, self._is_guess, self.cpus, self.shards, self._is_told, self._is_certain]

    def load(self, saved: list[Any]) -> None:
        """Take up what an earlier collector knew of this node. Raises TypeError, ValueError for what is no state."""
        self.name, self._is_guess, self.cpus, self.shards, self._is_told, self._is_certain = saved
