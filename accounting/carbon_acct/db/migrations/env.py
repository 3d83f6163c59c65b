# SPDX-License-Identifier: MIT
"""Runs the migrations on the connection that `Database.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from carbon_acct.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=False,  # the caller's transaction holds all of it
)
context.run_migrations()
