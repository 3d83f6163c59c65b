# SPDX-License-Identifier: MIT
"""`carbon-collector`: started by prolog, epilog or the service manager, or by hand to see what a node offers."""

from __future__ import annotations

import os
import sys

from . import __version__, settings
from .errors import CarbonError, UsageError
from .host import read_text
from .lean.typing import TYPE_CHECKING
from .lock import COMM

if TYPE_CHECKING:
    from typing import NoReturn

    from .log import Log

USAGE = """\
usage: carbon-collector run [--node NODE] [--take-over] [--config FILE]
       carbon-collector probe [--doctor] [--json] [--node NODE] [--config FILE]
       carbon-collector --version

run      read the counters, keep the ledgers of the jobs, ship the records; in the foreground
probe    show what this node offers, which source won and why, and what it draws; changes nothing

--node        Slurm's name of this node (default: what the tickets or Slurm say, else the host name up to its first dot)
--doctor      show what would make a figure unknown here, with the line to change; fails if anything would
--take-over   end the collector that runs here and take its place, where otherwise the new one would wake it and end
"""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the program and end the process with its exit code: 0 done, 1 failed, 2 usage.

    At once, for Python itself would wait for threads: one may hang in a driver, and the first that imports
    `threading`, as pynvml does, counts as the main one.
    """
    code = _run_and_tell(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except OSError:
        pass  # who reads this has seen enough
    os._exit(code)


def _run_and_tell(args: list[str]) -> int:
    try:
        return _main(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except (CarbonError, OSError) as err:
        print(f"carbon-collector: {err}", file=sys.stderr)
        return err.exit_code if isinstance(err, CarbonError) else 1


def _main(args: list[str]) -> int:
    if args in (["--version"], ["-V"]):
        print(f"carbon-collector {__version__}")
        return 0
    if args in (["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    if not args or args[0] not in ("run", "probe"):
        raise UsageError(f"{'unknown command ' + repr(args[0]) if args else 'no command'}; try carbon-collector --help")
    flags = {"--json", "--doctor"} if args[0] == "probe" else {"--take-over"}
    values = _options(args[1:], {"--node": "", "--config": ""}, flags)
    if args[0] == "probe":
        from . import probe

        return probe.run(values["--node"], values["--config"], "--json" in values, "--doctor" in values)
    return _run(values["--node"], values["--config"], "--take-over" in values)


def _options(args: list[str], values: dict[str, str], flags: set[str]) -> dict[str, str]:
    """`--name value`, `--name=value` and flags. argparse would cost the node's budget a megabyte."""
    rest = list(args)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in flags and not equals:
            values[name] = ""
            continue
        if name not in values or name in flags:
            raise UsageError(f"unknown option {name!r}; try carbon-collector --help")
        if not equals:
            if not rest:
                raise UsageError(f"{name} needs a value")
            value = rest.pop(0)
        values[name] = value
    return values


def _run(node: str, config: str, take_over: bool) -> int:
    from . import daemon
    from .collector import Collector
    from .lock import Lock
    from .log import Log
    from .program import Program

    os.umask(0o077)
    _name_process()
    program = Program()
    chosen = settings.load(config, node, strict=False)
    run_dir, state_dir = chosen.text("collector", "run_dir"), chosen.text("collector", "state_dir")
    log = Log(f"{run_dir}/collector.log")
    for warning in chosen.warnings:
        log.line(warning)
    _leave_job(log)
    try:
        daemon.make_folders(run_dir)
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        lock = Lock(state_dir, run_dir)
        if take_over:
            lock.take_over()
        elif not lock.take():
            return 0  # another one runs, and it has been woken
        daemon.block_signals()
        daemon.run(Collector(chosen, node, log), lock, chosen.number("collector", "linger"), program)
    except OSError as err:
        log.line(f"stops: {err}")
        return 1
    return 0


def _leave_job(log: Log) -> None:
    """Leave the cgroup of the job whose prolog has started this collector (PrologFlags=RunInJob)."""
    own = read_text("/proc/self/cgroup")
    if "job_" not in own and "slurmstepd" not in own:
        return
    from . import own_cgroup  # rarely needed

    job = own_cgroup.leave_job()
    if job:
        log.line(f"runs inside {job} and ends with it: install carbon-collector.service, which runs outside of jobs")


def _name_process() -> None:
    """Give the process the name by which prolog and epilog know it; the kernel keeps 15 characters."""
    with open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(COMM[:15])
