# SPDX-License-Identifier: MIT
"""Shows trackable resources as sacct does: `mem=4096M` is `mem=4G`, as long as --noconvert does not forbid it."""

from __future__ import annotations

PREFIXES = "MGTP"
"""Memory and burst buffers are kept in MiB."""
STEP = 1024


def converted(text: str) -> str:
    """Return the text of a TRES list with memory in the largest unit that it fills: `cpu=1,mem=1536M` is `cpu=1,mem=1.50G`."""
    return ",".join(_converted(word) for word in text.split(",")) if "M" in text else text


def _converted(word: str) -> str:
    name, _, amount = word.partition("=")
    digits = amount[:-1]
    if not (name == "mem" or name.startswith("bb/")) or amount[-1:] != "M" or not digits.isdecimal():
        return word
    number, prefix = float(digits), 0
    while number >= STEP and prefix + 1 < len(PREFIXES):
        number, prefix = number / STEP, prefix + 1
    return (
        f"{name}={number:.0f}{PREFIXES[prefix]}" if number == int(number) else f"{name}={number:.2f}{PREFIXES[prefix]}"
    )
