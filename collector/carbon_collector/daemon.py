# SPDX-License-Identifier: MIT
"""Runs the collector's main loop: it waits for a ticket or a tick, takes a step, and exits when there is nothing to do.

What a step does is not known here: `collector` takes it.
"""

from __future__ import annotations

import os
import time

from . import ticket
from .asking import WAKE
from .lean.signal import signal
from .lean.typing import TYPE_CHECKING
from .units import SLOT_S

if TYPE_CHECKING:
    from .collector import Collector
    from .lock import Lock
    from .program import Program

STOP = (signal.SIGTERM, signal.SIGINT)
WARM_UP_S = (0.03, 0.5, 1.5, 3.0)
"""The times of the first readings, in seconds after the start. Idle power is learned from intervals, so they come
early.
"""
LEAVE_S = 5.0
"""The seconds for which a collector that has nothing else to do waits for its last segment to be acknowledged."""


def make_folders(run_dir: str) -> None:
    """Make the run directory and the folder of tickets in it. Raises OSError."""
    os.makedirs(f"{run_dir}/tickets", mode=0o700, exist_ok=True)
    # Users pass through the run directory to their own live energy; the tickets stay root's.
    os.chmod(run_dir, 0o711)  # noqa: S103 - entering is not listing


def block_signals() -> None:
    """Block the collector's signals in this thread. It must be called before the first meter starts a thread.

    A thread inherits the mask, so the kernel then delivers no signal for the collector to a meter's thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE, *STOP})


def run(collector: Collector, lock: Lock, linger_s: float, program: Program) -> None:
    """Take steps until there is nothing to do, or until a signal ends the collector. `block_signals` must have been
    called.
    """
    collector.shipper.start()
    collector.shipper.wake()
    start_s = busy_s = time.monotonic()
    while True:
        collector.step()
        collector.flush_if_due()
        now_s = time.monotonic()
        if collector.books.ledgers or not collector.spool.is_empty():
            busy_s = now_s
        if now_s - busy_s >= linger_s:
            if _leave(collector, lock):
                collector.meters.close()
                return
            busy_s = now_s
        if _wait(collector, now_s - start_s, busy_s + linger_s - now_s) in STOP:
            collector.end()
            return
        if not lock.is_published():
            _publish_again(collector, lock)
        if program.was_replaced():
            _start_again(collector, program)


def _wait(collector: Collector, age_s: float, left_s: float) -> int:
    """Wait until a step is due. Return the signal that ended the wait, or 0.

    A request for a reading that comes too soon (asking.py) does not end the wait. If a ticket waits as well it does,
    because the kernel merges signals.
    """
    while True:
        received = signal.sigtimedwait({WAKE, *STOP}, _pause(collector, age_s, left_s))
        if received is None:
            return 0
        asked = received.si_signo == WAKE and received.si_code > 0  # from a FIFO; that of a kill is 0 (sigaction(2))
        if not asked or collector.asking.may_step() or ticket.scan(f"{collector.run_dir}/tickets"):
            return int(received.si_signo)


def _start_again(collector: Collector, program: Program) -> None:
    """Replace this process by the new version of its program. The state is on disk, so nothing is lost."""
    collector.log.line(f"{program.path} was replaced; it is started again")
    try:
        collector.step()
        collector.look_again()
        program.start_again()
    except (ImportError, OSError) as err:
        collector.log.once("program", f"{program.path} cannot be started again: {err}")


def _publish_again(collector: Collector, lock: Lock) -> None:
    """Make the run directory again after somebody deleted it. Without it no prolog finds this collector."""
    try:
        make_folders(collector.run_dir)
        os.makedirs(collector.live.folder, mode=0o711, exist_ok=True)
        lock.publish()
    except OSError as err:
        collector.log.once("run_dir", f"{collector.run_dir} is gone and cannot be made: {err}")
    else:
        collector.log.over("run_dir", f"{collector.run_dir} is there again")


def _leave(collector: Collector, lock: Lock) -> bool:
    """Send the remaining segments, and return whether the collector may exit.

    It may not if that takes longer than LEAVE_S, or if a ticket has just arrived.
    """
    collector.look_again()
    if collector.books.ledgers:
        return False
    collector.flush()
    deadline = time.monotonic() + LEAVE_S
    while not collector.spool.is_empty() and time.monotonic() < deadline:
        if ticket.scan(f"{collector.run_dir}/tickets"):
            return False
        time.sleep(0.02)
    if not collector.spool.is_empty():
        return False
    lock.hide()
    if ticket.scan(f"{collector.run_dir}/tickets"):
        lock.publish()
        return False
    return True


def _pause(collector: Collector, age_s: float, left_s: float) -> float:
    """Return the seconds until the next reading. It is due at a tick, at the border of a slot, or when a segment must
    be sent.
    """
    into_slot = time.time() % SLOT_S
    waits = [collector.tick_s(), SLOT_S - into_slot, collector.flush_due_s - time.monotonic()]
    waits += [at - age_s for at in WARM_UP_S if at > age_s]
    waits += [*collector.looks(), collector.asking.due_s(), 0.0 if collector.intake.is_behind() else float("inf")]
    if not collector.books.ledgers and collector.spool.is_empty():
        waits.append(left_s)
    return max(0.0, min(waits))
