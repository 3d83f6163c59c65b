# SPDX-License-Identifier: MIT
"""Rows by the hundred come back from every kind of database as they were given."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounting.db.fixtures import Backend
from carbon_acct.db.models import Association, Cluster, DaySum, Job, JobDay, Segment
from carbon_acct.db.rows import add_rows, change_rows, insert_rows, put_rows, replace_rows, table_of
from carbon_acct.errors import DatabaseError

INT64 = 2**63 - 1
UGLY = (
    "",
    "NULL",
    "a'b",
    'a"b',
    "a\\b",
    "\\",
    "100 %",
    "%s",
    "%(x)s",
    "{1,2}",
    "a,b",
    "\n\t",
    "äöü €",
    "😀",
    "--;/*",
    " ",
)


def stored(session: Session, model: Any) -> list[dict[str, Any]]:
    """All rows of a table, in the order of their keys."""
    table = table_of(model)
    return [dict(row) for row in session.execute(select(table).order_by(*table.primary_key)).mappings()]


def job_rows(texts: tuple[str | None, ...]) -> list[dict[str, Any]]:
    """Jobs with these node lists."""
    fixed = {"cluster_id": 1, "job_id": "1", "leader_id": 1, "name": "x", "state": "RUNNING", "submit": 1}
    fixed |= {"unmetered_us": 0, "unmetered_nodes": 0}
    return [{"id": at, **fixed, "job_id_raw": at, "nodelist": text} for at, text in enumerate(texts, start=1)]


def day_row(job_id: int, **values: Any) -> dict[str, Any]:
    """A row of job_day with every column."""
    rest = {"simulated": False, "sources": "1", "g_per_kwh_weight": 0.0, "pue_weight": 0.0}
    return {column.name: None for column in table_of(JobDay).columns} | {"job_id": job_id, "day": 0} | rest | values


@pytest.fixture
def session(backend: Backend) -> Any:
    """A transaction on a fresh database that has a cluster."""
    with backend.site() as site, site.database.write() as session:
        session.add(Cluster(id=1, name="c", polled_until=None))
        session.flush()
        yield session


def test_text_comes_back_as_it_was(session: Session) -> None:
    """Quotes, signs that statements and arrays are made of, and what lies beyond the first Unicode plane; alone and among others."""
    for texts in ((*UGLY, None), *((text,) for text in UGLY)):
        insert_rows(session, table_of(Job), job_rows(texts))
        assert tuple(row["nodelist"] for row in stored(session, Job)) == texts
        session.execute(table_of(Job).delete())


def test_numbers_come_back_to_the_last_digit(session: Session) -> None:
    """The ends of 64 bits, doubles in all their digits, truths and what is not known; in columns of one kind and mixed."""
    insert_rows(session, table_of(Job), job_rows((None,) * 4))
    rows = [
        day_row(1, cpu_uj=INT64, cpu_us=-INT64 - 1, g_per_kwh_weight=0.1 + 0.2, pue_weight=1e300, simulated=True),
        day_row(2, cpu_uj=0, cpu_us=None, g_per_kwh_weight=5e-324, pue_weight=-1 / 3),
        day_row(3, cpu_uj=None, cpu_us=0, g_per_kwh_weight=2.0**60 + 1024, pue_weight=123456789.123456789),
        day_row(4, cpu_uj=1, cpu_us=1, cpu_method="counter", notes='["a: \\"b\\""]'),
    ]
    put_rows(session, table_of(JobDay), rows)
    assert stored(session, JobDay) == rows
    again = [row | {"cpu_uj": row["job_id"], "gpu_uj": None} for row in rows]
    replace_rows(session, table_of(JobDay), again[:3], [(4, 0)])
    assert stored(session, JobDay) == again[:3]


def test_what_is_there_is_replaced_or_added_to(session: Session) -> None:
    """Rows that are new beside rows that are there, in one call; a key that is there is an error where it must not be."""
    session.add_all(Association(id=at, key=str(at), cluster_id=1) for at in (1, 2, 3))
    session.flush()
    table = table_of(DaySum)
    fixed = {column.name: 0 for column in table.columns}
    first = [fixed | {"association_id": at, "day": 86400, "jobs": at, "cpu_uj": 10 * at} for at in (1, 2)]
    add_rows(session, table, first)
    add_rows(session, table, [row | {"association_id": row["association_id"] + 1} for row in first])
    assert [(r["association_id"], r["jobs"], r["cpu_uj"]) for r in stored(session, DaySum)] == [
        (1, 1, 10),
        (2, 3, 30),
        (3, 2, 20),
    ]


def test_what_is_unknown_adds_nothing(session: Session) -> None:
    """A number that is added to an unknown one makes it known, an unknown one takes nothing away; text and truths are set."""
    insert_rows(session, table_of(Job), job_rows((None,) * 4))
    figures: list[tuple[int | None, int | None, int | None]] = [
        (5, 7, 12),
        (5, None, 5),
        (None, 7, 7),
        (None, None, None),
    ]
    truths = [(False, True), (True, False), (True, True), (False, False)]
    before, by, after = [], [], []
    for job, ((had, comes, has), (was, now)) in enumerate(zip(figures, truths, strict=True), start=1):
        before.append(day_row(job, cpu_uj=had, notes="old", simulated=was, pue_weight=0.5))
        by.append(day_row(job, cpu_uj=comes, gpu_uj=-INT64, simulated=now, sources="1,2", pue_weight=0.25))
        after.append(
            day_row(job, cpu_uj=has, gpu_uj=-INT64, simulated=now, sources="1,2", pue_weight=0.75, notes="old")
        )
    put_rows(session, table_of(JobDay), before)
    add_rows(session, table_of(JobDay), by)
    assert stored(session, JobDay) == after
    add_rows(session, table_of(JobDay), [day_row(1, cpu_uj=-12, notes="new", sources="3")])
    assert stored(session, JobDay)[0] == after[0] | {"cpu_uj": 0, "notes": "new", "sources": "3", "simulated": False}


def test_a_key_that_is_there_is_an_error(backend: Backend) -> None:
    """`insert_rows` replaces nothing, and nothing of it is stored."""
    with backend.site() as site:
        with site.database.write() as session:
            session.add(Cluster(id=1, name="c", polled_until=None))
            session.flush()
            insert_rows(session, table_of(Job), job_rows(("a", "b")))
        with pytest.raises(DatabaseError), site.database.write() as session:
            insert_rows(session, table_of(Job), list(reversed(job_rows(("c", "d", "e")))))
        with site.database.read() as session:
            assert [row["nodelist"] for row in stored(session, Job)] == ["a", "b"]


def test_only_the_rows_that_are_named_change(session: Session) -> None:
    """Of thousands of rows each has what was said of it, and the others are as they were."""
    insert_rows(session, table_of(Job), job_rows(UGLY * 200))
    before = stored(session, Job)
    said = [(row["id"], row["id"] * 1000, UGLY[row["id"] % len(UGLY)]) for row in before if row["id"] % 3]
    change_rows(session, table_of(Job), ("id", "unmetered_us", "nodelist"), said)
    now = {key: {"unmetered_us": us, "nodelist": text} for key, us, text in said}
    assert stored(session, Job) == [row | now.get(row["id"], {}) for row in before]


def test_long_texts_are_more_than_one_statement(session: Session) -> None:
    """Rows that have more text together than a server takes in one packet (MariaDB: 16 MB) are stored."""
    texts = tuple(f"{at}{'é' * 5000}" for at in range(2000))
    insert_rows(session, table_of(Job), job_rows(texts))
    assert tuple(row["nodelist"] for row in stored(session, Job)) == texts


def test_no_rows_are_no_statement(session: Session) -> None:
    """Nothing to store is no error."""
    insert_rows(session, table_of(Segment), [])
    change_rows(session, table_of(Job), ("id", "nodelist"), [])
    assert stored(session, Segment) == []
