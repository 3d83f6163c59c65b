# SPDX-License-Identifier: MIT
"""The site's figures for its nodes, by type: embodied emissions, and the overhead of nodes that no meter sees as a
whole.

They are a CSV file with a header and a row for each type: `nodes` (a Slurm node list), `embodied_kg`, `gpu_kg` (of each
GPU, not in `embodied_kg`), `lifetime_years`, `gpus` (in each node), `overhead` (1.15: the node draws 15 % more than its
metered components), `source`. A job holds a part of a node by its CPUs, and a GPU by its allocation, for as long as it
runs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from carbon_collector.errors import SettingsError
from carbon_collector.hostlist import expand
from carbon_collector.units import US_PER_S

YEAR_S = 31_557_600
"""A Julian year: 365.25 days."""

UG_PER_KG = 10**9
REQUIRED = ("nodes",)
NUMBERS = ("embodied_kg", "gpu_kg", "lifetime_years", "gpus", "overhead")
COLUMNS = (*REQUIRED, *NUMBERS, "source")
MIG_SLICES = 7


@dataclass(frozen=True)
class NodeType:
    """A row of the file. None means not stated."""

    embodied_kg: Fraction | None
    gpu_kg: Fraction
    lifetime_s: Fraction
    gpus: int
    overhead: Fraction | None
    source: str

    def embodied_ug(self, alloc_us: int, cpus: Fraction, gpus: Fraction) -> int | None:
        """Return the embodied micrograms of a share of a node's CPUs and of a number of GPUs, held for `alloc_us`,
        rounded down.

        None if the type states no embodied emissions. What no job holds is charged to no job.
        """
        if self.embodied_kg is None:
            return None
        kg = self.embodied_kg * cpus + self.gpu_kg * gpus
        return int(kg * UG_PER_KG * alloc_us / (self.lifetime_s * US_PER_S))

    def node_ug(self, seconds: int) -> int | None:
        """Return the micrograms of a whole node over a time."""
        return self.embodied_ug(seconds * US_PER_S, Fraction(1), Fraction(self.gpus))


@dataclass(frozen=True)
class NodeTypes:
    """The node types by name of node. It is empty where the site states none."""

    types: dict[str, NodeType]

    def type_of(self, node: str) -> NodeType | None:
        """Return the type of a node, or None."""
        return self.types.get(node)

    def embodied_ug(self, seconds: int) -> int | None:
        """Return the micrograms of all nodes over a time, whoever held them, or None where no type states any."""
        parts = [kind.node_ug(seconds) for kind in self.types.values()]
        known = [part for part in parts if part is not None]
        return sum(known) if known else None


def held_gpus(names: Iterable[str]) -> Fraction:
    """Return the number of GPUs that a job holds, by their UUIDs. A MIG device counts as one of a GPU's seven slices."""
    return sum((Fraction(1, MIG_SLICES) if name.startswith("MIG-") else Fraction(1) for name in names), Fraction(0))


def load_node_types(path: str) -> NodeTypes:
    """Return the types in the file [site] hardware; without a path there are none. Raises SettingsError that names the
    line.
    """
    if not path:
        return NodeTypes({})
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"[site] hardware = {path}: cannot be read: {err}") from err
    reader = csv.DictReader(lines)
    unknown = [name for name in reader.fieldnames or [] if name not in COLUMNS]
    if unknown or "nodes" not in (reader.fieldnames or []):
        wrong = f"unknown column {unknown[0]!r}" if unknown else "no column `nodes`"
        raise SettingsError(f"{path}:1: {wrong}; the columns are {', '.join(COLUMNS)}")
    types: dict[str, NodeType] = {}
    for row in reader:
        place = f"{path}:{reader.line_num}"
        kind = _type(place, {name: (row.get(name) or "").strip() for name in COLUMNS})
        for node in _nodes(place, row["nodes"]):
            if node in types:
                raise SettingsError(f"{place}: node {node} is in two rows")
            types[node] = kind
    return NodeTypes(types)


def _nodes(place: str, text: str) -> list[str]:
    try:
        return expand(text or "")
    except ValueError as err:
        raise SettingsError(f"{place}: {err}") from err


def _type(place: str, row: dict[str, str]) -> NodeType:
    numbers = {name: _number(place, name, row[name]) for name in NUMBERS}
    kg, years, overhead = numbers["embodied_kg"], numbers["lifetime_years"], numbers["overhead"]
    if kg is not None and not years:
        raise SettingsError(f"{place}: embodied_kg needs lifetime_years")
    if kg is not None and not row["source"]:
        raise SettingsError(f"{place}: embodied_kg needs its source")
    if overhead is not None and not 1 <= overhead <= 3:
        raise SettingsError(f"{place}: overhead = {row['overhead']}: the node over its components, between 1 and 3")
    return NodeType(
        embodied_kg=kg,
        gpu_kg=numbers["gpu_kg"] or Fraction(0),
        lifetime_s=(years or Fraction(1)) * YEAR_S,
        gpus=int(numbers["gpus"] or 0),
        overhead=overhead,
        source=row["source"],
    )


def _number(place: str, name: str, text: str) -> Fraction | None:
    if not text:
        return None
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if value < 0:
        raise SettingsError(f"{place}: {name} = {text}: not a number")
    return value
