# SPDX-License-Identifier: MIT
"""The collector as a process on a node made of files, an aggregator that checks and keeps what it is sent, and tickets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carbon_acct.access.munge import decode, encode
from carbon_acct.delivery.segment import parse_segment
from carbon_collector import munge
from carbon_collector.units import SLOT_S

from .node import FileNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL_S = 0.1
PATIENCE_S = 60.0
"""How long a busy machine may take for anything; only a test that fails waits so long."""


BORDER_S = 15
"""The seconds before the end of a slot in which no collector is started."""


def eventually(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until the condition holds, and return what it gave."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {patience_s:.0f} s: {what}"
        time.sleep(0.01)
    return value


class Aggregator:
    """An HTTP server that receives segments as docs/record-format.md says, with the real parser of the real one."""

    def __init__(self, munge_socket: str) -> None:
        self.munge_socket = munge_socket
        self.segments: dict[str, bytes] = {}
        self.problems: list[str] = []
        self.answer: tuple[int, bytes] | None = None
        self.signs = True
        self.signs_for = ""
        """The digest of another segment, for which the credential of an answer is then made."""
        self.posts = 0
        self.refuse_lines: list[int] = []
        self.has_time = threading.Event()
        self.has_time.set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def start(self) -> None:
        """Listen; the second time on the same port."""
        aggregator = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = aggregator._receive(self.path, self.headers.get("Authorization", ""), body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Receiver)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """What [collector] aggregators says."""
        return f"http://127.0.0.1:{self.port}"

    def _receive(self, path: str, authorization: str, body: bytes) -> tuple[int, bytes]:
        self.posts += 1
        self.has_time.wait(PATIENCE_S)
        try:
            who = decode(authorization.removeprefix("MUNGE "), self.munge_socket)
            assert path == "/v1/segments"
            assert who.payload == munge.digest(body)
            assert who.uid == os.getuid()
            if self.answer is not None:
                return self._signed(*self.answer, body)
            name, count = self.take(body)
        except Exception as err:  # noqa: BLE001 - whatever it is, the test must see it
            self.problems.append(f"{type(err).__name__}: {err}")
            return 500, b'{"detail": "the test is not content"}'
        refused = [{"line": n, "reason": "because"} for n in self.refuse_lines]
        answer = {"segment": name, "accepted": count - len(refused), "refused": refused}
        return self._signed(200, json.dumps(answer).encode(), body)

    def _signed(self, status: int, answer: bytes, body: bytes) -> tuple[int, bytes]:
        """An answer with the credential that says that it is one to this segment; what is no JSON object gets none."""
        try:
            content = json.loads(answer)
        except ValueError:
            return status, answer
        if self.signs and isinstance(content, dict):
            about = self.signs_for or munge.digest(body)
            content["credential"] = encode(munge.receipt(status, about), self.munge_socket)
        return status, json.dumps(content).encode()

    def take(self, body: bytes) -> tuple[str, int]:
        """Check a segment as the real aggregator does, and keep it."""
        parsed = parse_segment(body, int(time.time()))
        assert not parsed.refused, parsed.refused
        self.segments[parsed.header.name] = body
        return parsed.header.name, len(parsed.records)

    def records(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """By key the record with the highest revision."""
        best: dict[tuple[Any, ...], dict[str, Any]] = {}
        for body in list(self.segments.values()):
            lines = [json.loads(line) for line in body.splitlines()]
            for record in lines[1:-1]:
                key = (lines[0]["stream"], record["type"], record.get("job_id"), record.get("run"), record.get("slot"))
                if key not in best or record["revision"] > best[key]["revision"]:
                    best[key] = record
        return best

    def of(self, kind: str, job_id: int | None = None) -> list[dict[str, Any]]:
        """Records of a type, of one job."""
        rows = [r for r in self.records().values() if r["type"] == kind]
        return rows if job_id is None else [r for r in rows if r["job_id"] == job_id]

    def energy(self, component: str, job_id: int | None = None) -> int | None:
        """Microjoules of a job (or, without one, of the node) over all slots; None if nothing is known."""
        rows = self.of("node_slot") if job_id is None else self.of("job_slot", job_id)
        found = [r["components"][component]["energy_uj"] for r in rows if component in r["components"]]
        known = [uj for uj in found if uj is not None]
        return sum(known) if known else None

    def is_conserved(self) -> bool:
        """Jobs + idle + system = node, for every stream, slot and component."""
        sums: dict[tuple[str, int, str], int] = defaultdict(int)
        for key, record in self.records().items():
            if record["type"] == "ledger":
                continue
            sign = 1 if record["type"] == "node_slot" else -1
            for component, share in record["components"].items():
                own = (share.get("idle_uj") or 0) + (share.get("system_uj") or 0)
                sums[key[0], record["slot"], component] += sign * (share["energy_uj"] or 0) - own
        return not any(sums.values())

    def is_closed(self, job_id: int) -> bool:
        """Whether a closed ledger of the job is here."""
        return any(r["closed"] is not None for r in self.of("ledger", job_id))


class Host:
    """One compute node: the files, the settings, the collector's process, the scripts' tickets."""

    def __init__(self, root: Path, node: FileNode, aggregator: Aggregator, **extra: str) -> None:
        self.root = root
        self.node = node
        self.aggregator = aggregator
        self.run_dir, self.spool_dir, self.state_dir = root / "run", root / "spool", root / "state"
        own = {"interval": str(INTERVAL_S), "linger": "forever", "aggregators": aggregator.url}
        self.extra = own | {"meters": "powercap, nvml"} | extra  # what is not measured is unknown here, not modelled
        self.program = [sys.executable, "-IS", "-c", BOOT]
        self.process: subprocess.Popen[bytes] | None = None
        self.serial = 0

    def configure(self, **extra: str) -> Path:
        """Write the settings."""
        self.extra.update(extra)
        own = {"run_dir": self.run_dir, "spool_dir": self.spool_dir, "state_dir": self.state_dir}
        roots = {"sysfs": self.node.sys, "procfs": self.node.proc, "cgroupfs": self.node.cgroupfs}
        lines = [f"{key} = {value}" for key, value in {**own, **roots, **self.extra}.items()]
        path = self.root / "carbon-acct.conf"
        path.write_text(
            "\n".join(
                [
                    "[collector]",
                    *lines,
                    "[site]",
                    "cluster = tiny",
                    "[slurm]",
                    f"munge_socket = {self.aggregator.munge_socket}",
                ]
            )
        )
        return path

    def start(self, env: dict[str, str] | None = None, **extra: str) -> None:
        """Start the collector and wait until it has taken its first reading."""
        config = self.configure(**extra)
        args = [*self.program, "run", "--node", self.node.name, "--config", str(config)]
        before = self.state_bytes()
        if (left_s := SLOT_S - time.time() % SLOT_S) < BORDER_S:
            time.sleep(left_s)  # most tests are of rows of one slot
        with (self.root / "collector.err").open("ab") as err:
            self.process = subprocess.Popen(
                args, stderr=err, stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", **(env or {})}
            )
        eventually(
            lambda: self.state_bytes() not in (b"", before) or self.process.poll() is not None, "a first reading"
        )

    def state_bytes(self) -> bytes:
        """The state on disk."""
        try:
            return (self.state_dir / "state.json").read_bytes()
        except FileNotFoundError:
            return b""

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Stop the collector."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def stop(self) -> None:
        """As a service manager stops it; everything it knows is then in the spool or shipped."""
        if self.process is not None and self.process.poll() is None:
            self.kill(signal.SIGTERM)

    def wake(self) -> None:
        """As a prolog does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGURG)

    def said(self) -> str:
        """What the collector logged."""
        return (self.root / "collector.err").read_text()

    def ticket(self, kind: str, job_id: int, wait: bool = True, **env: str) -> None:
        """What prolog or epilog leaves, and the wake-up; waits until the collector has taken it in."""
        self.serial += 1
        values = {"KIND": kind, "SLURM_CLUSTER_NAME": "tiny", "SLURM_JOB_ID": str(job_id), "SLURM_JOB_UID": "1000"}
        values |= {"SLURM_JOB_USER": "alice", "SLURM_NODELIST": self.node.name, "SLURM_JOB_CPUS_PER_NODE": "4"}
        values |= {"SLURM_JOB_RESTART_COUNT": "0", **env, "END": "1"}
        folder = self.run_dir / "tickets"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{kind}.{job_id}.{self.serial}"
        path.write_bytes(b"".join(f"{key}={value}\0".encode() for key, value in values.items()))
        self.wake()
        if wait:
            eventually(lambda: not path.exists(), f"{path.name} taken in; it said: {self.said()}")

    def tick(self) -> None:
        """Wait for a reading that began after this call."""
        now_us = time.monotonic_ns() // 1000
        self.wake()
        eventually(lambda: self.last()["mono_us"] >= now_us, f"a reading; it said: {self.said()}")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Between two readings: what happens in here is seen all at once."""
        assert self.process is not None
        self.tick()  # at another moment it may be in the middle of one, and have looked for tickets already
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def last(self) -> dict[str, Any]:
        """The last reading in the state on disk."""
        return json.loads(self.state_bytes().partition(b"\n")[2])["last"]  # type: ignore[no-any-return]

    def spooled(self) -> list[str]:
        """Names of the segments that wait."""
        return sorted(p.name for p in self.spool_dir.glob("*.jsonl"))

    def collect(self) -> Aggregator:
        """Stop the collector and carry what it left in the spool to the aggregator by hand."""
        self.stop()
        for name in self.spooled():
            self.aggregator.take((self.spool_dir / name).read_bytes())
        assert not self.aggregator.problems
        return self.aggregator


HERE = Path(munge.__file__).parent.parent
BOOT = f"import sys; sys.path[:0] = [{str(HERE)!r}, {next(p for p in sys.path if p.endswith('site-packages'))!r}]; from carbon_collector.cli import main; sys.exit(main())"


@contextlib.contextmanager
def stopping(host: Host) -> Iterator[Host]:
    """End the collector with the test, however it ends."""
    try:
        yield host
    finally:
        if host.process is not None and host.process.poll() is None:
            host.process.kill()
            host.process.wait()
