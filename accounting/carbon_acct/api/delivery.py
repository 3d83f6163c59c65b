# SPDX-License-Identifier: MIT
"""The operations of nodes: they deliver segments (docs/record-format.md, Delivery)."""

from __future__ import annotations

import asyncio
import logging
import time

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from carbon_acct.access.munge import encode
from carbon_acct.access.node import Allowed, check_delivery
from carbon_acct.api.answers import ReceiptAnswer, receipt_answer
from carbon_acct.api.identity import Body, Caller, Delivering, Sender
from carbon_acct.api.parts import Aggregator, answer, errors
from carbon_acct.delivery.group_commit import MAX_RECORDS
from carbon_acct.delivery.records import Header
from carbon_acct.delivery.segment import MAX_SEGMENT_BYTES, ManyRowsError, parse_header, parse_segment
from carbon_acct.delivery.store import Receipt
from carbon_acct.errors import MungedError, RefusedError
from carbon_acct.slurm.state import SlurmState
from carbon_collector.munge import receipt

log = logging.getLogger("carbon_acct.api")

FINAL = (403, 413, 422)
"""The statuses for which a node sets a segment aside. It does so only if the answer is signed by its aggregator."""

BODY = {
    "required": True,
    "description": "A segment: JSON lines, a header first and a trailer with the checksum last (docs/record-format.md).",
    "content": {
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "example": (
                '{"type": "segment", "version": 1, "cluster": "demo", "node": "n1", "boot_id": "b0-07", "stream": '
                '"00c0ffee", "sequence": 1, "created": 1790000000}\\n{"type": "end", "rows": 0, "sha256": "..."}\\n'
            ),
        }
    },
}


def routes(aggregator: Aggregator) -> APIRouter:
    """Return the operations of nodes."""
    router = APIRouter(tags=["nodes"])
    allowed = Allowed()

    @router.post(
        "/v1/segments",
        response_model=ReceiptAnswer,
        responses=errors(400, 401, 403, 408, 413, 422, 429, 503),
        openapi_extra={"requestBody": BODY},
    )
    async def deliver(delivering: Delivering) -> Response:
        """Take a segment from a node. Only root delivers, and only for the nodes that live on the host from which root
        connects.

        Delivering a segment again gives the same answer and changes nothing. A bad record is refused by its line, with
        the reason, and the good ones are taken.
        """
        caller, sender = delivering
        lanes, host = aggregator.gate.lanes, caller.identity.host
        try:
            return await receive(caller, sender)
        except RefusedError as err:
            log.warning("a segment from %s is refused: %s", host, err)
            if err.status not in FINAL:
                raise
            aggregator.metrics.refuse(err.kind)
            status = err.status
            proof = await lanes.receipts.run(host, lambda: _proof(aggregator, caller, status))
            return JSONResponse({"detail": " ".join(str(err).split()), "credential": proof}, status)

    async def receive(caller: Caller, sender: Sender) -> Response:
        lanes, host = aggregator.gate.lanes, caller.identity.host
        headers: list[Header] = []

        async def check(line: bytes) -> None:
            header = parse_header(line)
            headers.append(header)
            who = caller.identity, caller.peer, header.cluster, header.node
            if not allowed.holds(*who, aggregator.poller.state):
                allowed.add(*who, await lanes.nodes.run(host, lambda: _check(aggregator, caller, header)))

        async with sender.body(MAX_SEGMENT_BYTES, check) as body:
            try:
                taken = await _stored(aggregator, headers[0], body)
            except ManyRowsError:
                taken = await lanes.large.run(host, lambda: _stored_large(aggregator, body))
        _note(aggregator, headers[0], taken)
        return await lanes.receipts.run(host, lambda: answer(receipt_answer(taken, _proof(aggregator, caller, 200))))

    return router


def _proof(aggregator: Aggregator, caller: Caller, status: int) -> str:
    """Return a credential that proves to the node that its aggregator answers. Raises RefusedError 503."""
    payload = receipt(status, caller.identity.payload)
    try:
        return encode(payload, aggregator.gate.munge_socket)
    except MungedError as err:
        log.warning("no credential can be made: %s", err)
        raise RefusedError(503, "munged does not answer on the aggregator's host; its log says why", "munge") from err


async def _stored(aggregator: Aggregator, header: Header, body: Body) -> Receipt:
    """Have a segment stored. Raises RefusedError, DatabaseError, and ManyRowsError for a segment of many rows."""
    now = int(time.time())
    pending = aggregator.group_commit.deliver(
        header.node, lambda: parse_segment(bytes(body.data), now, MAX_RECORDS), now
    )
    body.on_drop = pending.cancel
    body.check()
    try:
        return await asyncio.wrap_future(pending)
    except asyncio.CancelledError:
        body.check()
        raise


def _stored_large(aggregator: Aggregator, body: Body) -> Receipt:
    body.check()
    now = int(time.time())
    return aggregator.group_commit.store(parse_segment(bytes(body.data), now), now)


def _note(aggregator: Aggregator, header: Header, taken: Receipt) -> None:
    """Count a segment that was stored, and log what was refused of it."""
    aggregator.metrics.received(taken, int(time.time()) - header.created)
    if taken.refused:
        first = taken.refused[0]
        log.warning(
            "node %s: %s: %d refused, line %d: %s",
            *(header.node, taken.segment, len(taken.refused), first.line, first.reason),
        )


def _check(aggregator: Aggregator, caller: Caller, header: Header) -> SlurmState:
    """Raise RefusedError unless this caller may deliver for the node. Return what Slurm said of its nodes.

    An unknown node may be newer than the list of Slurm's nodes, so the list is then read again.
    """
    poller = aggregator.poller
    if header.node not in (poller.state.nodes or {}) and not poller.refresh_nodes() and poller.state.nodes is not None:
        raise RefusedError(503, f"node {header.node} is not known, and Slurm cannot be asked now; try again")
    state = poller.state
    check_delivery(caller.identity, caller.peer, header.cluster, header.node, state)
    return state
