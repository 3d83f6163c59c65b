# SPDX-License-Identifier: MIT
"""From the bytes that a node delivers to rows in the database."""
