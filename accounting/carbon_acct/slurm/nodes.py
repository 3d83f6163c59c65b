# SPDX-License-Identifier: MIT
"""The nodes of the cluster and the hosts they live on. They decide who may deliver for which node."""

from __future__ import annotations

from dataclasses import dataclass

from carbon_acct.slurm.programs import Programs


@dataclass(frozen=True)
class NodeHost:
    """A node's NodeName and where it lives: NodeHostName and NodeAddr. Several nodes may share a host."""

    name: str
    hostname: str
    address: str


def load_nodes(programs: Programs) -> dict[str, NodeHost]:
    """Return all nodes by NodeName, by one `sinfo`. Raises SlurmError."""
    text = programs.run("sinfo", "-h", "-a", "-N", "-O", "NodeList:256,NodeHost:256,NodeAddr:256")
    nodes = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            nodes[words[0]] = NodeHost(*words)
    return nodes


def load_cluster_config(programs: Programs) -> dict[str, str]:
    """Return slurmctld's configuration by key, from `scontrol show config`. Raises SlurmError."""
    return parse_config(programs.run("scontrol", "show", "config"))


def parse_config(text: str) -> dict[str, str]:
    """Return the `Key   = value` lines of `scontrol show config` and `sacctmgr show configuration` by key."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
