# SPDX-License-Identifier: MIT
"""Says who may deliver for a node: root, from the host on which Slurm says the node lives.

Which jobs a user may see is another question, which `viewer` answers.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from carbon_acct.errors import RefusedError

if TYPE_CHECKING:
    from carbon_acct.access.munge import Identity
    from carbon_acct.slurm.nodes import NodeHost
    from carbon_acct.slurm.state import SlurmState


LOOKUP_S = 60
"""The addresses of a name are looked up so often."""

MOST_ALLOWED = 50_000
"""The number of nodes whose deliveries are remembered as allowed."""


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
    host = state.host_of(node)
    if host is None:
        raise RefusedError(403, f"node {node} is not known to Slurm", "unknown_node")
    if not speaks_for(identity, peer, host, own_names()):
        reason = f"{identity.host} may not deliver for node {node}, which lives on {host.hostname}"
        raise RefusedError(403, reason, "foreign_node")


class Allowed:
    """The deliveries that `check_delivery` allowed in this minute. Most come again, and need no name to be resolved."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[Identity, str, str, str], NodeHost] = {}
        self._at = _period()

    def add(self, identity: Identity, peer: str, cluster: str, node: str, state: SlurmState) -> None:
        """Remember what was allowed."""
        if self._at != _period() or len(self._hosts) >= MOST_ALLOWED:
            self._hosts, self._at = {}, _period()
        if host := state.host_of(node):
            self._hosts[identity._replace(payload=""), peer, cluster, node] = host

    def holds(self, identity: Identity, peer: str, cluster: str, node: str, state: SlurmState) -> bool:
        """Return whether the same was allowed in this minute, and Slurm says the same of the node as then."""
        if self._at != _period() or not state.nodes or cluster != state.cluster:
            return False
        host = self._hosts.get((identity._replace(payload=""), peer, cluster, node))
        return host is not None and host == state.host_of(node)


def check_cluster(cluster: str, ours: str) -> None:
    """Raise RefusedError 403 for the records of another cluster; an empty `ours` accepts any cluster."""
    if ours and cluster != ours:
        raise RefusedError(403, f"cluster {cluster} is not accounted here, {ours} is", "foreign_cluster")


def speaks_for(identity: Identity, peer: str, node: NodeHost, own: frozenset[str]) -> bool:
    """Return whether a credential comes from the host on which the node lives. `own` are the names of this host.

    Two addresses must be the node's: the one that munged put into the credential, and that of the connection, `peer`.
    Root of a host can have munged write any origin (munged --origin), and anybody can connect; both at once is the host.
    Where munged states no host (its name resolves to loopback, as with Debian's 127.0.1.1), the connection alone says it.
    """
    if not _is_of(peer, node, own):
        return False
    if _names_no_host(identity.address) or identity.address == peer or _is_of(identity.address, node, own):
        return True
    return _loopback(peer) and is_here(identity.address, _period())


def _is_of(address: str, node: NodeHost, own: frozenset[str]) -> bool:
    """Return whether an address is a node's.

    It is if the node's NodeAddr or NodeHostName resolves to it. It is too if it is a loopback address and the node is
    this host. The address is never resolved to a name: whoever owns the address chooses that name.
    """
    if not _is_address(address):
        return False
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    plain = str(mapped or ipaddress.ip_address(address))
    names = {node.address, node.hostname}
    if plain in names or any(plain in _addresses(name, _period()) for name in names):
        return True
    # A node on this host speaks over loopback, whatever its address is.
    return _loopback(plain) and any(_loopback(name) or not _forms(name).isdisjoint(own) for name in names)


def own_names() -> frozenset[str]:
    """Return the names of this host."""
    return _forms(socket.gethostname()) | {"localhost"}


def _forms(name: str) -> frozenset[str]:
    """Return a host's name as it is and up to its first dot; an address only as it is."""
    lower = name.lower()
    return frozenset({lower} if _is_address(lower) else {lower, lower.partition(".")[0]})


@lru_cache(maxsize=50_000)
def _addresses(name: str, _at: int) -> frozenset[str]:
    try:
        return frozenset(str(info[4][0]) for info in socket.getaddrinfo(name, None))
    except OSError:
        return frozenset()


@lru_cache(maxsize=1000)
def is_here(address: str, _at: int) -> bool:
    """Return whether an address belongs to this host. The kernel binds a socket to no other address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _period() -> int:
    """Return the number of the minute: the resolver is not bothered with every request."""
    return int(time.monotonic() / LOOKUP_S)


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
