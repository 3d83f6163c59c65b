# SPDX-License-Identifier: MIT
"""`carbon-collector probe` on nodes made of files: what it shows, and that it changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector import probe_text

from .bmc import Bmc
from .gpus import Gpus
from .node import FileNode
from .process import Host

if TYPE_CHECKING:
    from collections.abc import Iterator

JOULE = 1_000_000
NOBODY = 65534
COLUMNS = 100


def probe(host: Host, *args: str, env: dict[str, str] | None = None, user: int | None = None) -> Any:
    """Run it; its exit code, output and errors."""
    config = host.configure()
    line = [*host.program, "probe", "--node", host.node.name, "--config", str(config), *args]
    env = {"PATH": "/usr/bin:/bin", **(env or {})}
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=60, user=user, cwd="/")


def facts_of(host: Host, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What `--json` says."""
    done = probe(host, "--json", env=env)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@contextlib.contextmanager
def drawing(node: FileNode, watts: int) -> Iterator[None]:
    """Meanwhile every zone draws so much."""
    over = threading.Event()

    def draw() -> None:
        start_s, counted = time.monotonic(), 0
        while not over.wait(0.02):
            now = int((time.monotonic() - start_s) * watts * JOULE)
            node.count(now - counted)
            counted = now

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_it_shows_what_is_there_and_what_it_draws(host: Host, library: Path) -> None:
    """Sockets, memory, GPUs and the whole node: method, range, watts now, and what the outer one draws beyond the inner."""
    bmc = Bmc(host)
    bmc.does("watts 500")
    gpus = Gpus(host.root / "nvml-state", [0, 1])
    host.configure(meters="powercap, nvml, dcmi, model", nvml_library=str(library))
    env = {**bmc.env, "NVML_SIMULATED_STATE": str(gpus.path)}
    with drawing(host.node, 80):
        facts = facts_of(host, env)
        page = probe(host, env=env).stdout
    domains = {domain["name"]: domain for domain in facts["domains"]}

    assert set(domains) == {"package-0", "package-1", "dram-0", "dram-1", "GPU-0", "GPU-1", "dcmi"}
    assert domains["package-1"]["power_uw"] == pytest.approx(80e6, rel=0.2)
    assert domains["package-1"]["socket"] == 1
    assert domains["package-0"]["range_uj"] == 262_143_328_850
    assert domains["GPU-0"]["simulated"]
    assert domains["dcmi"]["power_uw"] == pytest.approx(500e6, rel=0.1)
    assert domains["dcmi"]["method"] == "integrated"
    assert facts["parts"]["1"]["domain"] == "GPU-1"
    used = {(source["component"], source["source"]) for source in facts["sources"] if source["used"]}
    assert used == {("cpu", "powercap"), ("dram", "powercap"), ("gpu", "nvml"), ("other", "dcmi")}
    assert "powercap comes first" in page
    assert "dcmi contains cpu, dram, gpu" in page
    assert "GPU-1: 1" in page
    assert "* simulated: no hardware drives it" in page
    assert max(map(len, page.splitlines())) <= COLUMNS


def test_what_lies_beyond_the_parts_is_shown(host: Host) -> None:
    """500 W of the node less four zones of 80 W."""
    bmc = Bmc(host)
    bmc.does("watts 500")
    with drawing(host.node, 80):
        [dcmi] = [d for d in facts_of(host, bmc.env)["domains"] if d["name"] == "dcmi"]

    assert dcmi["own_power_uw"] == pytest.approx(180e6, rel=0.3)


def tree(*folders: Path) -> dict[str, tuple[float, bytes]]:
    """Every file below, with its time and content."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime, path.read_bytes()) for path in files}


@pytest.mark.slow
def test_it_makes_and_changes_nothing(host: Host) -> None:
    """Neither folders where there are none, nor a file of a collector that has gone."""
    config = host.configure()
    fresh = set(host.root.rglob("*"))
    probe(host)
    assert set(host.root.rglob("*")) == fresh

    host.start()
    host.stop()
    before = tree(host.state_dir, host.run_dir, host.spool_dir)
    facts = facts_of(host)
    after = tree(host.state_dir, host.run_dir, host.spool_dir)

    assert config.exists()
    assert before == after
    assert facts["collector_pid"] is None
    assert facts["state"]["read_us"] == host.last()["wall_us"]


@pytest.mark.slow
def test_a_collector_beside_it_does_not_notice(host: Host) -> None:
    """It keeps its lock, goes on, and what it has learned of idle power is shown."""
    with drawing(host.node, 80):
        host.start(idle_watts="37, 41")
        time.sleep(1)
        facts = facts_of(host)
        host.tick()
    assert host.process is not None
    idle = {domain["name"]: (domain["idle_uw"], domain["idle_rule"]) for domain in facts["domains"]}

    assert host.process.poll() is None
    assert facts["collector_pid"] == host.process.pid
    assert idle["package-0"] == (37_000_000, "setting")
    assert idle["package-1"] == (41_000_000, "setting")
    assert idle["dram-0"][1] in ("prior", "fit", "quiet")
    assert idle["dram-0"][0] > 0


@pytest.mark.slow
def test_a_state_that_cannot_be_used_is_a_problem_of_one_line(host: Host) -> None:
    """The rest is shown all the same, and idle power is unknown, not 0."""
    host.state_dir.mkdir()
    (host.state_dir / "state.json").write_text("0\n{}")
    done = probe(host)
    facts = facts_of(host)

    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if "is torn or was changed by hand" in line]
    assert {(d["idle_uw"], d["idle_rule"]) for d in facts["domains"]} == {(None, "unknown")}


def test_where_nothing_can_be_read_it_fails_and_says_why(host: Host) -> None:
    """Exit 1; each source with its reason."""
    for zone in list(host.node.energy):
        host.node.block(zone)
    done = probe(host)

    assert done.returncode == 1
    assert "energy_uj: is a directory" in done.stdout
    assert "package-0: energy_uj: is a directory" in done.stdout.partition("problems:")[2]


def test_no_meter_at_all(tmp_path: Path, host: Host) -> None:
    """A node that shows nothing is told so, with the path that was looked at."""
    host.node = FileNode(tmp_path / "bare", zones=False)
    done = probe(host)

    assert done.returncode == 1
    assert f"no RAPL zone in {host.node.sys}/class/powercap" in "".join(done.stdout.split("\n")).replace("  ", "")


@pytest.mark.parametrize("args", [["--bogus"], ["--node"], ["--json=1"]])
def test_a_wrong_command_line_is_usage(host: Host, args: list[str]) -> None:
    """Exit 2 and one line."""
    done = probe(host, *args)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_an_interval_that_is_too_long_says_for_which_counter(host: Host) -> None:
    """A quarter of the time in which the fastest counter wraps: 65,713 J at the 300 W of a socket's memory."""
    host.configure(interval="1 h")
    done, facts = probe(host), facts_of(host)

    assert facts["interval"]["setting_seconds"] == 3600
    assert facts["interval"]["seconds"] == pytest.approx(65_712.999613 / 300 / 4)
    assert "not 3600 s as [collector] interval says: at 300 W dram-0 wraps in 219 s" in done.stdout


def test_an_estimate_says_what_it_rests_on(tmp_path: Path, host: Host) -> None:
    """The model's name for the CPU, its TDP, and where that is from."""
    host.node = FileNode(tmp_path / "bare", zones=False)
    (host.node.proc / "cpuinfo").write_text("model name\t: AMD EPYC 7763 64-Core Processor\n\n")
    host.configure(meters="powercap, model")
    page = probe(host).stdout

    assert "model-cpu-1 is an estimate: epyc 7763: TDP 280 W (amd.com), 4 of 128 threads of it" in page
    assert "model-dram is an estimate: 64 GiB of 0.3725 W" in page


def test_not_root_is_told_in_one_line(host: Host) -> None:
    """RAPL is root's; whatever else can be seen is shown."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        host.root, host.node = root, FileNode(root / "node")
        for zone in host.node.energy:
            (host.node.zone(zone) / "energy_uj").chmod(0)
        host.configure(meters="powercap, model")
        user = NOBODY if os.geteuid() == 0 else None
        if subprocess.run([sys.executable, "-IS", "-c", ""], user=user, cwd="/", check=False).returncode:
            pytest.skip(f"user {NOBODY} cannot run {sys.executable}")
        done = probe(host, user=user)

    problems = done.stdout.partition("problems:\n")[2].splitlines()
    assert done.returncode == 0
    assert "  not root: RAPL's counters are root's alone (CVE-2020-8694)" in problems
    assert "energy_uj: permission denied" in done.stdout
    assert "model-cpu-0" in done.stdout


TEXTS = st.text(max_size=60) | st.just("\x1b]0;gotcha\x07\x1b[2J")


@given(TEXTS, TEXTS, TEXTS, st.integers(0, 1000))
def test_no_name_moves_the_cursor(name: str, why: str, device: str, share: int) -> None:
    """Whatever hardware, settings and folders are called, the page is printable ASCII, line by line."""
    domain = {
        "name": name, "component": "gpu", "socket": -1, "method": "counter", "range_uj": 0, "max_watts": 700,
        "simulated": True, "contains": ["cpu"], "energy_uj": 1, "power_uw": 1, "own_power_uw": None, "idle_uw": None,
        "idle_rule": "unknown",
    }  # fmt: skip
    facts = {
        "node": name,
        "cpus": 2,
        "sockets": 1,
        "memory_bytes": None,
        "collector_pid": None,
        "sources": [{"component": "gpu", "source": "nvml", "used": True, "why": why}],
        "domains": [domain],
        "estimates": {name: why},
        "parts": {device: {"domain": name, "share": share, "uuid": device}},
        "jobs": [
            {"job": name, "ticket": False, "cpus": 1, "cpu": why, "memory": why, "cpuset": why, "gpus": {device: share}}
        ],
        "interval": {"seconds": 10.0, "setting_seconds": 10.0, "shortened_for": None},
        "state": {"folder": why, "read_us": 1},
        "problems": [why],
    }

    assert all(" " <= c <= "~" or c == "\n" for c in probe_text.page(facts))
