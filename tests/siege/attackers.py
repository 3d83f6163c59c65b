# SPDX-License-Identifier: MIT
"""One attacker: `attackers.py KIND PORT MUNGE_SOCKET SECONDS SOURCE` runs as whoever it is started as, and tells what came
of it as JSON. Loopback only, bounded in connections, in bytes and in time.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from accounting.samples import job_slot, ledger, segment, share
from carbon_acct.access.munge import encode
from carbon_collector import munge

MIB = 1 << 20
SLOT = int(time.time()) // 900 * 900 - 900
"""The last whole slot."""


@dataclass
class Attacker:
    """Where to, from where, for how long; and what came of it so far, by HTTP status or what else happened."""

    port: int
    munge_socket: str
    until: float
    source: str
    came: Counter[str] = field(default_factory=Counter)
    tried: int = 0

    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.until

    def connect(self, buffer: int = 0) -> socket.socket:
        """A connection from an address of one's own."""
        connection = socket.socket()
        connection.settimeout(15)
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.bind((self.source, 0))
        connection.connect(("127.0.0.1", self.port))
        self.tried += 1
        return connection

    def head(
        self, method: str, target: str, body: bytes = b"", length: int | None = None, credential: str = ""
    ) -> bytes:
        """The head of a request, with a fresh credential of whoever this process is, unless one is given."""
        made = credential or encode(munge.request_digest(method, target, body), self.munge_socket)
        size = len(body) if length is None else length
        lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: MUNGE {made}", f"Content-Length: {size}"]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode()

    def ask(self, method: str, target: str, body: bytes = b"", credential: str = "") -> None:
        """A request; its status is counted, its answer read and dropped."""
        try:
            with self.connect() as connection:
                with contextlib.suppress(OSError):
                    connection.sendall(self.head(method, target, body, credential=credential) + body)
                status = connection.recv(65536)[9:12].decode() or "closed"
                while connection.recv(65536):
                    pass
        except OSError as err:
            status = type(err).__name__
        self.came[status] += 1


def heads(one: Attacker) -> None:
    """A stranger's heads of requests whose bodies never come."""
    _hold(one, 400, b"POST /v1/segments HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")


def silence(one: Attacker) -> None:
    """A stranger who connects and says nothing."""
    _hold(one, 400, b"")


def _hold(one: Attacker, many: int, sent: bytes) -> None:
    held: list[socket.socket] = []
    try:
        while one.goes_on():
            with contextlib.suppress(OSError):
                connection = one.connect()
                held.append(connection)
                connection.sendall(sent)
            if len(held) >= many:
                held.pop(0).close()
            time.sleep(0.002)
    finally:
        for connection in held:
            connection.close()


def credentials(one: Attacker) -> None:
    """A stranger's credentials that are none."""
    while one.goes_on():
        one.ask("GET", "/v1/jobs", credential="MUNGE:" + "A" * random.randrange(10, 3000))


def health(one: Attacker) -> None:
    """A stranger who asks for health without end. To be answered is no harm."""
    while one.goes_on():
        with contextlib.suppress(OSError), one.connect() as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            connection.recv(65536)
        time.sleep(0.005)


def node_lists(one: Attacker) -> None:
    """A user's short texts that stand for very many nodes, and other short questions that are dear."""
    texts = [
        "nodes=" + quote("n[" + ",".join(["0-199999"] * 120) + "]"),
        "nodes=" + quote("x" * 200 + "[0-199999]"),
        "nodes=" + quote("n" + "[0-9]" * 5000),
        "nodes=" + quote("," * 10_000 + "]"),
        "nodes=" + quote("n[0-199999]"),
        "truncate=1&start=1&end=253402300799",
    ]
    while one.goes_on():
        one.ask("GET", f"/v1/jobs?{random.choice(texts)}")


def lists(one: Attacker) -> None:
    """A user's lists of every length."""
    while one.goes_on():
        many = random.randrange(1, 5000)
        text = ",".join(str(n) for n in range(many))[:32_000]
        one.ask("GET", f"/v1/jobs?{random.choice(('jobs', 'users', 'accounts', 'states'))}={text}")


def whole(one: Attacker) -> None:
    """A user who asks for everything, twenty times at once."""
    _threads(20, lambda: _repeat(one, lambda: one.ask("GET", "/v1/jobs?all_users=1&duplicates=1")))


def slow_readers(one: Attacker) -> None:
    """A user who asks for everything and takes next to nothing of it."""

    def read() -> None:
        with contextlib.suppress(OSError), one.connect(4096) as connection:
            connection.sendall(one.head("GET", f"/v1/jobs?all_users=1&start={random.randrange(1000)}"))
            while one.goes_on() and connection.recv(1000):
                time.sleep(0.2)

    _threads(25, lambda: _repeat(one, read))


def bodies(one: Attacker) -> None:
    """Root of a node who holds bodies of eight MiB, each a byte short."""
    first = segment([], node="n2").split(b"\n")[0] + b"\n"

    def hold() -> None:
        with contextlib.suppress(OSError), one.connect() as connection:
            connection.sendall(one.head("POST", "/v1/segments", length=8 * MIB) + first)
            for _ in range(7):
                connection.sendall(b"x" * MIB)
            connection.recv(65536)

    _threads(20, lambda: _repeat(one, hold))


def foreign_bodies(one: Attacker) -> None:
    """Root of a host that is no node, with bodies for a node that is not its own."""
    body = segment([ledger()], node="n1") + b"x" * MIB
    while one.goes_on():
        one.ask("POST", "/v1/segments", body)


def forged(one: Attacker) -> None:
    """Root of a node whose rows are for a job that ran elsewhere, in streams without end."""
    number = iter(range(1, 1 << 30))

    def deliver() -> None:
        n = next(number)
        who = {"job_id": 7, "run": f"start:{SLOT + 10}", "opened": SLOT + 10}
        row = job_slot({"cpu": share(10**13, metered_us=1_800_000_000)}, slot=SLOT, alloc_us=1_800_000_000, **who)
        one.ask("POST", "/v1/segments", segment([ledger(**who, closed=SLOT + 70), row], node="n3", stream=f"{n:08x}"))

    _threads(4, lambda: _repeat(one, deliver))


def large(one: Attacker) -> None:
    """Root of a node whose segments hold as many rows as there may be, of jobs that never were."""
    number = iter(range(1, 1 << 30))
    day = (SLOT // 86400 - 1) * 86400
    while one.goes_on():
        n = next(number)
        rows = [job_slot(job_id=n * 1000 + k, slot=day, slots=96, alloc_us=96 * 60_000_000) for k in range(400)]
        one.ask("POST", "/v1/segments", segment(rows, node="n4", stream=f"{n:08x}"))


KINDS: dict[str, Callable[[Attacker], None]] = {
    name: found
    for name, found in list(globals().items())
    if callable(found) and getattr(found, "__module__", "") == __name__ and name[0].islower() and name not in ("main",)
}


def _threads(many: int, run: Callable[[], None]) -> None:
    threads = [threading.Thread(target=run) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _repeat(one: Attacker, once: Callable[[], None]) -> None:
    while one.goes_on():
        once()


def _words() -> Iterator[str]:
    yield from sys.argv[1:]


def main() -> None:
    """Attack, then tell what came of it."""
    kind, port, munge_socket, seconds, source = _words()
    one = Attacker(int(port), munge_socket, time.monotonic() + float(seconds), source)
    KINDS[kind](one)
    print(json.dumps({"tried": one.tried, "came": one.came}))


if __name__ == "__main__":
    main()
