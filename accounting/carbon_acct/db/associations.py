# SPDX-License-Identifier: MIT
"""Finds the row of an association, or makes it: whom the energy of jobs is counted for."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Association


def association_id(session: Session, known: dict[str, int], **who: Any) -> int:
    """Return the id of an association; a new one gets a row. `known` holds, by key, those that were asked for before."""
    key = hashlib.sha256(json.dumps(who, sort_keys=True).encode()).hexdigest()
    if key not in known:
        row = session.scalar(select(Association).where(Association.key == key))
        if row is None:
            row = Association(key=key, **who)
            session.add(row)
            session.flush()
        known[key] = row.id
    return known[key]
