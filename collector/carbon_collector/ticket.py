# SPDX-License-Identifier: MIT
"""Reads tickets, which prolog and epilog leave behind: who the job is, and that it begins or ends.

A ticket is the job's environment as slurmd gave it to the script, NUL between the values, ending in `END=1`. Its time
of last modification is the instant at which the job began or ended on this node. What a ticket changes is not decided
here: `arrivals` opens and closes ledgers.
"""

from __future__ import annotations

import os

from . import hostlist
from .job import Job
from .lean.typing import NamedTuple

MAX_BYTES = 1 << 20
MAX_WORD = 255
SLUID_CHARS = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


class Ticket(NamedTuple):
    """A ticket: its kind (`prolog` or `epilog`), its time, and its job.

    `node` is Slurm's NodeName, and `slurm_conf` the path of slurm.conf on the node, as slurmd gave them. They are empty
    if slurmd did not.
    """

    path: str
    kind: str
    wall_us: int
    job: Job
    node: str = ""
    slurm_conf: str = ""


def scan(folder: str) -> list[str]:
    """Return the paths of the waiting tickets, oldest first."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    # Of one instant the prolog comes first: `prolog` sorts after `epilog`.
                    key = (entry.stat(follow_symlinks=False).st_mtime_ns, not entry.name.startswith("prolog"))
                except FileNotFoundError:
                    continue  # removed meanwhile
                found.append((*key, entry.path))
    except FileNotFoundError:
        return []
    return [path for *_, path in sorted(found)]


def read(path: str, node: str, give_up_us: int) -> Ticket | None:
    """Return a ticket, or `None` while it is still being written. `node` is the NodeName of a ticket that names none.

    Raises ValueError for a file that is no ticket, and for one that is unfinished and older than `give_up_us` (wall
    clock).
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        data = os.read(fd, MAX_BYTES)
        wall_us = os.fstat(fd).st_mtime_ns // 1000
    finally:
        os.close(fd)
    if not data.endswith(b"\0END=1\0"):
        if wall_us < give_up_us:
            raise ValueError("it was never finished")
        return None
    env = parse(data)
    if env.get("KIND") not in ("prolog", "epilog"):
        raise ValueError("neither a prolog's nor an epilog's ticket")
    name = _word(env.get("SLURMD_NODENAME")) or ""
    return Ticket(path, env["KIND"], wall_us, job_of(env, name or node), name, env.get("SLURM_CONF", ""))


def parse(data: bytes) -> dict[str, str]:
    """Return the variables of an environment: `A=1 NUL B=2 NUL` -> {"A": "1", "B": "2"}.

    Bytes that are not UTF-8 become U+FFFD.
    """
    pairs = (item.partition("=") for item in data.decode("utf-8", "replace").split("\0") if item)
    return {key: value for key, _, value in pairs}


def job_of(env: dict[str, str], node: str) -> Job:
    """Return the job that an environment describes. Raises ValueError if it has no job id."""
    job_id = _number(env.get("SLURM_JOB_ID"))
    if not job_id:
        raise ValueError("no job id")
    return Job(
        job_id=job_id,
        run=run_of(env),
        uid=_number(env.get("SLURM_JOB_UID")),
        user=_word(env.get("SLURM_JOB_USER")),
        account=_word(env.get("SLURM_JOB_ACCOUNT")),
        partition=_word(env.get("SLURM_JOB_PARTITION")),
        restart_count=_number(env.get("SLURM_JOB_RESTART_COUNT")),
        het_job_id=_number(env.get("SLURM_HET_JOB_ID")),
        cpus=hostlist.cpus_here(env.get("SLURM_JOB_CPUS_PER_NODE", ""), env.get("SLURM_NODELIST", ""), node),
        gpus=gpus_of(env),
        sluid=env.get("SLURM_JOB_SLUID", "") if is_sluid(env.get("SLURM_JOB_SLUID", "")) else "",
        cluster=env.get("SLURM_CLUSTER_NAME", ""),
        end_time=_number(env.get("SLURM_JOB_END_TIME")) or None,
        gpu_percent=_percent(env.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE")),
        exclusive=env.get("SLURM_JOB_OVERSUBSCRIBE") == "NO",
        shards=_number(env.get("SLURM_SHARDS_ON_NODE")) or None,
    )


def run_of(env: dict[str, str]) -> str:
    """Return which run of the JobID this is: its SLUID (25.11+), else its start time (23.02+), else its restart count
    (22.05).
    """
    if is_sluid(env.get("SLURM_JOB_SLUID", "")):
        return f"sluid:{env['SLURM_JOB_SLUID']}"
    start = _number(env.get("SLURM_JOB_START_TIME"))
    if start:
        return f"start:{start}"
    return f"restart:{_number(env.get('SLURM_JOB_RESTART_COUNT')) or 0}"


def gpus_of(env: dict[str, str]) -> tuple[str, ...]:
    """Return the GPUs that the job holds: UUIDs where Slurm knows them, else Slurm's device indexes.

    `CUDA_VISIBLE_DEVICES` of a node's prolog is global, unlike the job's own, and has MIG's UUIDs.
    """
    indexes = tuple(part for part in env.get("SLURM_JOB_GPUS", "").split(",") if part)
    visible = tuple(part for part in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if part)
    if len(visible) != len(indexes):
        return indexes
    # Slurm fills both lists in one loop; a node may have MIG devices and whole GPUs.
    return tuple(v if v.startswith(("GPU-", "MIG-")) else i for v, i in zip(visible, indexes))


def is_sluid(text: str) -> bool:
    """Return whether a text is a SLUID: `s` and 13 characters of Crockford's base 32 (Slurm's src/common/sluid.c)."""
    return len(text) == 14 and text[0] == "s" and SLUID_CHARS.issuperset(text[1:])


def _word(text: str | None) -> str | None:
    """Return a name as Slurm makes them, or None for a text that has control characters or is too long."""
    return text if text and len(text) <= MAX_WORD and not any(c < " " or c == "\x7f" for c in text) else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def _percent(text: str | None) -> int | None:
    """Return a percentage of a GPU, which Slurm writes as a whole number (gres_mps.c). None for 0 and for more than
    100.
    """
    percent = _number(text)
    return percent if percent is not None and 1 <= percent <= 100 else None
