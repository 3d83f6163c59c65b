# SPDX-License-Identifier: MIT
"""Made-up segments and jobs, as small as the tests allow."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from carbon_acct.site import Site, open_site
from carbon_acct.slurm.client import SlurmJob
from carbon_collector import settings

SLOT = 900 * 1_500_000
"""A slot in 2012: in the past, and a round number."""

NOW = SLOT + 100_000
MINUTE_US = 60_000_000


def header(**changes: Any) -> dict[str, Any]:
    fixed = {"type": "segment", "version": 1, "cluster": "demo", "node": "n1", "boot_id": "b0-07"}
    return fixed | {"stream": "00c0ffee", "sequence": 1, "created": NOW, "collector": "0"} | changes


def ledger(**changes: Any) -> dict[str, Any]:
    fixed = {"type": "ledger", "revision": 1, "job_id": 7, "run": "restart:0", "opened": SLOT + 10, "closed": SLOT + 70}
    who = {"uid": 1000, "user": "alice", "account": "physics", "partition": "p", "restart_count": 0}
    return fixed | who | {"cpus": 2, "node_cpus": 4, "gpus": [], "source": "prolog"} | changes


def share(energy_uj: int | None = 1000, **changes: Any) -> dict[str, Any]:
    if energy_uj is None:
        return {"energy_uj": None, "static_uj": None, "metered_us": 0, "method": "missing", "reason": "none"} | changes
    return {"energy_uj": energy_uj, "static_uj": energy_uj // 4, "metered_us": MINUTE_US, "method": "counter"} | changes


def job_slot(components: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    fixed = {"type": "job_slot", "revision": 1, "job_id": 7, "run": "restart:0", "opened": SLOT + 10, "slot": SLOT}
    parts = {"cpu": share(), "dram": share(100)} if components is None else components
    return fixed | {"alloc_us": MINUTE_US, "cpu_us": 5, "simulated": False, "components": parts} | changes


def node_share(energy_uj: int, idle_uj: int, system_uj: int) -> dict[str, Any]:
    rest = {"metered_us": 900_000_000, "method": "counter"}
    return {"energy_uj": energy_uj, "idle_uj": idle_uj, "system_uj": system_uj} | rest


def node_slot(components: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    parts = {"cpu": node_share(1500, 300, 200), "dram": node_share(150, 50, 0)} if components is None else components
    fixed = {"type": "node_slot", "revision": 1, "slot": SLOT, "elapsed_us": 900_000_000, "simulated": False}
    return fixed | {"components": parts} | changes


def segment(rows: list[Any], **changes: Any) -> bytes:
    """A segment with these records; a record given as bytes is written as it is."""
    lines = [header(**changes), *rows]
    head = b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in lines)
    return head + trailer(head, len(rows))


def trailer(head: bytes, rows: int) -> bytes:
    end = {"type": "end", "rows": rows, "sha256": hashlib.sha256(head).hexdigest()}
    return json.dumps(end).encode() + b"\n"


JOB = SlurmJob(
    cluster="demo",
    job_id_raw=7,
    job_id="7",
    name="job",
    user="alice",
    uid=1000,
    account="physics",
    partition="p",
    qos="normal",
    state="COMPLETED",
    exit_code="0:0",
    restarts=None,
    sluid=None,
    submit=SLOT,
    eligible=SLOT,
    start=SLOT + 10,
    end=SLOT + 70,
    elapsed_s=60,
    nnodes=1,
    ncpus=2,
    alloc_tres="cpu=2",
    nodelist="n1",
    group="staff",
    gid=50,
    timelimit_s=600,
    req_cpus=2,
    req_nodes=1,
    req_tres="billing=2,cpu=2",
    workdir="/home/alice",
    derived_exit_code="0:0",
    suspended_s=0,
)


def job(**changes: Any) -> SlurmJob:
    return replace(JOB, **changes)


def configure(folder: Path, **values: str) -> Path:
    """A configuration file; `site_zone="DE"` sets [site] zone."""
    site = {"site_zone": "DE", "site_pue": "1.3", "site_cluster": "demo", "collector_state_dir": str(folder)}
    # Most tests are about what was measured.
    chosen = site | {"aggregator_estimate": "no"} | values
    sections: dict[str, list[str]] = {}
    for key, value in chosen.items():
        section, _, name = key.partition("_")
        sections.setdefault(section, []).append(f"{name} = {value}")
    path = folder / "carbon-acct.conf"
    path.write_text("\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items()) + "\n")
    return path


@cache
def _fresh() -> tuple[bytes, int]:
    """The database of a site that has just been made, and its mode: to make one takes longer than most tests."""
    with tempfile.TemporaryDirectory(prefix="carbon-fresh-") as name:
        open_site(settings.load(str(configure(Path(name))))).database.close()
        file = Path(name, "carbon-acct.db")
        return file.read_bytes(), file.stat().st_mode


def new_site(folder: Path, **values: str) -> Site:
    """A site whose database is as the aggregator makes it, where there is none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "carbon-acct.db"
    if "aggregator_database" not in values and not file.exists():
        content, mode = _fresh()
        file.write_bytes(content)
        file.chmod(mode)
    return open_site(settings.load(str(configure(folder, **values))))
