# SPDX-License-Identifier: MIT
"""Reads the options of a batch script as sbatch does: `#SBATCH` lines up to the first command. It evaluates nothing."""

from __future__ import annotations

import shlex

from carbon_collector.errors import CarbonError, UsageError
from carbon_collector.lean.typing import TYPE_CHECKING

from .options import directives, of_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .options import Words

MARK = "#SBATCH"
HET = ("hetjob", "packjob")
MOST_BYTES = 4 << 20
"""The most bytes of a script, which is Slurm's own bound (max_script_size)."""


def read(path: str) -> str:
    """Return the text of a script. Raises UsageError if sbatch would refuse it, CarbonError if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a name from the command line, which may be /dev/stdin
            content = file.read(MOST_BYTES + 1)
    except OSError as err:
        raise CarbonError(f"job script {path}: {err.strerror}") from err
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path}: larger than {MOST_BYTES >> 20} MiB; is it a batch script?")
    if b"\0" in content:
        raise UsageError(f"{path}: not a text; is it a batch script?")
    if not content.startswith(b"#!"):
        raise UsageError(f"{path}: not a batch script: its first line does not begin with #!")
    if b"\r\n" in content:
        raise UsageError(f"{path}: has DOS line breaks, which sbatch refuses; dos2unix mends it")
    return content.decode("utf-8", "replace")


def script_options(path: str, text: str) -> list[dict[str, str]]:
    """Return the options of each component of a script. A plain job has one component. Raises UsageError."""
    components: list[dict[str, str]] = [{}]
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            break
        if not line.startswith(MARK) or not line[len(MARK) :][:1].isspace():
            continue
        place = f"{path}:{number}"
        try:
            words = shlex.split(line[len(MARK) :], comments=True)
        except ValueError as err:
            raise UsageError(f"{place}: {err}") from err
        if words and words[0] in HET:
            components.append({})
        else:
            components[-1].update(directives(place, words))
    return components


def job_options(words: Words, environment: Mapping[str, str], text: str = "") -> list[dict[str, str]]:
    """Return the options of each component. The command line overrides SBATCH_*, which override the script.

    `text` is the script's. If it is empty nothing is submitted, and no variable applies. Raises UsageError.
    """
    own = list(words.components)
    of_script = script_options(words.rest[0], text) if text else [{}]
    count = max(len(own), len(of_script))
    variables = of_environment(environment.items()) if text else {}
    filled = [[*some, *({} for _ in range(count - len(some)))] for some in (of_script, own)]
    return [{**lowest, **variables, **highest} for lowest, highest in zip(*filled)]
