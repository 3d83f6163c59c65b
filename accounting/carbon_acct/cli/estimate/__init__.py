# SPDX-License-Identifier: MIT
"""carbon-estimate: what a job would consume, before it runs; where and when it would emit less."""

from __future__ import annotations

import sys
import textwrap

from carbon_collector import __version__
from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .. import funnel
from .common import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = """\
usage: carbon-estimate [OPTIONS] -G [TYPE:]N (-t TIME | --hours H)
                       [-c N] [--cpu-type MODEL] [--mem SIZE]
       carbon-estimate [OPTIONS] [SBATCH OPTIONS] JOBSCRIPT [ARG...]
       carbon-estimate [OPTIONS] -j JOBID[,JOBID...]
       carbon-estimate --paper {-j LIST | -A LIST -S TIME -E TIME}
                       [--format latex|markdown|huggingface|json]
       carbon-estimate [--json | --csv] {--hardware | --regions} [PATTERN]
       carbon-estimate --hints

What a job would consume and emit, before it runs.
Options are sbatch's, with sbatch's letters; beside them:
"""


def help_text() -> str:
    """Return the help: ours in full, sbatch's by reference."""
    from ...client.estimate.options import OWN

    lines = [USAGE]
    for option in OWN:
        letter = f"-{option.letter}, " if option.letter else "    "
        value = {"one": f" {option.metavar}", "maybe": f"[={option.metavar}]"}.get(option.value, "")
        lines.append(f"  {letter}--{option.name}{value}")
        lines += textwrap.wrap(option.doc, 79, initial_indent=" " * 10, subsequent_indent=" " * 10)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run carbon-estimate and return its exit status: 0 done, 1 failed, 2 usage."""
    words = sys.argv[1:] if argv is None else list(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    return funnel(PROGRAM, lambda: _run(words), debug="--debug" in words)


def _run(words: list[str]) -> int:
    if any(word == "--paper" or word.startswith("--paper=") for word in words):
        from . import paper

        return paper.run(words)
    from ...client.estimate import options, where

    line = options.command_line(words, where.is_places)
    given = line.options
    if "help" in given:
        print(help_text())
        return 0
    if "version" in given:
        print(f"{PROGRAM} {__version__}")
        return 0
    if "json" in given and "csv" in given:
        raise UsageError("--json and --csv exclude each other")
    if "hardware" in given or "regions" in given:
        from . import lists

        return lists.run(given, line.rest)
    if "jobs" in given or "hints" in given:
        from . import jobs

        return jobs.hints(given) if "hints" in given else jobs.run(given)
    if not words:
        raise UsageError("say what the job holds and how long, e.g. -G a100:4 --hours 1; --help says it all")
    from . import job

    return job.run(line)
