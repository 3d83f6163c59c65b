# SPDX-License-Identifier: MIT
"""The accounting database: tables, migrations and the two ways to open a transaction."""
