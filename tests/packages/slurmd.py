# SPDX-License-Identifier: MIT
"""Looks at the folders of the hooks all the time, as a slurmd with a glob might at any moment."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

KINDS = ("prolog", "epilog")


class Slurmd:
    """Reads both folders until the end of the block; `faults` has each moment that would have drained the node."""

    def __init__(self, root: Path) -> None:
        self._folders = [root / "etc/slurm" / f"{kind}.d" for kind in KINDS]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.faults: set[str] = set()
        self.looks = 0

    def __enter__(self) -> Slurmd:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            for folder in self._folders:
                self._look(folder)
            self.looks += 1

    def _look(self, folder: Path) -> None:
        scripts = [path for path in folder.iterdir() if not path.name.startswith(".")]
        if not scripts:
            self.faults.add(f"{folder} was empty")
        for path in scripts:
            if not os.access(path, os.X_OK):
                self.faults.add(f"{path} was not executable or not there")
