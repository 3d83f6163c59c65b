# SPDX-License-Identifier: MIT
"""The operations of nodes: they deliver segments (docs/record-format.md, Delivery)."""

from __future__ import annotations

import logging
import time

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from carbon_acct.access.munge import encode
from carbon_acct.access.node import check_delivery
from carbon_acct.api.answers import ReceiptAnswer, receipt_answer
from carbon_acct.api.identity import Caller, Delivering
from carbon_acct.api.parts import Aggregator, answer, errors
from carbon_acct.delivery.records import Header
from carbon_acct.delivery.segment import MAX_ROWS, MAX_SEGMENT_BYTES, ManyRowsError, parse_header, parse_segment
from carbon_acct.errors import MungedError, RefusedError
from carbon_collector.munge import receipt

log = logging.getLogger("carbon_acct.api")

FINAL = (403, 413, 422)
"""The statuses for which a node sets a segment aside. It does so only if the answer is signed by its aggregator."""

FEW_ROWS = 2500
"""The number of rows above which segments are read one at a time: each then takes 10 MiB of memory."""

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

        async def check(line: bytes) -> None:
            header = parse_header(line)
            await lanes.nodes.run(host, lambda: _check(aggregator, caller, header))

        try:
            body = await sender.body(MAX_SEGMENT_BYTES, check)
            try:
                return await lanes.deliveries.run(host, lambda: _take(aggregator, caller, body, FEW_ROWS))
            except ManyRowsError:
                return await lanes.large.run(host, lambda: _take(aggregator, caller, body, MAX_ROWS))
        except RefusedError as err:
            log.warning("a segment from %s is refused: %s", host, err)
            if err.status not in FINAL:
                raise
            aggregator.metrics.refuse(err.kind)
            status = err.status
            proof = await lanes.credentials.run(host, lambda: _proof(aggregator, caller, status))
            return JSONResponse({"detail": " ".join(str(err).split()), "credential": proof}, status)

    return router


def _proof(aggregator: Aggregator, caller: Caller, status: int) -> str:
    """Return a credential that proves to the node that its aggregator answers. Raises RefusedError 503."""
    payload = receipt(status, caller.identity.payload)
    try:
        return encode(payload, aggregator.gate.munge_socket)
    except MungedError as err:
        log.warning("no credential can be made: %s", err)
        raise RefusedError(503, "munged does not answer on the aggregator's host; its log says why", "munge") from err


def _take(aggregator: Aggregator, caller: Caller, body: bytes, rows: int) -> Response:
    now = int(time.time())
    segment = parse_segment(body, now, rows)
    taken = aggregator.group_commit.store(segment, now)
    aggregator.metrics.received(taken, now - segment.header.created)
    if taken.refused:
        node, first = segment.header.node, taken.refused[0]
        log.warning(
            "node %s: %s: %d refused, line %d: %s",
            *(node, taken.segment, len(taken.refused), first.line, first.reason),
        )
    return answer(receipt_answer(taken, _proof(aggregator, caller, 200)))


def _check(aggregator: Aggregator, caller: Caller, header: Header) -> None:
    """Raise RefusedError unless this caller may deliver for the node.

    An unknown node may be newer than the list of Slurm's nodes, so the list is then read again.
    """
    poller = aggregator.poller
    if header.node not in (poller.state.nodes or {}) and not poller.refresh_nodes() and poller.state.nodes is not None:
        raise RefusedError(503, f"node {header.node} is not known, and Slurm cannot be asked now; try again")
    check_delivery(caller.identity, caller.peer, header.cluster, header.node, poller.state)
