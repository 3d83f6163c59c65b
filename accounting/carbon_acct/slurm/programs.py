# SPDX-License-Identifier: MIT
"""Runs Slurm's own programs, and a Python that asks Slurm's library. No other module does. They are found by absolute path and run with a deadline, in the C
locale.

Their environment is built here, so that neither the administrator's SLURM_* variables nor a time zone can change what
they print. TZ=UTC and SLURM_TIME_FORMAT=%s give epoch seconds, without a night that has an hour twice.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

from carbon_acct.errors import SlurmError

SEARCH = ("/usr/bin", "/usr/local/bin", "/opt/slurm/bin", "/usr/sbin")
TIMEOUT_S = 120.0
"""The time in seconds after which a program is given up. slurmdbd may be busy for minutes; the poll is retried."""

MOST_BYTES = 64 << 20
"""The most output that is read, some 250,000 jobs. A caller that gets more asks for less at once."""


class Programs:
    """Slurm's programs on this host; `search` are the folders that may hold them, `python` is the one that may have
    pyslurm.
    """

    def __init__(
        self,
        search: Sequence[str] = SEARCH,
        timeout_s: float = TIMEOUT_S,
        most_bytes: int = MOST_BYTES,
        python: str = sys.executable,
    ) -> None:
        self.search = search
        self._timeout_s = timeout_s
        self._most_bytes = most_bytes
        self._python = python
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self, name: str, *args: str) -> str:
        """Return the output of a program. Bytes that are no UTF-8 become replacement characters. Raises SlurmError."""
        return self._run(name, [self._find(name), *args])

    def run_python(self, name: str, *args: str) -> str:
        """Return the output of a Python script that speaks for `name`, bounded as programs are. Raises SlurmError."""
        return self._run(name, [self._python, *args])

    def _run(self, name: str, command: Sequence[str]) -> str:
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    command,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            except OSError as err:
                raise SlurmError(f"{name} cannot be run: {err}") from err
            out = self._read(name, process)
            errors.seek(0)
            if process.returncode != 0:
                raise SlurmError(f"{name}: {_line(errors.read()) or f'exit status {process.returncode}'}")
        return out.decode("utf-8", "replace")

    def _read(self, name: str, process: subprocess.Popen[bytes]) -> bytes:
        """Return all that a program prints. It must end in time, and print no more than fits the memory."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout_s, give_up)
        timer.start()
        self._running.add(process)
        try:
            with process:
                assert process.stdout  # noqa: S101  it is a pipe
                out = process.stdout.read(self._most_bytes + 1)
                if len(out) > self._most_bytes:
                    process.kill()
        finally:
            timer.cancel()
            self._running.discard(process)
        if late.is_set():
            raise SlurmError(f"{name} did not answer within {self._timeout_s:g} s")
        if len(out) > self._most_bytes:
            raise SlurmError(f"{name}: more than {self._most_bytes >> 20} MiB at once")
        return out

    def version(self) -> tuple[int, int]:
        """Return major and minor of the site's Slurm, e.g. (22, 5). Raises SlurmError."""
        text = self.run("sacct", "--version")
        found = re.search(r"(\d+)\.(\d+)", text)
        if not found:
            raise SlurmError(f"sacct --version: cannot be read: {text.strip()[:80]!r}")
        return int(found[1]), int(found[2])

    def stop(self) -> None:
        """End the running programs, because the aggregator stops."""
        for process in list(self._running):
            process.terminate()

    def _find(self, name: str) -> str:
        for folder in self.search:
            path = f"{folder}/{name}"
            if os.access(path, os.X_OK):
                return path
        raise SlurmError(f"{name} is not installed (looked in {', '.join(self.search)})")


def _environment() -> dict[str, str]:
    fixed = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s"}
    if "SLURM_CONF" in os.environ:
        fixed["SLURM_CONF"] = os.environ["SLURM_CONF"]
    return fixed


def _line(err: bytes) -> str:
    """Return the last line of an error, which says why. The lines before it are the same failure from deeper inside."""
    lines = err.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
