# SPDX-License-Identifier: MIT
"""Adds up the energy of several nodes, if the program already has a way to exchange messages between its ranks.

Each process that reads publishes what its node had used at each epoch's mark; rank 0 adds up. No operation is
collective: a program in which only one rank is tracked never waits for the others. torch.distributed (its key-value
store) and mpi4py are used only if the program has initialised them, which is seen in `sys.modules`. Neither is ever
imported here.
"""

from __future__ import annotations

import os
import sys

from .lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from .place import Place

TAG = 15_077
"""The MPI tag of our messages. The standard guarantees tags up to 32767."""
END = -1
"""The number of the run's end, in place of the number of an epoch's mark."""
Known = dict[int, dict[int, float]]
"""The microjoules of each node since the run began: by mark, then by node."""


class Exchange:
    """A way to exchange figures between the nodes of a job. This one, for programs that have no way, exchanges
    nothing.
    """

    name = ""

    def publish(self, mark: int, energy_uj: float) -> None:
        """Publish the energy that this node used up to a mark."""

    def collect(self, mark: int) -> dict[int, float]:  # noqa: ARG002 - there is nobody to ask
        """Return the microjoules of the nodes that are known at a mark, this one included, by node."""
        return {}


class TorchStore(Exchange):
    """Exchanges figures through the key-value store of torch.distributed's default group."""

    name = "torch.distributed"

    def __init__(self, store: Any, place: Place, node: int) -> None:
        self._store, self._place, self._node = store, place, node
        self._prefix = f"carbon_job/{place.job_id}/{place.restarts}/{place.step}"

    def publish(self, mark: int, energy_uj: float) -> None:
        """See Exchange."""
        self._store.set(self._key(mark, self._node), repr(energy_uj))

    def collect(self, mark: int) -> dict[int, float]:
        """See Exchange."""
        found = {}
        for node in range(self._place.nodes):
            key = self._key(mark, node)
            if self._store.check([key]):  # `get` alone would wait for it
                found[node] = float(self._store.get(key))
        return found

    def _key(self, mark: int, node: int) -> str:
        return f"{self._prefix}/{mark}/{node}"


class Mpi(Exchange):
    """Exchanges figures through small MPI messages to rank 0, which are sent and received without waiting."""

    name = "mpi4py"

    def __init__(self, mpi: Any, node: int) -> None:
        self._mpi, self._comm, self._node = mpi, mpi.COMM_WORLD, node
        self._known: Known = {}
        self._sent: list[Any] = []

    def publish(self, mark: int, energy_uj: float) -> None:
        """See Exchange."""
        if self._comm.Get_rank() == 0:
            self._known.setdefault(mark, {})[self._node] = energy_uj
        else:
            self._sent = [request for request in self._sent if not request.Test()]
            self._sent.append(self._comm.isend((mark, self._node, energy_uj), dest=0, tag=TAG))

    def collect(self, mark: int) -> dict[int, float]:
        """See Exchange."""
        while self._comm.iprobe(source=self._mpi.ANY_SOURCE, tag=TAG):
            number, node, energy_uj = self._comm.recv(source=self._mpi.ANY_SOURCE, tag=TAG)
            self._known.setdefault(number, {})[node] = energy_uj
        return self._known.get(mark, {})


def find(place: Place) -> Exchange:
    """Return the way to exchange figures that the program has opened between its ranks, or one that exchanges
    nothing.
    """
    if place.nodes < 2:
        return Exchange()
    node = int(os.environ.get("SLURM_NODEID", "0") or 0)
    try:
        return _torch(place, node) or _mpi(node) or Exchange()
    except Exception:  # noqa: BLE001 - whatever a framework raises: then there is no way, and energy is extrapolated
        return Exchange()


def _torch(place: Place, node: int) -> Exchange | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    inner = sys.modules["torch.distributed.distributed_c10d"]
    return TorchStore(inner._get_default_store(), place, node)


def _mpi(node: int) -> Exchange | None:
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized():
        return None
    # The recorder's thread sends; MPI allows that only at this level, which mpi4py asks for by default.
    return Mpi(mpi, node) if mpi.Query_thread() == mpi.THREAD_MULTIPLE else None
