# SPDX-License-Identifier: MIT
"""Defines the operations for users, who ask for jobs, and for those who may see the state of the accounting."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from carbon_acct.access.viewer import viewer_of
from carbon_acct.api.answers import (
    ApartAnswer,
    DroppedAnswer,
    GridAnswer,
    JobsAnswer,
    LateAnswer,
    SilentAnswer,
    SlurmAnswer,
    StatusAnswer,
    UnmatchedAnswer,
    balances,
)
from carbon_acct.api.deadline import read_within
from carbon_acct.api.identity import Authenticated, Caller
from carbon_acct.api.paced import PacedResponse
from carbon_acct.api.parts import Aggregator, Time, answer, errors, window
from carbon_acct.delivery.late import late_changes
from carbon_acct.errors import RefusedError
from carbon_acct.queries import totals
from carbon_acct.queries.job_filter import Between, Filters, head
from carbon_acct.queries.jobs import list_page
from carbon_acct.queries.nodes import dropped_total, last_slot, silent
from carbon_acct.queries.unknown import is_uid, unknown
from carbon_acct.queries.unmatched import unmatched_page
from carbon_acct.sums import apart
from carbon_acct.window import Window
from carbon_collector import __version__

T = TypeVar("T")
NAMED = 20
"""The most nodes that an answer names. The others are only counted."""
MAX_TEXT = 32 * 1024
"""The most characters of a parameter. All that precedes the body of a request has 64 KiB."""
MAX_WORDS = 5000
"""The most words of a list. carbon-acct asks for more JobIDs in several requests."""
MAX_CURSOR = 512
NUMBER = r"\d{1,10}"

MAX_RANGE = 24

Names = Annotated[str, Query(description="comma separated", max_length=MAX_TEXT)]
Range = Annotated[str, Query(description="a number, or a range as 2-4", max_length=MAX_RANGE)]


def routes(aggregator: Aggregator) -> APIRouter:
    """Return these operations."""
    router = APIRouter(tags=["queries"])

    @router.get("/v1/jobs", response_model=JobsAnswer, responses=errors(400, 401, 404, 408, 413, 429, 503))
    async def jobs(
        caller: Authenticated,
        users: Annotated[str, Query(description="names or uids, comma separated", max_length=MAX_TEXT)] = "",
        all_users: Annotated[bool, Query(description="not the caller's jobs only")] = False,
        accounts: Names = "",
        partitions: Names = "",
        qos: Names = "",
        states: Annotated[str, Query(description="job states, comma separated, e.g. CD,F", max_length=MAX_TEXT)] = "",
        jobs: Annotated[str, Query(description="JobIDs: 12, 12_3, 12+1; comma separated", max_length=MAX_TEXT)] = "",
        nodes: Annotated[str, Query(description="a Slurm node list, e.g. n[1-4]", max_length=MAX_TEXT)] = "",
        clusters: Names = "",
        names: Names = "",
        gids: Annotated[str, Query(description="numbers of groups, comma separated", max_length=MAX_TEXT)] = "",
        nnodes: Range = "",
        ncpus: Range = "",
        timelimit: Annotated[str, Query(description="minutes: 60, or 60-120", max_length=MAX_RANGE)] = "",
        start: Time = None,
        end: Time = None,
        truncate: Annotated[bool, Query(description="energy and carbon of the slots inside the window")] = False,
        duplicates: Annotated[bool, Query(description="every run of a JobID, not the newest only")] = False,
        after: Annotated[str, Query(description="`next` of the page before", max_length=MAX_CURSOR)] = "",
    ) -> Response:
        """Return a page of jobs with their energy and carbon. It holds only jobs that the caller may see, and no hint
        of others.
        """
        filters = Filters(
            viewer=aggregator.viewer(caller),
            users=words_of(users),
            uids=uids_of(users, all_users, caller),
            accounts=words_of(accounts),
            partitions=words_of(partitions),
            qos=words_of(qos),
            states=words_of(states),
            jobs=words_of(jobs),
            nodes=nodes,
            clusters=words_of(clusters),
            names=words_of(names),
            gids=numbers_of("gids", gids),
            nnodes=range_of("nnodes", nnodes),
            ncpus=range_of("ncpus", ncpus),
            timelimit=range_of("timelimit", timelimit),
            window=window(start, end),
            truncate=truncate,
            duplicates=duplicates,
            most=aggregator.gate.limits.rows,
            after=after_of(after),
        )
        heads = _heads(filters.jobs)
        is_now = filters.window.high >= int(time.time()) and not after  # jobs that run now may be in it

        def before() -> None:
            if is_now:
                aggregator.poller.freshen()
            if heads:
                aggregator.poller.ask_for(heads)

        return await read(aggregator, caller, lambda session: _jobs(aggregator, session, filters), before)

    @router.get("/v1/status", response_model=StatusAnswer, responses=errors(400, 401, 403, 408, 413, 429, 503))
    async def status(caller: Authenticated, start: Time = None, end: Time = None) -> Response:
        """Return the state of the accounting, with the conservation of energy over the window, to those who may see all
        jobs.
        """
        aggregator.require_all(caller)
        within = window(start, end)
        return await read(aggregator, caller, lambda session: _status(aggregator, session, within))

    @router.get("/v1/unmatched", response_model=UnmatchedAnswer, responses=errors(400, 401, 403, 408, 413, 429, 503))
    async def unmatched(caller: Authenticated, after: Annotated[int, Query(ge=0, le=2**62)] = 0) -> Response:
        """Return a page of the ledgers for which Slurm has no run of the job, to those who may see all jobs."""
        aggregator.require_all(caller)
        purged = aggregator.poller.state.purged_before(int(time.time()))
        most = aggregator.gate.limits.rows
        return await read(
            aggregator, caller, lambda session: UnmatchedAnswer(*unmatched_page(session, purged, after, most))
        )

    return router


async def read(
    aggregator: Aggregator,
    caller: Caller,
    work: Callable[[Session], object],
    before: Callable[[], None] | None = None,
) -> Response:
    """Return the result of a query as JSON. It runs in a thread with a deadline, and is charged to the caller until it
    is read. `before` runs in that thread before the query's view of the database is taken.
    """
    gate = aggregator.gate
    if 2 * gate.answers.of(caller.key) > gate.limits.answers_each:
        raise RefusedError(429, "too many of your answers have not been taken yet; read them first", "queue", 1)

    def within() -> Response:
        if before is not None:
            before()
        with read_within(aggregator.site.database, gate.limits.query_s) as session:
            found = work(session)
        return answer(found)

    return PacedResponse(await gate.lanes.queries.run(caller.key, within), gate, caller)


def require_known(aggregator: Aggregator, session: Session, filters: Filters) -> None:
    """Raise RefusedError 404 where a user or a QOS is asked for that nobody has."""
    rights = aggregator.poller.state.rights
    # Until Slurm's rights have been read, no QOS is known.
    qos = filters.qos if rights else ()
    stranger = unknown(session, filters.viewer, filters.users, qos, rights.qos if rights else ())
    if stranger:
        raise RefusedError(404, stranger)


def _jobs(aggregator: Aggregator, session: Session, filters: Filters) -> JobsAnswer:
    require_known(aggregator, session, filters)
    try:
        found, after = list_page(session, filters)
    except ValueError as err:
        raise RefusedError(400, str(err)) from err
    error = aggregator.poller.state.error
    warnings = ["Slurm does not answer; what is shown of its jobs may be old"] if error else []
    return JobsAnswer(found, warnings, None if after is None else f"{after[0]}:{after[1]}")


def _status(aggregator: Aggregator, session: Session, within: Window) -> StatusAnswer:
    counts = totals.counts(session)
    found = totals.conservation(session, within.start, within.end)
    state, now = aggregator.poller.state, int(time.time())
    dropped = dropped_total(session, now)
    quiet = silent(session, state.cluster, state.nodes or {}, now)
    return StatusAnswer(
        version=__version__,
        database=aggregator.site.database.shown,
        zone=aggregator.site.zone,
        jobs=counts.jobs,
        nodes=counts.nodes,
        segments=counts.segments,
        unmatched=counts.unmatched,
        time=now,
        last_slot=last_slot(session),
        silent=SilentAnswer(len(quiet.never), quiet.never[:NAMED], len(quiet.day), quiet.day[:NAMED]),
        dropped=DroppedAnswer(
            dropped.nodes,
            dropped.lost.records,
            str(dropped.lost.energy_uj),
            dropped.apart.records,
            str(dropped.apart.energy_uj),
        ),
        apart=[ApartAnswer(one.reason, one.rows, str(one.energy_uj)) for one in apart.sums(session)],
        late=[
            LateAnswer(one.cluster, one.node, one.month, one.rows, str(one.energy_uj), one.changed_at)
            for one in late_changes(session)[-NAMED:]
        ],
        slurm=SlurmAnswer(
            cluster=state.cluster,
            source=state.source,
            polled_at=state.polled_at,
            error=state.error,
            sees_all=viewer_of(os.getuid(), state).sees_all,
            behind_s=state.behind_s,
        ),
        grid=[
            GridAnswer(source.zone, source.provider, source.text, source.fetched_at, source.error, source.refused)
            for source in (aggregator.follower.states.values() if aggregator.follower else ())
        ],
        settings=dict(aggregator.site.settings),
        simulated=found.simulated,
        conservation=balances(found),
    )


def words_of(names: str) -> list[str]:
    """Return the words of a list, each once. Raises RefusedError 400."""
    words = list(dict.fromkeys(word.strip() for word in names.split(",") if word.strip()))
    if len(words) > MAX_WORDS:
        raise RefusedError(400, f"a list of more than {MAX_WORDS} names; ask for them in parts")
    return words


def numbers_of(name: str, text: str) -> list[int]:
    """Return the numbers of a list. Raises RefusedError 400."""
    words = words_of(text)
    for word in words:
        if not re.fullmatch(NUMBER, word, re.ASCII):
            raise RefusedError(400, f"{name}: {word!r} is no number")
    return [int(word) for word in words]


def range_of(name: str, text: str) -> Between | None:
    """Return the range that `2` or `2-4` is; None for an empty text. Raises RefusedError 400."""
    match = re.fullmatch(f"({NUMBER})(?:-({NUMBER}))?", text.strip(), re.ASCII)
    if text and not match:
        raise RefusedError(400, f"{name}: {text!r} is neither a number nor a range; it looks like 2 or 2-4")
    return Between(int(match[1]), int(match[2] or match[1])) if match else None


def _heads(jobs: Sequence[str]) -> list[int]:
    """Return the numbers before `_` and `+` of JobIDs. Raises RefusedError 400."""
    try:
        return [head(text) for text in jobs]
    except ValueError as err:
        raise RefusedError(400, str(err)) from err


def after_of(text: str) -> tuple[str, int] | None:
    """Return the cluster and the JobID of a text such as `demo:12`. Raises RefusedError 400."""
    cluster, _, job_id = text.rpartition(":")
    if not text:
        return None
    if not cluster or not (job_id.isascii() and job_id.isdigit()) or len(job_id) >= 19:
        raise RefusedError(400, "after: not the `next` of an answer")
    return cluster, int(job_id)


def uids_of(users: str, all_users: bool, caller: Caller) -> list[int]:
    """Return the ids among the names. Without any names that is the caller's own, and for root everybody's."""
    if not users and not all_users and caller.identity.uid != 0:
        return [caller.identity.uid]
    return [int(word) for word in words_of(users) if is_uid(word)]
