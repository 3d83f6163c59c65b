# SPDX-License-Identifier: MIT
"""The collector's life: wait for a ticket or a tick, take a step, leave when there is nothing to do."""

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
"""First readings after the start: idle power is learned from intervals, the sooner the better."""
LEAVE_S = 5.0
"""How long a collector that has nothing else to do waits for its last segment to be acknowledged."""


def make_folders(run_dir: str) -> None:
    """Make the run directory and the tickets' in it. Raises OSError."""
    os.makedirs(f"{run_dir}/tickets", mode=0o700, exist_ok=True)
    # Users pass through the run directory to their own live energy; the tickets stay root's.
    os.chmod(run_dir, 0o711)  # noqa: S103 - entering is not listing


def block_signals() -> None:
    """Before the first meter: a thread that it starts inherits this, and then takes no signal that is meant for us."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {WAKE, *STOP})


def run(collector: Collector, lock: Lock, linger_s: float, program: Program) -> None:
    """Live until there is nothing to do, or until told to stop. The signals are blocked already."""
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
    """Wait until a step is due; return the signal that ended it, 0 for none.

    Whoever asks too soon (asking.py) ends nothing, unless a ticket waits as well: the kernel merges signals.
    """
    while True:
        received = signal.sigtimedwait({WAKE, *STOP}, _pause(collector, age_s, left_s))
        if received is None:
            return 0
        asked = received.si_signo == WAKE and received.si_code > 0  # from a FIFO; that of a kill is 0 (sigaction(2))
        if not asked or collector.asking.may_step() or ticket.scan(f"{collector.run_dir}/tickets"):
            return int(received.si_signo)


def _start_again(collector: Collector, program: Program) -> None:
    """Go on as the program that has replaced this one's file; the state is on disk."""
    collector.log.line(f"{program.path} was replaced; it is started again")
    try:
        collector.step()
        program.start_again()
    except (ImportError, OSError) as err:
        collector.log.once("program", f"{program.path} cannot be started again: {err}")


def _publish_again(collector: Collector, lock: Lock) -> None:
    """Someone wiped the run directory: make it anew, or no prolog finds this collector."""
    try:
        make_folders(collector.run_dir)
        os.makedirs(collector.live.folder, mode=0o711, exist_ok=True)
        lock.publish()
    except OSError as err:
        collector.log.once("run_dir", f"{collector.run_dir} is gone and cannot be made: {err}")
    else:
        collector.log.over("run_dir", f"{collector.run_dir} is there again")


def _leave(collector: Collector, lock: Lock) -> bool:
    """Ship the rest and go, unless that takes long or a ticket came just now."""
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
    """Seconds until the next reading: a tick, the border of a slot, a segment that is due."""
    into_slot = time.time() % SLOT_S
    waits = [collector.tick_s(), SLOT_S - into_slot, collector.flush_due_s - time.monotonic()]
    waits += [at - age_s for at in WARM_UP_S if at > age_s]
    waits += [*collector.looks(), collector.asking.due_s(), 0.0 if collector.intake.is_behind() else float("inf")]
    if not collector.books.ledgers and collector.spool.is_empty():
        waits.append(left_s)
    return max(0.0, min(waits))
