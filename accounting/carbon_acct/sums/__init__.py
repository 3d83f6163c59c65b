# SPDX-License-Identifier: MIT
"""Sums: everything that is computed from delivered rows and Slurm's record, one module for each table."""
