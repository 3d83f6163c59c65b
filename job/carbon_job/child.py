# SPDX-License-Identifier: MIT
"""Runs a command as if carbon-track were not there: its input, output, options, signals and exit code are its own.

It knows nothing of energy. Who signals all processes of a job step (slurmstepd for a step, scancel --full, the terminal) has
signalled the command too; who signals this process alone (slurmstepd for a batch script, kill) means the command. A witness
process tells one from the other, so that each signal reaches the command once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
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
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""The signals that tell a program to end."""
FORWARDED += (signal.SIGALRM, signal.SIGCONT, signal.SIGWINCH)
WITNESS_S = 0.1
"""The seconds to wait for the witness. Whoever signals all processes does so within microseconds."""
POLL_S = 0.5
NOT_FOUND, NOT_RUNNABLE = 127, 126


class Child:
    """A command that was started with `extra` in its environment and all inheritable descriptors of this process.

    `stdout` is the descriptor of its standard output; None: this process's own.
    """

    def __init__(self, command: list[str], extra: dict[str, str], stdout: int | None = None) -> None:
        self._ended = False
        self._watched = {*FORWARDED, signal.SIGCHLD}
        # Before any thread is started, so that none of them takes a signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        self._witness = Witness()
        self.pid = os.posix_spawnp(
            command[0],
            command,
            {**os.environ, **extra},
            file_actions=[] if stdout is None else [(os.POSIX_SPAWN_DUP2, stdout, 1)],
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
                self._forward(info.si_signo)
                if info.si_signo in ENDING:
                    told(signal.Signals(info.si_signo).name)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended = True
                return status

    def _forward(self, number: int) -> None:
        """Send a signal to the command if it was sent to this process alone."""
        if not self._witness.saw(number):
            self.kill(number)

    def kill(self, number: int) -> None:
        """Send a signal to the command, unless it has ended: its process id may be another's by then."""
        if self._ended:
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return


class Witness:
    """A process beside the command that only waits for signals: one that reaches it has reached the command too.

    It is in the same process group, session and job step, and ends with this process.
    """

    def __init__(self) -> None:
        self._seen, seen = os.pipe()
        end, self._open = os.pipe()
        os.set_blocking(self._seen, False)
        os.set_blocking(seen, False)
        if os.fork() == 0:
            try:
                _witness(seen, end)
            finally:
                os._exit(0)
        os.close(seen)
        os.close(end)

    def saw(self, number: int) -> bool:
        """Return whether the witness got a signal as well, within WITNESS_S. A signal that came twice counts once."""
        until = time.monotonic() + WITNESS_S
        while True:
            ready, _, _ = select.select([self._seen], [], [], max(0.0, until - time.monotonic()))
            told = os.read(self._seen, 4096) if ready else b""
            if number in told:
                return True
            if not told:
                return False


def _witness(seen: int, end: int) -> None:
    """Write the number of each signal that arrives into `seen`, until nobody has the other end of `end` open."""
    for fd in range(256):
        if fd not in (seen, end):
            try:
                os.close(fd)
            except OSError:
                continue
    signal.set_wakeup_fd(seen, warn_on_full_buffer=False)
    for number in FORWARDED:
        signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    os.read(end, 1)


def _nothing(number: int, frame: object) -> None:
    """Handle a signal, of which the wakeup descriptor tells."""


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
    absent = isinstance(err, FileNotFoundError) and "/" not in command[0]
    sys.stderr.write(f"carbon-track: {command[0]}: {'command not found' if absent else err.strerror}\n")
    sys.stderr.flush()
    os._exit(NOT_FOUND if isinstance(err, FileNotFoundError) else NOT_RUNNABLE)
