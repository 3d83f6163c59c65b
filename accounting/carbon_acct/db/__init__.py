# SPDX-License-Identifier: MIT
"""The database: its tables, its connections and transactions, and statements on many rows."""
