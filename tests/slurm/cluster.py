# SPDX-License-Identifier: MIT
"""A real Slurm cluster on this machine: `with Cluster(folder) as cluster: cluster.sbatch("alice", ...)`.

munge, MariaDB, slurmdbd, slurmctld, four slurmd and the aggregator run in namespaces of their own (inside.py),
with their own network, so that everything has its default path and port, and several clusters can run.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from simulator import hardware

from . import cgroups, conf
from .clock import Clock
from .layout import AGGREGATOR_UID, AGGREGATOR_USER, CHECKOUT, CLOCK, NODES, PATH, USERS, Layout
from .processes import alive, child_of, command_line, in_mount_namespace, start_time
from .witness import Stay, stays

TESTS = CHECKOUT / "tests"
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
# A process that comes in from outside joins the cluster's cgroup first; in v2 only a leaf takes processes.
JOIN = """
for procs in /sys/fs/cgroup/init/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
    [ -w "$procs" ] && echo $$ >"$procs"
    [ "$procs" = /sys/fs/cgroup/init/cgroup.procs ] && [ -e "$procs" ] && break
done 2>/dev/null
exec "$@"
"""
DAEMON = 'echo $$ >"$0"; log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null'
FINAL = {
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
}
PROGRAMS = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "slurmdbd": "slurmdbd",
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "cc": "gcc",
    "ldconfig": "libc-bin",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
MARIADB = (
    "mariadbd --no-defaults --user=root --datadir={data} --socket=/run/mysqld/mysqld.sock --skip-networking "
    "--pid-file=/run/mysqld/mysqld.pid --innodb-buffer-pool-size=64M --innodb-log-file-size=16M "
    "--innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-use-native-aio=0 --sync-binlog=0 "
    "--performance-schema=0 --skip-name-resolve"
)
# A shell asks, since a new Python would take the CPU that what starts needs.
HEALTH = r"""
exec 3<>/dev/tcp/127.0.0.1/{}
printf 'GET /healthz HTTP/1.1\r\nHost: head\r\nConnection: close\r\n\r\n' >&3
timeout 5 head -n 1 <&3 | grep -q ' 200 '
"""
PROBES = {
    "mariadbd": ["mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "-e", "select 1"],
    "carbon-mariadbd": ["mariadb", "--no-defaults", "--socket=/run/mysqld/carbon.sock", "-e", "select 1"],
    "slurmdbd": ["sacctmgr", "-n", "list", "cluster"],
    "slurmctld": ["sinfo", "-h"],
    "aggregator": ["bash", "-c", HEALTH.format(6829)],
    "aggregator-2": ["bash", "-c", HEALTH.format(6830)],
}
ACCOUNTS = """\
Cluster - '{cluster}'
Parent - 'root'
User - 'root':AdminLevel='Administrator':DefaultAccount='root'
User - '{aggregator}':AdminLevel='Operator':DefaultAccount='root'
Account - 'physics':Description='physics':Organization='science'
Account - 'chemistry':Description='chemistry':Organization='science'
Parent - 'physics'
Account - 'optics':Description='optics':Organization='science'
User - 'alice':DefaultAccount='physics'
User - 'carol':DefaultAccount='physics':Coordinator='physics'
Parent - 'optics'
User - 'alice':DefaultAccount='physics'
Parent - 'chemistry'
User - 'bob':DefaultAccount='chemistry'
"""


SHELLS = (b"sh\0", b"/bin/sh\0")


class ClusterError(Exception):
    """The cluster could not be brought up, or a command in it failed; the message says where the logs are."""


def missing() -> str:
    """What this machine lacks for a cluster, as one line; empty if nothing."""
    if os.geteuid() != 0:
        return "root is needed: the cluster makes namespaces and mounts"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    packages = sorted({PROGRAMS[program] for program in absent})
    return f"not installed: {', '.join(absent)}; apt-get install {' '.join(packages)}" if absent else ""


class Cluster:
    """A cluster in `folder`, which is emptied first. It ends with this process unless `keep`.

    With `real_counters` n1 uses the machine's RAPL counters where there are any; else all nodes are simulated.
    With `own_clock` every process of the cluster lives by `clock`, a wall clock that can be stepped.
    """

    _mariadb: ClassVar[tempfile.TemporaryDirectory[str] | None] = None

    def __init__(
        self,
        folder: Path,
        name: str = "demo",
        keep: bool = False,
        real_counters: bool = False,
        own_clock: bool = False,
        nodes: Sequence[hardware.Node] = (),
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.layout = Layout(folder.resolve())
        self.name = name
        self.nodes = list(nodes) or hardware.default_nodes()
        self._keep = keep
        self._real_counters = real_counters
        self._own_clock = own_clock
        self._say = say
        self._outer = 0
        self._init = 0
        self._unshared: subprocess.Popen[bytes] | None = None
        self._parts: dict[str, tuple[Sequence[str], str, str]] = {}
        self._rows: dict[int, int] = {}

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @classmethod
    def attach(cls, folder: Path) -> Cluster:
        """The cluster that runs in `folder`. Raises ClusterError if none does."""
        cluster = cls(folder)
        try:
            cluster.nodes = hardware.load(cluster.layout.hardware)
            cluster._outer = _running(cluster.layout)
        except FileNotFoundError:
            pass
        if not cluster._outer:
            raise ClusterError(f"no cluster runs in {folder}")
        cluster._init = child_of(cluster._outer)
        return cluster

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring everything up, up to idle nodes. Raises ClusterError with the ends of the logs."""
        lack = missing()
        if lack:
            raise ClusterError(lack)
        try:
            self._prepare()
            self._unshare()
            self._start_parts()
        except BaseException as err:
            logs = self.logs()
            self.stop()
            if isinstance(err, ClusterError | OSError | subprocess.SubprocessError):
                raise ClusterError(f"{err}\n{logs}") from err
            raise

    def stop(self) -> None:
        """End every process of the cluster and remove its cgroups. The folder stays, with logs and databases."""
        outer, self._outer, self._init = self._outer, 0, 0
        if not outer:
            return
        init = child_of(outer)
        for pid in (init, outer):
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._unshared:
            self._unshared.wait()
        cgroups.thaw(f"{cgroups.PREFIX}{outer}")
        _until(lambda: not any(alive(pid) for pid in (init, outer)), 60, "the cluster's processes did not end")
        cgroups.remove(f"{cgroups.PREFIX}{outer}")
        (self.layout.folder / "cluster.pid").unlink(missing_ok=True)

    def _prepare(self) -> None:
        layout, folder = self.layout, self.layout.folder
        running = _running(layout)
        if running:
            raise ClusterError(f"a cluster runs in {folder} already (process {running}); stop it first")
        cgroups.remove_abandoned()
        shutil.rmtree(folder, ignore_errors=True)
        for path in (layout.log, layout.state, layout.truth, layout.witness, layout.staging):
            path.mkdir(parents=True)
        for name in ("slurmctld", "mysql", "nvml", "pids", "etc/munge"):
            (folder / name).mkdir(parents=True)
        hardware.save(layout.hardware, self.nodes)
        if self._real_counters:
            layout.real_counters.touch()
        version = max((h.version for h in cgroups.hierarchies()), default=1)
        v1 = any(h.version == 1 for h in cgroups.hierarchies())
        conf.write_all(layout, self.name, self.nodes, 1 if v1 else version)
        if self._own_clock:
            self.clock = Clock(layout.clock, seen=CLOCK)
            (layout.etc / "ld.so.preload").write_text(f"{self.clock.library}\n")
        key = folder / "etc/munge/munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        key.parent.chmod(0o700)
        library = folder / "nvml" / "libnvidia-ml.so.1"
        source = TESTS / "simulator" / "nvml" / "nvml.c"
        command = ["cc", "-O1", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", str(library), str(source)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def _unshare(self) -> None:
        arguments = [sys.executable, "-m", "slurm.inside", "outer", str(self.layout.folder)]
        with (self.layout.log / "namespaces.log").open("ab") as log:
            self._unshared = subprocess.Popen(
                arguments + ([] if self._keep else ["die-with-parent"]),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._outer = self._unshared.pid
        (self.layout.folder / "cluster.pid").write_text(f"{self._outer} {start_time(self._outer)}\n")
        ready = self.layout.folder / "head.ready"
        _until(lambda: ready.exists() or self._ended(), 60, "the namespaces were not set up")
        self._init = child_of(self._outer)
        if not ready.exists() or not self._init:
            raise ClusterError("the namespaces could not be set up")

    def _ended(self) -> bool:
        return self._unshared is None or self._unshared.poll() is not None

    def _start_parts(self) -> None:
        self._say("munge, MariaDB, simulated hardware")
        self.spawn("munged", ["munged", "--foreground"])
        data = self.layout.folder / "mysql"
        self.install_mariadb(data)
        self.spawn("mariadbd", MARIADB.format(data=data).split())
        self.spawn_simulator("simulator", self.layout.hardware, Path("/run/simulator"), self.layout.truth)
        for node in NODES:
            self._start_node(node)
        self.until_answers("mariadbd")
        self._say("slurmdbd, accounts, slurmctld")
        self.spawn("slurmdbd", ["slurmdbd", "-D"])
        self.until_answers("slurmdbd")
        accounts = self.layout.folder / "accounts.cfg"
        accounts.write_text(ACCOUNTS.format(cluster=self.name, aggregator=AGGREGATOR_USER))
        self.run(["sacctmgr", "-i", "load", f"file={accounts}"])
        self.spawn("slurmctld", ["slurmctld", "-D"])
        self._say("four slurmd")
        for node in NODES:
            self.spawn(f"munged-{node}", ["munged", "--foreground"], node=node)
            self.spawn(f"slurmd-{node}", ["slurmd", "-D", "-N", node], node=node)
        self.until_idle()

    def install_mariadb(self, data: Path) -> None:
        """Make the folder of a server without databases: once in this process, and then copies of that."""
        if Cluster._mariadb is None:
            made = tempfile.TemporaryDirectory(prefix="carbon-mariadb-", dir="/tmp")
            install = f"mariadb-install-db --no-defaults --user=root --datadir={made.name} --skip-test-db"
            self.run([*install.split(), "--auth-root-authentication-method=socket"])
            Cluster._mariadb = made
        shutil.copytree(Cluster._mariadb.name, data, dirs_exist_ok=True)

    def until_idle(self) -> None:
        """Wait until every node is idle. Raises ClusterError."""
        _until(self._all_idle, 120, "not all nodes became idle")

    def _all_idle(self) -> bool:
        states = self.run(["sinfo", "-h", "-N", "-o", "%T"], check=False).stdout.split()
        return states == ["idle"] * len(NODES)

    def _start_node(self, node: str) -> None:
        pid_file = self.layout.folder / "pids" / f"{node}.ns"
        pid_file.unlink(missing_ok=True)
        script = [sys.executable, "-m", "slurm.inside", "node", str(self.layout.folder), node]
        environment = [f"{k}={v}" for k, v in _environment().items()]
        own = ["unshare", "--mount", "--uts", "--propagation=private", "env", *environment, *script]
        log = self.layout.log / "namespaces.log"
        self.run(["setsid", "-f", "sh", "-c", 'exec "$@" >>"$0" 2>&1 </dev/null', str(log), *own])
        _until(lambda: pid_file.exists() and bool(pid_file.read_text().strip()), 60, f"node {node} was not set up")

    # --- parts ----------------------------------------------------------------------------------------------

    def spawn(self, part: str, argv: Sequence[str], node: str = "", user: str = "") -> None:
        """Start a program that stays; its log is `<part>.log`."""
        as_user = _as_user(user) if user else []
        log = self.layout.log / f"{part}.log"
        script = ["setsid", "-f", "sh", "-c", DAEMON, str(self._pid_file(part)), str(log), *as_user, *argv]
        self._parts[part] = (argv, node, user)
        self.run(script, node=node)

    def restart(self, part: str, wait: bool = True) -> None:
        """Start a part again after it was stopped or killed, and wait until it answers."""
        argv, node, user = self._parts[part]
        self.spawn(part, argv, node=node, user=user)
        if wait:
            self.until_answers(part)

    def spawn_simulator(self, part: str, nodes: Path, out: Path, truth: Path) -> None:
        """Start simulated hardware, and wait until it shows itself in `out`."""
        self.spawn_module(part, "simulator", *map(str, (nodes, out, truth)))
        ready = self.seen(out / "ready")
        _until(ready.exists, 60, f"{part} is not ready")

    def spawn_module(self, part: str, module: str, *arguments: str) -> None:
        """Start a module of these tests that stays."""
        environment = [f"{k}={v}" for k, v in _environment().items()]
        self.spawn(part, ["env", *environment, sys.executable, "-m", module, *arguments])

    def start_aggregator(self) -> None:
        """Start the aggregator as its own user, and wait until it answers."""
        self.spawn("aggregator", ["carbon-aggregator"], user=AGGREGATOR_USER)
        self.until_answers("aggregator")

    def kill(self, part: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a part: simulator, munged, mariadbd, slurmdbd, slurmctld, slurmd-n1, aggregator."""
        self.run(["kill", f"-{number.value}", self.pid(part)])

    def stop_part(self, part: str) -> None:
        """Ask a part to end and wait until it has."""
        pid = self.pid(part)
        self.kill(part, signal.SIGTERM)
        _until(lambda: self.run(["kill", "-0", pid], check=False).returncode != 0, 60, f"{part} did not end")

    def stop_collector(self, node: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End every collector of a node, those that wait for their turn included, and wait until they have ended."""
        _until(lambda: not self.kill_collector(node, number), 60, f"the collector of {node} does not end")

    def kill_collector(self, node: str, number: signal.Signals = signal.SIGKILL) -> list[int]:
        """Send a signal to whatever there is of a collector on a node at this instant; who got it."""
        pids = self.collectors(node)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def collectors(self, node: str) -> list[int]:
        """Process ids (on this host) of the collectors on a node, whatever interprets them: one, or none; more for a
        moment when several start.
        """
        namespace = Path(f"/proc/{self.host_pid(node)}/ns/mnt").readlink()
        lines = {pid: command_line(pid) for pid in in_mount_namespace(namespace)}
        # The shell that started one looks after it for three seconds, and has its name among its words.
        return [pid for pid, words in lines.items() if b"carbon-collector" in words and not words.startswith(SHELLS)]

    def host_pid(self, node: str) -> int:
        """Process id (on this host) of the process that holds a node's namespaces."""
        inside = (self.layout.folder / "pids" / f"{node}.ns").read_text().strip()
        namespace = self.seen(Path("/proc", inside, "ns/mnt")).readlink()
        return next(pid for pid in in_mount_namespace(namespace) if command_line(pid).startswith(b"sleep\0infinity"))

    def pid(self, part: str) -> str:
        """Process id (inside) with which a part was started last."""
        return self._pid_file(part).read_text().strip()

    def seen(self, path: Path) -> Path:
        """Where this host sees a path of the head's."""
        return Path("/proc", str(self._init), "root", path.relative_to("/"))

    def _pid_file(self, part: str) -> Path:
        return self.layout.folder / "pids" / f"{part}.pid"

    # --- commands -------------------------------------------------------------------------------------------

    def entry(self, node: str = "") -> list[str]:
        """The command line that runs what follows it inside: on the head, or on a node."""
        argv = ["nsenter", "--target", str(self._init), *NAMESPACES, "--", "sh", "-c", JOIN, "sh"]
        if node:
            pid = (self.layout.folder / "pids" / f"{node}.ns").read_text().strip()
            argv += ["nsenter", "--target", pid, "--mount", "--uts", "--"]
        return [*argv, "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", "HOME=/root"]

    def run(
        self, argv: Sequence[str], node: str = "", check: bool = True, stdin: str = "", timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root. Raises ClusterError with its output if `check` and it fails."""
        command = [*self.entry(node), *argv]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            raise ClusterError(
                f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done

    def run_as(
        self, user: str, argv: Sequence[str], check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the head as a user, in the user's home."""
        return self.run([*_as_user(user), *argv], check=check, stdin=stdin)

    def node(self, name: str) -> Node:
        """One of the nodes."""
        return Node(self, name)

    def sbatch(self, user: str, *options: str, script: str = "#!/bin/sh\ntrue\n") -> int:
        """Submit a batch script as a user; returns the JobID."""
        done = self.run_as(user, ["sbatch", "--parsable", *options], stdin=script)
        job = int(done.stdout.strip().partition(";")[0])
        self._rows[job] = _rows_of(options)
        return job

    def states(self, jobs: Iterable[int]) -> dict[str, str]:
        """JobID as sacct shows it (`12`, `12_3`, `12+1`) -> state, of the jobs given with all their parts."""
        listed = ",".join(str(job) for job in jobs)
        out = self.run(["sacct", "-X", "-P", "-n", "-j", listed, "-o", "JobID,State"]).stdout
        rows = (line.split("|") for line in out.splitlines())
        return {row[0]: row[1].split()[0] for row in rows if len(row) == 2}

    def wait_for(self, jobs: Iterable[int], timeout: float = 120) -> dict[str, str]:
        """Wait until jobs are in a final state in slurmdbd and have left their nodes; returns their states."""
        wanted = list(jobs)
        states: dict[str, str] = {}

        def settled() -> bool:
            nonlocal states
            if self._in_queue(wanted):
                return False
            states = self.states(wanted)
            heads = [int(name.replace("+", "_").partition("_")[0]) for name in states]
            # slurmdbd learns of the tasks of an array one after the other.
            return all(heads.count(job) == self._rows.get(job, 1) for job in wanted) and set(states.values()) <= FINAL

        _until(settled, timeout, lambda: f"jobs did not end: {states}", every=0.3)
        return states

    def wait_for_queue(self, jobs: Iterable[int], timeout: float = 120) -> None:
        """Wait until jobs have left their nodes, whatever slurmdbd knows of them."""
        wanted = list(jobs)
        _until(lambda: not self._in_queue(wanted), timeout, "jobs did not end", every=0.3)

    def _in_queue(self, jobs: Iterable[int]) -> bool:
        done = self.run(["squeue", "-h", "-j", ",".join(map(str, jobs)), "-o", "%T"], check=False)
        return bool(done.stdout.split()) or (done.returncode != 0 and "Invalid job id" not in done.stderr)

    def stays(self, job_id: int = 0) -> list[Stay]:
        """When jobs (or one of them, by JobIDRaw) were on which nodes."""
        return [stay for stay in stays(self.layout.witness) if job_id in (0, stay.job_id)]

    def raw_ids(self, jobs: Iterable[int]) -> list[int]:
        """JobIDRaw of jobs with all tasks of arrays and components of heterogeneous jobs."""
        listed = ",".join(map(str, jobs))
        return [
            int(raw) for raw in self.run(["sacct", "-X", "-P", "-n", "-j", listed, "-o", "JobIDRaw"]).stdout.split()
        ]

    def logs(self, lines: int = 15) -> str:
        """The ends of all logs."""
        parts = []
        nodes = (self.layout.node(node) / "run" / "collector.log" for node in NODES)
        for log in [*sorted(self.layout.log.glob("*.log")), *(log for log in nodes if log.exists())]:
            tail = log.read_text(errors="replace").splitlines()[-lines:]
            parts += [f"--- {log}", *tail] if tail else []
        return "\n".join(parts)

    def until_answers(self, part: str) -> None:
        """Wait until a part answers, where it is one that can be asked. Raises ClusterError."""
        probe = PROBES.get(part)
        if probe:
            _until(lambda: self.run(probe, check=False).returncode == 0, 90, f"{part} does not answer")


class Node:
    """One node of a cluster: commands run in its own namespace, as root."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.name = name

    def run(self, argv: Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the node."""
        return self._cluster.run(argv, node=self.name, check=check)


def _rows_of(options: Sequence[str]) -> int:
    """How many rows sacct will have for a job: tasks of an array (`--array=1-4%2`), components of a het job (`:`)."""
    for option in options:
        if option.startswith("--array="):
            first, _, last = option.removeprefix("--array=").partition("%")[0].partition("-")
            return int(last) - int(first) + 1
    return 1 + options.count(":")


def _as_user(user: str) -> list[str]:
    home = f"/home/{user}" if user in USERS else "/"
    uid = {**USERS, AGGREGATOR_USER: AGGREGATOR_UID, "root": 0}[user]
    change = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    return [*change, "env", f"--chdir={home}", f"HOME={home}", f"USER={user}", f"LOGNAME={user}"]


def _environment() -> dict[str, str]:
    return {"PATH": f"{PATH}", "LANG": "C.UTF-8", "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}


def _until(condition: Callable[[], bool], timeout: float, what: str | Callable[[], str], every: float = 0.05) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what if isinstance(what, str) else what()} (waited {timeout:.0f} s)")
        time.sleep(every)


def _running(layout: Layout) -> int:
    """Process id of the cluster that runs in a folder; 0 if none does."""
    try:
        pid, start = map(int, (layout.folder / "cluster.pid").read_text().split())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if start_time(pid) == start else 0
