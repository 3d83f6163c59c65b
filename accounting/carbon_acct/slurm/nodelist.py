# SPDX-License-Identifier: MIT
"""Expands Slurm's node lists: `n[1-4,7]`, `a[1-2]b[01-03]`, `x,y[1-2]`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

MAX_NODES = 200_000
"""More than any cluster has; a list that claims more is nonsense."""

_TOP_COMMA = re.compile(r",(?![^\[]*\])")
_WORD = re.compile(r"([^\[\],]|\[[^\[\]]+\])+")
_PART = re.compile(r"([^\[\]]*)(?:\[([^\[\]]*)\])?")


def expand(nodelist: str) -> list[str]:
    """Names of the nodes, in the list's order. Raises ValueError on what is no node list."""
    names: list[str] = []
    for word in _TOP_COMMA.split(nodelist.strip()):
        if word.strip():
            names += itertools.islice(_expand_word(word.strip()), MAX_NODES + 1 - len(names))
        if len(names) > MAX_NODES:
            raise ValueError("not a node list: too many nodes")
    return names


def _expand_word(word: str) -> Iterator[str]:
    if not _WORD.fullmatch(word):
        raise ValueError(f"not a node list: {word!r}")
    choices: list[list[str]] = []
    for prefix, ranges in _PART.findall(word):
        choices.append([prefix])
        if ranges:
            choices.append([value for text in ranges.split(",") for value in _expand_range(text)])
    return ("".join(parts) for parts in itertools.product(*choices))


def _expand_range(text: str) -> Iterator[str]:
    low, dash, high = text.partition("-")
    if not low.isdigit() or (dash and not high.isdigit()):
        raise ValueError(f"not a range of nodes: {text!r}")
    if dash and not 0 <= int(high) - int(low) < MAX_NODES:
        raise ValueError(f"not a range of nodes: {text!r}")
    return (f"{n:0{len(low)}d}" for n in range(int(low), int(high or low) + 1))
