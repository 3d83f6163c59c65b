# SPDX-License-Identifier: MIT
"""Prints the imports that run back up from a lower room to a higher one, and the circles of files: `make structure`.

The order of the rooms is the one that pyproject.toml gives import-linter. Imports for type checkers, and those inside
functions, count as all others do.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("carbon_reports", "carbon_acct", "carbon_collector")


def imports() -> dict[str, set[str]]:
    """Return the modules of ours that each of our modules imports."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules)}


def floors() -> list[dict[str, int]]:
    """Return, for each contract on layers, the floor of each room: 0 is the highest."""
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    found = []
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] != "layers":
            continue
        below = [f"{package}." for package in contract.get("containers", [])] or [""]
        layers = [[room.strip(" ()") for room in layer.split("|")] for layer in contract["layers"]]
        found.append({prefix + room: at for prefix in below for at, layer in enumerate(layers) for room in layer})
    return found


def upward(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Yield each import that runs from a room to one above it."""
    for floor in floors():
        for module, imported in graph.items():
            here = _room(module, floor)
            for other in sorted(imported):
                there = _room(other, floor)
                if here and there and floor[there] < floor[here]:
                    yield module, other


def _room(module: str, floor: Mapping[str, int]) -> str:
    """Return the room that a module is in, or an empty text where it is in none."""
    return next((room for room in floor if module == room or module.startswith(f"{room}.")), "")


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the circles: sets of modules each of which imports all others, directly or by way of them."""
    reach = {module: _reachable(graph, module) for module in graph}
    together = {module: frozenset({other for other in reach[module] if module in reach[other]}) for module in graph}
    return sorted(sorted(members) for members in set(together.values()) if members)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = list(graph[start])
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += graph[module]
    return found


def main() -> int:
    """Print both; the exit status is 1 where there is one of either."""
    graph = imports()
    up, round_ = list(upward(graph)), circles(graph)
    print(f"{len(graph)} modules, {sum(map(len, graph.values()))} imports")
    print(f"imports that run back up: {len(up)}", *(f"  {a} -> {b}" for a, b in up), sep="\n")
    print(f"circles of files: {len(round_)}", *(f"  {' -> '.join(members)}" for members in round_), sep="\n")
    return 1 if up or round_ else 0


if __name__ == "__main__":
    sys.exit(main())
