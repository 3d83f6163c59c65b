# SPDX-License-Identifier: MIT
"""Who may deliver for a node, and who may see which jobs.

Deliver: root, from the host on which Slurm says the node lives. See: what slurmdbd would show.
"""

from __future__ import annotations

import ipaddress
import pwd
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carbon_acct.errors import RefusedError

if TYPE_CHECKING:
    from carbon_acct.access.munge import Identity
    from carbon_acct.slurm.nodes import NodeHost
    from carbon_acct.sync.slurm import SlurmState


@dataclass(frozen=True)
class Viewer:
    """Who asks, and what that one may see: all jobs, or those of `user` and of `accounts`; totals of everybody's usage.

    `user` is the name under which slurmdbd knows the uid, empty where it knows none: jobs belong to associations there,
    and those to names. A uid that was given to somebody else does not bring the jobs of its former owner.
    """

    uid: int
    sees_all: bool
    user: str = ""
    accounts: frozenset[str] = frozenset()
    operator: bool = False
    sees_totals: bool = False


def viewer(uid: int, state: SlurmState) -> Viewer:
    """The rights of a uid. As long as Slurm's rights were never known, only root sees others' jobs."""
    rights, user = state.rights, _user_name(uid)
    if uid == 0 or (rights is not None and uid == rights.slurm_uid):
        return Viewer(uid, sees_all=True, operator=True, sees_totals=True)
    if rights is None:
        return Viewer(uid, sees_all=False, user=user)
    operator = user in rights.operators
    return Viewer(
        uid,
        sees_all=operator or not rights.private_jobs,
        user=user if user in rights.users else "",
        accounts=rights.accounts_of(user),
        operator=operator,
        sees_totals=operator or not (rights.private_jobs or rights.private_usage),
    )


def check_delivery(identity: Identity, peer: str, cluster: str, node: str, state: SlurmState) -> None:
    """Raises RefusedError: 403 where it is final, 503 where Slurm has yet to say which nodes there are."""
    if identity.uid != 0:
        raise RefusedError(403, f"only root delivers segments, this is uid {identity.uid}", "not_root")
    if state.nodes is None or not state.cluster:
        raise RefusedError(503, "Slurm's nodes are not known yet; try again")
    check_cluster(cluster, state.cluster)
    host = state.nodes.get(node)
    if host is None:
        raise RefusedError(403, f"node {node} is not known to Slurm", "unknown_node")
    if not speaks_for(identity, peer, host, own_names()):
        reason = f"{identity.host} may not deliver for node {node}, which lives on {host.hostname}"
        raise RefusedError(403, reason, "foreign_node")


def check_cluster(cluster: str, ours: str) -> None:
    """Raises RefusedError 403 for the records of another cluster; `ours` empty: any will do."""
    if ours and cluster != ours:
        raise RefusedError(403, f"cluster {cluster} is not accounted here, {ours} is", "foreign_cluster")


def speaks_for(identity: Identity, peer: str, node: NodeHost, own: frozenset[str]) -> bool:
    """Whether a credential comes from the host of a node.

    munged puts the host's address into the credential, and its name is looked up here. A host whose
    name resolves to loopback (Debian's 127.0.1.1) makes credentials that look like this host's own, wherever
    it is: then the connection's own address says which host it is.
    """
    address = identity.address
    if _names_no_host(address):
        address, names = peer, own if _loopback(peer) else frozenset()
    else:
        names = _forms(identity.host)
    wanted = _forms(node.hostname) | _forms(node.address)
    if names & wanted or address in wanted:
        return True
    if names & own:
        return any(_loopback(name) for name in (node.hostname, node.address))
    return bool(address) and address in _addresses(node.address)


def own_names() -> frozenset[str]:
    """Names of this host."""
    return _forms(socket.gethostname()) | {"localhost"}


def _forms(name: str) -> frozenset[str]:
    """A host's name as it is and up to its first dot; an address only as it is."""
    lower = name.lower()
    return frozenset({lower} if _is_address(lower) else {lower, lower.partition(".")[0]})


def _addresses(name: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    except OSError:
        return set()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _loopback(text: str) -> bool:
    return text.lower() == "localhost" or (_is_address(text) and ipaddress.ip_address(text).is_loopback)


def _names_no_host(address: str) -> bool:
    return _loopback(address) or not _is_address(address) or ipaddress.ip_address(address).is_unspecified


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
