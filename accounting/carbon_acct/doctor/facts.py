# SPDX-License-Identifier: MIT
"""What can be found out about a site without asking anybody: Slurm's release, cluster, nodes and hooks, and this host.

What does not answer is unknown: a site may be set up before its Slurm runs.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carbon_acct.access.node import own_names
from carbon_acct.api.address import is_loopback
from carbon_acct.errors import SlurmError
from carbon_acct.slurm.nodes import NodeHost, load_nodes
from carbon_acct.slurm.programs import Programs

AGGREGATOR_USER = "carbon-acct"
SYSTEM_UIDS = 1000
"""The uid from which on an account is a person's, or a cluster's own."""


@dataclass(frozen=True)
class Facts:
    """What was found. `problem` is why Slurm did not answer. `hooks`: the lines of Prolog, Epilog and PrologFlags.

    `aggregator_uid`: of the user `carbon-acct`, where there is one. `debian`: packages are installed by dpkg.
    """

    host: str
    distribution: str
    debian: bool
    release: tuple[int, int] | None = None
    cluster: str = ""
    nodes: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    private: str = ""
    aggregator_uid: int | None = None
    problem: str = ""


def find(programs: Programs, os_release: Path = Path("/etc/os-release")) -> Facts:
    """Return the facts of this host and its Slurm."""
    named = _os_release(os_release)
    family = f"{named.get('ID', '')} {named.get('ID_LIKE', '')}".split()
    host = Facts(
        host=socket.gethostname(),
        distribution=named.get("PRETTY_NAME", "an unknown distribution"),
        debian="debian" in family or "ubuntu" in family,
        aggregator_uid=_uid(),
    )
    try:
        return _with_slurm(host, programs)
    except SlurmError as err:
        return Facts(**{**host.__dict__, "problem": str(err)})


def _with_slurm(host: Facts, programs: Programs) -> Facts:
    config = lines_of(programs.run("scontrol", "show", "config"))
    nodes = load_nodes(programs)
    dbd = lines_of(programs.run("sacctmgr", "show", "configuration"))
    return Facts(
        **{
            **host.__dict__,
            "release": programs.version(),
            "cluster": "".join(config.get("ClusterName", ())),
            "nodes": tuple(sorted(nodes)),
            "elsewhere": tuple(elsewhere(nodes)),
            "hooks": {key: config[key] for key in ("Prolog", "Epilog", "PrologFlags") if key in config},
            "private": ",".join(dbd.get("PrivateData", ("none",))),
        }
    )


def lines_of(text: str) -> dict[str, tuple[str, ...]]:
    """Return what slurmctld or slurmdbd runs with, by key. A setting with several lines (`Prolog[0]`, Slurm 24.05 and
    newer) has several values; what is not set is not in it.
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if equals and value not in ("", "(null)"):
            name = key.partition("[")[0]
            found[name] = (*found.get(name, ()), value)
    return found


def elsewhere(nodes: Mapping[str, NodeHost]) -> list[str]:
    """Return the names of the nodes that are not on this host, sorted."""
    own = own_names()
    return sorted(
        name
        for name, node in nodes.items()
        if node.hostname.lower().partition(".")[0] not in own and not is_loopback(node.address)
    )


def _uid() -> int | None:
    try:
        return pwd.getpwnam(AGGREGATOR_USER).pw_uid
    except KeyError:
        return None


def _os_release(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {"PRETTY_NAME": " ".join(os.uname()[:3:2])}
    return {key: value.strip("\"'") for key, equals, value in (line.partition("=") for line in lines) if equals}
