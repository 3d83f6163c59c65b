# SPDX-License-Identifier: MIT
"""A node made of files with the real collector on it: its zipapp, a private munged, an aggregator that acknowledges."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))  # the simulated hosts live with the tests

from collector.node import FileNode  # noqa: E402
from collector.process import Aggregator  # noqa: E402
from simulator.gpus import DEVICE, HEADER, MAGIC  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ZIPAPP = CHECKOUT / "dist/carbon-collector"
NVML_SOURCE = CHECKOUT / "tests/simulator/nvml/nvml.c"
NODE = "n1"
UID = 1000
PATIENCE_S = 60.0
CPU_SHARE = 0.5
COUNT_S = 0.05
"""Time between two steps of a meter: one that stands still for seconds is a dead one, and is waited for until then."""
WATTS = {"package": 120, "dram": 20, "gpu": 250}


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for something, not for ever. Raises TimeoutError."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {patience_s:.0f} s: {what}")
        time.sleep(0.01)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for one run, in memory where there is such a place: what is measured is the collector, not a disk."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a name of chance below it
    with tempfile.TemporaryDirectory(prefix="carbon-bench.", dir=parent) as path:
        Path(path).chmod(0o755)
        yield Path(path)


@contextlib.contextmanager
def munged(root: Path) -> Iterator[str]:
    """A munged of our own; gives its socket."""
    program = shutil.which("munged", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise FileNotFoundError("munged is not installed (Debian: apt-get install munge)")
    root.mkdir()
    root.chmod(0o711)
    (root / "key").write_bytes(os.urandom(1024))
    (root / "key").chmod(0o600)
    names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    args = [f"--{option}={root / name}" for option, name in names.items()]
    with subprocess.Popen([program, "--foreground", "--force", *args], stderr=subprocess.DEVNULL) as daemon:
        try:
            until((root / "socket").exists, "munged's socket")
            yield str(root / "socket")
        finally:
            daemon.terminate()


@contextlib.contextmanager
def aggregator(munge_socket: str) -> Iterator[Aggregator]:
    """An aggregator that checks and acknowledges."""
    receiver = Aggregator(munge_socket)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def compile_nvml(root: Path) -> Path:
    """The stand-in libnvidia-ml.so.1. Raises CalledProcessError, FileNotFoundError without a compiler."""
    path = root / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", path, NVML_SOURCE], check=True)
    return path


class Host:
    """A node of files with so many jobs and GPUs, and the collector's process on it."""

    def __init__(
        self,
        root: Path,
        receiver: Aggregator,
        cgroup: str,
        jobs: int,
        gpus: int,
        nvml: Path | None,
        **settings: str,
    ) -> None:
        self.root = root
        root.mkdir()
        self.jobs = jobs
        self.gpus = gpus
        self.node = FileNode(root / "node", cgroup=cgroup, cpus_per_socket=32, name=NODE)
        self.run_dir = root / "run"
        self.config = root / "carbon-acct.conf"
        self._energy_mj = 1_000_000
        self._state = root / "nvml"
        self._show_gpus()
        self._configure(receiver, nvml, settings)
        self._burn: dict[str, float] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def _configure(self, receiver: Aggregator, nvml: Path | None, settings: dict[str, str]) -> None:
        own = {"run_dir": self.run_dir, "spool_dir": self.root / "spool", "state_dir": self.root / "state"}
        roots = {"sysfs": self.node.sys, "procfs": self.node.proc, "cgroupfs": self.node.cgroupfs}
        rest: dict[str, object] = {"linger": "forever", "aggregators": receiver.url, **settings}
        if self.gpus and nvml:
            rest["nvml_library"] = nvml
        lines = [f"{key} = {value}" for key, value in {**own, **roots, **rest}.items()]
        slurm = ["[site]", "cluster = bench", "[slurm]", f"munge_socket = {receiver.munge_socket}"]
        self.config.write_text("\n".join(["[collector]", *lines, *slurm, ""]))

    def start(self, program: Path = ZIPAPP) -> subprocess.Popen[bytes]:
        """Start the zipapp as prolog or unit do, from a copy that nobody builds anew meanwhile."""
        copy = self.root / "carbon-collector"
        shutil.copy(program, copy)
        env = {"PATH": "/usr/bin:/bin", "NVML_SIMULATED_STATE": str(self._state), **_malloc()}
        args = [str(copy), "run", "--node", NODE, "--config", str(self.config)]
        with (self.root / "said").open("wb") as said:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stderr=said, env=env)
        until((self.root / "state/state.json").exists, f"a first reading; it said: {self.said()}")
        return self.process

    def said(self) -> str:
        """What the collector logged."""
        return (self.root / "said").read_text()

    def begin_jobs(self) -> None:
        """Prolog and first step of every job; waits until the collector has taken them in."""
        for number in range(1, self.jobs + 1):
            self.node.start_job(str(number), UID)
            self._confine(number)
            self.ticket("prolog", number)
        self.until_taken_in()

    def _confine(self, number: int) -> None:
        """Slurm gives the cpuset with the allocation (ConstrainCores)."""
        jobs = self.node.cgroupfs.rglob(f"job_{number}")
        name = "cpuset.cpus" if self.node.cgroup == "v1" else "cpuset.cpus.effective"
        for folder in [path for path in jobs if "memory" not in path.parts]:
            target = Path(str(folder).replace("/cpuacct/", "/cpuset/"))
            target.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(f"{number % self.node.cpus}\n")

    def until_taken_in(self) -> None:
        """Wait until the collector has dealt with every ticket."""
        tickets = self.run_dir / "tickets"
        until(lambda: not any(tickets.iterdir()), f"tickets taken in; it said: {self.said()}")

    def ticket(self, kind: str, job_id: int) -> None:
        """What a prolog or epilog leaves, and the wake-up."""
        gpu = str(job_id - 1) if job_id <= self.gpus else ""
        values = {"KIND": kind, "SLURM_CLUSTER_NAME": "bench", "SLURM_JOB_ID": job_id, "SLURM_JOB_UID": UID}
        values |= {"SLURM_JOB_USER": "alice", "SLURM_JOB_ACCOUNT": "physics", "SLURM_JOB_PARTITION": "batch"}
        values |= {"SLURM_NODELIST": NODE, "SLURM_JOB_CPUS_PER_NODE": "1", "SLURM_JOB_GPUS": gpu}
        values |= {"SLURM_JOB_START_TIME": 1_790_000_000, "SLURM_JOB_RESTART_COUNT": 0, "END": 1}
        path = self.run_dir / f"tickets/{kind}.{job_id}.0"
        path.write_bytes(b"".join(f"{key}={value}\0".encode() for key, value in values.items()))
        if self.process is not None:
            self.process.send_signal(signal.SIGURG)

    def animate(self, seconds: float) -> None:
        """Let the jobs use CPU time."""
        for number in range(1, self.jobs + 1):
            self.node.burn(str(number), number % self.node.cpus, CPU_SHARE * seconds, UID)

    def count(self, seconds: float) -> None:
        """Let the meters count."""
        for zone in self.node.energy:
            socket = int(zone.split(":")[1])  # of counters that count alike one is taken for the other's mirror
            watts = WATTS["dram" if zone.count(":") == 2 else "package"] + 10 * socket
            self.node.add_energy(zone, int(watts * seconds * 1e6))
        self._energy_mj += int(WATTS["gpu"] * seconds * 1e3)
        self._show_gpus()

    def _show_gpus(self) -> None:
        data = HEADER.pack(MAGIC, self.gpus)
        for i in range(self.gpus):
            bus = f"00000000:{i + 16:02X}:00.0".encode()
            data += DEVICE.pack(f"GPU-{i}".encode(), b"Simulated", bus, i, 250_000, self._energy_mj)
        with self._state.open("r+b" if self._state.exists() else "wb") as file:
            file.write(data)  # in place: the library has it mapped

    def stop(self) -> None:
        """Kill the collector if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def counting(hosts: list[Host]) -> Iterator[None]:
    """Let the meters of all hosts count meanwhile."""
    over = threading.Event()

    def count() -> None:
        while not over.wait(COUNT_S):
            for host in hosts:
                host.count(COUNT_S)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _malloc() -> dict[str, str]:
    """Settings of the C library's allocator that the caller wants to try."""
    return {key: value for key, value in os.environ.items() if key.startswith(("MALLOC_", "PYTHONMALLOC"))}
