# SPDX-License-Identifier: MIT
"""Defines the operations for operators and monitoring: a poll on demand, health and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from carbon_acct.api.answers import Health, SyncAnswer
from carbon_acct.api.identity import Authenticated
from carbon_acct.api.metrics import CONTENT_TYPE
from carbon_acct.api.parts import Aggregator, answer, errors
from carbon_acct.errors import RefusedError


def routes(aggregator: Aggregator) -> APIRouter:
    """Return these operations. Health and metrics need no credential and say nothing about anybody."""
    router = APIRouter(tags=["operations"])
    lanes = aggregator.gate.lanes

    @router.post("/v1/sync", response_model=SyncAnswer, responses=errors(400, 401, 403, 408, 413, 429, 503))
    async def sync(caller: Authenticated) -> Response:
        """Poll Slurm now, and answer when that is done. For root, SlurmUser and operators."""
        if not aggregator.viewer(caller).operator:
            raise RefusedError(403, "only root, SlurmUser and Slurm's operators may do this")
        poll = aggregator.poller.poll
        return await lanes.syncs.run(caller.identity.uid, lambda: answer(SyncAnswer(poll(thorough=True))))

    @router.get("/healthz", response_model=Health, responses=errors(503))
    async def healthz() -> Response:
        """Say whether the database answers. It needs no credential, and answers within a second whatever the database
        does.
        """
        problem = await aggregator.watch.fresh()
        if problem:
            raise RefusedError(503, problem, "database")
        return answer(Health())

    @router.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
            **errors(429),
        },
    )
    async def metrics(request: Request) -> Response:
        """Return counts for Prometheus. It needs no credential."""
        problem = await aggregator.watch.fresh()
        found = await lanes.metrics.run(_peer(request), lambda: aggregator.metrics.text(not problem))
        return Response(found, headers={"Content-Type": CONTENT_TYPE})

    return router


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
