# SPDX-License-Identifier: MIT
"""carbon-estimate: what a job would consume, before it runs; where and when it would emit less."""

from __future__ import annotations

import os
import sys
import textwrap

from carbon_collector import __version__
from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .. import funnel, warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction

    from carbon_collector.settings import Settings

    from ...client.estimate.asked import Asked
    from ...client.estimate.plan import Pue
    from ...client.estimate.where import Place

PROGRAM = "carbon-estimate"
VARIABLES = {
    "CARBON_ACCT_AGGREGATORS": ("collector", "aggregators"),
    "CARBON_ACCT_ACCELERATORS": ("site", "accelerators"),
    "CARBON_ACCT_MUNGE_SOCKET": ("slurm", "munge_socket"),
    "CARBON_ACCT_PUE": ("site", "pue"),
    "CARBON_ACCT_ZONE": ("site", "zone"),
}
"""Settings for whom the configuration file cannot be read."""
USAGE = """\
usage: carbon-estimate [OPTIONS] -G [TYPE:]N (-t TIME | --hours H) [-c N] [--cpu-type MODEL] [--mem SIZE]
       carbon-estimate [OPTIONS] [SBATCH OPTIONS] JOBSCRIPT [ARG...]
       carbon-estimate [OPTIONS] -j JOBID[,JOBID...]
       carbon-estimate --paper {-j LIST | -A LIST -S TIME -E TIME} [--format latex|markdown|huggingface|json]
       carbon-estimate [--json | --csv] {--hardware | --regions} [PATTERN]
       carbon-estimate --hints

What a job would consume and emit, before it runs. Options are sbatch's, with sbatch's letters; beside them:
"""


def help_text() -> str:
    """Return the help: ours in full, sbatch's by reference."""
    from ...client.estimate.options import OWN

    lines = [USAGE]
    for option in OWN:
        letter = f"-{option.letter}, " if option.letter else "    "
        value = {"one": f" {option.metavar}", "maybe": f"[={option.metavar}]"}.get(option.value, "")
        lines.append(f"  {letter}--{option.name}{value}")
        lines += textwrap.wrap(option.doc, 90, initial_indent=" " * 10, subsequent_indent=" " * 10)
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
    if not words:
        raise UsageError("say what the job holds and how long, e.g. -G a100:4 --hours 1; --help says it all")
    from . import job

    return job.run(line)


def configuration() -> Settings:
    """Return the settings, as far as they can be read: a login node may have none, and none has to."""
    from carbon_collector import settings

    found = settings.load(strict=False)
    for warning in found.warnings:
        if "Permission denied" not in warning:
            warn(PROGRAM, f"warning: {warning}")
    values = {setting: os.environ[name] for name, setting in VARIABLES.items() if os.environ.get(name)}
    return found.replaced(values, "CARBON_ACCT_*") if values else found


def place_and_pue(given: Mapping[str, str], config: Settings) -> tuple[Place, Pue]:
    """Return where the job would run, and the PUE there: the given one, the region's, else the site's own."""
    from ...client.estimate import where
    from ...client.estimate.plan import Pue

    home = config.text("site", "zone")
    place = where.chosen(given, home)
    if "pue" in given:
        return place, Pue(number("pue", given["pue"], 1, 10))
    if place.pue:
        return place, Pue(number("pue", place.pue, 1, 10), place.pue_text)
    stated = config.origin("site", "pue") != "default"
    elsewhere = "region" in given or "intensity" in given or ("zone" in given and place.name != home)
    try:
        return place, Pue(
            number("pue", config.text("site", "pue"), 1, 10), "the site's"
        ) if stated and not elsewhere else Pue()
    except UsageError:  # a series of dates, which the aggregator knows
        return place, Pue()


def number(option: str, text: str, least: float, most: float) -> Fraction:
    """Return an option's value, exact. Raises UsageError."""
    from fractions import Fraction

    try:
        value = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not least <= value <= most:
        raise UsageError(f"--{option} {text}: not a number from {least:g} to {most:g}")
    return value


def hours_of(given: Mapping[str, str], asked: Asked) -> Fraction | None:
    """Return the hours that an estimate by hardware is for: those that are given, else the time limit."""
    from fractions import Fraction

    if "hours" in given:
        return number("hours", given["hours"], 0, 1e9)
    return None if asked.limit_s is None else Fraction(asked.limit_s, 3600)
