# SPDX-License-Identifier: MIT
"""carbon-track: runs a command inside its Slurm job and shows its energy and carbon."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time

from . import __version__, marks, place
from .child import ENDING, Child, leave, refuse, replace
from .lean import TYPE_CHECKING
from .limits import FIGURES, action
from .tracker import TIMELIMIT, Tracker
from .units import carbon_g, energy_j, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2
MARK_USAGE = "carbon-track mark {epoch | step [N] | phase [NAME] | end | pause | resume}"
WATCH_USAGE = "carbon-track watch [-1] LOG|FOLDER..."


def parser() -> argparse.ArgumentParser:
    """Return the parser of carbon-track's options."""
    made = argparse.ArgumentParser(
        prog="carbon-track",
        usage=f"carbon-track [OPTIONS] [--] CMD [ARG...]\n       {MARK_USAGE}\n       {WATCH_USAGE}",
        description="Run CMD and say what energy and carbon it takes, per epoch where it marks them.",
        allow_abbrev=False,
    )
    made.add_argument("--epochs", type=_count, metavar="N", help="how many epochs CMD will mark")
    made.add_argument("--steps", type=_count, metavar="N", help="steps of an epoch")
    made.add_argument(
        "--until",
        type=_until,
        metavar="{timelimit|TIME}",
        help="without --epochs: predict up to the job's time limit, or for a run of TIME, such as 12h",
    )
    made.add_argument("--max-energy", type=_amount(energy_j), metavar="E", help="limit of the energy, such as 2kWh")
    made.add_argument("--max-carbon", type=_amount(carbon_g), metavar="M", help="limit of the carbon, such as 500g")
    made.add_argument("--limit", choices=FIGURES, help="the figure that a limit is held to (default: expected)")
    made.add_argument(
        "--on-limit",
        type=_action,
        metavar="{warn|signal:SIG|stop}",
        help="what a passed limit does (default: warn)",
    )
    made.add_argument(
        "--kill-after",
        type=_amount(seconds),
        metavar="TIME",
        help="send SIGKILL if CMD still runs that long after signal:SIG or stop, such as 5m (default: never)",
    )
    made.add_argument(
        "--marks-on-stdout", action="store_true", help="take marks out of CMD's standard output: `carbon-track: epoch`"
    )
    made.add_argument("--zone", default="", metavar="Z", help="zone of the grid; else the site's")
    made.add_argument("--intensity", type=_between(0, 5000), metavar="G", help="g/kWh to use instead of the grid's")
    made.add_argument("--pue", type=_between(1, 10), metavar="X", help="PUE of the site; else [site] pue, else 1")
    made.add_argument("--name", default="", help="name of the program, for its history; else the job's name")
    made.add_argument("--no-history", action="store_true", help="neither read nor keep earlier runs")
    made.add_argument("--log", default="", metavar="FILE", help="append results to FILE as JSON lines")
    made.add_argument("-q", "--quiet", action="store_true", help="print nothing")
    made.add_argument("-V", "--version", action="version", version=f"carbon-track {__version__}")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the program, and return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["mark"]:
        return mark(given[1:])
    if given[:1] == ["watch"]:
        from .watch import main as watch

        return watch(given[1:])
    own, command = split(given, parser())
    args = parser().parse_args(own)
    wrong = "which command? carbon-track [OPTIONS] -- CMD [ARG...]" if not command else without_effect(args)
    if wrong:
        parser().print_usage(sys.stderr)
        sys.stderr.write(f"carbon-track: {wrong}\n")
        return USAGE
    return run(args, command)


def without_effect(args: argparse.Namespace) -> str:
    """Return in one line which option would do nothing beside the others, or an empty text. Somebody who gives it relies
    on it.
    """
    limited = args.max_energy is not None or args.max_carbon is not None
    for option, given in (("--limit", args.limit), ("--on-limit", args.on_limit)):
        if given is not None and not limited:
            return f"{option} needs a limit: --max-energy or --max-carbon"
    if args.kill_after is not None and args.on_limit in (None, "warn"):
        return "--kill-after needs --on-limit stop or --on-limit signal:SIG"
    if args.until is not None and args.epochs is not None:
        return "--until is for commands without epochs; with --epochs the run ends after the last one"
    return ""


def split(argv: list[str], options: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Return carbon-track's own options, and the command. It begins after `--`, or at the first word that is
    no option.
    """
    flags = {option for action in options._actions if action.nargs == 0 for option in action.option_strings}
    where = 0
    while where < len(argv):
        word = argv[where]
        if word == "--":
            return argv[:where], argv[where + 1 :]
        if not word.startswith("-") or word == "-":
            break
        where += 1 if word in flags or "=" in word else 2
    return argv[:where], argv[where:]


def mark(words: list[str]) -> int:
    """Write a mark to the carbon-track around this program, and return the exit code. Without a carbon-track it does
    nothing, and succeeds.
    """
    if not words or marks.parse(" ".join(words)) is None:
        sys.stderr.write(f"usage: {MARK_USAGE}\n")
        return USAGE
    marks.send(words[0], " ".join(words[1:]))
    return 0


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Run a command, track it, and exit as it did."""
    here = place.find()
    if here.local_rank or here.missing:
        if here.missing and not here.rank and not args.quiet:
            limits = args.max_energy is not None or args.max_carbon is not None
            held = ", and limits are not held" if limits else ""
            sys.stderr.write(f"carbon-track: {here.missing}{held}\n")
        replace(command)
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    output, stdout = os.pipe() if args.marks_on_stdout else (None, None)
    try:
        child = Child(command, marks.environment(writer), stdout)
    except OSError as err:
        refuse(command, err)
    tracker = Tracker(
        args.epochs,
        args.steps,
        name=args.name,
        log=args.log,
        quiet=args.quiet,
        live_line=sys.stderr.isatty() and not args.quiet,
        until=args.until or "",
        max_energy=args.max_energy,
        max_carbon=args.max_carbon,
        limit=args.limit or "expected",
        on_limit=args.on_limit or "warn",
        kill=child.kill,
        kill_after_s=args.kill_after,
        zone=args.zone,
        intensity=args.intensity,
        pue=args.pue,
        history=not args.no_history,
        place=here,
    ).start()
    threading.Thread(target=_listen, args=(reader, tracker), daemon=True).start()
    passed_on = None
    if output is not None and stdout is not None:
        from .output import Output

        os.close(stdout)
        passed_on = Output(output, 1, lambda line: tracker.marked(line, time.time() * 1e6))
        passed_on.start()
    status = child.wait(tracker.told)
    # Processes that the command left behind may write on, as in a pipeline; whoever wants an end says so.
    while passed_on is not None and passed_on.is_alive() and not signal.sigpending() & set(ENDING):
        passed_on.join(0.2)
    tracker.end(os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0)
    leave(status)


def _count(text: str) -> int:
    """Return a whole number from 1 on. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _between(least: float, most: float) -> Callable[[str], float]:
    """Return what reads a number between two others. It raises ArgumentTypeError."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return value

    return read


def _amount(amount: Callable[[str], float]) -> Callable[[str], float]:
    """Return what reads an amount with its unit. It raises ArgumentTypeError."""

    def read(text: str) -> float:
        try:
            return amount(text)
        except ValueError as err:
            raise argparse.ArgumentTypeError(str(err)) from err

    return read


def _action(text: str) -> str:
    """Return an action that `limits` knows. Raises ArgumentTypeError."""
    try:
        action(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
    return text


def _until(text: str) -> str | float:
    """Return `timelimit`, or the seconds of a time. Raises ArgumentTypeError."""
    return text if text == TIMELIMIT else _amount(seconds)(text)


def _listen(reader: int, tracker: Tracker) -> None:
    """Pass the marks that the command writes on to the tracker."""
    with open(reader, encoding="utf-8", errors="replace") as lines:
        for text in lines:
            line = marks.parse(text)
            if line is not None:
                now_us = time.time() * 1e6
                tracker.marked(line, min(now_us, line.time_us or now_us))
