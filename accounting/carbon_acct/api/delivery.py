# SPDX-License-Identifier: MIT
"""The operations of nodes: they deliver segments (docs/record-format.md, Delivery)."""

from __future__ import annotations

import logging
import time

from fastapi import APIRouter, Response

from carbon_acct.access.node import check_delivery, check_root
from carbon_acct.api.answers import ReceiptAnswer, receipt_answer
from carbon_acct.api.identity import Authenticated, Caller
from carbon_acct.api.parts import Aggregator, answer, errors
from carbon_acct.delivery.records import Header
from carbon_acct.delivery.segment import parse_segment
from carbon_acct.errors import RefusedError

log = logging.getLogger("carbon_acct.api")

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
    async def deliver(caller: Authenticated) -> Response:
        """Take a segment from a node. Only root delivers, and only for the nodes that live on the host it speaks from.

        Delivering a segment again gives the same answer and changes nothing. A bad record is refused by its line, with
        the reason, and does not take the good ones with it.
        """
        check_root(caller.identity)  # outside the try: the log is not for any user to fill
        try:
            return await aggregator.gate.lanes.deliveries.run(caller.identity.host, lambda: _take(aggregator, caller))
        except RefusedError as err:
            log.warning("a segment from %s is refused: %s", caller.identity.host, err)
            raise

    return router


def _take(aggregator: Aggregator, caller: Caller) -> Response:
    now = int(time.time())
    segment = parse_segment(caller.body, now)
    _check(aggregator, caller, segment.header)
    receipt = aggregator.group_commit.store(segment, now)
    aggregator.metrics.received(receipt)
    if receipt.refused:
        node, first = segment.header.node, receipt.refused[0]
        log.warning(
            "node %s: %s: %d refused, line %d: %s",
            *(node, receipt.segment, len(receipt.refused), first.line, first.reason),
        )
    return answer(receipt_answer(receipt))


def _check(aggregator: Aggregator, caller: Caller, header: Header) -> None:
    """Raises RefusedError. A node that nobody knows may be newer than the list of nodes: then the list is read again."""
    poller = aggregator.poller
    if header.node not in (poller.state.nodes or {}) and not poller.refresh_nodes() and poller.state.nodes is not None:
        raise RefusedError(503, f"node {header.node} is not known, and Slurm cannot be asked now; try again")
    check_delivery(caller.identity, caller.peer, header.cluster, header.node, poller.state)
