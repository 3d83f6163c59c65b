# SPDX-License-Identifier: MIT
"""What the emulated machine does with itself: install, run the jobs, crash in mid-job, come back, tell what it saw.

Runs inside, as root, with the machine's own Python and nothing else. Each boot finds in `stage` what is to be
done. Nothing is judged here: `result.json` and the files beside it are what the tests outside look at.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from witness import stays

HERE = Path("/exchange")
RESULTS = HERE / "results"
RESULT = RESULTS / "result.json"
STAGE = Path("/var/lib/witness/stage")
DATABASE = Path("/var/lib/carbon-aggregator/carbon-acct.db")
WITNESS = Path("/var/lib/witness")
TIMES = WITNESS / "times"
CGROUPS = Path("/sys/fs/cgroup/system.slice")
NODES = ("n1", "n2")
STARTED = time.monotonic()
PATIENCE_S = 900
"""How long a condition may take: a machine with other work makes this one slower still."""
MISSED_S = 35
"""Slurm misses a batch job that is gone when its node registers, at the earliest BatchStartTimeout (slurm.conf) + 10 s
after slurmctld has read its state (job_mgr.c, _foreach_purge_missing_jobs); the next registration is 20 pings later.
Nodes that are machines of their own come back later than that, or have their slurmctld still running.
"""

# Nice, so that the daemons answer: there are more busy jobs than emulated CPUs, and CPU time is CPU time.
BURN = """#!/bin/bash
renice -n 19 $$ >/dev/null
end=$((SECONDS + {seconds})); while [ $SECONDS -lt $end ]; do :; done
"""
STEPS = """#!/bin/bash
renice -n 19 $$ >/dev/null
for step in 1 2; do
    srun -n 1 bash -c 'end=$((SECONDS + {seconds})); while [ $SECONDS -lt $end ]; do :; done'
done
"""
# Long in its first run, which the crash of the machine ends; short when Slurm runs it again.
CRASHED = """#!/bin/bash
renice -n 19 $$ >/dev/null
seconds=300; [ "${SLURM_RESTART_COUNT:-0}" = 0 ] || seconds=10
end=$((SECONDS + seconds)); while [ $SECONDS -lt $end ]; do :; done
"""
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"}


def main() -> int:
    """Do what is next, and switch the machine off unless it crashes as it should."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "hardware.json").write_text((HERE / "hardware.json").read_text())
    try:
        if STAGE.exists():
            second_boot()
        else:
            first_boot()
    except BaseException:  # noqa: BLE001 whatever it is, it has to be told outside
        (RESULTS / "error.txt").write_text(traceback.format_exc())
        say(traceback.format_exc())
    logs()
    os.sync()
    run("systemctl", "poweroff")
    return 0


def first_boot() -> None:
    """Install everything, run the jobs, and crash while two of them run."""
    say("installing")
    run("sh", str(HERE / "install.sh"), timeout=PATIENCE_S)
    start_nodes()
    until(nodes_idle, PATIENCE_S, "the nodes did not become idle", every=2)
    note("boots", [about()])
    jobs: dict[str, list[int]] = {}
    say("batch: a job on each node, alone; the first of each node, so it starts the collector")
    # Long: the collector takes half a minute to start here, and has to see its node at rest to know what rest costs.
    jobs["batch"] = [submit("alice", node, "#!/bin/sh\nsleep 60\n", "--exclusive") for node in NODES]
    wait_for(jobs["batch"])
    say("two jobs on one node at the same time; a job with steps on the other")
    lengths = {"alice": 18, "bob": 26}
    jobs["shared"] = [submit(user, "n1", BURN.format(seconds=s), "-n2") for user, s in lengths.items()]
    jobs["steps"] = [submit("bob", "n2", STEPS.format(seconds=7), "-n2")]
    note("cgroups", cgroups_seen())
    until(lambda: all(len(collectors(node)) == 1 for node in NODES), 240, "not one collector a node", fatal=False)
    note("collectors", {node: collectors(node) for node in NODES})
    wait_for(jobs["shared"] + jobs["steps"])
    say("a job on each node whose collector is killed, and an array after it")
    jobs["killed"] = [submit("alice", node, BURN.format(seconds=20), "-n2") for node in NODES]
    until(lambda: all(list(job_cgroups(node)) for node in NODES), PATIENCE_S, "the jobs did not start")
    time.sleep(5)
    note("killed", {node: kill_collector(node) for node in NODES})
    wait_for(jobs["killed"])
    # Two CPUs each, as the others: the machine has no more, and a cpuset of less than the node's CPUs looks confining.
    jobs["array"] = [submit("bob", "", BURN.format(seconds=3), "-n2", "--array=1-3")]
    wait_for(jobs["array"])
    until_delivered()
    keep_database("before.db")
    say("the machine crashes in mid-job")
    jobs["crashed"] = [submit("alice", node, CRASHED, "-n2") for node in NODES]
    note("jobs", jobs)
    until(lambda: all(list(job_cgroups(node)) for node in NODES), PATIENCE_S, "the jobs did not start")
    make_slurm_remember(jobs["crashed"])
    time.sleep(55)  # what is on no disk after half a minute (dirty_expire_centisecs) never will be
    note("crash", time.time())
    STAGE.write_text("crashed\n")
    fd = os.open(STAGE, os.O_RDONLY)
    os.fsync(fd)
    logs()
    run("sync", "-f", str(HERE))  # the exchange alone is saved; the machine is not
    Path("/proc/sysrq-trigger").write_text("b")
    time.sleep(60)


def second_boot() -> None:
    """Let Slurm run the crashed jobs again, and hand over what everybody knows."""
    note("boots", [*noted()["boots"], about()])
    crashed = noted()["jobs"]["crashed"]
    say("back; Slurm runs the jobs again")
    until(lambda: run("sacctmgr", "-n", "show", "cluster", check=False)[0] == 0, PATIENCE_S, "no slurmdbd")
    until(lambda: len(node_states()) == len(NODES), PATIENCE_S, "slurmctld does not answer", every=2)
    time.sleep(MISSED_S)
    start_nodes()
    until(nodes_take_part, PATIENCE_S, "the nodes did not come back", every=2)
    note("sinfo_after_crash", run("sinfo", "-N", "-l")[1])
    wait_for(crashed)
    until_delivered()
    say("handing over")
    run("/opt/carbon-acct/bin/carbon-mgr", "sync", check=False)
    note("stays", stays(TIMES))
    note("environment", environments())
    note(
        "sacct", run("sacct", "-a", "-X", "-D", "-P", "-S", "now-1day", "-o", "JobID,JobIDRaw,State,SLUID,Start,End")[1]
    )
    note("sinfo", run("sinfo", "-h", "-N", "-o", "%N %T")[1])
    note("status", run("/opt/carbon-acct/bin/carbon-mgr", "status", check=False)[:2])
    note("status_json", json.loads(run("/opt/carbon-acct/bin/carbon-mgr", "status", "--json", check=False)[1]))
    note("unmatched", run("/opt/carbon-acct/bin/carbon-mgr", "unmatched", check=False)[1])
    acct = run("/opt/carbon-acct/bin/carbon-acct", "-a", "-D", "-S", "now-1day", "--json", check=False)
    note("carbon_acct", json.loads(acct[1]) if acct[0] == 0 else acct)
    note("carbon_acct_table", run("/opt/carbon-acct/bin/carbon-acct", "-a", "-D", "-S", "now-1day", check=False)[1])
    keep_database("after.db")
    note("seconds_second_boot", round(time.monotonic() - STARTED))


# --- Slurm ------------------------------------------------------------------------------------------------------


def submit(user: str, node: str, script: str, *options: str) -> int:
    """Submit a batch script as a user; returns the JobID."""
    where = ["-w", node] if node else []
    out = run(
        "runuser",
        "-u",
        user,
        "--",
        "sbatch",
        "--parsable",
        "-o",
        "/dev/null",
        "-D",
        "/tmp",
        *where,
        *options,
        stdin=script,
    )[1]
    return int(out.strip().partition(";")[0])


def start_nodes() -> None:
    """Start both slurmd, which boots leave to us."""
    run("systemctl", "start", "slurmd", "slurmd-n2", timeout=PATIENCE_S)


def wait_for(jobs: list[int]) -> None:
    """Wait until jobs are in a final state in slurmdbd and no epilog runs."""
    listed = ",".join(map(str, jobs))

    def ended() -> bool:
        if run("squeue", "-h", "-j", listed, check=False)[1].strip():
            return False
        states = run("sacct", "-X", "-P", "-n", "-j", listed, "-o", "JobID,State")[1].splitlines()
        return bool(states) and all(line.split("|")[1].split()[0] in FINAL for line in states)

    # Slurm's own commands take a second each here, so they are asked late and seldom.
    until(nothing_runs, PATIENCE_S, f"jobs {listed} did not leave their nodes")
    until(ended, PATIENCE_S, f"jobs {listed} did not end", every=2)


def nothing_runs() -> bool:
    """Whether there is an epilog for each prolog of this boot."""
    times = {path.name: path.stat().st_mtime for path in TIMES.iterdir()}
    since = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    began = {name.partition(".prolog")[0] for name, at in times.items() if ".prolog" in name and at > since}
    return bool(began) and all(f"{run}.epilog.{script}" in times for run in began for script in "az")


def make_slurm_remember(jobs: list[int]) -> None:
    """Wait until slurmctld has on disk that these jobs run.

    One that the backfill scheduler has started is otherwise written down at the next change of any job, or within
    five minutes (PERIODIC_CHECKPOINT); a slurmctld that crashes before runs it again as if it never had.
    """
    state = Path("/var/lib/slurm/slurmctld/job_state")
    before = state.stat().st_ino

    def saved() -> bool:
        with contextlib.suppress(FileNotFoundError):  # for a moment, while it is replaced
            return state.stat().st_ino != before
        return False

    for job in jobs:
        run("scontrol", "update", f"JobId={job}", "Comment=running")
    until(saved, PATIENCE_S, "slurmctld did not save its state")


def node_states() -> list[str]:
    """The states of the nodes; none while slurmctld does not answer."""
    return run("sinfo", "-h", "-N", "-o", "%T", check=False)[1].split()


def nodes_idle() -> bool:
    """Whether both nodes are idle."""
    return node_states() == ["idle"] * 2


def nodes_take_part() -> bool:
    """Whether both nodes take part."""
    states = node_states()
    return len(states) == 2 and set(states) <= {"idle", "mixed", "allocated", "completing"}


def job_cgroups(node: str) -> list[Path]:
    """The directories of a node's jobs: everything in the node's scope but slurmstepd's own."""
    scope = CGROUPS / f"{node}_slurmstepd.scope"
    return [path for path in scope.iterdir() if path.is_dir() and path.name != "system"] if scope.is_dir() else []


def cgroups_seen() -> list[str]:
    """The directories of jobs, once two at a time have been seen on n1 and one on n2."""
    found: set[Path] = set()
    most = 0

    def seen() -> bool:
        nonlocal most
        now = {node: job_cgroups(node) for node in NODES}
        found.update(*now.values())
        most = max(most, len(now["n1"]))
        return most == 2 and any("n2_" in str(path) for path in found)

    until(seen, PATIENCE_S, "two jobs on n1 and one on n2 did not run")
    return sorted(str(path.relative_to("/sys/fs/cgroup")) for path in found)


# --- the product --------------------------------------------------------------------------------------------------


def collectors(node: str) -> dict[int, str]:
    """Process id -> cgroup of each collector of a node; n2's are those below its slurmd.

    More than one while one starts and others, started by hooks in the meantime, wait for its lock.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            comm, cgroup = (folder / "comm").read_text().strip(), (folder / "cgroup").read_text().strip()
        except OSError:
            continue
        if comm == "carbon-collecto" and ("slurmd-n2" in cgroup) == (node == "n2"):
            found[int(folder.name)] = cgroup
    return found


def kill_collector(node: str) -> list[int]:
    """Kill -9; returns who died."""
    pids = list(collectors(node))
    for pid in pids:
        os.kill(pid, 9)
    return pids


def until_delivered() -> None:
    """Wait until the ledger of every job that has left a node has arrived and is sealed."""

    def missing() -> set[tuple[int, str]]:
        gone = {(stay.job_id, stay.node, stay.run) for stay in stays(TIMES) if stay.end is not None}
        with contextlib.closing(sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=10)) as connection:
            rows = connection.execute(
                "select l.job_id, n.name, l.restart_count from ledger l join node n on n.id = l.node_id where l.closed is not null"
            ).fetchall()
        return gone - {(job, node, restarts or 0) for job, node, restarts in rows}

    until(lambda: not missing(), PATIENCE_S, "no sealed ledger arrived for some job", fatal=False)
    note("missing", sorted(missing()))


def keep_database(name: str) -> None:
    """Copy what the product has stored so far to the results."""
    connect, closing = sqlite3.connect, contextlib.closing
    with closing(connect(DATABASE)) as source, closing(connect(RESULTS / name)) as target:
        source.backup(target)


def environments() -> dict[str, dict[str, str]]:
    """`<job>.<restarts>.<node>.<prolog|epilog>` -> the environment that slurmd gave it."""
    found = {}
    for path in (WITNESS / "environment").iterdir():
        pairs = (entry.partition("=") for entry in path.read_text(errors="replace").split("\0") if entry)
        found[path.name] = {name: value for name, _, value in pairs}
    return found


# --- the machine --------------------------------------------------------------------------------------------------


def about() -> dict[str, Any]:
    """What this machine is, this boot."""
    return {
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "kernel": os.uname().release,
        "systemd": run("systemctl", "--version")[1].splitlines()[0],
        "slurm": run("sinfo", "--version")[1].strip(),
        "python": sys.version.split()[0],
        "cgroup": run("stat", "-fc", "%T", "/sys/fs/cgroup")[1].strip(),
        "seconds_to_ready": round(time.monotonic() - STARTED),
        "uptime": float(Path("/proc/uptime").read_text().split()[0]),
    }


def logs() -> None:
    """Keep the logs of this boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    text = run("journalctl", "-b", "--no-pager", "-o", "short-monotonic", check=False)[1]
    (RESULTS / f"journal-{boot}.txt").write_text(text)
    sources = [*Path("/var/log/slurm").glob("*.log"), Path("/run/carbon-acct/collector.log")]
    for path in [*sources, Path("/run/carbon-n2/collector.log")]:
        if path.exists():
            (RESULTS / f"{boot}-{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    units = ["carbon-collector", "carbon-aggregator", "slurmd", "slurmd-n2", "simulator"]
    (RESULTS / f"dmesg-{boot}.txt").write_text(run("dmesg", check=False)[1])
    (RESULTS / f"units-{boot}.txt").write_text(run("systemctl", "status", "--no-pager", *units, check=False)[1])


def run(*argv: str, stdin: str = "", check: bool = True, timeout: float = 120) -> tuple[int, str, str]:
    """Exit status, output and errors of a command. Raises RuntimeError if `check` and it fails."""
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.returncode, done.stdout, done.stderr


def until(condition: Callable[[], bool], timeout: float, what: str, fatal: bool = True, every: float = 0.5) -> None:
    """Wait for a condition. Raises TimeoutError if it is fatal that it does not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            if fatal:
                raise TimeoutError(f"{what} (waited {timeout:.0f} s)")
            say(what)
            return
        time.sleep(every)


def noted() -> dict[str, Any]:
    """What has been noted so far, in this boot and before it."""
    return json.loads(RESULT.read_text()) if RESULT.exists() else {}


def note(name: str, value: object) -> None:
    """Add to the result."""
    RESULT.write_text(json.dumps({**noted(), name: value}, indent=1))


def say(text: str) -> None:
    """Tell the console."""
    print(f"inside: {time.monotonic():5.0f} s {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
