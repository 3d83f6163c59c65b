# SPDX-License-Identifier: MIT
"""Reads Slurm's node lists, and from them how many CPUs a job holds on one node.

A prolog's environment lists the CPUs of every node of the job. A node's own count is found by its place in the node
list (SLURM_JOB_CPUS_PER_NODE=3,1 with SLURM_NODELIST=n[1-2]). The parser is strict: what Slurm would not write is an error.
"""

from __future__ import annotations

MAX_NODES = 200_000
"""Largest number of nodes in a list: more than any cluster has."""


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
    """Return the nodes of a list such as `a,n[1-2,07-08]x`, in its order. Raises ValueError for what is no node list."""
    names: list[str] = []
    for word in _words(nodelist):
        names += _expand_word(word)
        if len(names) > MAX_NODES:
            raise ValueError(f"not a node list: more than {MAX_NODES} nodes")
    return names


def _counts(cpus_per_node: str) -> list[tuple[int, int]]:
    """`4(x2),1` -> [(4, 2), (1, 1)]."""
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
            raise ValueError(f"not a node list: {text!r} has brackets that do not match")
        if char in "[]":
            is_inside = char == "["
        elif char == "," and not is_inside:
            words.append(text[start:i])
            start = i + 1
    if is_inside:
        raise ValueError(f"not a node list: {text!r} has brackets that do not match")
    return [word for word in (one.strip() for one in [*words, text[start:]]) if word]


def _expand_word(word: str) -> list[str]:
    """`r[1-2]n[1-2]` -> r1n1, r1n2, r2n1, r2n2."""
    head, bracket, rest = word.partition("[")
    if not bracket:
        return [word]
    inside, _, tail = rest.partition("]")
    numbers = [number for piece in inside.split(",") for number in _expand_range(piece)]
    ends = _expand_word(tail) if tail else [""]
    if len(numbers) * len(ends) > MAX_NODES:
        raise ValueError(f"not a node list: more than {MAX_NODES} nodes")
    return [head + number + end for number in numbers for end in ends]


def _expand_range(text: str) -> list[str]:
    """`08-10` -> 08, 09, 10."""
    low, dash, high = text.partition("-")
    last = high if dash else low
    if not (text.isascii() and low.isdigit() and last.isdigit() and 0 <= int(last) - int(low) < MAX_NODES):
        raise ValueError(f"not a range of nodes: {text!r}")
    return [f"{i:0{len(low)}d}" for i in range(int(low), int(last) + 1)]
