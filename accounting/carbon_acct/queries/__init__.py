# SPDX-License-Identifier: MIT
"""Queries: what is read from the database. Jobs, sums, quality, nodes, and the energy of the site."""
