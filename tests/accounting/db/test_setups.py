# SPDX-License-Identifier: MIT
"""Databases as they are set up elsewhere: poolers, encodings, old servers' defaults, names with blanks, damaged files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, func, insert, select

from accounting.db.fixtures import Backend
from accounting.db.servers import UNPRIVILEGED, Server, free_ports, mariadb_server, private_folder, running
from accounting.delivery.test_store import deliver, tell
from accounting.samples import JOB, configure, job, job_slot, ledger, new_site, segment
from accounting.served import Served, wait_for
from carbon_acct import doctor
from carbon_acct.access.viewer import EVERYTHING
from carbon_acct.db.connect import parse_urls
from carbon_acct.db.models import Job, Meta
from carbon_acct.errors import AwayError, DatabaseError
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.jobs import list_jobs
from carbon_acct.site import Site
from carbon_acct.slurm.programs import Programs
from carbon_collector import settings
from carbon_collector.http import request

NAME = "Łódź-沙漠-λ 🜁"


@pytest.fixture(scope="session")
def backend(fresh_database: Path) -> Backend:
    """SQLite alone: the servers here are the tests' own."""
    return Backend(fresh_database)


def works(site: Site) -> int:
    """Have a site take jobs and rows from two threads at once; the energy that it then has."""

    def work(first: int) -> None:
        for n in range(first, first + 15):
            tell(site, job(job_id_raw=n, job_id=str(n), name=NAME))
            deliver(site, segment([ledger(job_id=n), job_slot(job_id=n)], sequence=n))
            with site.database.read() as session:
                list_jobs(session, Filters(EVERYTHING))

    threads = [threading.Thread(target=work, args=(first,)) for first in (100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with site.database.read() as session:
        found = list_jobs(session, Filters(EVERYTHING))
    assert {record.name for record in found} == {NAME}
    return sum(record.energy_uj or 0 for record in found)


@pytest.mark.servers
@pytest.mark.parametrize(
    "options",
    [
        ["--innodb-default-row-format=compact", "--max-allowed-packet=64K", "--completion-type=CHAIN"],
        ["--innodb-snapshot-isolation=ON", "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES"],
        ["--sql-mode=ORACLE", "--lower-case-table-names=1", "--character-set-server=latin1"],
    ],
    ids=["compact", "snapshot isolation", "Oracle"],
)
def test_mariadb(options: list[str], tmp_path: Path) -> None:
    """Servers that were upgraded from of old, or are set up for others, serve as any other."""
    with private_folder() as folder:
        server = mariadb_server(folder, *options)
        try:
            try:
                server.start()
            except AssertionError as err:
                if "unknown variable" in str(err):
                    pytest.skip(f"this MariaDB does not know {options}")
                raise
            server.new_database("carbon")
            server.query("CREATE USER carbon@'127.0.0.1'")
            server.query("GRANT ALL ON carbon.* TO carbon@'127.0.0.1'")
            url = server.url.format("carbon").replace("root@", "carbon@")
            site = new_site(tmp_path, aggregator_database=url)
            assert works(site) == 30 * 1100
            rows = [ledger(job_id=n, account=NAME * 10) for n in range(1000, 1400)]
            assert len(segment(rows)) > 2 * 64 * 1024  # more than a statement may have
            assert deliver(site, segment(rows, sequence=999)).accepted == 400
            until_it_takes_writes(server, site, tmp_path)
            site.database.close()
        finally:
            server.kill()


def until_it_takes_writes(server: Server, site: Site, folder: Path) -> None:
    """A server that was told to take no writes is away until it takes them; doctor names it."""
    server.query("SET GLOBAL completion_type = 0")  # else this test's own connection is in a transaction
    server.query("SET GLOBAL read_only = 1")
    with pytest.raises(AwayError, match="must name the server that takes writes"):
        site.database.run(lambda session: session.execute(insert(Meta).values(key="a", value="b")))
    assert finding(folder) == "fix"
    assert "takes no writes" in site.database.problem
    server.query("SET GLOBAL read_only = 0")
    site.database.run(lambda session: session.execute(insert(Meta).values(key="a", value="b")))
    assert not site.database.problem
    assert finding(folder) == "ok"


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[Server]:
    """A server of this module's own."""
    with running("postgresql") as server:
        yield server


ODD_DEFAULTS = (
    *("default_transaction_isolation = serializable", "standard_conforming_strings = off", "array_nulls = off"),
    *(
        "extra_float_digits = -15",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'SQL, DMY'",
        "client_encoding = 'LATIN1'",
    ),
    *("statement_timeout = '2min'", "transform_null_equals = on", "row_security = off"),
)


@pytest.mark.servers
def test_defaults_of_a_database(postgresql_server: Server, tmp_path: Path) -> None:
    """Defaults that somebody set for other programs change nothing; of several servers one that takes no writes is
    passed over.
    """
    postgresql_server.query("CREATE ROLE follower LOGIN SUPERUSER")
    postgresql_server.query("ALTER ROLE follower SET default_transaction_read_only = on")
    url = postgresql_server.new_database("odd")
    for setting in ODD_DEFAULTS:
        postgresql_server.query(f"ALTER DATABASE odd SET {setting}")
    follower = url.replace("carbon@", "follower@")
    site = new_site(tmp_path, aggregator_database=f"{follower} {url}")
    assert works(site) == 30 * 1100
    site.database.close()
    assert finding(tmp_path) == "ok"
    with pytest.raises(DatabaseError, match="must name the server that takes writes"):
        new_site(tmp_path / "alone", aggregator_database=follower).database.run(
            lambda session: session.execute(insert(Meta).values(key="a", value="b"))
        )
    assert finding(tmp_path / "alone") == "fix"


@pytest.mark.servers
@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("CREATE ROLE poor LOGIN", "permission denied for schema public.*ALTER DATABASE name OWNER TO role"),
        ("ALTER DATABASE lost SET search_path = nowhere", "no schema has been selected.*RESET search_path"),
    ],
    ids=["not the owner", "no schema"],
)
def test_a_database_that_has_no_place_for_tables(
    postgresql_server: Server, made: str, says: str, tmp_path: Path
) -> None:
    """What PostgreSQL refuses a role is said with the line that mends it, when it is opened and by doctor."""
    name = "lost" if "lost" in made else "others"
    url = postgresql_server.new_database(name)
    postgresql_server.query(made)
    if name == "others":
        url = url.replace("carbon@", "poor@")
    with pytest.raises(DatabaseError, match=says):
        new_site(tmp_path, aggregator_database=url)
    assert finding(tmp_path) == "fix"


@pytest.mark.servers
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_encodings(postgresql_server: Server, encoding: str, tmp_path: Path) -> None:
    """A database that has no place for every name is refused when it is opened, with the line to run; doctor says so."""
    name = f"c_{encoding.lower()}"
    made = f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgresql_server.query(made)
    url = postgresql_server.url.format(name)
    with pytest.raises(DatabaseError, match=f"has the encoding {encoding}.*CREATE DATABASE {name} ENCODING 'UTF8'"):
        new_site(tmp_path, aggregator_database=url)
    assert finding(tmp_path) == "fix"


@pytest.mark.servers
@pytest.mark.parametrize("threshold", ["0", "5", "None", "tea"])
def test_prepare_threshold(postgresql_server: Server, threshold: str, tmp_path: Path) -> None:
    """A setting of psycopg's own may stand in the URL; what is no number is an error in one line."""
    name = f"t_{threshold.lower()}"
    url = f"{postgresql_server.new_database(name)}?prepare_threshold={threshold}"
    if threshold == "tea":
        with pytest.raises(DatabaseError, match="prepare_threshold=tea is no number"):
            new_site(tmp_path, aggregator_database=url)
        return
    site = new_site(tmp_path, aggregator_database=url)
    assert works(site) == 30 * 1100
    site.database.close()


@contextmanager
def pgbouncer(server: Server) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode, as Debian packages it, before a server."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian's package pgbouncer)")
    (port,) = free_ports(1)
    behind = server.url.rpartition(":")[2].partition("/")[0]
    ini = server.folder / "pgbouncer.ini"
    lines = [
        *("[databases]", f"carbon = host=127.0.0.1 port={behind} dbname=carbon user=carbon", "[pgbouncer]"),
        *("listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "auth_type = any"),
        *("pool_mode = transaction", "default_pool_size = 2", f"auth_file = {server.folder}/users"),
    ]
    ini.write_text("\n".join(lines) + "\n")
    (server.folder / "users").write_text('"carbon" ""\n')
    process = subprocess.Popen([program, str(ini)], cwd=server.folder, stderr=subprocess.DEVNULL, **UNPRIVILEGED)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.servers
def test_pgbouncer(postgresql_server: Server, tmp_path: Path) -> None:
    """A pooler in transaction mode before PostgreSQL: no parameter at the start, no prepared statement, every row stored."""
    postgresql_server.new_database("carbon")
    with pgbouncer(postgresql_server) as port:
        url = f"postgresql+psycopg://carbon@127.0.0.1:{port}/carbon"

        def opened() -> Site | None:
            try:
                return new_site(tmp_path, aggregator_database=url)
            except DatabaseError:
                return None

        wait_for(opened)
        site = opened()
        assert site is not None
        assert works(site) == 30 * 1100
        others = [new_site(tmp_path / str(n), aggregator_database=f"{url}?prepare_threshold=0") for n in range(3)]
        for other in (site, *others):  # whatever the URL says
            with other.database.read() as session:
                assert session.scalar(select(func.count()).select_from(Job)) == 30
            other.database.close()
        assert finding(tmp_path) == "ok"


def test_a_blank_in_the_name(tmp_path: Path) -> None:
    """A folder's name may have blanks: the file is there, and not two databases."""
    folder = tmp_path / "my state"
    site = new_site(folder)
    tell(site, JOB)
    site.database.close()
    assert (folder / "carbon-acct.db").exists()
    assert len(parse_urls("sqlite:////a b/c.db")) == 1
    assert finding(folder) == "ok"


def damage(path: Path) -> None:
    """Overwrite the page of the table of ledgers."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ledger'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(os.urandom(size))


def finding(folder: Path) -> str:
    """The gravest thing that doctor finds in the database of a folder's configuration."""
    config = settings.load(str(folder / "carbon-acct.conf"))
    patient = doctor.Patient(config, "", Programs(search=()), {}, 0.0)
    levels = [one.level for one in doctor._database(patient) if one.subject == "database"]
    return "fix" if "fix" in levels else "ok"


def test_a_damaged_file(served: Served, tmp_path: Path) -> None:
    """A damaged page shows in /healthz and in doctor, with what to do, once anybody came upon it."""
    assert served.ask("POST", "/v1/segments", segment([ledger(), job_slot()])).status == 200
    path = Path(served.site.database.engine.url.database or "")
    configure(tmp_path, aggregator_database=f"sqlite:///{path}")
    assert finding(tmp_path) == "ok"
    served.site.database.engine.dispose()
    damage(path)
    refused = served.ask("GET", "/v1/unmatched")
    assert (refused.status, b"the database file is damaged" in refused.body) == (503, True)
    answer = request("GET", served.url, "/healthz", b"", {})
    assert answer.status == 503
    assert b"the database file is damaged" in answer.body
    assert b"carbon-mgr backup" in answer.body
    assert finding(tmp_path) == "fix"


def test_a_full_disk(served: Served) -> None:
    """While nothing can be stored, /healthz and whoever delivers are told why; queries are answered; then all is well."""
    engine = served.site.database.engine
    with closing(sqlite3.connect(engine.url.database or "")) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()

    def full(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    large = segment([ledger(job_id=n) for n in range(1, 2000)])
    event.listen(engine, "connect", full)
    engine.dispose()
    refused = served.ask("POST", "/v1/segments", large)
    assert (refused.status, b"takes no writes: database or disk is full" in refused.body) == (503, True)
    answer = request("GET", served.url, "/healthz", b"", {})
    assert (answer.status, b"takes no writes" in answer.body) == (503, True)
    assert served.ask("GET", "/v1/jobs").status == 200
    event.remove(engine, "connect", full)
    engine.dispose()
    assert served.ask("POST", "/v1/segments", large).status == 200
    assert request("GET", served.url, "/healthz", b"", {}).status == 200
