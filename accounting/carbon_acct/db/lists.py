# SPDX-License-Identifier: MIT
"""Lists in statements, as one parameter however long they are.

A statement that has a place for each value is another statement for each length: SQLAlchemy keeps the texts, the
driver and the server what they prepared, and SQLite refuses the 1,000th OR. SQLite takes the list as JSON, PostgreSQL
as an array; the driver of MariaDB writes values into the text, of which it keeps none.
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
        """Whether a column holds one of these values."""
        wanted = sorted(set(values))
        if self._dialect == "sqlite":
            given = func.json_each(bindparam(None, json.dumps(wanted))).table_valued("value")
            return of.in_(select(given.c.value))  # type: ignore[no-any-return]
        if self._dialect == "postgresql":
            return of == any_(bindparam(None, wanted, ARRAY(of.type)))  # type: ignore[no-any-return]
        return of.in_(wanted)  # type: ignore[no-any-return]


def as_json(values: Collection[int]) -> str:
    """Integers as JSON, which SQLite reads with `json_each`."""
    return f"[{','.join(map(str, map(int, values)))}]"


JSON_IDS = "SELECT value FROM json_each(?)"
"""SQL of the values of such a list, which is its one parameter."""
