# SPDX-License-Identifier: MIT
"""Chooses the source of Slurm's record of the jobs: [slurm] source."""

from __future__ import annotations

import logging

from carbon_acct.errors import SlurmError
from carbon_acct.slurm.client import SlurmClient
from carbon_acct.slurm.programs import Programs
from carbon_acct.slurm.pyslurm_db import PyslurmClient, pyslurm_release
from carbon_acct.slurm.sacct import SacctClient

log = logging.getLogger(__name__)


def choose_client(source: str, programs: Programs) -> SlurmClient:
    """Return the client for `sacct`, `pyslurm`, or `auto`. `auto` takes pyslurm if it fits the site's Slurm and reports
    every run.

    A pyslurm of another release reads slurmdbd's answers wrongly, so it is never taken. One that reports only the
    newest run of a JobID is taken only if it is asked for by name (ADR 6). Raises SlurmError.
    """
    if source == "sacct" or (source == "auto" and not PyslurmClient.every_run):
        return SacctClient(programs)
    release = pyslurm_release(programs)
    problem = _unfit(release, programs)
    if source == "pyslurm":
        if problem:
            raise SlurmError(f"[slurm] source = pyslurm: {problem}; set sacct")
        log.warning(
            "[slurm] source = pyslurm: only the newest run of a job that is requeued or resized will be known, and no"
            " AllocTRES; before Slurm 25.11 the components of heterogeneous jobs are shown by their own numbers"
        )
        return PyslurmClient(programs, release)
    if not problem:
        return PyslurmClient(programs, release)
    log.info("%s: using sacct", problem)
    return SacctClient(programs)


def _unfit(release: tuple[int, int] | None, programs: Programs) -> str:
    """Return why pyslurm cannot be used here, or an empty text if it can."""
    if release is None:
        return "pyslurm is not installed"
    site = programs.version()
    if release != site:
        return f"pyslurm {release[0]}.{release[1]} does not fit the site's Slurm {site[0]}.{site[1]:02d}"
    return ""
