# SPDX-License-Identifier: MIT
"""Runs a command as if carbon-track were not there: its input, output, options, signals and exit code are its own.

It knows nothing of energy.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

FORWARDED: tuple[signal.Signals, ...] = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
FORWARDED += (signal.SIGALRM, signal.SIGCONT, signal.SIGWINCH)
SI_USER = 0
POLL_S = 0.5
NOT_FOUND, NOT_RUNNABLE = 127, 126


class Child:
    """A command that was started with `extra` in its environment and all inheritable descriptors of this process."""

    def __init__(self, command: list[str], extra: dict[str, str]) -> None:
        self._ended = False
        self._watched = {*FORWARDED, signal.SIGCHLD}
        # Before any thread is started, so that none of them takes a signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        self.pid = os.posix_spawnp(
            command[0],
            command,
            {**os.environ, **extra},
            setsigmask=before,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores both
        )

    def wait(self, told: Callable[[str], None]) -> int:
        """Wait until the command ends, and return its wait status. `told` is called with the name of each signal to
        end.
        """
        while True:
            info = signal.sigtimedwait(self._watched, POLL_S)
            if info is not None and info.si_signo != signal.SIGCHLD:
                self._forward(info)
                if info.si_signo in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    told(signal.Signals(info.si_signo).name)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended = True
                return status

    def _forward(self, info: signal.struct_siginfo) -> None:
        """Send a signal to the command if it was sent to this process alone.

        The terminal signals the whole process group, and slurmstepd every process of the step. Then the command has it
        already.
        """
        if info.si_code == SI_USER and info.si_pid and _name(info.si_pid) != "slurmstepd":
            self.kill(info.si_signo)

    def kill(self, number: int) -> None:
        """Send a signal to the command, unless it has ended: its process id may be another's by then."""
        if self._ended:
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return


def leave(status: int) -> NoReturn:
    """End this process as the command ended: with its exit code, or by its signal."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.WIFSIGNALED(status):
        import resource

        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # a signal that ends nobody by default
    os._exit(os.WEXITSTATUS(status))


def replace(command: list[str]) -> NoReturn:
    """Replace this process by the command. Exits 127 if it is not found, 126 if it cannot be run."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    sys.stderr.flush()
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command that the user gave
    except OSError as err:
        refuse(command, err)


def refuse(command: list[str], err: OSError) -> NoReturn:
    """Write why a command cannot be run, and exit with a shell's code for it."""
    sys.stderr.write(f"carbon-track: {command[0]}: {err.strerror}\n")
    sys.stderr.flush()
    os._exit(NOT_FOUND if isinstance(err, FileNotFoundError) else NOT_RUNNABLE)


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
