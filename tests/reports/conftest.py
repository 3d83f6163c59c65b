# SPDX-License-Identifier: MIT
"""A site whose database was filled the way it is in life: segments of nodes, and Slurm's record of the jobs."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from carbon_acct.delivery.segment import parse_segment
from carbon_acct.delivery.store import store_segment
from carbon_acct.site import open_site
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.sync.jobs import record_jobs
from carbon_collector import settings
from carbon_reports import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BERLIN = ZoneInfo("Europe/Berlin")
SLOT_S = 900


@dataclass
class Site:
    """A site under construction: `run` adds jobs, `save` delivers everything."""

    config: Path
    jobs: list[SlurmJob] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    metered: dict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    simulated: bool = False
    idle_uj: int = 7_000_001
    system_uj: int = 3_000_002

    @staticmethod
    def at(text: str) -> int:
        """Epoch seconds of a time in Berlin."""
        return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp())

    def run(self, start: str, end: str, watts: int = 100, dram: bool = True, known: bool = True, **slurm: Any) -> int:
        """A job on n1 that draws `watts` in its CPU and a tenth of it in its memory; returns its number."""
        number, begin, finish = len(self.jobs) + 1, self.at(start), self.at(end)
        fixed: dict[str, Any] = {
            "cluster": "demo", "job_id_raw": number, "job_id": str(number), "name": "job", "user": "alice", "uid": 1001,
            "account": "physics", "partition": "batch", "qos": "normal", "state": "COMPLETED", "exit_code": "0:0",
            "restarts": 0, "sluid": None, "submit": begin, "eligible": begin, "start": begin, "end": finish,
            "elapsed_s": finish - begin, "nnodes": 1, "ncpus": 2, "alloc_tres": "cpu=2", "nodelist": "n1",
        }  # fmt: skip
        self.jobs.append(SlurmJob(**fixed | slurm) if known else None)  # type: ignore[arg-type]
        run = {"revision": 1, "job_id": number, "run": f"start:{begin}", "opened": begin}
        self.rows.append({"type": "ledger", "closed": finish, "uid": 1001, "user": "alice", **run})
        for slot in range(begin - begin % SLOT_S, finish, SLOT_S):
            seconds = min(slot + SLOT_S, finish) - max(slot, begin)
            self._slot(run, slot, seconds, watts, dram)
        return number

    def _slot(self, run: dict[str, Any], slot: int, seconds: int, watts: int, dram: bool) -> None:
        parts = {"cpu": seconds * watts * 1_000_000 + 1} | ({"dram": seconds * watts * 100_000} if dram else {})
        shares: dict[str, Any] = {
            name: {"energy_uj": uj, "static_uj": 0, "metered_us": seconds * 10**6, "method": "counter"}
            for name, uj in parts.items()
        }
        if not dram:
            reason = "energy_uj: permission denied"
            shares["dram"] = {"energy_uj": None, "metered_us": 0, "method": "missing", "reason": reason}
        for name, uj in parts.items():
            self.metered[slot][name] += uj
        row = {"type": "job_slot", "slot": slot, "alloc_us": seconds * 10**6, "simulated": self.simulated}
        self.rows.append({**row, **run, "components": shares})

    def save(self, sequence: int = 1) -> None:
        """Deliver the node's segment and Slurm's record."""
        for slot, parts in self.metered.items():
            shares = {
                name: {"energy_uj": uj + self.idle_uj + self.system_uj, "idle_uj": self.idle_uj, "system_uj": self.system_uj,
                       "metered_us": SLOT_S * 10**6, "method": "counter"}
                for name, uj in parts.items()
            }  # fmt: skip
            node = {"type": "node_slot", "revision": 1, "slot": slot, "elapsed_us": SLOT_S * 10**6}
            self.rows.append({**node, "simulated": self.simulated, "components": shares})
        now = self.at("2024-12-01T00:00")
        site = open_site(settings.load(str(self.config)))
        with site.database.write() as session:
            parsed = parse_segment(_segment(self.rows, now, sequence), now)
            assert parsed.refused == ()
            store_segment(session, parsed, site.terms, now)
            record_jobs(session, [job for job in self.jobs if job is not None], site.terms)
        site.database.close()


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


def new_site(folder: Path) -> Site:
    """An empty site in Berlin, zone DE, PUE 1.3."""
    path = folder / "carbon-acct.conf"
    path.write_text(
        "[site]\nname = Demo & Sons\ncluster = demo\nzone = DE\npue = 1.3\ntimezone = Europe/Berlin\n"
        f"[aggregator]\nestimate = no\n[collector]\nstate_dir = {folder}/state\n[reports]\noutput_dir = {folder}/reports\n",
        encoding="utf-8",
    )
    return Site(path)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty site that programs find."""
    found = new_site(tmp_path)
    monkeypatch.setenv("CARBON_ACCT_CONF", str(found.config))
    return found


@pytest.fixture(scope="session")
def make_site() -> Callable[[Path], Site]:
    """Makes an empty site in a folder."""
    return new_site


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """March of a site with 30 users in two accounts and a price, after a February of one job; the report's folder."""
    site = new_site(tmp_path_factory.mktemp("busy"))
    site.run("2024-02-10T10:00", "2024-02-10T15:00", watts=400)
    for n in range(30):
        state = "FAILED" if n % 10 == 0 else "COMPLETED"
        held = {"state": state, "alloc_tres": "cpu=4,gres/gpu=2" if n % 2 else "cpu=4"}
        day, watts = f"2024-03-{n + 1:02}", 100 + 50 * n
        site.run(f"{day}T22:10", f"{day}T23:40", watts=watts, user=f"user{n:02}", account=f"project{n % 2}", **held)
    site.save()
    text = site.config.read_text("utf-8")
    site.config.write_text(text.replace("[site]\n", "[site]\nprice = 0.2 2024-03-16:0.4\n"), encoding="utf-8")
    for month in ("2024-02", "2024-03"):
        words = ["monthly", "--month", month, "--format", "html,csv,json,parquet"]
        assert cli.main(["--config", str(site.config), *words]) == 0
    return site.config.parent / "reports/2024-03"


@pytest.fixture
def carbon_report(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run carbon-report in this process. PDFs take seconds: only a test that names them gets them."""

    def run(*argv: str) -> Outcome:
        fast = () if "--format" in argv else ("--format", "html,csv,json")
        status = cli.main((*argv, *fast))
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


def _segment(rows: list[dict[str, Any]], now: int, sequence: int) -> bytes:
    fixed = {"type": "segment", "version": 1, "cluster": "demo", "node": "n1", "boot_id": "b0-07", "collector": "0"}
    lines = [fixed | {"stream": "00c0ffee", "sequence": sequence, "created": now}, *rows]
    head = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    end = {"type": "end", "rows": len(rows), "sha256": hashlib.sha256(head).hexdigest()}
    return head + json.dumps(end).encode() + b"\n"
