# SPDX-License-Identifier: MIT
"""Reads Slurm's record of the jobs by `sacct`: one bounded query, in a form that no job name can break.

A job's name may hold pipes, newlines and bytes that are no text. So the columns are separated by a word that is drawn
anew for each query, which no user can foresee, and rows are told apart by counting columns, not by newlines.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from carbon_acct.errors import SlurmError
from carbon_acct.slurm.client import SlurmJob
from carbon_acct.slurm.programs import Programs
from carbon_collector.units import DAY_S

FIELDS = (
    *("Cluster", "JobIDRaw", "JobID", "JobName", "User", "UID", "Account", "Partition", "QOS", "State", "ExitCode"),
    *("Submit", "Eligible", "Start", "End", "ElapsedRaw", "NNodes", "NCPUS", "AllocTRES", "NodeList"),
    *("Group", "GID", "TimelimitRaw", "ReqCPUS", "ReqNodes", "ReqTRES", "Reason", "Comment", "WorkDir"),
    *("DerivedExitCode", "Suspended"),
)
NEWER_FIELDS = (
    # The first release of each whose src/sacct/print.c knows it; an unknown field is fatal.
    ((24, 11), ("Restarts", "SLUID")),
    ((26, 5), ("OriginalSLUID",)),
)


class SacctClient:
    """A SlurmClient by the `sacct` program."""

    every_run = True

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._version: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Return the program for people, with its release once it is known."""
        return f"sacct {self._version[0]}.{self._version[1]:02d}" if self._version else "sacct"

    def jobs(self, since: int, until: int, job_ids: Sequence[int] = ()) -> list[SlurmJob]:
        """Return the jobs as SlurmClient says. Raises SlurmError."""
        if self._version is None:
            self._version = self._programs.version()
        fields = fields_of(self._version)
        delimiter = f"<{secrets.token_hex(12)}>"
        args = ["-a", "-D", "-X", "--local", "-n", "-p", "--noconvert", f"--delimiter={delimiter}", "-S", _iso(since)]
        args += ["-E", _iso(until), "-o", ",".join(fields)]
        args += ["-j", ",".join(str(job_id) for job_id in job_ids)] if job_ids else []
        return parse(self._programs.run("sacct", *args), delimiter, fields)


def fields_of(version: tuple[int, int]) -> list[str]:
    """Return the columns that sacct of a release is asked for."""
    return [*FIELDS, *(name for since, names in NEWER_FIELDS if version >= since for name in names)]


def parse(text: str, delimiter: str, fields: Sequence[str]) -> list[SlurmJob]:
    """Return the jobs of sacct's parsable output (`-p`: a delimiter after every column). Raises SlurmError."""
    *values, rest = text.split(delimiter)
    if rest.strip("\n") or len(values) % len(fields):
        raise SlurmError(f"sacct: {len(values)} values do not make rows of {len(fields)}; is it a wrapper of sacct's?")
    jobs = []
    for at in range(0, len(values), len(fields)):
        row = dict(zip(fields, values[at : at + len(fields)], strict=True))
        row[fields[0]] = row[fields[0]].removeprefix("\n")  # the end of the row before
        job = _job(row)
        if job is not None:
            jobs.append(job)
    return sorted(jobs, key=lambda j: (j.submit, j.job_id_raw))


def _job(row: dict[str, str]) -> SlurmJob | None:
    """Return a row's job, or None for a record that names neither a job nor a time, as slurmdbd keeps after a crash."""
    job_id_raw, submit = _number(row["JobIDRaw"]), _number(row["Submit"])
    if job_id_raw is None or submit is None:
        return None
    return SlurmJob(
        cluster=row["Cluster"],
        job_id_raw=job_id_raw,
        job_id=row["JobID"],
        name=row["JobName"],
        user=_text(row["User"]),
        uid=_uid(row),
        account=_text(row["Account"]),
        partition=_text(row["Partition"]),
        qos=_text(row["QOS"]),
        state=row["State"],
        exit_code=_text(row["ExitCode"]),
        restarts=_number(row.get("Restarts", "")),
        # A resize gives the new record another SLUID; the nodes know the run by its first (26.05: OriginalSLUID).
        sluid=_text(row.get("OriginalSLUID", "")) or _text(row.get("SLUID", "")),
        submit=submit,
        eligible=_time(row["Eligible"]),
        start=_time(row["Start"]),
        end=_time(row["End"]),
        elapsed_s=_number(row["ElapsedRaw"]),
        nnodes=_number(row["NNodes"]),
        ncpus=_number(row["NCPUS"]),
        alloc_tres=_text(row["AllocTRES"]),
        nodelist=_text(row["NodeList"]),
        group=_text(row.get("Group", "")),
        gid=_number(row.get("GID", "")),
        timelimit_s=_minutes(row.get("TimelimitRaw", "")),
        req_cpus=_number(row.get("ReqCPUS", "")),
        req_nodes=_number(row.get("ReqNodes", "")),
        req_tres=_text(row.get("ReqTRES", "")),
        reason=_text(row.get("Reason", "")),
        comment=row.get("Comment") or None,
        workdir=row.get("WorkDir") or None,
        derived_exit_code=_text(row.get("DerivedExitCode", "")),
        suspended_s=_duration(row.get("Suspended", "")),
    )


def _uid(row: dict[str, str]) -> int | None:
    """Return the uid. For a moment slurmdbd shows a job that it learnt of by its end with the right user and uid 0:
    None then.
    """
    uid = _number(row["UID"])
    return None if uid == 0 and row["User"] not in ("", "root") else uid


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _minutes(text: str) -> int | None:
    """Return seconds; None for UNLIMITED and Partition_Limit."""
    found = _number(text)
    return None if found is None else 60 * found


def _duration(text: str) -> int | None:
    """Return the seconds of `[days-]hours:minutes:seconds`."""
    found = re.fullmatch(r"(?:(\d{1,7})-)?(\d{1,9}):(\d\d):(\d\d)", text, re.ASCII)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * DAY_S + 3600 * hours + 60 * minutes + seconds


def _time(text: str) -> int | None:
    """Return a time; None for `Unknown`, `None` and 0."""
    return _number(text) or None


def _text(text: str) -> str | None:
    return None if text in ("", "None assigned", "None", "Unknown") else text


def _iso(epoch: int) -> str:
    """Return a time as sacct reads it, in the time zone in which it is run: UTC."""
    return datetime.fromtimestamp(max(epoch, 0), UTC).strftime("%Y-%m-%dT%H:%M:%S")
