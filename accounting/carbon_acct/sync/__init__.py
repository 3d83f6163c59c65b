# SPDX-License-Identifier: MIT
"""Sync: the two threads that follow the outside world, Slurm and the grids."""
