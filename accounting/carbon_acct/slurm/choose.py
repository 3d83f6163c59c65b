# SPDX-License-Identifier: MIT
"""Chooses where Slurm's record of the jobs comes from: [slurm] source."""

from __future__ import annotations

import logging

from carbon_acct.errors import SlurmError
from carbon_acct.slurm.client import SlurmClient
from carbon_acct.slurm.programs import Programs
from carbon_acct.slurm.pyslurm_db import PyslurmClient, pyslurm_release
from carbon_acct.slurm.sacct import SacctClient

log = logging.getLogger(__name__)


def choose_client(source: str, programs: Programs) -> SlurmClient:
    """`sacct`, `pyslurm`, or `auto`: pyslurm where one is installed that fits the site's Slurm.

    A pyslurm of another release reads slurmdbd's answers wrongly, so it is never taken. Raises SlurmError.
    """
    if source == "sacct":
        return SacctClient(programs)
    release = pyslurm_release()
    if release is None:
        if source == "pyslurm":
            raise SlurmError("[slurm] source = pyslurm: pyslurm is not installed; install it or set sacct")
        return SacctClient(programs)
    site = programs.version()
    if release == site:
        return PyslurmClient()
    message = f"pyslurm {release[0]}.{release[1]} does not fit the site's Slurm {site[0]}.{site[1]:02d}"
    if source == "pyslurm":
        raise SlurmError(f"[slurm] source = pyslurm: {message}; set sacct")
    log.info("%s: using sacct", message)
    return SacctClient(programs)
