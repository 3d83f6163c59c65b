# SPDX-License-Identifier: MIT
"""Creates the tables in an empty database, and migrates older ones.

Two programs that start at once do not both do it. A file is copied before it is changed. Whether a server's database
has a backup is known only to its administrator, so nothing but `carbon-mgr upgrade` changes it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from carbon_acct.db.connect import MARIADB, is_sqlite
from carbon_acct.db.models import Base
from carbon_acct.errors import DatabaseError, SchemaError

LOCK = "carbon-acct schema"
LOCK_NUMBER = 0x636172626F6E
LOCK_S = 600

MIGRATIONS = Path(__file__).parent / "migrations"


def newest() -> str:
    """Return the schema of this program."""
    return max(_known())


def present(connection: Connection) -> str | None:
    """Return the revision of the database's schema (Alembic's `version_num`), or None for a database without a
    schema.
    """
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def ensure(engine: Engine, shown: str, upgrade: bool = False) -> str | None:
    """Create or migrate the tables so that they are as this program needs them, and return the schema before.

    `upgrade` migrates a server's tables as well. Raises SchemaError.
    """
    with engine.connect() as connection:
        found = present(connection)
    if found == newest():
        return found
    with _alone(engine) as connection:
        found = present(connection)
        if found is None:
            _create(connection, shown)
        elif found != newest():
            _refuse(found, shown, upgrade or is_sqlite(engine.url))
            if is_sqlite(engine.url):
                copy_file(Path(engine.url.database or ""), copy_of(engine))
            _migrate(connection)
    return found


def try_to_write(connection: Connection) -> None:
    """Run what needs the right to write, and changes nothing once the transaction is rolled back. Raises
    SQLAlchemyError.
    """
    if present(connection) is not None:
        connection.execute(text("UPDATE meta SET value = value WHERE 1 = 0"))
    elif connection.dialect.name == "postgresql":
        connection.execute(text("CREATE TABLE carbon_acct_tried (number INTEGER)"))
    else:  # to make a table would end the transaction
        connection.rollback()
        connection.exec_driver_sql("START TRANSACTION READ WRITE")


def copy_of(engine: Engine) -> Path:
    """Return the path of the copy that is made of a file before it is changed."""
    return Path(f"{engine.url.database}.before-{newest()}")


def copy_file(source: Path, target: Path) -> None:
    """Copy an SQLite database that may be in use; the copy is whole or not there. Raises DatabaseError."""
    partial = target.with_name(f"{target.name}.part")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(partial)) as new,
        ):
            old.backup(new)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.rename(target)
    except (OSError, sqlite3.Error) as err:
        partial.unlink(missing_ok=True)
        raise DatabaseError(f"{source} cannot be copied to {target}: {err}") from err


def _refuse(found: str, shown: str, may_upgrade: bool) -> None:
    if found not in _known():
        raise SchemaError(
            f"{shown}: its schema, {found}, is newer than this program's, {newest()}; install the newer release"
        )
    if not may_upgrade:
        raise SchemaError(
            f"{shown}: its schema is {found}, this program needs {newest()}: back it up, then carbon-mgr upgrade"
        )


def _create(connection: Connection, shown: str) -> None:
    foreign = sorted(set(inspect(connection).get_table_names()) - set(Base.metadata.tables) - {"alembic_version"})
    if foreign:
        raise SchemaError(
            f"{shown}: it has tables of something else ({', '.join(foreign[:3])}); give carbon-acct its own"
        )
    Base.metadata.create_all(connection)  # what a kill left of it is completed
    _alembic(connection, "stamp")


def _migrate(connection: Connection) -> None:
    _alembic(connection, "upgrade")


def _alembic(connection: Connection, command: str) -> None:
    # Most programs find the tables as they need them, and would wait for this as long as for all of SQLAlchemy.
    from alembic import command as commands  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    getattr(commands, command)(config, "head")


@cache
def _known() -> frozenset[str]:
    """Return the schemas that this program can migrate from, and its own. Each has a file whose name begins with it."""
    return frozenset(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction in which nobody else changes the schema."""
    with engine.connect() as connection:
        connection.execution_options(carbon_write=True)
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_NUMBER})"))
            if engine.dialect.name in MARIADB:
                connection.execute(text(f"SELECT GET_LOCK('{LOCK}', {LOCK_S})"))
            try:
                yield connection
            finally:
                if engine.dialect.name in MARIADB and not connection.invalidated:
                    connection.execute(text(f"SELECT RELEASE_LOCK('{LOCK}')"))
