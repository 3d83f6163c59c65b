# SPDX-License-Identifier: MIT
"""Sends answers that are charged to their caller until they are read, and that end if the reader is too slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from carbon_acct.api.identity import Caller, Gate

PIECE = 64 * 1024


class PacedResponse(Response):
    """An answer whose body is sent piece by piece. It must be made in the event loop."""

    def __init__(self, made: Response, gate: Gate, caller: Caller) -> None:
        super().__init__(made.body, made.status_code, media_type=made.media_type)
        self._limits = gate.limits
        self._cut = asyncio.Event()
        self._charge = gate.answers.open(caller.key, self._cut.set)
        self._charge.add(len(self.body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  the protocol's
        """Send the answer. The connection of a reader who is too slow is closed."""
        try:
            await self._send(send)
        except TimeoutError:
            if (connection := scope.get("carbon.connection")) is not None:
                connection.door.refused("slow")
                connection.abort()
                await asyncio.sleep(0)  # it learns of that before this is over
        finally:
            self._charge.end()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        started, body = time.monotonic(), memoryview(self.body)
        for at in range(0, len(body) or 1, PIECE):
            left_s = started + self._limits.grace_s + at / self._limits.least_rate - time.monotonic()
            piece: Any = {"type": "http.response.body", "body": bytes(body[at : at + PIECE])}
            await self._within(left_s, send({**piece, "more_body": at + PIECE < len(body)}))

    async def _within(self, seconds: float, sending: Any) -> None:
        """Wait for a step of sending. Raises TimeoutError if it takes too long, or if others need the memory of this
        answer.
        """
        task, cut = asyncio.ensure_future(sending), asyncio.ensure_future(self._cut.wait())
        done, _ = await asyncio.wait({task, cut}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        if task not in done:
            task.cancel()
            raise TimeoutError
        await task
