# SPDX-License-Identifier: MIT
"""Slurm's node lists: where this node stands in a job's list, and so how many CPUs the job holds here.

The prolog's environment has the CPUs of every node of the job in one list; a node's own count is found by
its place (SLURM_JOB_CPUS_PER_NODE=3,1 with SLURM_NODELIST=n[1-2]).
"""

from __future__ import annotations

MAX_NODES = 200_000


def cpus_here(cpus_per_node: str, nodelist: str, node: str) -> int | None:
    """CPUs that the job holds on `node`; `None` where the environment does not say."""
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
    """`a,n[1-2,07-08]x` -> its node names in order. Raises ValueError on anything else."""
    names: list[str] = []
    for part in _split(nodelist):
        names += _expand_one(part)
        if len(names) > MAX_NODES:
            raise ValueError("the node list is too long")
    return names


def _counts(cpus_per_node: str) -> list[tuple[int, int]]:
    """`4(x2),1` -> [(4, 2), (1, 1)]."""
    pairs = []
    for part in cpus_per_node.split(","):
        count, _, repeat = part.partition("(x")
        pairs.append((int(count), int(repeat.rstrip(")")) if repeat else 1))
    return pairs


def _split(text: str) -> list[str]:
    """Split at commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part for part in [*parts, text[start:]] if part]


def _expand_one(part: str) -> list[str]:
    head, bracket, rest = part.partition("[")
    if not bracket:
        return [part]
    inside, closed, tail = rest.partition("]")
    if not closed:
        raise ValueError(f"no closing bracket in {part!r}")
    names = []
    for piece in inside.split(","):
        low, dash, high = piece.partition("-")
        last = int(high) if dash else int(low)
        if last - int(low) > MAX_NODES:
            raise ValueError("the node list is too long")
        names += [f"{head}{i:0{len(low)}d}" for i in range(int(low), last + 1)]
    ends = _expand_one(tail) if tail else [""]
    if len(names) * len(ends) > MAX_NODES:
        raise ValueError("the node list is too long")
    return [name + end for name in names for end in ends]
