# SPDX-License-Identifier: MIT
"""`carbon-mgr upgrade`: brings the database's tables up to this program's schema."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from carbon_collector import settings

from ...client.safe_text import visible

if TYPE_CHECKING:
    from .. import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """Register the command."""
    p = commands.add_parser("upgrade", help="migrate the database's tables to this release (on the accounting host)")
    p.add_argument("--backed-up", action="store_true", help="confirm that the server's database is backed up")
    p.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from ...db import connect, schema
    from ...db.engine import Database, url_of
    from ...errors import SchemaError

    database = Database(url_of(settings.load(options.config)))
    is_file = connect.is_sqlite(database.engine.url)
    try:
        before = database.schema()
        if before not in (None, schema.newest()) and not is_file and not options.backed_up:
            raise SchemaError(
                f"{database.shown}: its schema is {before}; back it up (mariadb-dump, pg_dump), then upgrade --backed-up"
            )
        database.upgrade()
    finally:
        database.close()
    copied = f"; a copy of before is {schema.copy_of(database.engine)}" if is_file and before != schema.newest() else ""
    if before == schema.newest():
        print(visible(f"{database.shown}: its schema is {before}, there is nothing to do"))
    else:
        print(
            visible(
                f"{database.shown}: its schema was {before or 'none'}, and is {schema.newest()}{copied if before else ''}"
            )
        )
    return 0
