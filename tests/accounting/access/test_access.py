# SPDX-License-Identifier: MIT
"""Who may deliver for which node."""

from __future__ import annotations

import socket

import pytest

from carbon_acct.access import node
from carbon_acct.access.munge import Identity
from carbon_acct.access.node import Allowed, check_delivery, speaks_for
from carbon_acct.errors import RefusedError
from carbon_acct.slurm.nodes import NodeHost
from carbon_acct.slurm.state import SlurmState

OWN = frozenset({"acct.example.org", "acct", "localhost"})
HERE = socket.gethostname()


def identity(host: str, address: str, uid: int = 0) -> Identity:
    return Identity(uid, host, address, "")


@pytest.mark.parametrize(
    ("host", "address", "peer", "node_host", "node_addr", "right"),
    [
        ("n1", "10.0.0.1", "10.0.0.1", "n1", "n1", True),
        ("n1.cluster.example", "10.0.0.1", "10.0.0.1", "n1", "n1", True),
        ("n1", "10.0.0.1", "10.0.0.1", "n1.cluster.example", "n1.cluster.example", True),
        ("N1", "10.0.0.1", "10.0.0.1", "n1", "n1", True),
        # Two addresses of one host: of its NodeAddr, and of its NodeHostName.
        ("n1", "10.0.0.1", "10.1.0.1", "n1", "10.1.0.1", True),
        ("n1", "10.1.0.1", "10.0.0.1", "n1", "10.1.0.1", True),
        # A host that connects with the credential of another's munged, or whose munged states the other's address.
        ("mgmt17", "10.0.0.1", "10.0.0.9", "n1", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.1", "10.0.0.9", "n1", "10.0.0.1", False),
        ("mgmt17", "10.0.0.9", "10.0.0.1", "n1", "10.0.0.1", False),
        ("n1", "10.0.0.1", "127.0.0.1", "n1", "10.0.0.1", False),
        # Who owns an address writes its name: it is looked up forwards.
        ("n1", "192.0.2.9", "192.0.2.9", "n1", "n1", False),
        ("n1.attacker.example", "192.0.2.9", "192.0.2.9", "n1", "n1", False),
        ("n2", "10.0.0.2", "10.0.0.2", "n1", "10.0.0.1", False),
        ("n2", "10.0.0.2", "127.0.0.1", "localhost", "127.0.0.1", False),
        ("n10", "10.0.0.10", "10.0.0.10", "n1", "10.0.0.1", False),
        # Slurm on one host: nodes at localhost, the credential made here.
        ("acct", "127.0.1.1", "127.0.0.1", "localhost", "localhost", True),
        ("localhost", "127.0.0.1", "127.0.0.1", "localhost", "127.0.0.1", True),
        ("acct.example.org", "10.0.0.5", "127.0.0.1", "localhost", "127.0.0.1", True),
        ("localhost", "127.0.0.1", "::1", "acct", "acct", True),
        # A remote host whose own name resolves to loopback looks like us: the connection tells.
        ("acct", "127.0.1.1", "10.0.0.2", "localhost", "localhost", False),
        ("acct", "127.0.1.1", "10.0.0.2", "acct", "10.0.0.5", False),
        ("acct", "127.0.1.1", "10.0.0.1", "n1", "10.0.0.1", True),
        ("0.0.0.0", "0.0.0.0", "10.0.0.1", "n1", "10.0.0.1", True),
        ("0.0.0.0", "0.0.0.0", "10.0.0.2", "n1", "10.0.0.1", False),
        ("0.0.0.0", "0.0.0.0", "", "n1", "10.0.0.1", False),
    ],
)
def test_own_host_only(
    host: str, address: str, peer: str, node_host: str, node_addr: str, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host speaks for the nodes that live on it, and for no other."""

    def resolver(name: str, _port: object) -> list[tuple[object, ...]]:
        found = {"n1": "10.0.0.1", "n1.cluster.example": "10.0.0.1", "localhost": "127.0.0.1", "acct": "10.0.0.5"}
        if name.lower() not in found:
            raise OSError("no such name")
        return [(0, 0, 0, "", (found[name.lower()], 0))]

    node._addresses.cache_clear()
    monkeypatch.setattr(node.socket, "getaddrinfo", resolver)
    monkeypatch.setattr(node, "is_here", lambda found, _: found == "10.0.0.5")
    assert speaks_for(identity(host, address), peer, NodeHost("n1", node_host, node_addr), OWN) is right
    node._addresses.cache_clear()


@pytest.mark.parametrize(
    ("uid", "cluster", "name", "nodes", "status", "reason"),
    [
        (1000, "demo", "n1", True, 403, "only root"),
        (0, "demo", "n1", False, 503, "not known yet"),
        (0, "other", "n1", True, 403, "cluster other is not accounted here"),
        (0, "demo", "n9", True, 403, "node n9 is not known to Slurm"),
        (0, "demo", "far", True, 403, "may not deliver for node far"),
    ],
)
def test_refusals(uid: int, cluster: str, name: str, nodes: bool, status: int, reason: str) -> None:
    """Each refusal has its status and its reason."""
    known = {"n1": NodeHost("n1", HERE, HERE), "far": NodeHost("far", "far", "192.0.2.7")} if nodes else None
    with pytest.raises(RefusedError, match=reason) as err:
        check_delivery(identity(HERE, "127.0.0.1", uid), "127.0.0.1", cluster, name, SlurmState("demo", known))
    assert err.value.status == status


def test_two_nodes_on_a_host() -> None:
    """Several NodeNames may share a host, which speaks for each of them."""
    nodes = {name: NodeHost(name, "localhost", "127.0.0.1") for name in ("n1", "n2")}
    for name in nodes:
        check_delivery(identity(HERE, "127.0.0.1"), "127.0.0.1", "demo", name, SlurmState("demo", nodes))


def test_what_was_allowed_is_remembered_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same delivery is not checked again within a minute. Another address, user, node or cluster is, and so is the same
    one when Slurm says something else of the node, or the minute is over.
    """
    minute = 1000
    monkeypatch.setattr(node, "_period", lambda: minute)
    state = SlurmState(cluster="demo", nodes={"n1": NodeHost("n1", "n1", "10.0.0.1"), "n2": NodeHost("n2", "n2", "n2")})
    moved = SlurmState(cluster="demo", nodes={"n1": NodeHost("n1", "n1", "10.0.0.9")})
    who, allowed = identity("n1", "10.0.0.1"), Allowed()
    assert not allowed.holds(who, "10.0.0.1", "demo", "n1", state)
    allowed.add(who, "10.0.0.1", "demo", "n1", state)
    assert allowed.holds(who._replace(payload="another segment"), "10.0.0.1", "demo", "n1", state)
    assert not allowed.holds(who, "10.0.0.2", "demo", "n1", state)
    assert not allowed.holds(who._replace(uid=1), "10.0.0.1", "demo", "n1", state)
    assert not allowed.holds(who, "10.0.0.1", "demo", "n2", state)
    assert not allowed.holds(who, "10.0.0.1", "other", "n1", state)
    assert not allowed.holds(who, "10.0.0.1", "demo", "n1", moved)
    assert not allowed.holds(who, "10.0.0.1", "demo", "n1", SlurmState(cluster="demo"))
    minute += 1
    assert not allowed.holds(who, "10.0.0.1", "demo", "n1", state)
