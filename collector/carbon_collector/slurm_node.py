# SPDX-License-Identifier: MIT
"""Asks Slurm about this node: its NodeName, how many CPUs Slurm counts here, how many shards a GPU has, the cluster's
name.

Slurm's node is not Linux's. Its name may be an alias, and it may count cores where Linux counts threads. So `scontrol`
is asked once, in a process of its own for which nothing waits. It is never asked for a job. Where it cannot answer, the
CPUs are computed from what the jobs hold.
"""

from __future__ import annotations

import os
import time

from .host import parse_cpu_list, read_text
from .lean.signal import signal
from .lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

PLACES = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/local/slurm/bin", "/cm/local/apps/slurm/current/bin")
"""Where `scontrol` is looked for: distributions, Slurm's own default, and what vendors use."""
# `show aliases` reads slurm.conf only; the two others ask slurmctld.
SCRIPT = """\
names=$("$1" show aliases) || exit 0
case " $names " in *" $2 "*) ;; *) names=${2:-$names} ;; esac
echo "Names= $names"
list=
for name in $names; do list=$list,$name; done
"$1" -o show node "${list#,}"
"$1" show config | /bin/grep -i '^ClusterName '
"""
PATIENCE_S = 60.0
"""An unreachable slurmctld keeps each of scontrol's questions for 9 s (tried, Slurm 22.05.8)."""
AGAIN_S = 600.0
"""Time to the next question where the last was not answered."""
MAX_BYTES = 1 << 20


class SlurmNode(NamedTuple):
    """One node as `scontrol show node` has it: CPUs that Slurm counts (CPUTot), shards of each GPU (0: none)."""

    name: str
    cpus: int
    shards: int


class Answer(NamedTuple):
    """The answer of Slurm: NodeNames of this host, those that slurmctld knows more of, and ClusterName (may be
    empty).
    """

    names: list[str]
    nodes: dict[str, SlurmNode]
    cluster: str


class Question:
    """A question to Slurm, asked by a process of its own."""

    def __init__(self) -> None:
        self._pid = 0
        self._fd = -1
        self._said = b""
        self._since_s = float("-inf")
        self.done = False

    def follow(self, name: str, slurm_conf: str) -> Answer | None:
        """Ask, or look for the answer; return it once. Takes no time. Asks again later where none came.

        `name` is the NodeName, empty where it is not known.
        """
        now_s = time.monotonic()
        if self.done or (not self._pid and now_s - self._since_s < AGAIN_S):
            return None
        if not self._pid:
            self._since_s = now_s
            self._start(name, slurm_conf)
            return None
        if not self._read() and now_s - self._since_s < PATIENCE_S:
            return None
        self._end()
        answer = parse(self._said.decode("utf-8", "replace"))
        self.done = bool(answer.nodes)
        return answer if answer.names or answer.cluster else None

    def _start(self, name: str, slurm_conf: str) -> None:
        program = next((f"{place}/scontrol" for place in PLACES if os.access(f"{place}/scontrol", os.X_OK)), "")
        if not program:
            return
        self._fd, writing = os.pipe()
        os.set_blocking(self._fd, False)
        actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 2)]
        env = {"PATH": "/usr/bin:/bin", **({"SLURM_CONF": slurm_conf} if slurm_conf else {})}
        try:
            self._pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", SCRIPT, "sh", program, name],
                env,
                file_actions=[*actions, (os.POSIX_SPAWN_DUP2, writing, 1)],
                setpgroup=0,
                setsigmask=(),
            )
            self._said = b""
        except OSError:
            os.close(self._fd)
        finally:
            os.close(writing)

    def _read(self) -> bool:
        """Take in what was said so far; return whether it is all."""
        try:
            while data := os.read(self._fd, 1 << 16):
                self._said = (self._said + data)[:MAX_BYTES]
        except BlockingIOError:
            return False
        return True

    def _end(self) -> None:
        os.close(self._fd)
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended
        os.waitpid(self._pid, 0)
        self._pid = 0


def parse(text: str) -> Answer:
    """Return what the script has printed. Lines that are none of its own are left out."""
    names: list[str] = []
    nodes: dict[str, SlurmNode] = {}
    cluster = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Names="]:
            names = words[1:]
        elif line.lower().startswith("clustername") and "=" in line:
            cluster = line.partition("=")[2].strip()
        elif line.startswith("NodeName="):
            fields = dict(word.partition("=")[::2] for word in words)
            if fields.get("CPUTot", "").isdigit() and int(fields["CPUTot"]) > 0:
                name = fields["NodeName"]
                nodes[name] = SlurmNode(name, int(fields["CPUTot"]), _shards(fields.get("Gres", "")))
    return Answer(names, nodes, cluster)


def _shards(gres: str) -> int:
    """Return the shards of each GPU: `gpu:a100:4(S:0-1),shard:16` has 4; 0 where they are not alike."""
    counts = {"gpu": 0, "shard": 0}
    for part in gres.split(","):
        name, *rest = part.partition("(")[0].split(":")
        if name in counts and rest and rest[-1].isdigit():
            counts[name] += int(rest[-1])
    return counts["shard"] // counts["gpu"] if counts["gpu"] and counts["shard"] % counts["gpu"] == 0 else 0


class Held(NamedTuple):
    """What a job tells of how Slurm counts: its CPUs, those of its cpuset (0: unknown), whether the node is its alone."""

    cpus: int
    cpuset: int
    exclusive: bool


class Reckoned(NamedTuple):
    """How many CPUs Slurm seems to count on a node (0: its jobs do not tell), and whether that is certain."""

    cpus: int
    certain: bool


def reckon(threads: int, cores: int, jobs: Iterable[Held]) -> Reckoned:
    """Return how many CPUs Slurm counts on a node, from what its jobs hold at one time.

    `threads` and `cores` are Linux's. A job that has the node for itself holds all that Slurm counts. A cpuset that has
    a core's threads for each CPU says that Slurm counts cores, and one that has a thread for each says that it counts
    threads. Jobs that hold exactly as many CPUs as there are cores, and no cpuset says otherwise, are taken to fill it.
    """
    here = list(jobs)
    for job in here:
        if job.exclusive and job.cpus in (cores, threads):
            return Reckoned(job.cpus, True)
    if cores < 1 or threads <= cores:
        return Reckoned(0, False)
    for job in here:
        if 0 < job.cpuset < threads and job.cpus in (job.cpuset, job.cpuset * cores // threads):
            return Reckoned(threads if job.cpus == job.cpuset else cores, True)
    held = sum(job.cpus for job in here)
    # Not certain: a job whose epilog was lost still seems to hold its CPUs.
    return Reckoned(threads if held > cores else cores if held == cores else 0, False)


def cores_of(sysfs: str) -> int:
    """Return how many cores the CPUs that are online have; 0 where the kernel does not say."""
    root = f"{sysfs}/devices/system/cpu"
    online = parse_cpu_list(read_text(f"{root}/online"))
    siblings = {read_text(f"{root}/cpu{cpu}/topology/thread_siblings_list") for cpu in online}
    return 0 if "" in siblings else len(siblings)
