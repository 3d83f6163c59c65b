# SPDX-License-Identifier: MIT
"""Says who may deliver for a node: root, from the host on which Slurm says the node lives.

Which jobs a user may see is another question, which `viewer` answers.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from carbon_acct.errors import RefusedError

if TYPE_CHECKING:
    from carbon_acct.access.munge import Identity
    from carbon_acct.slurm.nodes import NodeHost
    from carbon_acct.slurm.state import SlurmState


def check_root(identity: Identity) -> None:
    """Raise RefusedError 403 unless root made the credential."""
    if identity.uid != 0:
        raise RefusedError(403, f"only root delivers segments, this is uid {identity.uid}", "not_root")


def check_delivery(identity: Identity, peer: str, cluster: str, node: str, state: SlurmState) -> None:
    """Raise RefusedError unless this credential may deliver for the node.

    The status is 403 where the refusal is final, and 503 as long as Slurm has not said which nodes there are.
    """
    check_root(identity)
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
    """Raise RefusedError 403 for the records of another cluster; an empty `ours` accepts any cluster."""
    if ours and cluster != ours:
        raise RefusedError(403, f"cluster {cluster} is not accounted here, {ours} is", "foreign_cluster")


def speaks_for(identity: Identity, peer: str, node: NodeHost, own: frozenset[str]) -> bool:
    """Return whether a credential comes from the host on which the node lives. `own` are the names of this host.

    munged puts the address of the host into the credential, and the name is looked up here. A host whose own name
    resolves to loopback (Debian's 127.0.1.1) makes credentials that look like those of this host, wherever it is.
    In that case the address of the connection, `peer`, says which host it is.
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
    """Return the names of this host."""
    return _forms(socket.gethostname()) | {"localhost"}


def _forms(name: str) -> frozenset[str]:
    """Return a host's name as it is and up to its first dot; an address only as it is."""
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
