# SPDX-License-Identifier: MIT
"""The aggregator's knowledge of Slurm: its nodes, rights and limits, and when it last answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from carbon_acct.slurm.dbd import DbdLimits
from carbon_acct.slurm.nodes import NodeHost
from carbon_acct.slurm.rights import Rights


@dataclass(frozen=True)
class SlurmState:
    """What the last answers of Slurm said. `nodes` and `rights` are None until Slurm has answered once.

    `departed` are nodes that Slurm no longer has, because they were renamed or deleted since the aggregator started:
    their hosts may still hold rows of them.
    """

    cluster: str = ""
    nodes: dict[str, NodeHost] | None = None
    rights: Rights | None = None
    source: str = ""
    polled_at: int | None = None
    error: str = ""
    limits: DbdLimits = field(default_factory=DbdLimits)
    behind_s: int = 0
    """The time up to now about which Slurm has not been asked yet, in seconds."""
    departed: dict[str, NodeHost] = field(default_factory=dict)

    def host_of(self, node: str) -> NodeHost | None:
        """Return where a node lives, or lived before it was renamed or deleted; None for one that Slurm never named."""
        return (self.nodes or {}).get(node) or self.departed.get(node)

    def purged_before(self, now: int) -> int:
        """Return the time before which ended jobs may have been purged by slurmdbd; 0 where it purges none."""
        keep = self.limits.keep_jobs_s
        return 0 if keep is None else max(0, now - keep)
