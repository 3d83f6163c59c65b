# SPDX-License-Identifier: MIT
"""Keeps records on disk until an aggregator has them: segments, their compaction when the spool is full, shipping."""
