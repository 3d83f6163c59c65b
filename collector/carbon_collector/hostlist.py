# SPDX-License-Identifier: MIT
"""Reads Slurm's node lists, and from them how many CPUs a job holds on one node.

A prolog's environment lists the CPUs of every node of the job. A node's own count is found by its place in the node
list (SLURM_JOB_CPUS_PER_NODE=3,1 with SLURM_NODELIST=n[1-2]). The parser is strict: what Slurm would not write is an error.
"""

from __future__ import annotations

MAX_NODES = 200_000
"""Largest number of nodes in a list: more than any cluster has."""

MAX_NAME = 255
"""Largest length of a node's name."""

MAX_CHARS = 8_000_000
"""Largest number of characters of all names of a list together: 200,000 names of 40."""


def cpus_here(cpus_per_node: str, nodelist: str, node: str) -> int | None:
    """Return the CPUs that the job holds on `node`; `None` where the environment does not say."""
    try:
        place = expand(nodelist).index(node)
        for count, repeat in _counts(cpus_per_node):
            if place < repeat:
                return count
            place -= repeat
    except ValueError:
        pass
    return None


def expand(nodelist: str) -> list[str]:
    """Return the nodes of a list such as `a,n[1-2,07-08]x`, in its order. Raises ValueError for what is no node list.

    A list of 90 characters may name millions of nodes: they are counted before any name is made.
    """
    words = [_parts(word) for word in _words(nodelist)]
    many = chars = 0
    for texts, ranges in words:
        names, length = _size(texts, ranges)
        many += names
        chars += names * length
        if many > MAX_NODES or chars > MAX_CHARS:
            raise ValueError(f"not a node list: more than {MAX_NODES} nodes, or too long names")
    return [name for texts, ranges in words for name in _names(texts, ranges)]


def _counts(cpus_per_node: str) -> list[tuple[int, int]]:
    """Return the pairs of figure and repetition of a list: `4(x2),1` -> [(4, 2), (1, 1)]."""
    pairs = []
    for part in cpus_per_node.split(","):
        count, _, repeat = part.partition("(x")
        pairs.append((int(count), int(repeat.rstrip(")")) if repeat else 1))
    return pairs


def _words(text: str) -> list[str]:
    """Split at commas outside of brackets."""
    words, is_inside, start = [], False, 0
    for i, char in enumerate(text):
        if char == ("[" if is_inside else "]"):
            raise ValueError(f"not a node list: {_shown(text)} has brackets that do not match")
        if char in "[]":
            is_inside = char == "["
        elif char == "," and not is_inside:
            words.append(text[start:i])
            start = i + 1
    if is_inside:
        raise ValueError(f"not a node list: {_shown(text)} has brackets that do not match")
    return [word for word in (one.strip() for one in [*words, text[start:]]) if word]


def _parts(word: str) -> tuple[list[str], list[list[tuple[int, int, int]]]]:
    """Return the texts around the brackets of an expression, and the ranges in them.

    `r[1-2]n[07]` -> ["r", "n", ""] and [[(1, 2, 1)], [(7, 7, 2)]].
    """
    head, *rest = word.split("[")
    texts, ranges = [head], []
    for piece in rest:
        inside, _, tail = piece.partition("]")
        ranges.append([_range(text) for text in inside.split(",")])
        texts.append(tail)
    return texts, ranges


def _range(text: str) -> tuple[int, int, int]:
    """Return low, high and digits of a range: `08-10` -> (8, 10, 2)."""
    low, dash, high = text.partition("-")
    last = high if dash else low
    is_one = text.isascii() and low.isdigit() and last.isdigit() and len(text) < MAX_NAME
    if not is_one or int(last) < int(low):
        raise ValueError(f"not a range of nodes: {_shown(text)}")
    return int(low), int(last), len(low)


def _size(texts: list[str], ranges: list[list[tuple[int, int, int]]]) -> tuple[int, int]:
    """Return how many names a word stands for, and the length of the longest."""
    many, length = 1, sum(map(len, texts))
    for numbers in ranges:
        many *= sum([high - low + 1 for low, high, _ in numbers])
        length += max([max(width, len(str(high))) for _, high, width in numbers])
    if length > MAX_NAME:
        raise ValueError(f"not a node list: a name of {length} characters")
    return many, length


def _names(texts: list[str], ranges: list[list[tuple[int, int, int]]]) -> list[str]:
    names = [texts[0]]
    for numbers, text in zip(ranges, texts[1:]):
        ends = [f"{i:0{width}d}{text}" for low, high, width in numbers for i in range(low, high + 1)]
        names = [name + end for name in names for end in ends]
    return names


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
