# SPDX-License-Identifier: MIT
"""What the house promises of itself: a sentence for every test and every room, and imports that run one way."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import structure

CHECKOUT = Path(__file__).parents[1]
TESTS = sorted((CHECKOUT / "tests").rglob("test_*.py"))
ROOMS = sorted(
    path
    for top in ("collector", "accounting", "reports")
    for path in (CHECKOUT / top).rglob("__init__.py")
    if "migrations" not in path.parts
)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_test_has_a_docstring(path: Path) -> None:
    """Every test states the property that it tests."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    silent = [f.name for f in functions if f.name.startswith("test_") and not ast.get_docstring(f)]
    assert silent == []


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.parent.relative_to(CHECKOUT)))
def test_every_room_says_what_it_is_for(path: Path) -> None:
    """The `__init__` of every package has a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_the_rooms_are_found() -> None:
    """The two tests above look at something."""
    assert len(TESTS) > 80
    assert len(ROOMS) > 20


def test_imports_run_one_way() -> None:
    """No import runs from a room to one above it, and no files import each other in a circle."""
    graph = structure.imports()
    assert len(graph) > 200
    assert list(structure.upward(graph)) == []
    assert structure.circles(graph) == []


def test_what_runs_back_up_is_seen() -> None:
    """An import against the order, and a circle, are found where there are any."""
    graph = {"carbon_acct.db.rows": {"carbon_acct.cli.acct"}, "carbon_acct.cli.acct": {"carbon_acct.db.rows"}}
    assert list(structure.upward(graph)) == [("carbon_acct.db.rows", "carbon_acct.cli.acct")]
    assert structure.circles(graph) == [["carbon_acct.cli.acct", "carbon_acct.db.rows"]]


def test_every_test_that_a_table_names_exists() -> None:
    """docs/founding-tools.md has features with the tests that hold them: each of these is a test of ours."""
    rows = [line for line in (CHECKOUT / "docs/founding-tools.md").read_text("utf-8").splitlines() if line[:2] == "| "]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    ours = {name for path in TESTS for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.M)}

    assert len(named) > 60
    assert named - ours == set()
    assert all(row.count("|") == 4 for row in rows)
