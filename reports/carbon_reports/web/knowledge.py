# SPDX-License-Identifier: MIT
"""Knows Slurm's rights, read again every few minutes by the code that the aggregator reads them with.

What is known stays in use while Slurm does not answer, as at the aggregator.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from carbon_acct.errors import SlurmError
from carbon_acct.slurm.rights import load_rights
from carbon_acct.slurm.state import SlurmState
from carbon_acct.sync.slurm import RIGHTS_EVERY_S

if TYPE_CHECKING:
    from carbon_acct.slurm.programs import Programs

log = logging.getLogger(__name__)

AGAIN_S = 30.0
"""The time in seconds after which Slurm is asked again when it did not answer."""


class Knowledge:
    """The thread that keeps `state` up to date, of which `rights` is None until Slurm has answered once."""

    def __init__(self, programs: Programs) -> None:
        self.state = SlurmState()
        self._programs = programs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slurm-rights", daemon=True)

    def start(self) -> None:
        """Ask Slurm in the background until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and a program of Slurm's that runs for it."""
        self._stop.set()
        self._programs.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def refresh(self) -> bool:
        """Ask Slurm now, and return whether it answered. That it does not is logged once."""
        try:
            rights = load_rights(self._programs)
        except SlurmError as err:
            if not self.state.error and not self._stop.is_set():
                log.warning("slurm: %s; going on with the rights that are known", err)
            self.state = replace(self.state, error=str(err))
            return False
        except Exception as err:
            # Nobody expected it. The thread must go on, or the rights of today would hold for ever.
            log.exception("slurm: its rights cannot be read; going on with those that are known")
            self.state = replace(self.state, error=str(err))
            return False
        self.state = replace(self.state, rights=rights, error="")
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(RIGHTS_EVERY_S if self.refresh() else AGAIN_S)
