# SPDX-License-Identifier: MIT
"""Limits of the HTTP API: whoever asks too much, too slowly or not at all holds nobody else up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from accounting.db.fixtures import Backend
from accounting.samples import configure, job_slot, ledger, segment
from accounting.served import Served, serve, wait_for
from accounting.slurm_programs import StandIn
from carbon_acct.api.budget import Budget
from carbon_acct.api.limits import Lane, Limits, Rate, Rates, Shares
from carbon_acct.cli.mgr.unmatched import _all as all_unmatched
from carbon_acct.client.request import ask_jobs
from carbon_acct.delivery.group_commit import GroupCommit
from carbon_acct.errors import RefusedError
from carbon_acct.site import Site
from carbon_acct.sync.slurm import Poller
from carbon_collector import munge, settings
from carbon_collector.http import request

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
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=60)
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


def pages(served: Served, target: str, uid: int = 0) -> list[list[str]]:
    """The JobIDs of each page."""
    found, after = [], ""
    while True:
        answer = served.ask("GET", target + (f"&after={after}" if after else ""), uid=uid)
        assert answer.status == 200, answer.body
        content = json.loads(answer.body)
        found.append([job["job_id"] for job in content["jobs"]])
        if content["next"] is None:
            return found
        after = content["next"]


def test_pages(limited: Serve, slurm: StandIn) -> None:
    """Answers have a bound; the pages hold every job once, a JobID's runs together, and nothing of jobs that are hidden."""
    runs = [(n, n) for n in (1, 2, 3, 4, 6, 7)] + [(5, n) for n in (10, 11, 12, 13)]
    slurm.jobs([{"JobIDRaw": str(n), "JobID": str(n), "Submit": str(1350000000 + at)} for n, at in runs])
    slurm.rights(private="jobs")
    served = limited(Limits(rows=2))
    everything = pages(served, "/v1/jobs?duplicates=1")
    assert sorted(chain.from_iterable(everything)) == sorted(str(n) for n, _ in runs)
    assert [page for page in everything if "5" in page] == [["5"] * 4]
    assert list(chain.from_iterable(pages(served, "/v1/jobs?truncate=0"))) == list("1234567")
    assert list(chain.from_iterable(pages(served, "/v1/jobs?nodes=n1"))) == list("1234567")
    assert list(chain.from_iterable(pages(served, "/v1/jobs?nodes=n9"))) == []
    assert pages(served, "/v1/jobs?all_users=1", USER) == [[]]
    assert served.ask("GET", "/v1/jobs?after=tea").status == 400
    assert served.ask("GET", f"/v1/jobs?after=demo:{'9' * 30}").status == 400


def test_pages_of_unmatched(limited: Serve) -> None:
    """Invented ledgers, however many, are listed in bounded answers, each once, with its energy."""
    served = limited(Limits(rows=3))
    rows = [row for n in range(1, 9) for row in (ledger(job_id=n), job_slot(job_id=n))]
    assert served.ask("POST", "/v1/segments", segment(rows)).status == 200
    found, after = [], 0
    while after is not None:
        content = json.loads(served.ask("GET", f"/v1/unmatched?after={after}").body)
        assert len(content["unmatched"]) <= 3
        found += [(one["job_id"], one["energy_uj"]) for one in content["unmatched"]]
        after = content["next"]
    assert sorted(found) == [(n, 1100) for n in range(1, 9)]


def test_programs_follow_pages(limited: Serve, slurm: StandIn, tmp_path: Path) -> None:
    """carbon-acct and carbon-mgr unmatched ask page after page by themselves, until they have everything once."""
    slurm.jobs([{"JobIDRaw": str(n), "JobID": str(n), "Submit": str(1350000000 + n)} for n in range(1, 8)])
    served = limited(Limits(rows=2))
    assert served.ask("POST", "/v1/segments", segment([ledger(job_id=n) for n in range(101, 106)])).status == 200
    config = settings.load(
        str(configure(tmp_path, collector_aggregators=served.url, slurm_munge_socket=served.munge_socket))
    )
    assert [job["job_id"] for job in ask_jobs(config, {"truncate": "0"}).jobs] == list("1234567")
    assert sorted(one["job_id"] for one in all_unmatched(config)) == [101, 102, 103, 104, 105]


@pytest.mark.parametrize("many", [1, 700, 1100, 5000])
def test_long_lists(limited: Serve, slurm: StandIn, many: int) -> None:
    """However many JobIDs, accounts and states are asked for, it is one question like any other."""
    slurm.jobs([{}, {"JobIDRaw": "9", "JobID": "8_1", "Submit": "1350000001"}])
    served = limited(Limits())
    ids = ",".join(["7", *(f"{n}_1" for n in range(10, 8 + many))] if many > 1 else ["7"])
    answer = served.ask("GET", f"/v1/jobs?jobs={ids[:32_000].rpartition(',')[0] or ids}")
    assert (answer.status, [job["job_id"] for job in json.loads(answer.body)["jobs"]]) == (200, ["7"])
    accounts = ",".join(["physics", *(f"a{n}" for n in range(many - 1))])
    answer = served.ask(
        "GET", f"/v1/jobs?accounts={accounts[:32_000]}&states={','.join(['CD', 'CA', 'F'] * many)[:32_000]}"
    )
    assert (answer.status, len(json.loads(answer.body)["jobs"])) == (200, 2)


def test_lists_that_are_too_long(limited: Serve) -> None:
    """More names than a list may have are the user's error, not the database's."""
    served = limited(Limits())
    answer = served.ask("GET", "/v1/jobs?jobs=" + ",".join(map(str, range(5001))))
    assert (answer.status, json.loads(answer.body)["detail"]) == (
        400,
        "a list of more than 5000 names; ask for them in parts",
    )


@pytest.mark.parametrize(
    "query",
    [
        "nodes=n[" + ",".join(["0-199999"] * 120) + "]",
        "nodes=" + "," * 32_000 + "]",
        "truncate=1&start=1&end=253402300800",
        "truncate=1&start=1099511627776",
        "truncate=1&start=253370764800&end=253370764800",
    ],
    ids=["node list", "commas", "after the year 9999", "the year 36812", "the last year"],
)
def test_short_text_that_expands(limited: Serve, query: str) -> None:
    """A short text that stands for very much is refused in one line, or answered, at no cost."""
    served = limited(Limits())
    before = memory_kib()
    answer = served.ask("GET", f"/v1/jobs?{query}")
    assert answer.status in (200, 400)
    assert json.loads(answer.body).keys() <= {"jobs", "warnings", "next", "detail"}
    assert memory_kib() - before < 50 * 1024


def memory_kib() -> int:
    """What this process, and the server in it, has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_statements_are_not_kept_by_length(limited: Serve) -> None:
    """Questions of forty different lengths leave one statement, not forty."""
    served = limited(Limits())
    cache = served.site.database.engine._compiled_cache
    assert cache is not None
    # The watch counts beside the requests; its statements are there then.
    wait_for(lambda: b"carbon_acct_unmatched_ledgers" in request("GET", served.url, "/metrics", b"", {}).body)
    kept = []
    for many in range(40):
        assert served.ask("GET", "/v1/jobs?jobs=" + ",".join(str(n) for n in range(600 + many))).status == 200
        kept.append(len(cache))
    assert kept[-1] == kept[1]


def test_heads_without_bodies(limited: Serve) -> None:
    """A stranger's heads of requests whose bodies never come are charged to the address, and keep nobody out."""
    served = limited(Limits(waiting_each=20))
    head = b"POST /v1/segments HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    flood = [connect(served, head) for _ in range(60)]
    try:
        assert delivered(served) == 200
        assert served.ask("GET", "/v1/jobs", uid=USER).status == 200
        deadline = time.monotonic() + 60
        while not all(is_closed(connection) or connection.recv(1) for connection in flood):
            assert time.monotonic() < deadline
    finally:
        for connection in flood:
            connection.close()


def test_bodies_of_hosts_without_a_node(limited: Serve) -> None:
    """Of a host whose first line names a node that is not its own, no more than that line is kept."""
    served = limited(Limits())
    body = segment([ledger()], node="n9") + b"x" * (7 << 20)
    credential = served.credential("x")
    head = f"POST /v1/segments HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE {credential}\r\n"
    with closing(connect(served, f"{head}Content-Length: {8 << 20}\r\n\r\n".encode() + body[: 1 << 20])) as connection:
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"not known to Slurm" in answer


def test_body_byte_by_byte(limited: Serve) -> None:
    """A body that trickles in is refused although a byte of it comes every moment."""
    served = limited(Limits(grace_s=0.3, least_rate=1e6))
    head = f"POST /v1/segments HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE {served.credential('x')}\r\n"
    with closing(connect(served, f"{head}Content-Length: 999\r\n\r\n".encode())) as connection:
        deadline = time.monotonic() + 60
        while not select.select([connection], [], [], 0.05)[0]:
            assert time.monotonic() < deadline
            connection.sendall(b" ")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_bodies_in_total(limited: Serve) -> None:
    """Bodies on their way have a bound in total: the one of whoever has most is dropped, to come again."""
    served = limited(Limits(bodies=3 << 20))
    body = segment([ledger()])
    head = body.split(b"\n")[0] + b"\n"
    sent = []
    try:
        for _ in range(4):
            credential = served.credential("x")
            start = f"POST /v1/segments HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE {credential}\r\n"
            sent.append(connect(served, f"{start}Content-Length: {2 << 20}\r\n\r\n".encode()))
            sent[-1].sendall(head + b"x" * ((1 << 20) - len(head)))
        assert delivered(served) == 200
        sent[0].sendall(b"x")
        assert sent[0].recv(65536).startswith(b"HTTP/1.1 503")
    finally:
        for connection in sent:
            connection.close()


def test_bodies_that_wait_to_be_stored(limited: Serve, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body counts until it is stored: while the database is busy, the oldest that waits is dropped at once, to come
    again, and the others are stored.
    """
    served = limited(Limits(bodies=8000))
    gate, arrived, statuses = threading.Event(), list[str](), dict[int, int]()
    run, deliver = site.database.run, GroupCommit.deliver

    def busy(work: Callable[[Any], Any]) -> Any:
        assert gate.wait(20)
        return run(work)

    def noted(commit: GroupCommit, node: str, read: Any, now: int) -> Any:
        arrived.append(node)
        return deliver(commit, node, read, now)

    monkeypatch.setattr(site.database, "run", busy)
    monkeypatch.setattr(GroupCommit, "deliver", noted)

    def send(number: int) -> None:
        body = segment([ledger(job_id=n) for n in range(1, 13)], sequence=number)
        assert 8000 / 3 < len(body) < 4000
        statuses[number] = served.ask("POST", "/v1/segments", body).status

    sending = [threading.Thread(target=send, args=(number,)) for number in (1, 2, 3, 4)]
    try:
        for number, thread in enumerate(sending, 1):  # the first is being stored, the others wait
            thread.start()
            wait_for(lambda number=number: len(arrived) == number)  # type: ignore[misc]
        wait_for(lambda: statuses == {2: 503})
    finally:
        gate.set()
        for thread in sending:
            thread.join()
    assert statuses == {1: 200, 2: 503, 3: 200, 4: 200}


def test_slow_reader(limited: Serve, slurm: StandIn) -> None:
    """A reader that takes an answer byte by byte is cut off at a least rate; who reads in time gets all of it."""
    slurm.jobs([{"JobIDRaw": str(n), "JobID": str(n), "JobName": "x" * 1000} for n in range(1, 3000)])
    served = limited(Limits(grace_s=1.0, least_rate=4e6))
    target = "/v1/jobs?all_users=1"
    credential = served.credential(munge.digest(target.encode()))
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: MUNGE {credential}\r\n\r\n".encode())
        deadline = time.monotonic() + 60
        while not is_reset(connection):
            assert time.monotonic() < deadline
            connection.recv(100)
            time.sleep(0.05)  # the client's own pace
    assert len(json.loads(served.ask("GET", target).body)["jobs"]) == 2999
    assert b'carbon_acct_requests_refused_total{reason="slow"} 1' in served.ask("GET", "/metrics").body


def test_budget_drops_whoever_has_most() -> None:
    """Where there is too much, the oldest of the greatest owner goes; the small ones stay."""
    budget, dropped = Budget(10, 8), []
    small = budget.open("small", lambda: dropped.append("small"))
    small.add(2)
    many = [budget.open("great", lambda n=n: dropped.append(n)) for n in range(5)]  # type: ignore[misc]
    for one in many:
        one.add(2)
    assert (dropped, budget.held, budget.of("great"), budget.of("small")) == ([0], 10, 8, 2)
    budget.open("new", lambda: dropped.append("new")).add(3)
    assert (dropped, budget.held) == ([0, 1, 2], 9)
    for one in (small, *many):
        one.end()
        one.end()
    assert budget.held == 3
    many[3].add(5)  # what is over is charged no more
    assert budget.held == 3


def test_shares_leave_a_place() -> None:
    """However many places the greedy take, who has none yet gets one."""
    shares = Shares(100)
    for greedy in range(7):
        with pytest.raises(RefusedError):
            fill(shares, [greedy] * 1000)
    assert shares._inside.total() < 100
    shares.enter("new")
    with pytest.raises(RefusedError):
        fill(shares, range(1000))


def fill(shares: Shares, callers: Iterable[int]) -> None:
    """Have them all enter."""
    for one in callers:
        shares.enter(one)


def test_turns_by_what_was_used() -> None:
    """Of those who wait for a thread the one who has used least comes first, and a thread is kept for the light ones."""

    async def scene() -> list[str]:
        lane, order, gate = Lane(threads=2, each=2, waiting=10, light=1), [], threading.Event()
        lane._used.add("heavy", 100.0)

        def work(name: str) -> Callable[[], None]:
            def run() -> None:
                order.append(name)
                assert name == "light" or gate.wait(20)

            return run

        tasks = [asyncio.create_task(lane.run("heavy", work("heavy"))) for _ in range(3)]
        await asyncio.sleep(0.1)  # two of them would have both threads
        await lane.run("light", work("light"))
        gate.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scene()) == ["heavy", "light", "heavy", "heavy"]


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
        deadline = time.monotonic() + 60
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
        deadline = time.monotonic() + 60
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
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 100 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a:\n" * 100,
        b"POST /v1/segments HTTP/1.1\nHost: x\ntransfer-encoding : Chunked\n\n0\r\n" + b"a:\r\n" * 15_000 + b"\r\n",
    ],
    ids=["long target", "long header", "TLS", "two lengths", "absurd chunk", "lines", "lines so far", "trailers"],
)
def test_no_http(limited: Serve, head: bytes) -> None:
    """What is no request, too long a head, or one of too many lines is answered in the form of every error, in time."""
    served = limited(Limits())
    with closing(connect(served, head)) as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 4")
    assert "detail" in json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert delivered(served) == 200


def test_lines_before_h11(limited: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """No head of many lines reaches h11, not even one that was sent together with the request before it."""
    import h11

    most, real = [0], h11._readers._decode_header_lines

    def counted(lines: Any) -> Any:
        found = list(lines)
        most[0] = max(most[0], len(found))
        return real(found)

    monkeypatch.setattr(h11._readers, "_decode_header_lines", counted)
    served = limited(Limits(head_lines=50))
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    with closing(connect(served, ask + b"a: b\r\n" * 40 + b"\r\n" + ask + b"a:\r\n" * 15_000 + b"\r\n")) as connection:
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert (answer.count(b"HTTP/1.1 200"), answer.count(b"HTTP/1.1 400")) == (1, 1)
    assert most == [41]


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
        assert not lane._inside
        assert not lane._running

    asyncio.run(scene())


def test_kinds_of_work_do_not_wait_for_each_other(limited: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """While every thread for queries is busy, segments are taken and health is told."""
    from carbon_acct.api import queries

    gate, real = threading.Event(), queries.list_page

    def slow(session: object, filters: object) -> object:
        assert gate.wait(20)
        return real(session, filters)  # type: ignore[arg-type]

    monkeypatch.setattr(queries, "list_page", slow)
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
