# SPDX-License-Identifier: MIT
"""Finds the row of a cluster, or makes it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from carbon_acct.db.models import Cluster


def cluster_named(session: Session, name: str) -> Cluster:
    """Return the row of the cluster with this name; a new cluster gets one."""
    cluster = session.scalar(select(Cluster).where(Cluster.name == name))
    if cluster is None:
        cluster = Cluster(name=name, polled_until=None)
        session.add(cluster)
        session.flush()
    return cluster
