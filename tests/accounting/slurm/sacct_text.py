# SPDX-License-Identifier: MIT
"""Any jobs, with names that their users made to break something, and sacct's text of them."""

from __future__ import annotations

from hypothesis import strategies as st

from carbon_acct.slurm.client import SlurmJob
from carbon_acct.slurm.sacct import fields_of

MARK = "<a1b2c3>"
NEVER = "Unknown"

HOSTILE = ("|", "\n", "\r", "<", ">", MARK[:-1], MARK[1:], "7", "=", "'", '"', "\\", "\ufffd")
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
NAMES = (ANY | st.lists(st.sampled_from(HOSTILE)).map("".join)).filter(lambda name: MARK not in name)
"""Anything but the delimiter, which nobody can have foreseen."""

WORDS = st.none() | st.text("abcxyz_-0123456789", min_size=1, max_size=12)
NUMBERS = st.integers(0, 10**15)
TIMES = st.none() | st.integers(1, 2**40)


@st.composite
def slurm_jobs(draw: st.DrawFn) -> SlurmJob:
    """A job of which everything is known, or nothing but its id and when it was submitted."""
    job_id = draw(st.integers(1, 2**31))
    return SlurmJob(
        cluster=draw(st.text("abc", min_size=1, max_size=5)),
        job_id_raw=job_id,
        job_id=draw(st.sampled_from([f"{job_id}", f"{job_id}_7", f"{job_id}+1", f"{job_id}_[1-9%2]"])),
        name=draw(NAMES),
        **{name: draw(WORDS) for name in ("user", "account", "partition", "qos", "exit_code", "sluid", "alloc_tres")},
        uid=draw(st.none() | NUMBERS.filter(bool)),  # 0 with a user is not taken for his
        nodelist=draw(st.none() | st.sampled_from(["n1", "n[1-4,7]"])),
        **{name: draw(st.none() | NUMBERS) for name in ("restarts", "elapsed_s", "nnodes", "ncpus")},
        state=draw(st.sampled_from(["COMPLETED", "CANCELLED by 1000", "RESIZING", "RUNNING"])),
        submit=draw(NUMBERS),
        **{name: draw(TIMES) for name in ("eligible", "start", "end")},
        **{name: draw(WORDS) for name in ("group", "req_tres", "reason", "derived_exit_code")},
        **{name: draw(NAMES) or None for name in ("comment", "workdir")},
        **{name: draw(st.none() | NUMBERS) for name in ("gid", "req_cpus", "req_nodes")},
        timelimit_s=draw(st.none() | st.integers(0, 10**6).map(lambda minutes: 60 * minutes)),
        suspended_s=draw(st.none() | st.integers(0, 10**7)),
    )


def rendered(jobs: list[SlurmJob]) -> str:
    """As sacct prints them with `-p`."""
    return "".join("".join(_column(job, name) + MARK for name in fields_of((24, 11))) + "\n" for job in jobs)


ATTRIBUTES = {
    "JobIDRaw": "job_id_raw",
    "JobID": "job_id",
    "JobName": "name",
    "ExitCode": "exit_code",
    "ElapsedRaw": "elapsed_s",
    "AllocTRES": "alloc_tres",
    "TimelimitRaw": "timelimit_s",
    "Suspended": "suspended_s",
    "ReqCPUS": "req_cpus",
    "ReqNodes": "req_nodes",
    "ReqTRES": "req_tres",
    "DerivedExitCode": "derived_exit_code",
}


def _column(job: SlurmJob, name: str) -> str:
    value = getattr(job, ATTRIBUTES.get(name, name.lower()))
    if value is None:
        unknown = {"Start": NEVER, "End": NEVER, "NodeList": "None assigned", "TimelimitRaw": "UNLIMITED"}
        return unknown.get(name, "")
    if name == "TimelimitRaw":
        return str(value // 60)
    if name == "Suspended":
        days, seconds = divmod(value, 86_400)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return f"{days}-{clock}" if days else clock
    return str(value)
