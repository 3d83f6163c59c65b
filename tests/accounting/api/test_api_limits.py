# SPDX-License-Identifier: MIT
"""Limits of the HTTP API: whoever asks too much, too slowly or not at all holds nobody else up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from accounting.db.fixtures import Backend
from accounting.samples import job_slot, ledger, segment
from accounting.served import Served, serve
from accounting.slurm_programs import StandIn
from carbon_acct.api.limits import Lane, Limits, Rate, Rates
from carbon_acct.errors import RefusedError
from carbon_acct.site import Site
from carbon_acct.sync.slurm import Poller

USER, OTHER = 54001, 54002
Serve = Callable[[Limits], Served]


@pytest.fixture(scope="session")
def backend(fresh_database: Path) -> Backend:
    """SQLite alone: what is tested here is in front of the database."""
    return Backend(fresh_database)


@pytest.fixture
def limited(site: Site, poller: Poller, munge_socket: str) -> Iterator[Serve]:
    """The API with limits of the test's own."""
    with ExitStack() as stack:

        def start(limits: Limits) -> Served:
            poller.poll()
            return stack.enter_context(contextlib.contextmanager(serve)(site, poller, munge_socket, limits))

        yield start


def delivered(served: Served, sequence: int = 1) -> int:
    """Status of a node's delivery."""
    return served.ask("POST", "/v1/segments", segment([ledger(), job_slot()], sequence=sequence)).status


def connect(served: Served, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=20)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended a connection, now."""
    ready, _, _ = select.select([connection], [], [], 0)
    if not ready:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except ConnectionResetError:
        return True


def test_bucket() -> None:
    """A burst passes, then so many a second; a caller who waited long enough may burst again, another is not touched."""
    now = 100.0
    rates = Rates(lambda: now)
    rate = Rate(burst=3, per_s=2.0)
    assert [rates.take("a", rate) for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.take("b", rate) == 0
    now += 0.5
    assert [rates.take("a", rate) for _ in range(2)] == [0, 0.5]
    now += 1000
    assert [rates.take("a", rate) for _ in range(4)] == [0, 0, 0, 0.5]


def test_callers_are_forgotten() -> None:
    """Those who ask once and never again take no memory for ever."""
    rates = Rates()
    for caller in range(10_100):
        rates.take(caller, Rate(1, 1.0))
    assert len(rates._buckets) == 10_000


def test_rate(limited: Serve) -> None:
    """A user's loop is told to wait, and how long; nodes and other users are served all the while."""
    served = limited(Limits(users=Rate(3, 0.01)))
    statuses = [served.ask("GET", "/v1/jobs", uid=USER).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert served.ask("GET", "/v1/jobs", uid=OTHER).status == 200
    assert delivered(served) == 200
    credential = served.credential("x", USER)
    head = f"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE {credential}\r\nConnection: close\r\n\r\n"
    with closing(connect(served, head.encode())) as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"429" in answer.split(b"\r\n")[0]
    retry = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"retry-after:"))
    assert 1 <= int(retry.partition(b":")[2]) <= 100


def test_rows(limited: Serve, slurm: StandIn) -> None:
    """An answer has a bound, and the refusal says how to ask for less; it tells nothing of jobs that are not shown."""
    slurm.jobs([{"JobIDRaw": str(n), "JobID": str(n)} for n in (1, 2, 3)])
    slurm.rights(private="jobs")
    served = limited(Limits(rows=2))
    answer = served.ask("GET", "/v1/jobs")
    assert answer.status == 400
    assert json.loads(answer.body)["detail"].startswith("more than 2 jobs; ask for fewer, by start and end, users")
    assert served.ask("GET", "/v1/jobs?jobs=1,2").status == 200
    answer = served.ask("GET", "/v1/jobs?all_users=1", uid=USER)
    assert (answer.status, json.loads(answer.body)["jobs"]) == (200, [])


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET"])
def test_head_that_does_not_come(limited: Serve, sent: bytes) -> None:
    """A connection that sends no head of a request, or half of one, or half of its second, is closed."""
    served = limited(Limits(head_s=0.3))
    with closing(connect(served, sent)) as connection, contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass  # an answer, to the whole request before it


def test_head_byte_by_byte(limited: Serve) -> None:
    """Bytes that trickle in do not move the deadline."""
    served = limited(Limits(head_s=0.5))
    with closing(connect(served, b"GET /healthz HTTP/1.1\r\n")) as connection:
        deadline = time.monotonic() + 20
        while not is_closed(connection):
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):
                connection.sendall(b"X: y\r\n")
            time.sleep(0.05)  # the client's own slowness


def test_flood_of_connections(limited: Serve) -> None:
    """Of connections that say nothing the oldest go; whoever has something to say gets in."""
    served = limited(Limits(waiting_each=5, head_s=60))
    flood = [connect(served) for _ in range(30)]
    try:
        assert delivered(served) == 200
        assert served.ask("GET", "/v1/jobs", uid=USER).status == 200
        deadline = time.monotonic() + 20
        while not all(is_closed(connection) for connection in flood[:20]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not is_closed(flood[-1])
        assert b'carbon_acct_requests_refused_total{reason="connections"}' in served.ask("GET", "/metrics").body
    finally:
        for connection in flood:
            connection.close()


def test_body_that_does_not_come(limited: Serve) -> None:
    """A body has a deadline too, with a reason; meanwhile others are served."""
    served = limited(Limits(body_s=0.5))
    credential = served.credential("x")
    head = (
        f"POST /v1/segments HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE {credential}\r\nContent-Length: 9\r\n\r\nhalf"
    )
    with closing(connect(served, head.encode())) as connection:
        assert delivered(served) == 200
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_answer_that_nobody_takes(limited: Serve) -> None:
    """A client that asks and asks and reads nothing is cut off by the kernel, and held nobody up."""
    served = limited(Limits(send_s=1.0))
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        connection.setblocking(False)
        deadline, error = time.monotonic() + 30, 0
        while not error:
            assert time.monotonic() < deadline
            with contextlib.suppress(BlockingIOError, ConnectionError):
                connection.send(ask * 100)
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or is_reset(connection)
            time.sleep(0.02)  # the client's own pace
    assert delivered(served) == 200


def is_reset(connection: socket.socket) -> int:
    poll = select.poll()
    poll.register(connection, 0)
    return int(any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n",
    ],
    ids=["long target", "long header", "TLS", "two lengths", "absurd chunk"],
)
def test_no_http(limited: Serve, head: bytes) -> None:
    """What is no request, or too long a head for one, is answered in the form of every error."""
    served = limited(Limits())
    with closing(connect(served, head)) as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 4")
    assert "detail" in json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert delivered(served) == 200


def test_lane_is_shared_fairly() -> None:
    """A caller with many requests holds a part of the threads; another gets one at once; what is too much is refused."""

    async def scene() -> None:
        lane, gate, started = Lane(threads=3, each=2, waiting=2), threading.Event(), threading.Semaphore(0)

        def work() -> str:
            started.release()
            assert gate.wait(20)
            return "done"

        greedy = [asyncio.create_task(lane.run("greedy", work)) for _ in range(4)]
        await asyncio.to_thread(started.acquire)
        await asyncio.to_thread(started.acquire)
        assert await lane.run("other", lambda: "served") == "served"
        with pytest.raises(RefusedError, match="too many of your requests wait") as err:
            await lane.run("greedy", work)
        assert err.value.status == 429
        gate.set()
        assert await asyncio.gather(*greedy) == ["done"] * 4
        assert not lane._queues

    asyncio.run(scene())


def test_kinds_of_work_do_not_wait_for_each_other(limited: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """While every thread for queries is busy, segments are taken and health is told."""
    from carbon_acct.queries import jobs
    from carbon_acct.queries.jobs import list_jobs

    gate, real = threading.Event(), list_jobs

    def slow(session: object, filters: object) -> object:
        assert gate.wait(20)
        return real(session, filters)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "jobs", slow)
    served = limited(Limits())
    statuses: list[int] = []
    asking = [
        threading.Thread(target=lambda u=uid: statuses.append(served.ask("GET", "/v1/jobs", uid=u).status))  # type: ignore[misc]
        for uid in range(60_000, 60_010)
    ]
    for thread in asking:
        thread.start()
    try:
        assert delivered(served) == 200
        assert served.ask("GET", "/healthz").status == 200
    finally:
        gate.set()
        for thread in asking:
            thread.join()
    assert statuses == [200] * 10
