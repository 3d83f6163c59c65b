# SPDX-License-Identifier: MIT
"""Puts a list into a statement as one parameter, however long the list is.

A statement with a place for each value would be another statement for each length: SQLAlchemy keeps its texts, the
driver and the server keep what they prepared, and SQLite refuses the 1,000th OR. SQLite takes the list as JSON and
PostgreSQL as an array. The driver of MariaDB writes values into the text, of which it keeps none.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, any_, bindparam, func, select


class Lists:
    """Makes conditions for one kind of database."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect

    def among(self, of: Any, values: Iterable[Any]) -> ColumnElement[bool]:
        """Return the condition that a column holds one of these values."""
        wanted = sorted(set(values))
        if self._dialect == "sqlite":
            given = func.json_each(bindparam(None, json.dumps(wanted))).table_valued("value")
            return of.in_(select(given.c.value))  # type: ignore[no-any-return]  # a column is Any here
        if self._dialect == "postgresql":
            return of == any_(bindparam(None, wanted, ARRAY(of.type)))  # type: ignore[no-any-return]  # a column is Any here
        return of.in_(wanted)  # type: ignore[no-any-return]  # a column is Any here


def as_json(values: Collection[int]) -> str:
    """Return integers as JSON, which SQLite reads with `json_each`."""
    return f"[{','.join(map(str, map(int, values)))}]"


JSON_IDS = "SELECT value FROM json_each(?)"
"""The SQL of the values of such a list, which is its one parameter."""
